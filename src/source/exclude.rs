//! Exclusion patterns for files and blobs: as in `.gitignore`, relative to the top of the item.

use std::path::Path;

use globset::{GlobSet, GlobSetBuilder};
use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, Result},
    settings::{PathGlob, Paths},
};

/// The name in manifests of the rule `exclude_caches`.
pub(crate) const EXCLUDE_CACHES: &str = "exclude_caches";

/// A rule of `exclude`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// As configured.
    pub pattern: String,
    /// Number of excluded entries.
    pub entries: u64,
}

/// Compiled patterns.
pub(super) struct Excludes {
    set: GlobSet,
    rules: Vec<Pattern>,
}

struct Pattern {
    pattern: String,
    folders_only: bool,
}

impl Excludes {
    /// Compiles patterns, as [`PathGlob::new`] reads them.
    ///
    /// # Errors
    /// Exit code 2: a pattern that is not valid, or could never match.
    pub(super) fn new(patterns: &[String], paths: Paths) -> Result<Self> {
        let (mut set, mut rules) = (GlobSetBuilder::new(), Vec::new());
        for pattern in patterns {
            let PathGlob { glob, folders_only } =
                PathGlob::new(pattern, paths).map_err(|fault| Error::usage(format!("exclude: {fault}")))?;
            set.add(glob);
            rules.push(Pattern { pattern: pattern.clone(), folders_only });
        }
        let set = set.build().map_err(|error| Error::usage("exclude: too many patterns").because(&error))?;
        Ok(Self { set, rules })
    }

    /// The number of the first pattern that matches `path`, which is relative to the top of the item.
    pub(super) fn matched(&self, path: &Path, folder: bool) -> Option<usize> {
        if self.rules.is_empty() {
            return None;
        }
        // They come in ascending order.
        self.set.matches(path).into_iter().find(|rule| folder || !self.rules[*rule].folders_only)
    }

    /// The number of the pattern that excludes `path`: the first pattern that matches the topmost matching parent directory,
    /// or else the path itself. For listings without directory entries, such as those of blobs: each part before a `/` is a
    /// directory, and a part may be empty.
    pub(super) fn matched_within(&self, path: &str, folder: bool) -> Option<usize> {
        if self.rules.is_empty() {
            return None;
        }
        let folders = path.match_indices('/').map(|(end, _)| &path[..end]);
        folders
            .filter(|folder| !folder.is_empty())
            .find_map(|folder| self.matched(Path::new(folder), true))
            .or_else(|| self.matched(Path::new(path), folder))
    }

