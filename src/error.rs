//! The one error type: what happened, to what, why, and what to do next.

use std::{error::Error as StdError, fmt};

/// What an error means for the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Wrong arguments or an invalid configuration: exit code 2.
    Usage,
    /// The repository refused: not mounted, wrong password, no space, locked: exit code 4.
    Repository,
    /// The history is damaged: exit code 1. Whoever opens it with a thorough look sets it aside.
    DamagedHistory,
    /// Anything else that failed: exit code 1.
    Failed,
}

/// A cause that passes by itself: the same attempt may succeed later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passing {
    /// The server is busy with something that ends: it restarts, replays, or ended one of several that blocked each other.
    Busy,
    /// The server admits no more connections of this account or at all: fewer at a time may be admitted.
    Connections,
    /// The server cannot be reached.
    Unreachable,
    /// Objects were changed or replaced while they were read.
    Changed,
    /// The storage of the repository, or the way to it, does not answer.
    Storage,
}

/// An error for an operator: a message, its causes (each once) and a hint.
#[derive(Debug, Clone)]
pub struct Error {
    kind: Kind,
    passing: Option<Passing>,
    message: String,
    causes: Vec<String>,
    hint: Option<String>,
}

/// Result with our [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of the given kind.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, passing: None, message: message.into(), causes: Vec::new(), hint: None }
    }

    /// Something failed (exit code 1).
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Kind::Failed, message)
    }

    /// Wrong usage or configuration (exit code 2).
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// The repository refused (exit code 4).
    pub fn repository(message: impl Into<String>) -> Self {
        Self::new(Kind::Repository, message)
    }

    /// An error of input or output. One of ours that travelled inside it comes out again as it was.
    pub fn from_io(message: impl Into<String>, error: std::io::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(ours) => ours,
            Err(error) => Self::failed(message).because(&error),
        }
    }

    /// Adds a cause and the causes below it; a text that already stands in the message is not repeated.
    #[must_use]
    pub fn because(mut self, cause: &(dyn StdError + 'static)) -> Self {
        let mut next = Some(cause);
        while let Some(error) = next {
            self.push_cause(error.to_string());
            next = error.source();
        }
        self
    }

    /// Adds a cause that is only a text, such as the last lines of a child's stderr.
    #[must_use]
    pub fn because_text(mut self, cause: impl Into<String>) -> Self {
        self.push_cause(cause.into());
        self
    }

    /// Replaces a secret wherever it stands.
    #[must_use]
    pub fn redact(mut self, secret: &str) -> Self {
        if !secret.is_empty() {
            for text in self.causes.iter_mut().chain([&mut self.message]).chain(self.hint.as_mut()) {
                *text = text.replace(secret, "***");
            }
        }
        self
    }

    /// Says what to do next. The first hint given stays: it is the one nearest to the cause.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint.get_or_insert_with(|| hint.into());
        self
    }

    /// Puts what was being done in front of the message, for example the item's name.
    #[must_use]
    pub fn context(mut self, what: impl fmt::Display) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    /// The same error as another kind.
    #[must_use]
    pub fn with_kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// Says that the cause passes by itself. What was said first stays.
    #[must_use]
    pub fn passes(mut self, passing: Passing) -> Self {
        self.passing.get_or_insert(passing);
        self
    }

    /// Why the same attempt may succeed later, if it may.
    pub fn passing(&self) -> Option<Passing> {
        self.passing
    }

    /// What it means for the exit code.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The exit code it means.
    pub fn code(&self) -> u8 {
        match self.kind {
            Kind::DamagedHistory | Kind::Failed => 1,
            Kind::Usage => 2,
            Kind::Repository => 4,
        }
    }

    /// The hint, if there is one.
    pub fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Message and causes in one text without the hint.
    pub fn summary(&self) -> String {
        let mut text = self.message.clone();
        for cause in &self.causes {
            text.push_str(": ");
            text.push_str(cause);
        }
        text
    }

    /// The first line of the message and its causes, for a line about something that goes on.
    pub(crate) fn first_line(&self) -> String {
        self.summary().lines().next().unwrap_or_default().to_owned()
    }

    fn push_cause(&mut self, cause: String) {
        let cause = cause.trim().to_owned();
        let known = self.message.contains(&cause) || self.causes.iter().any(|c| c.contains(&cause));
        if !cause.is_empty() && !known {
            self.causes.push(cause);
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.summary())?;
        if let Some(hint) = &self.hint {
            write!(f, "\n  → {hint}")?;
        }
        Ok(())
    }
}

impl StdError for Error {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn an_error_of_ours_survives_the_way_through_io() {
        let ours = Error::usage("ours").hint("do this");
        assert_eq!(Error::from_io("reading", io::Error::other(ours.clone())).to_string(), ours.to_string());
        assert_eq!(Error::from_io("reading", io::Error::other("x")).to_string(), "reading: x");
    }

    #[test]
    fn causes_are_said_once() {
        let cause = io::Error::other("disk on fire");
        let error = Error::failed("cannot write: disk on fire").because(&cause);
        assert_eq!(error.to_string(), "cannot write: disk on fire");
        let error =
            Error::failed("cannot write").because(&cause).because(&cause).hint("call the fire brigade");
        assert_eq!(error.to_string(), "cannot write: disk on fire\n  → call the fire brigade");
    }

    #[test]
    fn context_comes_first_and_first_hint_stays() {
        let error = Error::failed("no").hint("near").hint("far").context("pg/shop");
        assert_eq!(error.summary(), "pg/shop: no");
        assert_eq!(error.hint_text(), Some("near"));
    }
}
