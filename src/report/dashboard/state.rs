//! The state behind the dashboard: the history, the ledger built from it, and the repository, which is surveyed regularly.

use std::{
    collections::HashSet,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use jiff::Zoned;
use parking_lot::{Mutex, MutexGuard};

use crate::{
    config::Config,
    error::{Error, Problem, Result},
    history::{
        Check, History, builder,
        ledger::{Entry, Ledger, RepositoryEntry, SourceEntry},
        pages::{Attempt, Past, RunPast},
    },
    repository::{self, Hosts, Patience, Repository},
    stream::cancel::Cancel,
    survey,
};

/// A repository counts as not answering after this many survey intervals and `PATIENCE` without a result.
const MISSED_SURVEYS: u32 = 3;
const PATIENCE: Duration = Duration::from_secs(120);

/// How long a ledger is served before it is built anew.
const FRESH: Duration = Duration::from_secs(2);

/// The state as all requests share it.
pub(super) type Shared = Arc<DashboardState>;

/// Runs work that reads the history on a blocking thread.
pub(super) async fn aside<T: Send + 'static>(
    state: &Shared,
    work: impl FnOnce(&DashboardState) -> Result<T> + Send + 'static,
) -> Result<T> {
    let state = state.clone();
    tokio::task::spawn_blocking(move || work(&state))
        .await
        .unwrap_or_else(|error| Err(Error::failed("cannot render the page").because(&error)))
}

/// The data from which all pages are rendered.
pub(super) struct DashboardState {
    pub(super) config: Config,
    history: History,
    /// Time between two surveys of the repository.
    refresh: Duration,
    begun: Instant,
    survey: Mutex<LastSurvey>,
    cached: Mutex<Option<(Instant, Arc<Ledger>)>>,
    /// Held by the thread that reads the repository, which may hang.
    asking: Arc<()>,
}

#[derive(Default)]
struct LastSurvey {
    at: Option<Instant>,
    repository: Option<RepositoryEntry>,
    notes: Vec<String>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock()
}

impl DashboardState {
    pub(super) fn open(config: Config, refresh: Duration) -> Result<Arc<Self>> {
        let history = History::open(&config, Check::Quick)?;
        let (survey, cached) = (Mutex::default(), Mutex::default());
        Ok(Arc::new(Self {
            config,
            history,
            refresh,
            begun: Instant::now(),
            survey,
            cached,
            asking: Arc::default(),
        }))
    }

    /// Surveys the repository every `refresh` until `cancel` is set.
    pub(super) fn watch(self: &Arc<Self>, cancel: Cancel) -> Option<JoinHandle<()>> {
        let state = self.clone();
        let surveys = move || {
            let mut repository = None;
            while !cancel.is_cancelled() {
                state.survey_once(&mut repository, &cancel);
                let next = Instant::now() + state.refresh;
                while Instant::now() < next && !cancel.is_cancelled() {
                    thread::sleep(Duration::from_millis(200));
                }
            }
        };
        // Without this thread, the dashboard shows the history alone and a note that the repository was not surveyed.
        thread::Builder::new().name("repository".to_owned()).spawn(surveys).ok()
    }

    /// Surveys the repository, which is opened first unless it is open.
    fn ask(
        &self,
        opened: Option<Repository>,
        patience: &Patience,
        cancel: &Cancel,
    ) -> Result<(Repository, (RepositoryEntry, Vec<String>))> {
        let result = match opened {
            Some(repository) => Ok(repository),
            None => Repository::open_patiently(&self.config.repository, patience),
        };
        result.and_then(|repository| {
            let seen = match self.survey_opened(&repository, cancel) {
                Err(error) if History::is_damaged(&error) => {
                    self.history.reopen(Check::Full)?;
                    self.survey_opened(&repository, cancel)?
                }
                seen => seen?,
            };
            Ok((repository, seen))
        })
    }

    /// Surveys the repository once. If it does not answer, the thread that asks it is abandoned.
    fn survey_once(self: &Arc<Self>, opened: &mut Option<(Repository, Patience)>, cancel: &Cancel) {
        // At most one thread may hang.
        if Arc::strong_count(&self.asking) > 1 {
            return;
        }
        let (state, before, asking) = (self.clone(), opened.take(), self.asking.clone());
        let patience = before.as_ref().map_or_else(Patience::short, |(_, patience)| patience.clone());
        let (asks, known) = (patience.clone(), before.map(|(repository, _)| repository));
        let location = &self.config.repository.location;
        let result = survey::while_answering(location, (patience.clone(), cancel), move |cancel| {
            let _asking = asking;
            state.ask(known, &asks, cancel)
        });
        if cancel.is_cancelled() {
            return;
        }
        let (entry, notes) = match result.flatten() {
            Ok((repository, seen)) => {
                *opened = Some((repository, patience));
                seen
            }
            Err(error) => (survey::unreachable(&self.config, &self.history, &error), Vec::new()),
        };
        *locked(&self.survey) = LastSurvey { at: Some(Instant::now()), repository: Some(entry), notes };
        *locked(&self.cached) = None;
    }

