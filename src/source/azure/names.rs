//! Maps names that are not valid paths to paths: blobs may be called `/a`, `a//b`, `..` or `a` beside `a/b`.
//!
//! A name is cut at its slashes. In each part control characters, and `%` before two hexadecimal digits, become `%XX`; an
//! empty part becomes `%2F`; `.` and `..` become `%2E` and `%2E%2E`; a part longer than a file system can hold is cut and
//! ends in `%~` and a hash. A directory that stands beside a blob of the same name gets `%2F` at its end.

use std::collections::{HashMap, HashSet};

use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

/// Bytes of a name that every usual file system can hold.
const MAX_PART: usize = 255;
/// The kept length of a part that is too long.
const KEPT: usize = 200;

/// One part of a name as a file name.
pub(super) fn escape(part: &str) -> String {
    match part {
        "" => return "%2F".to_owned(),
        "." => return "%2E".to_owned(),
        ".." => return "%2E%2E".to_owned(),
        _ => {}
    }
    let bytes = part.as_bytes();
    let mut escaped = String::with_capacity(part.len());
    for (at, c) in part.char_indices() {
        let ambiguous =
            c == '%' && bytes.get(at + 1..at + 3).is_some_and(|next| next.iter().all(u8::is_ascii_hexdigit));
        if c.is_control() || ambiguous {
            let mut utf8 = [0; 4];
            escaped.extend(c.encode_utf8(&mut utf8).bytes().map(|byte| format!("%{byte:02X}")));
        } else {
            escaped.push(c);
        }
    }
    if escaped.len() > MAX_PART {
        let mut end = KEPT;
        while !escaped.is_char_boundary(end) {
            end -= 1;
        }
        escaped.truncate(end);
        escaped.push_str(&format!("%~{:032x}", xxh3_128(part.as_bytes())));
    }
    escaped
}

/// The hashes of the names in an open directory. A false match only adds an unnecessary `%2F`.
#[derive(Default)]
struct Level {
    files: HashSet<u64>,
    folders: HashMap<u64, String>,
}

/// Assigns a path to every name, and reports which directories are complete if the names are sorted.
pub(super) struct Paths {
    top: &'static str,
    /// By the path of the directory.
    levels: HashMap<String, Level>,
    /// The directories on the way to the last name, the outermost first.
    open: Vec<String>,
    ordered: bool,
}

impl Paths {
    /// Paths below the directory `top`. If the names come `ordered`, all names below a prefix come together.
    pub(super) fn new(top: &'static str, ordered: bool) -> Self {
        Self { top, levels: HashMap::new(), open: Vec::new(), ordered }
    }

    /// The path of a file, and the directories that are finished because it does not lie in them, the innermost first.
    pub(super) fn file(&mut self, name: &str) -> (String, Vec<String>) {
        self.place(name, false)
    }

    /// Whether the file of this name has its path already, as far as its directory is still open.
    pub(super) fn has_file(&self, name: &str) -> bool {
        let (folder, last) = name.rsplit_once('/').unwrap_or(("", name));
        let mut path = self.top;
        let mut level = self.levels.get(path);
        if !folder.is_empty() || name.starts_with('/') {
            for part in folder.split('/') {
                let Some(below) = level.and_then(|level| level.folders.get(&xxh3_64(part.as_bytes()))) else {
                    return false;
                };
                path = below;
                level = self.levels.get(path);
            }
        }
        level.is_some_and(|level| level.files.contains(&xxh3_64(last.as_bytes())))
    }

    /// Like [`Self::file`], for something that is a directory itself.
    pub(super) fn folder(&mut self, name: &str) -> (String, Vec<String>) {
        self.place(name, true)
    }

    fn place(&mut self, name: &str, folder: bool) -> (String, Vec<String>) {
        let mut parts: Vec<&str> = name.split('/').collect();
        let last = parts.pop().unwrap_or_default();
        let mut path = self.top.to_owned();
        let mut way = Vec::with_capacity(parts.len());
        for part in parts {
            path = self.below(&path, part);
            way.push(path.clone());
        }
        let path = if folder {
            // It is open once something lies in it: what is listed next need not.
            self.below(&path, last)
        } else {
            let key = xxh3_64(last.as_bytes());
            let level = self.levels.entry(path.clone()).or_default();
            let clash = level.folders.contains_key(&key);
            level.files.insert(key);
            format!("{path}/{}{}", escape(last), if clash { "%2F" } else { "" })
        };
        (path, self.leave(way))
    }

