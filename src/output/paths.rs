//! Paths in messages.

use std::{ffi::OsStr, fmt, os::unix::ffi::OsStrExt, path::Path};

/// A path for messages: on one line, with bytes that are not UTF-8 escaped.
pub(crate) fn shown(path: &Path) -> String {
    match path.to_str() {
        Some(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => format!("{path:?}"),
    }
}

/// The names that [`shown`] writes as this text: the text itself, and the unescaped name, if there is one.
pub(crate) fn meant(text: &str) -> Vec<Vec<u8>> {
    let mut names = vec![text.as_bytes().to_vec()];
    names.extend(written_out(text));
    names
}

/// Parses the `Debug` form of a path.
fn written_out(text: &str) -> Option<Vec<u8>> {
    let mut name = Vec::new();
    let mut chars = text.strip_prefix('"')?.strip_suffix('"')?.chars();
    while let Some(c) = chars.next() {
        let c = match c {
            '\\' => chars.next()?,
            plain => {
                name.extend_from_slice(plain.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
        };
        let meant = match c {
            't' => '\t',
            'r' => '\r',
            'n' => '\n',
            'u' => {
                let code: String = chars.by_ref().skip(1).take_while(|c| *c != '}').collect();
                char::from_u32(u32::from_str_radix(&code, 16).ok()?)?
            }
            'x' => {
                let byte: String = chars.by_ref().take(2).collect();
                name.push(u8::from_str_radix(&byte, 16).ok()?);
                continue;
            }
            itself => itself,
        };
        name.extend_from_slice(meant.encode_utf8(&mut [0; 4]).as_bytes());
    }
    (shown(Path::new(OsStr::from_bytes(&name))) == text).then_some(name)
}

/// A count and the first few names.
#[derive(Debug)]
pub(crate) struct Listed {
    keep: usize,
    count: u64,
    first: Vec<String>,
}

impl Listed {
    /// Empty; keeps `keep` names.
    pub(crate) fn new(keep: usize) -> Self {
        Self { keep, count: 0, first: Vec::new() }
    }

    /// One more.
    pub(crate) fn push(&mut self, name: String) {
        self.count += 1;
        if self.first.len() < self.keep {
            self.first.push(name);
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// The first names.
    pub(crate) fn into_first(self) -> Vec<String> {
        self.first
    }
}

impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.first.join(", "))?;
        match self.count - self.first.len() as u64 {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shown_on_one_line() {
        assert_eq!(shown(Path::new("a b/ü")), "a b/ü");
        assert_eq!(shown(Path::new("a\nb")), "\"a\\nb\"");
        assert_eq!(shown(Path::new(OsStr::from_bytes(b"\xff"))), "\"\\xFF\"");
    }

    #[test]
    fn names_are_known_again_by_what_is_shown_of_them() {
        for odd in [&b"a\nb"[..], b"\xff'\"\\ \xc3\xbc\xfe/x", b"\t\r\x01\x7f\xc2\x80", b"\n"] {
            let text = shown(Path::new(OsStr::from_bytes(odd)));
            assert_eq!(meant(&text), [text.as_bytes(), odd], "{text}");
        }
        for plain in ["a b/\u{fc}", "\"", "\"\"", "\"plain\"", "\"a\\u{d800}\"", "\"a\\\"", "\"a\\xZZ\"", ""]
        {
            assert_eq!(meant(plain), [plain.as_bytes()]);
        }
        assert!(meant("\"a\\nb\"").contains(&b"\"a\\nb\"".to_vec()), "there may be one of just this name");
    }
}
