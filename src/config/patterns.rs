//! Glob patterns over the names of items.

use std::fmt;

use globset::{GlobBuilder, GlobMatcher};

/// A list of globs. `*` stands for any characters, `/` among them; upper and lower case differ.
#[derive(Clone, Default)]
pub struct Patterns(Vec<GlobMatcher>);

impl Patterns {
    /// Compiles the patterns.
    ///
    /// # Errors
    /// A text that names the first invalid pattern and what is wrong with it.
    pub fn new<P: AsRef<str>>(patterns: impl IntoIterator<Item = P>) -> Result<Self, String> {
        patterns.into_iter().map(|pattern| compile(pattern.as_ref())).collect::<Result<_, _>>().map(Self)
    }

    /// What matches every name.
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

    /// Those that are names written out, and so mean something that has to be there.
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
    fn invalid_patterns_are_named() {
        let text = Patterns::new(["ok", "a[b"]).unwrap_err();
        assert!(text.starts_with("\"a[b\" is not a valid pattern: "), "{text}");
        assert!(Patterns::new([""]).is_err());
        assert!(Patterns::default().is_empty() && Patterns::default().matched("x").is_none());
    }
}
