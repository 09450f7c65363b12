//! Queries the storage accounts on separate threads, so that the work on accounts that have
//! answered does not wait for the others.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::{
    discover::{Reached, Wanted, accounts, ask},
    reach::Probe,
};
use crate::{
    azure::Azure,
    error::{Error, Problem, Result},
    source::azure::config::AzureStorageConfig,
    source::{Discovery, Item},
    stream::cancel::Cancel,
};

/// The number of accounts that are queried in parallel. Some may not answer for a minute: the others should not wait for them.
const PARALLEL: usize = 32;
/// How often a waiting thread checks whether the run was cancelled.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// After a late answer, the run waits this long for further ones, to plan them together.
const GRACE: Duration = Duration::from_secs(2);

/// Accounts that are being queried, and their answers so far.
pub(super) struct Asked {
    /// The discovery without the accounts.
    base: Discovery,
    wanted: Vec<Wanted>,
    /// The next account to query.
    next: AtomicUsize,
    answers: Mutex<Vec<Option<Answer>>>,
    answered: Condvar,
    /// The number of reported answers.
    told: AtomicUsize,
}

struct Answer {
    found: Discovery,
    reached: Option<Reached>,
}

impl Asked {
    /// Finds the accounts and starts to query them.
    ///
    /// # Errors
    /// The accounts of no subscription could be listed.
    pub(super) fn begin(
        azure: &Azure,
        probe: &Probe,
        config: &AzureStorageConfig,
        cancel: &Cancel,
    ) -> Result<Arc<Self>> {
        let (base, wanted) = accounts(azure, config, cancel)?;
        let answers = Mutex::new(wanted.iter().map(|_| None).collect());
        let (next, told) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let asked = Arc::new(Self { base, wanted, next, answers, answered: Condvar::new(), told });
        for number in 0..PARALLEL.min(asked.wanted.len()) {
            let (asked, azure, probe) = (Arc::clone(&asked), azure.clone(), probe.clone());
            let (config, cancel) = (config.clone(), cancel.clone());
            let span = tracing::Span::current();
            let work = move || span.in_scope(|| asked.work(&azure, &probe, &config, &cancel));
            if let Err(error) = thread::Builder::new().name("azure-account".to_owned()).spawn(work) {
                // One thread is enough to query all of them.
                if number == 0 {
                    return Err(Error::failed("cannot start a thread").because(&error));
                }
                break;
            }
        }
        Ok(asked)
    }

    fn answers(&self) -> MutexGuard<'_, Vec<Option<Answer>>> {
        self.answers.lock()
    }

    /// Queries one account after the other, until each has been or is being queried.
    fn work(&self, azure: &Azure, probe: &Probe, config: &AzureStorageConfig, cancel: &Cancel) {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(wanted) = self.wanted.get(number) else { return };
            let asked = catch_unwind(AssertUnwindSafe(|| ask(azure, probe, config, wanted, cancel)));
            let (found, reached) = asked.unwrap_or_else(|_| {
                let problem = Some(Problem::new("the thread that queried the account panicked"));
                let item = Item { name: wanted.account.name.clone(), estimate: None, problem };
                (Discovery { items: vec![item], ..Discovery::default() }, None)
            });
            self.answers()[number] = Some(Answer { found, reached });
            self.answered.notify_all();
        }
    }

    /// Waits until `done`, for no longer than `limit` if there is one.
    ///
    /// # Errors
    /// The run is cancelled.
    fn wait(
        &self,
        limit: Option<Duration>,
        cancel: &Cancel,
        done: &dyn Fn(&[Option<Answer>]) -> bool,
    ) -> Result<MutexGuard<'_, Vec<Option<Answer>>>> {
        let begin = Instant::now();
        let mut answers = self.answers();
        while !done(&answers) {
            cancel.check()?;
            let left = limit.map(|limit| limit.saturating_sub(begin.elapsed()));
            if left.is_some_and(|left| left.is_zero()) {
                break;
            }
            let pause = left.map_or(POLL_INTERVAL, |left| left.min(POLL_INTERVAL));
            self.answered.wait_for(&mut answers, pause);
        }
        cancel.check()?;
        Ok(answers)
    }

    /// The answers once all accounts have answered, or after this time.
    ///
    /// # Errors
    /// The run is cancelled.
    pub(super) fn found(&self, limit: Duration, cancel: &Cancel) -> Result<Discovery> {
        let answers = self.wait(Some(limit), cancel, &|answers| answers.iter().all(Option::is_some))?;
        self.told.store(count(&answers), Ordering::Relaxed);
        let mut found = self.base.clone();
        for (wanted, answer) in self.wanted.iter().zip(answers.iter()) {
            let name = &wanted.account.name;
            match answer {
                Some(Answer { found: part, .. }) => {
                    found.items.extend(part.items.iter().cloned());
                    found.excluded.extend(part.excluded.iter().cloned());
                    found.unknown.extend(part.unknown.iter().cloned());
                    found.answered.push(name.clone());
                }
                None => {
                    found.unknown.push(name.clone());
                    found.waiting.push(name.clone());
                }
            }
        }
        // In a fixed order, independent of the response times.
        found.items.sort_by(|a, b| a.name.cmp(&b.name));
        found.excluded.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    /// Like [`Asked::found`], once more accounts have answered than at the last report: soon after the first of them
    /// has, so that late answers do not wait for the slowest.
    ///
    /// # Errors
    /// The run is cancelled.
    pub(super) fn more(&self, cancel: &Cancel) -> Result<Discovery> {
        let told = self.told.load(Ordering::Relaxed);
        let news = |answers: &[Option<Answer>]| count(answers) > told || count(answers) == answers.len();
        drop(self.wait(None, cancel, &news)?);
        self.found(GRACE, cancel)
    }

    /// The connection to an account, once it has answered; `None` if it does not exist or could not be queried.
    ///
    /// # Errors
    /// The run is cancelled.
    pub(super) fn reached(&self, name: &str, cancel: &Cancel) -> Result<Option<Reached>> {
        let Some(number) = self.wanted.iter().position(|wanted| wanted.account.name == name) else {
            return Ok(None);
        };
        let answers = self.wait(None, cancel, &|answers| answers[number].is_some())?;
        Ok(answers[number].as_ref().and_then(|answer| answer.reached.clone()))
    }
}

/// The number of answers.
fn count(answers: &[Option<Answer>]) -> usize {
    answers.iter().flatten().count()
}
