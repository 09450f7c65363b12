//! The one error type for operators: what happened, to what, why, and what to do next.
//!
//! # Texts are for people, types are for decisions
//!
//! No part of the program searches the text of an error to decide what to do. A caller decides by one of these:
//!
//! - [`Kind`]: the exit code, and whether the repository refused. Exactly one.
//! - [`Passing`]: the same attempt may succeed later. The first value set is kept, because it is nearest to the cause.
//! - a [`Fact`]: a typed value that travels with the error, such as a vendor's code, or the reason for which the work was
//!   stopped. The module that detects the condition defines the type and attaches it with [`Error::with`]; callers read it with
//!   [`Error::fact`]. Unlike an enum here, facts keep this module independent of those above it.
//! - Where one operation has several outcomes that its callers treat differently, it has an enum of its own (with
//!   `thiserror`), such as the reasons for which there is no lock. One `From` of it makes the operator's [`Error`].
//!
//! Codes of vendors are read in one file per vendor: `source/mysql/code.rs`, `source/postgres/code.rs`,
//! `source/mongodb/hints.rs`, `azure/codes.rs`, `repository/findings.rs`, `tls.rs`. Conditions without a code are recognized
//! by their text there too.
//!
//! The history, the ledger and alerts hold a [`Problem`]: the text and the hint, separated.
//!
//! # How facts travel
//!
//! [`Error::because`] and [`Error::caused_by`] copy the facts of a cause. [`Error::context`] and all other methods that return
//! the same error keep them. Only a new error made from a text has none. The rules for hints:
//!
//! - the first hint is kept ([`Error::hint`]), because it is nearest to the cause;
//! - further advice is appended ([`Error::advise`]) or put in front ([`Error::advise_first`]);
//! - [`Error::without_hint`] drops all of it where it does not apply: a drill drops the hint of a restore.

mod problem;

use std::{any::Any, error::Error as StdError, fmt, io, sync::Arc};

pub use problem::Problem;

/// The kind of an error, which decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Wrong arguments or an invalid configuration: exit code 2.
    Usage,
    /// The repository refused: not mounted, wrong password, no space, locked: exit code 4.
    Repository,
    /// The history is damaged: exit code 1. Opening it with a full check sets it aside.
    DamagedHistory,
    /// Anything else that failed: exit code 1.
    Failed,
}

/// A temporary cause: the same attempt may succeed later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passing {
    /// The server is temporarily busy: it restarts, replays its log, or has resolved a deadlock.
    Busy,
    /// The server accepts no more connections, of this account or in total. It may accept fewer at a time.
    Connections,
    /// The server cannot be reached.
    Unreachable,
    /// Objects were changed or replaced while they were read.
    Changed,
    /// The storage of the repository, or the way to it, does not answer.
    Storage,
}

/// A typed property of an error, for callers that decide by it.
pub trait Fact: Any + fmt::Debug + Send + Sync {}

/// The work was stopped. The error is a consequence of that, or the reason itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped {
    /// The reason: a signal, a time limit, or anything else that ended the work.
    pub reason: String,
}

impl Fact for Stopped {}

/// An error for an operator: a message, its causes (each once) and a hint.
#[derive(Debug, Clone)]
pub struct Error(Box<Content>);

// In a box of its own, as most results that can hold an error hold none: these stay small.
#[derive(Debug, Clone)]
struct Content {
    kind: Kind,
    passing: Option<Passing>,
    message: String,
    causes: Vec<String>,
    hint: Option<String>,
    facts: Vec<Arc<dyn Fact>>,
}