    /// The patterns as they were written.
    pub(super) fn patterns(&self) -> impl ExactSizeIterator<Item = &str> {
        self.rules.iter().map(|rule| rule.pattern.as_str())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

    fn matches(pattern: &str, path: &[u8], folder: bool) -> bool {
        let excludes = Excludes::new(&[pattern.to_owned()], Paths::OfFiles).unwrap();
        excludes.matched(Path::new(OsStr::from_bytes(path)), folder).is_some()
    }

    #[test]
    fn a_pattern_without_a_slash_matches_a_name_in_any_folder() {
        for path in [&b"a.tmp"[..], b"x/a.tmp", b"x/y/a.tmp", b".tmp", b"a\nb.tmp", b"\xff.tmp", b"-.tmp"] {
            assert!(matches("*.tmp", path, false), "{}", path.escape_ascii());
        }
        assert!(!matches("*.tmp", b"a.tmp/b", false), "files in an excluded directory are excluded with it");
        assert!(!matches("*.tmp", b"a.tmpx", false));
        assert!(!matches("cache", b"Cache", true));
    }

    #[test]
    fn a_pattern_with_a_slash_is_a_path_from_the_top() {
        assert!(matches("/cache", b"cache", true) && !matches("/cache", b"x/cache", true));
        assert!(matches("a/*.log", b"a/x.log", false));
        assert!(!matches("a/*.log", b"b/a/x.log", false) && !matches("a/*.log", b"a/b/x.log", false));
        assert!(matches("a/**/x.log", b"a/x.log", false) && matches("a/**/x.log", b"a/b/c/x.log", false));
        assert!(matches("a/**", b"a/b", true) && !matches("a/**", b"a", true));
        assert!(matches("**/b/c", b"b/c", false) && matches("**/b/c", b"a/b/c", false));
    }

    #[test]
    fn a_slash_at_the_end_means_folders() {
        assert!(matches("cache/", b"x/cache", true) && !matches("cache/", b"x/cache", false));
        assert!(matches("a/b/", b"a/b", true) && !matches("a/b/", b"x/a/b", true));
    }

    #[test]
    fn the_first_matching_pattern_is_reported() {
        let excludes =
            Excludes::new(&["b/".to_owned(), "b".to_owned(), "*".to_owned()], Paths::OfFiles).unwrap();
        assert_eq!(excludes.matched(Path::new("b"), true), Some(0));
        assert_eq!(excludes.matched(Path::new("b"), false), Some(1));
        assert_eq!(excludes.matched(Path::new("c"), false), Some(2));
        assert_eq!(excludes.patterns().collect::<Vec<_>>(), ["b/", "b", "*"]);
    }

    #[test]
    fn a_name_is_left_out_with_any_folder_it_lies_in() {
        let excludes =
            Excludes::new(&["*.tmp".to_owned(), "cache/".to_owned(), "/a/b".to_owned()], Paths::OfBlobs)
                .unwrap();
        for (path, rule) in [
            ("x.tmp", Some(0)),
            ("p/q/x.tmp", Some(0)),
            ("x.tmp/whatever", Some(0)),
            ("cache/x", Some(1)),
            ("p/cache/q/x", Some(1)),
            // The directory decides, although an earlier pattern matches the name itself.
            ("cache/x.tmp", Some(1)),
            ("cache", None),
            ("p/cache", None),
            ("cache2/x", None),
            ("Cache/x", None),
            ("a/b", Some(2)),
            ("a/b/c", Some(2)),
            ("x/a/b", None),
            ("a/bc", None),
        ] {
            assert_eq!(excludes.matched_within(path, false), rule, "{path}");
        }
        assert_eq!(excludes.matched_within("p/cache", true), Some(1));
        assert_eq!(Excludes::new(&[], Paths::OfBlobs).unwrap().matched_within("cache/x.tmp", false), None);
    }

    #[test]
    fn odd_names_have_folders_too() {
        let within = |pattern: &str, path: &str| {
            Excludes::new(&[pattern.to_owned()], Paths::OfBlobs)
                .unwrap()
                .matched_within(path, false)
                .is_some()
        };
        // A file without a name in the directory x.
        assert!(within("x/", "x/") && within("x", "x/") && within("x", "x//") && !within("x/", "y/"));
        // A directory without a name.
        assert!(within("b", "a//b") && within("a/", "a//b") && within("b/", "a//b/c"));
        assert!(!within("a/b", "a//b"), "another path");
        // A name that begins with / is not at the top.
        assert!(within("lead", "/lead") && within("lead/", "/lead/x") && !within("/lead", "/lead"));
        assert!(within("x", "../x") && within("x", "./x") && within("x/", "../x/y"));
        assert!(within("*.tmp", "a/ü.tmp") && within("*.tmp", "a\\b.tmp"));
        // Parts of a name with a special meaning elsewhere are plain names here.
        assert!(
            within("..", "../x")
                && within("..", "a/..")
                && within("../", "a/../b")
                && within("**/..", "a/..")
        );
        assert!(within("x*/..", "xy/..") && within("a/..", "a/../b"));
        assert!(
            within("a/../b", "a/../b/c")
                && within("/..", "../x")
                && within(".", "a/./x")
                && within("a//b", "a//b")
        );
        assert!(
            !within("/..", "a/../x")
                && !within("..", "a/...")
                && !within("..", "a..")
                && !within("..", "b/a..")
        );
        assert!(!within("x", "X") && !within("x/", "x") && !within("x", ""));
    }

    #[test]
    fn patterns_that_cannot_work_are_refused() {
        for pattern in ["", "/", "a[b", "!x", "./x", "a/../b", ".."] {
            let error = Excludes::new(&[pattern.to_owned()], Paths::OfFiles).err().unwrap();
            assert_eq!(error.kind(), crate::error::Kind::Usage, "{pattern}");
            assert!(error.to_string().contains(&format!("{pattern:?}")), "{error}");
        }
        assert!(matches("\\!x", b"a/!x", false));
    }
}