    /// The directory of this part of a name below `path`.
    fn below(&mut self, path: &str, part: &str) -> String {
        let key = xxh3_64(part.as_bytes());
        let level = self.levels.entry(path.to_owned()).or_default();
        let clash = level.files.contains(&key);
        let folder = level
            .folders
            .entry(key)
            .or_insert_with(|| format!("{path}/{}{}", escape(part), if clash { "%2F" } else { "" }));
        folder.clone()
    }

    fn leave(&mut self, way: Vec<String>) -> Vec<String> {
        let same = self.open.iter().zip(&way).take_while(|(open, new)| open == new).count();
        let mut left = self.open.split_off(same);
        left.reverse();
        self.open = way;
        if !self.ordered {
            return Vec::new();
        }
        for folder in &left {
            self.levels.remove(folder);
        }
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str) -> String {
        Paths::new("blobs", true).file(name).0
    }

    #[test]
    fn every_name_has_a_path_of_its_own() {
        for (name, expected) in [
            ("plain/name.txt", "blobs/plain/name.txt"),
            ("/lead", "blobs/%2F/lead"),
            ("a//b", "blobs/a/%2F/b"),
            ("trail/", "blobs/trail/%2F"),
            ("..", "blobs/%2E%2E"),
            ("a/../b", "blobs/a/%2E%2E/b"),
            ("a/./b.", "blobs/a/%2E/b."),
            ("50% off", "blobs/50% off"),
            ("%2F", "blobs/%252F"),
            ("new\nline\u{7f}", "blobs/new%0Aline%7F"),
            (" ", "blobs/ "),
            ("back\\slash", "blobs/back\\slash"),
        ] {
            assert_eq!(path(name), expected);
        }
        let long = "ü".repeat(1024);
        let (one, other) = (path(&long), path(&format!("{long}x")));
        assert!(one.len() < 260 && one != other, "{one}");
        assert_eq!(path(&long), one);
    }

    #[test]
    fn a_blob_and_a_folder_of_its_name_stand_side_by_side() {
        let mut paths = Paths::new("blobs", true);
        assert_eq!(paths.file("a").0, "blobs/a");
        assert_eq!(paths.file("a!").0, "blobs/a!");
        assert_eq!(paths.file("a/b").0, "blobs/a%2F/b");
        assert_eq!(paths.file("a/c").0, "blobs/a%2F/c");
        let mut unordered = Paths::new("blobs", false);
        assert_eq!(unordered.file("a/b").0, "blobs/a/b");
        assert_eq!(unordered.file("x/y").0, "blobs/x/y");
        assert_eq!(unordered.file("a").0, "blobs/a%2F");
        assert_eq!(unordered.file("a/c").0, "blobs/a/c");
    }

    #[test]
    fn a_name_that_comes_again_is_known() {
        let mut paths = Paths::new("blobs", true);
        for name in ["a", "b/c", "b//d", "/e"] {
            assert!(!paths.has_file(name), "{name}");
            paths.file(name);
            assert!(paths.has_file(name), "{name}");
        }
        assert!(!paths.has_file("b") && !paths.has_file("e") && !paths.has_file("x/y"));
    }

    #[test]
    fn folders_are_finished_when_the_names_leave_them() {
        let mut paths = Paths::new("files", true);
        assert!(paths.file("a/b/c").1.is_empty());
        assert!(paths.file("a/b/d").1.is_empty());
        assert_eq!(paths.folder("a/e").1, ["files/a/b"]);
        assert!(paths.file("a/e-").1.is_empty(), "what a directory holds may come after its neighbours");
        assert!(paths.file("a/e/f").1.is_empty());
        assert_eq!(paths.file("z").1, ["files/a/e", "files/a"]);
    }
}