/// Result with our [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of the given kind.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self(Box::new(Content {
            kind,
            passing: None,
            message: message.into(),
            causes: Vec::new(),
            hint: None,
            facts: Vec::new(),
        }))
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

    /// An I/O error. An [`Error`] of ours inside it is returned unchanged.
    pub fn from_io(message: impl Into<String>, error: io::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(ours) => ours,
            Err(error) => Self::failed(message).because(&error),
        }
    }

    /// Adds a cause and the causes below it. A text that the message already has is not repeated. The facts of an error of ours
    /// are copied.
    #[must_use]
    pub fn because(mut self, cause: &(dyn StdError + 'static)) -> Self {
        let mut next = Some(cause);
        while let Some(error) = next {
            let inner = || error.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref::<Self>();
            if let Some(ours) = error.downcast_ref::<Self>().or_else(inner) {
                self.0.facts.extend(ours.0.facts.iter().cloned());
            }
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

    /// Adds an error of ours as the cause: its text, its facts, and its hint unless there is one already.
    #[must_use]
    pub fn caused_by(mut self, cause: Self) -> Self {
        self.push_cause(cause.summary());
        self.0.facts.extend(cause.0.facts);
        self.0.passing = self.0.passing.or(cause.0.passing);
        self.0.hint = self.0.hint.or(cause.0.hint);
        self
    }

    /// Adds a fact. The first fact of a type counts, because it is nearest to the cause.
    #[must_use]
    pub fn with(mut self, fact: impl Fact) -> Self {
        self.0.facts.push(Arc::new(fact));
        self
    }

    /// The first fact of this type.
    pub fn fact<T: Fact>(&self) -> Option<&T> {
        self.facts().next()
    }

    /// All facts of one type, the nearest to the cause first.
    pub fn facts<T: Fact>(&self) -> impl Iterator<Item = &T> {
        self.0.facts.iter().filter_map(|fact| {
            let fact: &dyn Any = fact.as_ref();
            fact.downcast_ref()
        })
    }

    /// Marks this error as the reason for which the work is stopped, so that [`Stopped`] does not explain it by itself.
    #[must_use]
    pub fn that_stops(self) -> Self {
        let reason = self.summary();
        self.with(Stopped { reason })
    }

    /// Whether it has a fact of this type.
    pub fn is<T: Fact>(&self) -> bool {
        self.fact::<T>().is_some()
    }

    /// Replaces every occurrence of a secret.
    #[must_use]
    pub fn redact(mut self, secret: &str) -> Self {
        if !secret.is_empty() {
            for text in self.0.causes.iter_mut().chain([&mut self.0.message]).chain(self.0.hint.as_mut()) {
                *text = text.replace(secret, "***");
            }
        }
        self
    }

    /// Sets the hint: what to do next. The first hint is kept, because it is nearest to the cause.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint.get_or_insert_with(|| hint.into());
        self
    }

    /// Appends advice to the hint.
    #[must_use]
    pub fn advise(mut self, advice: impl fmt::Display) -> Self {
        self.0.hint = Some(match self.0.hint {
            Some(hint) => format!("{hint}; {advice}"),
            None => advice.to_string(),
        });
        self
    }

    /// Puts advice in front of the hint.
    #[must_use]
    pub fn advise_first(mut self, advice: impl fmt::Display) -> Self {
        self.0.hint = Some(match self.0.hint {
            Some(hint) => format!("{advice}; {hint}"),
            None => advice.to_string(),
        });
        self
    }

    /// The same error without advice, for a place where the advice would be wrong.
    #[must_use]
    pub fn without_hint(mut self) -> Self {
        self.0.hint = None;
        self
    }

    /// Puts what was being done in front of the message, for example the item's name.
    #[must_use]
    pub fn context(mut self, what: impl fmt::Display) -> Self {
        self.0.message = format!("{what}: {}", self.0.message);
        self
    }

    /// The same error as another kind.
    #[must_use]
    pub fn with_kind(mut self, kind: Kind) -> Self {
        self.0.kind = kind;
        self
    }

    /// Marks the cause as temporary. The first value set is kept.
    #[must_use]
    pub fn passes(mut self, passing: Passing) -> Self {
        self.0.passing.get_or_insert(passing);
        self
    }

    /// Why the same attempt may succeed later, if it may.
    pub fn passing(&self) -> Option<Passing> {
        self.0.passing
    }

    /// Its kind.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The exit code it means.
    pub fn code(&self) -> u8 {
        match self.0.kind {
            Kind::DamagedHistory | Kind::Failed => 1,
            Kind::Usage => 2,
            Kind::Repository => 4,
        }
    }

    /// The hint, if there is one.
    pub fn hint_text(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// Message and causes in one text without the hint.
    pub fn summary(&self) -> String {
        let mut text = self.0.message.clone();
        for cause in &self.0.causes {
            text.push_str(": ");
            text.push_str(cause);
        }
        text
    }

    /// The first line of the message and its causes, for a progress line.
    pub(crate) fn first_line(&self) -> String {
        self.summary().lines().next().unwrap_or_default().to_owned()
    }

    fn push_cause(&mut self, cause: String) {
        let cause = cause.trim().to_owned();
        let known = self.0.message.contains(&cause) || self.0.causes.iter().any(|c| c.contains(&cause));
        if !cause.is_empty() && !known {
            self.0.causes.push(cause);
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Problem::from(self).fmt(f)
    }
}

impl StdError for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_ours_survives_the_way_through_io() {
        let ours = Error::usage("ours").hint("do this");
        assert_eq!(Error::from_io("reading", io::Error::other(ours.clone())).to_string(), ours.to_string());
        assert_eq!(Error::from_io("reading", io::Error::other("x")).to_string(), "reading: x");
    }

    #[derive(Debug, PartialEq)]
    struct Code(u32);
    impl Fact for Code {}

    #[test]
    fn facts_travel_with_the_error_and_into_what_it_causes() {
        let inner = Error::failed("refused").with(Code(1)).passes(Passing::Busy).hint("near");
        assert_eq!(inner.clone().with(Code(2)).context("pg/shop").fact(), Some(&Code(1)), "the first counts");
        let outer = Error::failed("cannot create it").caused_by(inner.clone());
        assert_eq!(outer.fact(), Some(&Code(1)));
        assert_eq!(outer.passing(), Some(Passing::Busy));
        assert_eq!(outer.to_string(), "cannot create it: refused\n  → near");
        assert!(Error::failed("x").because(&inner).is::<Code>());
        assert!(Error::failed("x").because(&io::Error::other(inner.clone())).is::<Code>());
        let through_io = Error::from_io("reading", io::Error::other(inner.clone()));
        assert!(through_io.is::<Code>() && !through_io.is::<Stopped>());
        assert!(!Error::failed(inner.summary()).is::<Code>(), "a text carries nothing");
    }

    #[test]
    fn advice_is_put_behind_and_in_front_of_the_hint_and_can_be_dropped() {
        let error = || Error::failed("x").hint("near");
        assert_eq!(error().advise("then drop it").hint_text(), Some("near; then drop it"));
        assert_eq!(error().advise_first("restore those").hint_text(), Some("restore those; near"));
        assert_eq!(Error::failed("x").advise("drop it").hint_text(), Some("drop it"));
        assert_eq!(error().without_hint().hint_text(), None);
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
