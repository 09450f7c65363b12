//! A stop flag shared by everything that belongs to one run: set once, seen by every stream within a fraction of a second.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::error::{Error, Result};

/// How often a waiting thread looks at the flag.
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
}

impl Cancel {
    /// A flag that is not set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks everything that holds a clone to stop. The first reason given stays.
    pub fn cancel(&self, reason: impl Into<String>) {
        self.inner.reason.get_or_init(|| reason.into());
        self.inner.flag.store(true, Ordering::Release);
    }

    /// Whether [`Cancel::cancel`] was called.
    pub fn is_cancelled(&self) -> bool {
        self.inner.flag.load(Ordering::Acquire)
    }

    /// Waits so long, or until the flag is set: then it is true.
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
        if self.is_cancelled() { self.inner.reason.get().map(String::as_str) } else { None }
    }

    /// An error with the reason if the flag is set.
    pub fn check(&self) -> Result<()> {
        match self.reason() {
            None => Ok(()),
            Some(reason) => Err(Error::failed(format!("stopped: {reason}"))),
        }
    }
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
}
