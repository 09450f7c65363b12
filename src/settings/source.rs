//! Settings that sources of every kind have.

use std::{fmt, str::FromStr, time::Duration};

/// How long a stream may be idle by default.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// Settings of a source besides the configuration of its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceSettings {
    /// Its name.
    pub name: SourceName,
    /// How long a stream may be idle before its item fails.
    pub idle_timeout: Duration,
}

impl SourceSettings {
    /// Settings with this name, which may be any text, and the default time limit.
    pub fn named(name: &str) -> Self {
        Self { name: SourceName::part(name), idle_timeout: IDLE_TIMEOUT }
    }
}

/// The name of a source: 1 to 64 of `A-Z a-z 0-9 . _ -`, not starting with `.` or `-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceName(String);

impl SourceName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of a part of the source, for messages.
    pub(crate) fn part(name: &str) -> Self {
        Self(name.to_owned())
    }
}

impl FromStr for SourceName {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let valid = (1..=64).contains(&name.len())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
            && !name.starts_with(['.', '-']);
        if valid {
            return Ok(Self(name.to_owned()));
        }
        Err("the name of a source is 1 to 64 of A-Z a-z 0-9 . _ - and does not start with . or -".into())
    }
}

impl fmt::Display for SourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
