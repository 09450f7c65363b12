//! A stop flag shared by all parts of a run: set once, noticed by every stream within a fraction of a second.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::error::{Error, Result, Stopped};

/// How often a waiting thread checks the flag.
const LOOK: Duration = Duration::from_millis(50);

/// A stop flag with a reason; clones share it.
#[derive(Clone, Default)]
pub struct Cancel {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    flag: AtomicBool,
    reason: OnceLock<String>,
    /// The parent flag.
    parent: Option<Cancel>,
    /// Another flag that sets this one, see [`Cancel::follow`].
    followed: OnceLock<Cancel>,
}

impl Cancel {
    /// A flag that is not set.
    pub fn new() -> Self {
        Self::default()
    }

    /// The flag of the whole program, which signals set.
    pub fn of_the_program() -> Self {
        static PROGRAM: OnceLock<Cancel> = OnceLock::new();
        PROGRAM.get_or_init(Self::new).clone()
    }

    /// A child flag for a part of the work: setting it does not stop the rest.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { inner: Arc::new(Inner { parent: Some(self.clone()), ..Inner::default() }) }
    }

    /// From now on, this flag is also set when `other` is, for work that becomes a part of another one after it has begun.
    /// `other` must not be a child of this flag; only the first call has an effect.
    pub fn follow(&self, other: &Self) {
        self.inner.followed.get_or_init(|| other.clone());
    }

    /// Sets the flag of all clones and children. The first reason is kept.
    pub fn cancel(&self, reason: impl Into<String>) {
        self.inner.reason.get_or_init(|| reason.into());
        self.inner.flag.store(true, Ordering::Release);
    }

    /// Whether [`Cancel::cancel`] was called, on this flag or on one that it is a child of.
    pub fn is_cancelled(&self) -> bool {
        self.is_set() || self.above().any(Self::is_cancelled)
    }

    /// The flags that set this one.
    fn above(&self) -> impl Iterator<Item = &Self> {
        self.inner.parent.iter().chain(self.inner.followed.get())
    }

    fn is_set(&self) -> bool {
        self.inner.flag.load(Ordering::Acquire)
    }

    /// Waits for this time, or until the flag is set, and then returns true.
    pub fn wait(&self, time: Duration) -> bool {
        let end = Instant::now() + time;
        while !self.is_cancelled() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            thread::sleep(left.min(LOOK));
        }
        true
    }

    /// The reason given, once cancelled.
    pub fn reason(&self) -> Option<&str> {
        if self.is_set() {
            return self.inner.reason.get().map(String::as_str);
        }
        self.above().find_map(Self::reason)
    }

    /// Puts the reason, if there is one, in front of an error that is its consequence.
    #[must_use]
    pub fn explain(&self, error: Error) -> Error {
        match self.reason() {
            Some(reason) if !error.facts::<Stopped>().any(|stopped| stopped.reason == reason) => {
                stopped(reason).because_text(error.summary())
            }
            _ => error,
        }
    }

    /// An error with the reason if the flag is set.
    pub fn check(&self) -> Result<()> {
        match self.reason() {
            None => Ok(()),
            Some(reason) => Err(stopped(reason)),
        }
    }
}

fn stopped(reason: &str) -> Error {
    Error::failed(format!("stopped: {reason}")).with(Stopped { reason: reason.to_owned() })
}

impl fmt::Debug for Cancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cancel").field(&self.reason()).finish()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn clones_share_the_flag_and_the_first_reason_stays() {
        let cancel = Cancel::new();
        let clone = cancel.clone();
        assert!(clone.check().is_ok());
        cancel.cancel("interrupted by SIGTERM");
        cancel.cancel("too late");
        assert!(clone.is_cancelled());
        assert_eq!(clone.check().unwrap_err().to_string(), "stopped: interrupted by SIGTERM");
        assert!(Cancel::new().check().is_ok(), "another flag is not touched");
    }

    #[test]
    fn an_error_that_says_that_it_was_stopped_is_not_explained_again() {
        let cancel = Cancel::new();
        cancel.cancel("the disk is full");
        let stopped = cancel.check().unwrap_err().context("pg/shop");
        assert_eq!(cancel.explain(stopped).to_string(), "pg/shop: stopped: the disk is full");
        let full = Error::failed("no room").that_stops();
        let other = Cancel::new();
        other.cancel(full.summary());
        assert_eq!(other.explain(full).to_string(), "no room", "the reason itself");
        // Another error may use the same words.
        let other = cancel.explain(Error::failed("writing: the disk is full"));
        assert_eq!(other.to_string(), "stopped: the disk is full: writing: the disk is full");
    }

    #[test]
    fn work_that_became_a_part_of_another_stops_with_it() {
        let (begun, whole) = (Cancel::new().child(), Cancel::new());
        whole.child().cancel("another part");
        begun.follow(&whole);
        assert!(!begun.is_cancelled());
        whole.cancel("the storage is full");
        assert_eq!(begun.check().unwrap_err().to_string(), "stopped: the storage is full");
    }

    #[test]
    fn a_part_stops_with_the_whole_and_not_the_other_way_round() {
        let whole = Cancel::new();
        let part = whole.child();
        part.cancel("the part is broken");
        assert!(part.is_cancelled() && !whole.is_cancelled());
        let other = whole.child();
        whole.cancel("interrupted by SIGTERM");
        assert_eq!(other.check().unwrap_err().to_string(), "stopped: interrupted by SIGTERM");
        assert_eq!(part.reason(), Some("the part is broken"));
    }
}
