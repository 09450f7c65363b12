//! Selecting files of a snapshot by their names in the source: a name, a directory with everything below it, or a pattern.
//!
//! An existing name takes precedence over a pattern: `a*` is the file `a*` if it exists. A [`Survey`] is given the existing
//! names and decides which reading applies; its [`Selection`] is then applied to each name.

mod nearest;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::{ffi::OsString, fmt, os::unix::ffi::OsStrExt};

use globset::{Candidate, GlobBuilder, GlobMatcher};

use self::nearest::Nearest;
use crate::{
    error::{Error, Result},
    output,
};

/// Characters that turn a name into a pattern.
const SPECIAL: [u8; 5] = *b"*?[{\\";

/// One possible reading of an argument.
enum Reading {
    /// A file or directory; the empty name is everything.
    Name(Vec<u8>),
    /// A pattern, and the directory that contains all its possible matches.
    Glob { matcher: GlobMatcher, fixed: Vec<u8> },
}

impl Reading {
    /// Whether it matches this name, or one of its parent directories.
    fn takes(&self, name: &[u8], whole: bool) -> bool {
        match self {
            Self::Name(wanted) if wanted.is_empty() => true,
            Self::Name(wanted) => (whole && name == wanted.as_slice()) || is_below(name, wanted),
            Self::Glob { matcher, .. } => {
                let matches = |name: &[u8]| matcher.is_match_candidate(&Candidate::from_bytes(name));
                (whole && matches(name)) || memchr::memchr_iter(b'/', name).any(|end| matches(&name[..end]))
            }
        }
    }

    /// Whether it can match something in this directory.
    fn enters(&self, folder: &[u8]) -> bool {
        match self {
            Self::Name(wanted) => self.takes(folder, true) || is_below(wanted, folder),
            Self::Glob { fixed, .. } => {
                fixed.is_empty()
                    || fixed.as_slice() == folder
                    || is_below(fixed, folder)
                    || is_below(folder, fixed)
            }
        }
    }
}

/// Whether a name is inside a directory.
fn is_below(name: &[u8], folder: &[u8]) -> bool {
    name.strip_prefix(folder).is_some_and(|rest| rest.first() == Some(&b'/'))
}

/// The resolved arguments.
pub(crate) struct Selection(Vec<Chosen>);

struct Chosen {
    reading: Reading,
    folders_only: bool,
}

impl Selection {
    /// Whether the object of this name is selected.
    pub(crate) fn takes(&self, name: &[u8], folder: bool) -> bool {
        self.0.iter().any(|chosen| chosen.reading.takes(name, folder || !chosen.folders_only))
    }

    /// Whether something in this directory can be selected.
    pub(crate) fn enters(&self, folder: &[u8]) -> bool {
        self.0.iter().any(|chosen| chosen.reading.enters(folder))
    }

    /// Whether this missing name is part of the selection.
    pub(crate) fn concerns(&self, name: &[u8]) -> bool {
        self.0.iter().any(|chosen| concerns(&chosen.reading, name))
    }
}

/// If a directory is missing, its content is missing as well.
fn concerns(reading: &Reading, name: &[u8]) -> bool {
    reading.takes(name, true) || matches!(reading, Reading::Name(wanted) if is_below(wanted, name))
}

/// The arguments before the existing names are known.
pub(crate) struct Survey(Vec<Wanted>);

struct Wanted {
    /// As it was written.
    pattern: String,
    folders_only: bool,
    /// The possible readings, in order of precedence.
    readings: Vec<Seen>,
    /// Why it is not a valid pattern although it looks like one.
    invalid: Option<String>,
    /// Matching objects that are known to be missing from the snapshot.
    lacking: Option<String>,
    nearest: Nearest,
}

struct Seen {
    reading: Reading,
    held: bool,
    /// Whether a match is known to be missing from the snapshot.
    lacking: bool,
    /// Whether one of its parent directories is known to be missing.
    above_lacking: bool,
}

impl Survey {
    /// Nothing seen yet. Names are relative to the top of the item; a slash in front is allowed, one at the end means a directory.
    pub(crate) fn new(patterns: &[OsString]) -> Self {
        Self(patterns.iter().map(|pattern| Wanted::new(pattern.as_bytes())).collect())
    }

    /// Whether the content of this directory is relevant.
    pub(crate) fn enters(&self, folder: &[u8]) -> bool {
        self.0.iter().flat_map(|wanted| &wanted.readings).any(|seen| seen.reading.enters(folder))
    }

    /// The snapshot contains this name.
    pub(crate) fn see(&mut self, name: &[u8], folder: bool) {
        self.0.iter_mut().for_each(|wanted| wanted.see(name, folder));
    }

    /// This name is known to be missing from the snapshot.
    pub(crate) fn lacks(&mut self, name: &[u8], reason: &str) {
        for wanted in &mut self.0 {
            if let Some(seen) = wanted.readings.iter_mut().find(|seen| concerns(&seen.reading, name)) {
                if seen.reading.takes(name, true) {
                    seen.lacking = true;
                } else {
                    seen.above_lacking = true;
                }
                let text = || output::name(&format!("{} ({reason})", shown(name)));
                wanted.lacking.get_or_insert_with(text);
            }
        }
    }

    /// The selection to restore from `item` (`source/item`).
    ///
    /// # Errors
    /// One of the arguments matches nothing in the snapshot.
    pub(crate) fn finish(self, item: &str) -> Result<Selection> {
        self.settle(item, &|_| false)
    }

