//! Glob patterns for the names of items, and for paths in items.

use std::fmt;

use globset::{Glob, GlobBuilder, GlobMatcher};

/// A list of globs. `*` stands for any characters, `/` among them; upper and lower case differ.
#[derive(Clone, Default)]
pub struct Patterns(Vec<GlobMatcher>);

impl Patterns {
    /// Compiles the patterns.
    ///
    /// # Errors
    /// A text that names the first invalid pattern and its fault.
    pub fn new<P: AsRef<str>>(patterns: impl IntoIterator<Item = P>) -> Result<Self, String> {
        patterns.into_iter().map(|pattern| compile(pattern.as_ref())).collect::<Result<_, _>>().map(Self)
    }

    /// A pattern that matches every name.
    pub fn all() -> Self {
        Self(compile("*").into_iter().collect())
    }

    /// The first pattern that matches the whole of `name`, as it was written.
    pub fn matched(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|matcher| matcher.is_match(name)).map(|matcher| matcher.glob().glob())
    }

    /// The patterns as they were written.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|matcher| matcher.glob().glob())
    }

    /// The patterns without wildcards: they name something that must exist.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.iter().filter(|pattern| !pattern.contains(['*', '?', '[', '{', '\\']))
    }

    /// Whether there is no pattern, so that nothing can match.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn compile(pattern: &str) -> Result<GlobMatcher, String> {
    if pattern.is_empty() {
        return Err("an empty pattern matches nothing".into());
    }
    match GlobBuilder::new(pattern).literal_separator(false).backslash_escape(true).build() {
        Ok(glob) => Ok(glob.compile_matcher()),
        Err(error) => Err(format!("{pattern:?} is not a valid pattern: {}", error.kind())),
    }
}

/// The kind of paths that the patterns of an `exclude` are matched against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paths {
    /// Paths of a file system: no component is empty, `.` or `..`.
    OfFiles,
    /// Names of blobs and paths of shares: a component may have any name.
    OfBlobs,
}

/// A pattern of an `exclude` in the manner of `.gitignore`.
pub(crate) struct PathGlob {
    /// The glob that the path from the top of the item must match.
    pub(crate) glob: Glob,
    /// Whether it matches directories only.
    pub(crate) folders_only: bool,
}

impl PathGlob {
    /// Parses a pattern. `*` and `?` do not match `/`, `**` does. A pattern without `/`, except at its end, matches a name in
    /// any directory; with one, the path from the top. With a `/` at the end it matches directories only.
    ///
    /// # Errors
    /// A text with the pattern and its fault: it is not valid, or could never match.
    pub(crate) fn new(pattern: &str, paths: Paths) -> Result<Self, String> {
        let invalid = |what: &str| Err(format!("{pattern:?} {what}"));
        let (path, folders_only) = match pattern.strip_suffix('/') {
            Some(path) => (path, true),
            None => (pattern, false),
        };
        if path.starts_with('!') {
            return invalid(
                "would take something back in, which is not possible; write a narrower pattern; a name that begins with ! is \
                 written \\!",
            );
        }
        let anchored = path.strip_prefix('/');
        let from_top = anchored.unwrap_or(path);
        if from_top.is_empty() {
            return invalid("matches nothing");
        }
        if paths == Paths::OfFiles {
            if from_top.split('/').any(|part| matches!(part, "." | "..")) {
                return invalid(
                    "has a . or .. in it and can never match; patterns are relative to the top of what is backed up",
                );
            }
            if from_top.split('/').any(str::is_empty) {
                return invalid("has two / with nothing between them and can never match");
            }
        }
        let mut glob = match anchored {
            Some(anchored) => anchored.to_owned(),
            None if path.contains('/') => path.to_owned(),
            None => format!("**/{path}"),
        };
        // An equivalent pattern: the matcher's shortcuts for plain names ignore a last component `..`.
        if glob == ".." || glob.ends_with("/..") {
            glob.truncate(glob.len() - 2);
            glob.push_str("[.][.]");
        }
        match GlobBuilder::new(&glob).literal_separator(true).backslash_escape(true).build() {
            Ok(glob) => Ok(Self { glob, folders_only }),
            Err(error) => invalid(&format!("is not a valid pattern: {}", error.kind())),
        }
    }
}

impl fmt::Debug for Patterns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl PartialEq for Patterns {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_first_matching_pattern_is_named() {
        let patterns = Patterns::new(["azure_*", "scratch", "a*", "[0-9]?", "{x,y}-db"]).unwrap();
        assert_eq!(patterns.matched("azure_sys"), Some("azure_*"));
        assert_eq!(patterns.matched("apple"), Some("a*"));
        assert_eq!(patterns.matched("scratch"), Some("scratch"));
        assert_eq!(patterns.matched("scratch2"), None);
        assert_eq!(patterns.matched("7a"), Some("[0-9]?"));
        assert_eq!(patterns.matched("y-db"), Some("{x,y}-db"));
        assert_eq!(patterns.matched("Azure_sys"), None);
    }

    #[test]
    fn a_star_crosses_everything() {
        let patterns = Patterns::new(["*"]).unwrap();
        for name in ["a/b/c", ".hidden", "a\nb", "..", "a/", "ü", "x.y."] {
            assert_eq!(patterns.matched(name), Some("*"), "{name:?}");
        }
        assert_eq!(Patterns::new(["a*z"]).unwrap().matched("a/b/z"), Some("a*z"));
        assert_eq!(Patterns::new([r"a\*"]).unwrap().matched("a*"), Some(r"a\*"));
        assert_eq!(Patterns::new([r"a\*"]).unwrap().matched("ab"), None);
    }

    #[test]
    fn patterns_over_paths_that_cannot_work_are_refused() {
        let fault = |pattern: &str, paths| PathGlob::new(pattern, paths).err();
        for pattern in ["", "/", "//", "!a", "!a/", "a[b", "/a[b/"] {
            for paths in [Paths::OfFiles, Paths::OfBlobs] {
                let text = fault(pattern, paths).unwrap_or_default();
                assert!(text.starts_with(&format!("{pattern:?} ")), "{pattern:?}: {text:?}");
            }
        }
        // No file has a path like these. A blob may have any name.
        for pattern in ["..", "/..", "../", "../x", "./x", "a/../b", "a/.", "a//b", "//a", "a//"] {
            assert!(fault(pattern, Paths::OfFiles).unwrap_or_default().ends_with(
                if pattern.contains("//") {
                    "can never match"
                } else {
                    "relative to the top of what is backed up"
                }
            ));
            assert_eq!(fault(pattern, Paths::OfBlobs), None, "{pattern:?}");
        }
        for pattern in ["...", ".a", "a.", "..a/", "/a/**/b", "\\!a", "**", "a!"] {
            assert_eq!(fault(pattern, Paths::OfFiles), None, "{pattern:?}");
        }
    }

    #[test]
    fn invalid_patterns_are_named() {
        let text = Patterns::new(["ok", "a[b"]).unwrap_err();
        assert!(text.starts_with("\"a[b\" is not a valid pattern: "), "{text}");
        assert!(Patterns::new([""]).is_err());
        assert!(Patterns::default().is_empty() && Patterns::default().matched("x").is_none());
    }
}
