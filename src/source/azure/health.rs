//! What the downloads of an item tell of each other: whether a failure is that of one blob or file, or of the service.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use crate::{
    azure::{Failure, failure::Scope},
    error::{Error, Result},
};

/// After so many that may not be read, and not one that may, the others are not tried.
const FORBIDDEN: u64 = 32;

/// Shared by the downloads of one item.
pub(super) struct Health {
    begin: Instant,
    /// When a download last succeeded, in milliseconds since the beginning; 0 is never.
    last_good: AtomicU64,
    read: AtomicU64,
    forbidden: AtomicU64,
    /// The first refusal for want of rights.
    first: Mutex<Option<Failure>>,
}

impl Health {
    pub(super) fn new() -> Self {
        Self {
            begin: Instant::now(),
            last_good: AtomicU64::new(0),
            read: AtomicU64::new(0),
            forbidden: AtomicU64::new(0),
            first: Mutex::new(None),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begin.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// A download begins. What it gives is for [`Self::judge`].
    pub(super) fn begun(&self) -> u64 {
        self.now()
    }

    /// A download succeeded.
    pub(super) fn good(&self) {
        self.read.fetch_add(1, Ordering::Relaxed);
        self.last_good.store(self.now(), Ordering::Relaxed);
    }

    /// Why this one blob or file, whose download has `begun`, cannot be read.
    ///
    /// # Errors
    /// It is not this one alone: the service does not answer, or nothing may be read at all.
    pub(super) fn judge(&self, failure: Failure, begun: u64) -> Result<String> {
        match failure.scope() {
            Scope::Service => Err(failure.into()),
            // It failed for as long as others were read: then it is this one.
            Scope::Passing if self.last_good.load(Ordering::Relaxed) > begun => Ok(failure.reason()),
            Scope::Passing => Err(failure.into()),
            Scope::Object => {
                if failure.status() == Some(403) {
                    self.forbid(&failure)?;
                }
                Ok(failure.reason())
            }
        }
    }

    fn forbid(&self, failure: &Failure) -> Result<()> {
        let count = self.forbidden.fetch_add(1, Ordering::Relaxed) + 1;
        let mut first = self.first.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        first.get_or_insert_with(|| failure.clone());
        if count >= FORBIDDEN && self.read.load(Ordering::Relaxed) == 0 {
            return Err(failure.clone().into());
        }
        Ok(())
    }

    /// That not one may be read is a missing right, not a property of each of them. `stored` is how many the snapshot has.
    ///
    /// # Errors
    /// So it is.
    pub(super) fn require_rights(&self, stored: u64) -> Result<()> {
        let first = self.first.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        match first {
            Some(failure) if stored == 0 => Err(Error::from(failure)),
            _ => Ok(()),
        }
    }
}
