//! What is left out of a backup of files or blobs: patterns in the manner of `.gitignore`, relative to the top of the item.

use std::path::Path;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use crate::error::{Error, Result};

/// Compiled patterns.
pub(super) struct Excludes {
    set: GlobSet,
    rules: Vec<Rule>,
}

struct Rule {
    pattern: String,
    folders_only: bool,
}

impl Excludes {
    /// Compiles patterns. `*` and `?` stop at `/`, `**` does not. A pattern without `/`, apart from one at its end,
    /// matches a name in any folder; with one, the path from the top. A `/` at the end means folders only.
    ///
    /// # Errors
    /// Exit code 2: a pattern that is not valid, or could never match.
    pub(super) fn new(patterns: &[String]) -> Result<Self> {
        let invalid = |pattern: &str, what: &str| Error::usage(format!("exclude: {pattern:?} {what}"));
        let (mut set, mut rules) = (GlobSetBuilder::new(), Vec::new());
        for pattern in patterns {
            let (path, folders_only) = match pattern.strip_suffix('/') {
                Some(path) => (path, true),
                None => (pattern.as_str(), false),
            };
            if path.is_empty() {
                return Err(invalid(pattern, "matches nothing"));
            }
            if path.starts_with('!') {
                return Err(invalid(pattern, "would take something back in, which is not possible")
                    .hint("write a narrower pattern; a name that begins with ! is written \\!"));
            }
            if path.split('/').any(|part| matches!(part, "." | "..")) {
                return Err(invalid(pattern, "has a . or .. in it and can never match")
                    .hint("patterns are relative to the top of what is backed up"));
            }
            let glob = match path.strip_prefix('/') {
                Some(anchored) => anchored.to_owned(),
                None if path.contains('/') => path.to_owned(),
                None => format!("**/{path}"),
            };
            let glob =
                GlobBuilder::new(&glob).literal_separator(true).backslash_escape(true).build().map_err(
                    |error| invalid(pattern, &format!("is not a valid pattern: {}", error.kind())),
                )?;
            set.add(glob);
            rules.push(Rule { pattern: pattern.clone(), folders_only });
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
        let excludes = Excludes::new(&[pattern.to_owned()]).unwrap();
        excludes.matched(Path::new(OsStr::from_bytes(path)), folder).is_some()
    }

    #[test]
    fn a_pattern_without_a_slash_matches_a_name_in_any_folder() {
        for path in [&b"a.tmp"[..], b"x/a.tmp", b"x/y/a.tmp", b".tmp", b"a\nb.tmp", b"\xff.tmp", b"-.tmp"] {
            assert!(matches("*.tmp", path, false), "{}", path.escape_ascii());
        }
        assert!(!matches("*.tmp", b"a.tmp/b", false), "what lies below is left out with its folder");
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
    fn the_first_pattern_is_the_one_that_is_told() {
        let excludes = Excludes::new(&["b/".to_owned(), "b".to_owned(), "*".to_owned()]).unwrap();
        assert_eq!(excludes.matched(Path::new("b"), true), Some(0));
        assert_eq!(excludes.matched(Path::new("b"), false), Some(1));
        assert_eq!(excludes.matched(Path::new("c"), false), Some(2));
        assert_eq!(excludes.patterns().collect::<Vec<_>>(), ["b/", "b", "*"]);
    }

    #[test]
    fn patterns_that_cannot_work_are_refused() {
        for pattern in ["", "/", "a[b", "!x", "./x", "a/../b", ".."] {
            let error = Excludes::new(&[pattern.to_owned()]).err().unwrap();
            assert_eq!(error.kind(), crate::error::Kind::Usage, "{pattern}");
            assert!(error.to_string().contains(&format!("{pattern:?}")), "{error}");
        }
        assert!(matches("\\!x", b"a/!x", false));
    }
}
