//! What is shown, gathered: the history, the ledger drawn from it, and the repository, which is looked at now and then.

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
    error::{Problem, Result},
    history::{
        History, Look, draw,
        ledger::{Entry, Ledger, RepositoryEntry, SourceEntry},
        pages::{Attempt, Past, RunPast},
    },
    repository::{self, Hosts, Patience, Repository},
    stream::cancel::Cancel,
    survey,
};

/// So many times the time between two looks, and this, may pass before a repository counts as one that does not answer.
const LOOKS: u32 = 3;
const PATIENCE: Duration = Duration::from_secs(120);

/// So long a ledger is shown before another is drawn.
const FRESH: Duration = Duration::from_secs(2);

/// Everything that pages are made of.
pub(super) struct Desk {
    pub(super) config: Config,
    history: History,
    /// Time between two looks at the repository.
    refresh: Duration,
    begun: Instant,
    seen: Mutex<Seen>,
    drawn: Mutex<Option<(Instant, Arc<Ledger>)>>,
    /// Held by the thread that asks the repository, which may hang.
    asking: Arc<()>,
}

#[derive(Default)]
struct Seen {
    at: Option<Instant>,
    repository: Option<RepositoryEntry>,
    notes: Vec<String>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock()
}

impl Desk {
    pub(super) fn open(config: Config, refresh: Duration) -> Result<Arc<Self>> {
        let history = History::open(&config, Look::Brief)?;
        let (seen, drawn) = (Mutex::default(), Mutex::default());
        Ok(Arc::new(Self {
            config,
            history,
            refresh,
            begun: Instant::now(),
            seen,
            drawn,
            asking: Arc::default(),
        }))
    }

    /// Looks at the repository, now and again. Ends with `cancel`.
    pub(super) fn watch(self: &Arc<Self>, cancel: Cancel) -> Option<JoinHandle<()>> {
        let desk = self.clone();
        let look = move || {
            let mut repository = None;
            while !cancel.is_cancelled() {
                desk.look(&mut repository, &cancel);
                let next = Instant::now() + desk.refresh;
                while Instant::now() < next && !cancel.is_cancelled() {
                    thread::sleep(Duration::from_millis(200));
                }
            }
        };
        // Without it the history alone is shown, and that the repository was not looked at.
        thread::Builder::new().name("repository".to_owned()).spawn(look).ok()
    }

    /// Asks the repository, opened anew unless it is open.
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
            let seen = match self.look_into(&repository, cancel) {
                Err(error) if History::is_damaged(&error) => {
                    self.history.reopen(Look::Thorough)?;
                    self.look_into(&repository, cancel)?
                }
                seen => seen?,
            };
            Ok((repository, seen))
        })
    }

    /// Takes a look. A repository that does not answer is left behind with the thread that asks it.
    fn look(self: &Arc<Self>, opened: &mut Option<(Repository, Patience)>, cancel: &Cancel) {
        // One that hangs is enough.
        if Arc::strong_count(&self.asking) > 1 {
            return;
        }
        let (desk, before, asking) = (self.clone(), opened.take(), self.asking.clone());
        let patience = before.as_ref().map_or_else(Patience::short, |(_, patience)| patience.clone());
        let (asks, known) = (patience.clone(), before.map(|(repository, _)| repository));
        let location = &self.config.repository.location;
        let result = survey::while_answering(location, (patience.clone(), cancel), move |cancel| {
            let _asking = asking;
            desk.ask(known, &asks, cancel)
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
        *locked(&self.seen) = Seen { at: Some(Instant::now()), repository: Some(entry), notes };
        *locked(&self.drawn) = None;
    }

    /// Each time it is asked anew which history this is: another process may have found another repository here, or have set a
    /// damaged history aside.
    fn look_into(&self, repository: &Repository, cancel: &Cancel) -> Result<(RepositoryEntry, Vec<String>)> {
        self.history.meet(repository, Look::Brief)?;
        // On a second host, which backs up nothing, the snapshots themselves say enough.
        if !self.config.sources.is_empty() {
            self.history.rebuild(&self.config, repository, cancel)?;
        }
        survey::look_at(&self.config, &self.history, repository, Hosts::watched(&self.config))
    }

    /// The ledger as it is now, or was a moment ago.
    pub(super) fn ledger(&self) -> Result<Arc<Ledger>> {
        // Held while it is drawn: a hundred viewers draw it once.
        let mut drawn = locked(&self.drawn);
        if let Some((at, ledger)) = drawn.as_ref()
            && at.elapsed() < FRESH
        {
            return Ok(ledger.clone());
        }
        let ledger = match self.draw() {
            Err(error) if History::is_damaged(&error) => {
                // What the repository tells takes its place with the next look.
                self.history.reopen(Look::Thorough)?;
                self.draw()
            }
            ledger => ledger,
        };
        let ledger = Arc::new(ledger?);
        *drawn = Some((Instant::now(), ledger.clone()));
        Ok(ledger)
    }

    fn draw(&self) -> Result<Ledger> {
        let now = Zoned::now();
        self.history.mark_interrupted(&now)?;
        let (repository, mut notes, looked) = {
            let seen = locked(&self.seen);
            (seen.repository.clone(), seen.notes.clone(), seen.at.unwrap_or(self.begun))
        };
        let mut repository = repository.unwrap_or_else(|| {
            notes.push("the repository is being looked at".to_owned());
            survey::unseen(&self.config)
        });
        if let Some(silence) = silent(looked.elapsed(), self.refresh) {
            // A storage that holds whoever looks at it for ever must not be shown as it once was.
            repository.error.get_or_insert_with(|| Problem::new(silence));
        }
        notes.extend(self.history.begun_note()?);
        notes.extend(self.history.rebuilt_note()?);
        self.history.ledger(draw::Look { config: &self.config, now: &now, repository, notes })
    }

    /// An item as the ledger has it, and all that happened to it.
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
            // What is held, or belongs to what is no longer backed up, is not removed whatever the rules say.
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

/// What is said of a repository whose last look ended so long ago; nothing while the next may still be on its way.
fn silent(since: Duration, refresh: Duration) -> Option<String> {
    let minutes = since.as_secs() / 60;
    (since > refresh * LOOKS + PATIENCE)
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
