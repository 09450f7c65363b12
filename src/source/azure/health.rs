//! Shared state of the downloads of an item: decides whether a failure affects one blob or file, or the service.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use parking_lot::{Mutex, MutexGuard};

use super::reach::{Probe, Reach};
use crate::{
    azure::{Failure, failure::Scope, request::Service},
    error::{Error, Result},
    stream::cancel::Cancel,
};

/// After this number of refusals or timeouts without a success, the others are not tried.
const IN_A_ROW: u64 = 32;
/// The timeout for others, once one could not be read although the service answers.
pub(super) const SHORT_TIMEOUT: Duration = Duration::from_secs(20);
/// An account that did not answer for minutes is checked before the full timeout is used again.
const RECENT_OUTAGE: Duration = Duration::from_secs(15 * 60);

/// When a service of an account last timed out, shared by its items.
#[derive(Default)]
pub(super) struct Outage(Mutex<Option<Instant>>);

impl Outage {
    fn since(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.lock()
    }
}

/// How to check whether a service of an account answers.
#[derive(Clone, Copy)]
pub(super) struct Access<'a> {
    pub(super) probe: &'a Probe,
    pub(super) service: Service,
    pub(super) endpoint: &'a str,
    pub(super) outage: &'a Outage,
    pub(super) cancel: &'a Cancel,
}

impl Access<'_> {
    /// Fails early if an earlier item has timed out, and the service still does not answer.
    pub(super) fn require(&self) -> Result<()> {
        let recent = self.outage.since().is_some_and(|since| since.elapsed() < RECENT_OUTAGE);
        if !recent || self.answers()? {
            return Ok(());
        }
        Err(Error::failed(
            "the storage account does not answer; another item has already waited minutes for it",
        )
        .hint("check the network, the firewall and the state of Azure, and run the backup again"))
    }

    /// Whether the service answers now with anything other than that it is busy.
    fn answers(&self) -> Result<bool> {
        let answers = matches!(self.probe.reach(self.service, self.endpoint, self.cancel)?, Reach::Answers);
        *self.outage.since() = if answers { None } else { Some(Instant::now()) };
        Ok(answers)
    }
}

/// Shared by the downloads of one item.
pub(super) struct Health<'a> {
    access: Access<'a>,
    /// The number of stored entries, downloaded or reused.
    stored: AtomicU64,
    forbidden: AtomicU64,
    /// The number of timeouts.
    unanswered: AtomicU64,
    /// Whether one timed out although the service answers.
    odd: AtomicBool,
    /// The first refusal because of missing permission.
    first: Mutex<Option<Failure>>,
}

impl<'a> Health<'a> {
    pub(super) fn new(access: Access<'a>) -> Self {
        Self {
            access,
            stored: AtomicU64::new(0),
            forbidden: AtomicU64::new(0),
            unanswered: AtomicU64::new(0),
            odd: AtomicBool::new(false),
            first: Mutex::new(None),
        }
    }

    /// Records a stored entry, downloaded or reused.
    pub(super) fn stored(&self) {
        self.stored.fetch_add(1, Ordering::Relaxed);
    }

    /// Records a failure that does not concern a single blob or file.
    pub(super) fn of_service(&self, failure: Failure) -> Error {
        if failure.scope() == Scope::Passing {
            *self.access.outage.since() = Some(Instant::now());
        }
        failure.into()
    }

    /// Tries something about one blob or file: with little patience where that is enough (`true`), and with all of it where that
    /// turned out not to be. Returns the result, or why this one cannot be read. `known`: the previous backup
    /// lacks it too.
    ///
    /// # Errors
    /// Those of `attempt`; and what is not about this one alone: the service does not answer, or nothing may be read at all.
    pub(super) fn attempt<T>(
        &self,
        known: bool,
        attempt: &mut dyn FnMut(bool) -> Result<Result<T, Failure>>,
    ) -> Result<Result<T, String>> {
        let mut hasty = known || self.odd.load(Ordering::Relaxed);
        loop {
            let failure = match attempt(hasty)? {
                Ok(value) => return Ok(Ok(value)),
                Err(failure) => failure,
            };
            match failure.scope() {
                Scope::Service => return Err(failure.into()),
                // All attempts failed. If the service answers, the reason is this entry.
                Scope::Passing if self.access.answers()? => self.unanswered(&failure, known)?,
                Scope::Passing if hasty => {
                    hasty = false;
                    continue;
                }
                Scope::Passing => return Err(failure.into()),
                Scope::Object if failure.status() == Some(403) && !known => self.forbid(&failure)?,
                Scope::Object => {}
            }
            return Ok(Err(failure.reason()));
        }
    }

    fn unanswered(&self, failure: &Failure, known: bool) -> Result<()> {
        self.odd.store(true, Ordering::Relaxed);
        let count = self.unanswered.fetch_add(u64::from(!known), Ordering::Relaxed);
        if count >= IN_A_ROW && self.stored.load(Ordering::Relaxed) == 0 {
            return Err(failure.clone().into());
        }
        Ok(())
    }

    fn forbid(&self, failure: &Failure) -> Result<()> {
        let count = self.forbidden.fetch_add(1, Ordering::Relaxed) + 1;
        let mut first = self.first.lock();
        first.get_or_insert_with(|| failure.clone());
        if count >= IN_A_ROW && self.stored.load(Ordering::Relaxed) == 0 {
            return Err(failure.clone().into());
        }
        Ok(())
    }

    /// That not one may be read is a missing right, not a property of each of them; and where many cannot be read and not one
    /// can, the reason is not theirs either. `unreadable` says how many, and why the first of them.
    ///
    /// # Errors
    /// These conditions.
    pub(super) fn require_some(&self, unreadable: Option<(u64, &str)>) -> Result<()> {
        if self.stored.load(Ordering::Relaxed) > 0 {
            return Ok(());
        }
        let first = self.first.lock().take();
        match (first, unreadable) {
            (Some(failure), _) => Err(Error::from(failure)),
            (None, Some((count, reason))) if count >= IN_A_ROW => {
                Err(Error::failed(format!("none of {count} could be read; the first: {reason}"))
                    .hint("fix the cause, or exclude the unreadable objects with `exclude`"))
            }
            _ => Ok(()),
        }
    }
}