    /// The selection to list from `item`, including objects known to be missing. With `above`, the list names the missing
    /// directories, and so also covers their content.
    ///
    /// # Errors
    /// One of the arguments matches nothing that can be listed.
    pub(crate) fn finish_listing(self, item: &str, above: bool) -> Result<Selection> {
        self.settle(item, &|seen| seen.lacking || (above && seen.above_lacking))
    }

    fn settle(self, item: &str, lacking: &dyn Fn(&Seen) -> bool) -> Result<Selection> {
        self.0.into_iter().map(|wanted| wanted.settle(item, lacking)).collect::<Result<_>>().map(Selection)
    }
}

impl Wanted {
    fn new(pattern: &[u8]) -> Self {
        let trimmed = pattern.strip_suffix(b"/").unwrap_or(pattern);
        let mut forms = vec![trimmed];
        forms.extend(trimmed.strip_prefix(b"/").into_iter().chain(trimmed.strip_prefix(b"./")));
        if trimmed == b"." {
            forms.push(b"");
        }
        let mut readings: Vec<Reading> = forms.iter().map(|form| Reading::Name(form.to_vec())).collect();
        let mut invalid = None;
        for form in forms {
            match glob(form) {
                Some(Ok(glob)) => readings.push(glob),
                Some(Err(error)) => invalid = Some(error),
                None => {}
            }
        }
        let is_pattern = readings.iter().any(|reading| matches!(reading, Reading::Glob { .. }));
        let plain = trimmed.strip_prefix(b"/").unwrap_or(trimmed);
        Self {
            pattern: shown(pattern),
            folders_only: trimmed.len() < pattern.len() && !trimmed.is_empty(),
            // Everything always exists.
            readings: readings
                .into_iter()
                .map(|reading| Seen {
                    held: matches!(&reading, Reading::Name(name) if name.is_empty()),
                    lacking: false,
                    above_lacking: false,
                    reading,
                })
                .collect(),
            invalid,
            lacking: None,
            nearest: Nearest::to((!is_pattern).then(|| String::from_utf8_lossy(plain).into_owned())),
        }
    }

    fn see(&mut self, name: &[u8], folder: bool) {
        let whole = folder || !self.folders_only;
        for seen in &mut self.readings {
            // Readings after an existing one do not count.
            if seen.held {
                return;
            }
            if seen.reading.takes(name, whole) {
                seen.held = true;
                return;
            }
        }
        self.nearest.compare(name);
    }

    /// The first reading that matches something in the snapshot; otherwise one that matches missing objects.
    fn settle(self, item: &str, lacking: &dyn Fn(&Seen) -> bool) -> Result<Chosen> {
        let held = self.readings.iter().position(|seen| seen.held);
        let known = || self.readings.iter().position(lacking);
        let Some(chosen) = held.or_else(known) else { return Err(self.error(item)) };
        let folders_only = self.folders_only;
        let reading = self.readings.into_iter().nth(chosen).map(|seen| seen.reading);
        // A found position exists.
        reading
            .map(|reading| Chosen { reading, folders_only })
            .ok_or_else(|| Error::failed("the selection is empty"))
    }

    fn error(&self, item: &str) -> Error {
        let item = output::name(item);
        if let Some(lacking) = &self.lacking {
            return Error::failed(format!("the snapshot lacks {lacking}")).hint(format!(
                "an older snapshot may hold it: `tik-backup snapshots '{item}'` lists them, --at names one"
            ));
        }
        let pattern = output::name(&self.pattern);
        let mut text = format!("the snapshot has nothing that matches '{pattern}'");
        if let Some(invalid) = &self.invalid {
            text.push_str(&format!(", which is not a valid pattern either: {invalid}"));
        }
        let look = format!(
            "`tik-backup ls '{item}'` lists what there is; a pattern such as '**/NAME' searches all directories"
        );
        let upwards = self.pattern.split('/').any(|part| part == "..");
        Error::failed(text).hint(match self.nearest.found() {
            // A blob may have such a name; no file has.
            _ if upwards => {
                format!("`..` cannot be used: names begin at the top of what was backed up; {look}")
            }
            Some(nearest) => format!("did you mean '{}'? {look}", output::name(nearest)),
            None => look,
        })
    }
}

/// The pattern, or why it is invalid; `None` if it has no special characters.
fn glob(pattern: &[u8]) -> Option<Result<Reading, String>> {
    let special = pattern.iter().position(|byte| SPECIAL.contains(byte))?;
    let Ok(text) = std::str::from_utf8(pattern) else {
        return Some(Err("it is not UTF-8".to_owned()));
    };
    let fixed = memchr::memrchr(b'/', &pattern[..special]).map_or(&b""[..], |end| &pattern[..end]);
    let built = GlobBuilder::new(text).literal_separator(true).backslash_escape(true).build();
    Some(match built {
        Ok(glob) => Ok(Reading::Glob { matcher: glob.compile_matcher(), fixed: fixed.to_vec() }),
        Err(error) => Err(error.kind().to_string()),
    })
}

/// A name as text: bytes that are not UTF-8 are written as `\xff`.
pub(crate) fn shown(name: &[u8]) -> String {
    let mut text = String::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

impl fmt::Debug for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Selection").field("arguments", &self.0.len()).finish()
    }
}