    /// The history is determined anew each time: another process may have found another repository at this location, or
    /// have set a damaged history aside.
    fn survey_opened(
        &self,
        repository: &Repository,
        cancel: &Cancel,
    ) -> Result<(RepositoryEntry, Vec<String>)> {
        self.history.meet(repository, Check::Quick)?;
        // A host without sources needs only the snapshots, not a rebuilt history.
        if !self.config.sources.is_empty() {
            self.history.rebuild(&self.config, repository, cancel)?;
        }
        survey::survey_repository(&self.config, &self.history, repository, Hosts::watched(&self.config))
    }

    /// The current ledger, at most `FRESH` old.
    pub(super) fn ledger(&self) -> Result<Arc<Ledger>> {
        // The lock is held while the ledger is built, so that concurrent requests build it once.
        let mut cached = locked(&self.cached);
        if let Some((at, ledger)) = cached.as_ref()
            && at.elapsed() < FRESH
        {
            return Ok(ledger.clone());
        }
        let ledger = match self.build_ledger() {
            Err(error) if History::is_damaged(&error) => {
                // The next survey of the repository fills the new history.
                self.history.reopen(Check::Full)?;
                self.build_ledger()
            }
            ledger => ledger,
        };
        let ledger = Arc::new(ledger?);
        *cached = Some((Instant::now(), ledger.clone()));
        Ok(ledger)
    }

    fn build_ledger(&self) -> Result<Ledger> {
        let now = Zoned::now();
        self.history.mark_interrupted(&now)?;
        let (repository, mut notes, surveyed) = {
            let survey = locked(&self.survey);
            (survey.repository.clone(), survey.notes.clone(), survey.at.unwrap_or(self.begun))
        };
        let mut repository = repository.unwrap_or_else(|| {
            notes.push("the repository is being read".to_owned());
            survey::not_surveyed(&self.config)
        });
        if let Some(silence) = silent(surveyed.elapsed(), self.refresh) {
            // The last state of a storage that hangs must not be shown as the current one.
            repository.error.get_or_insert_with(|| Problem::new(silence));
        }
        notes.extend(self.history.begun_note()?);
        notes.extend(self.history.rebuilt_note()?);
        self.history.ledger(builder::LedgerInput { config: &self.config, now: &now, repository, notes })
    }

    /// An item's entry in the ledger and its past.
    pub(super) fn item(&self, source: &str, item: &str) -> Result<Option<(Entry, Past)>> {
        let ledger = self.ledger()?;
        let same = |entry: &&Entry| entry.source == source && entry.item.as_deref().unwrap_or("") == item;
        let Some(entry) = ledger.items.iter().find(same) else { return Ok(None) };
        let Some(mut past) = self.history.past(source, item)? else { return Ok(None) };
        let retention = self.config.source(source).map_or(&self.config.retention, |source| &source.retention);
        let moments: Vec<_> =
            past.snapshots.iter().map(|snapshot| (snapshot.id.as_str(), &snapshot.time)).collect();
        let kept = repository::explain(&moments, retention, &ledger.at)?;
        let lacking = self.history.lacking_since(source, item)?;
        let times: Vec<_> =
            moments.iter().map(|(id, time)| (*id, time.timestamp().as_millisecond())).collect();
        let holders: HashSet<String> =
            repository::holders(&times, &lacking).into_iter().map(str::to_owned).collect();
        for (snapshot, (keep, reasons)) in past.snapshots.iter_mut().zip(kept) {
            // Held snapshots, and those of sources that are no longer configured, are kept whatever the rules say.
            let holder = holders.contains(&snapshot.id);
            let stays = entry.held || holder || self.config.source(source).is_none();
            snapshot.keep = keep || stays;
            snapshot.reasons = reasons;
            if !keep && entry.held {
                snapshot.reasons = vec!["held".to_owned()];
            } else if !keep && holder {
                snapshot.reasons = vec!["has what later ones lack".to_owned()];
            } else if !keep && stays {
                snapshot.reasons = vec!["nothing removes it".to_owned()];
            }
        }
        Ok(Some((entry.clone(), past)))
    }

    /// A source, with its items.
    pub(super) fn source(&self, name: &str) -> Result<Option<(SourceEntry, Vec<Entry>)>> {
        let ledger = self.ledger()?;
        let Some(source) = ledger.sources.iter().find(|source| source.source == name) else {
            return Ok(None);
        };
        let items = ledger.items.iter().filter(|entry| entry.source == name).cloned().collect();
        Ok(Some((source.clone(), items)))
    }

    pub(super) fn runs(&self, limit: u32, before: Option<&str>) -> Result<Vec<RunPast>> {
        self.history.runs(limit, before)
    }

    pub(super) fn run(&self, name: &str) -> Result<Option<(RunPast, Vec<Attempt>)>> {
        self.history.run(name)
    }
}

/// The error of a repository whose last survey ended this long ago; `None` while the next one may still be running.
fn silent(since: Duration, refresh: Duration) -> Option<String> {
    let minutes = since.as_secs() / 60;
    (since > refresh * MISSED_SURVEYS + PATIENCE)
        .then(|| format!("it has not answered for {}", crate::output::count(minutes, "minute")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_that_does_not_answer_is_not_shown_as_it_once_was() {
        let minute = Duration::from_secs(60);
        assert_eq!(silent(4 * minute, minute), None);
        assert_eq!(silent(6 * minute, minute).as_deref(), Some("it has not answered for 6 minutes"));
    }
}
