//! Surveys the repository and the history, and builds the ledger from both.

mod within;

use std::sync::Arc;

use jiff::Zoned;

use crate::{
    config::Config,
    error::{Error, Kind, Result},
    history::{
        Check, History, builder,
        ledger::{Ledger, RepositoryEntry},
    },
    known, output,
    repository::{HostShare, Hosts, Patience, Repository, foreign_hint},
    stream::cancel::Cancel,
};

pub(crate) use self::within::{PATIENCE, open_within, while_answering};

/// An item with a snapshot within this time is probably still being backed up.
const ALIVE: jiff::SignedDuration = jiff::SignedDuration::from_hours(8 * 24);

/// Whether a snapshot is so recent that another configuration probably still backs up its item.
pub(crate) fn is_recent(made: &Zoned, now: jiff::Timestamp) -> bool {
    now.duration_since(made.timestamp()) < ALIVE
}

/// Surveys the repository: lists the snapshots of `hosts`. Also returns notes: snapshots that cannot be read, and that
/// only other hosts have snapshots.
///
/// # Errors
/// The snapshots cannot be listed, or the history cannot be written.
pub fn survey_repository(
    config: &Config,
    history: &History,
    repository: &Repository,
    hosts: Hosts,
) -> Result<(RepositoryEntry, Vec<String>)> {
    let mut notes = history.refresh_snapshots(repository, hosts)?;
    let entry = RepositoryEntry {
        location: repository.location(),
        bytes: history.repository_bytes()?,
        free: repository.free_space(),
        snapshots: history.snapshot_count()?,
        other_hosts: history.other_hosts(&Zoned::now())?,
        error: None,
    };
    notes.extend(history.gone_note(&Zoned::now())?);
    notes.extend(only_other_hosts(config, repository.host(), &entry));
    Ok((entry, notes))
}

/// On a machine that replaces another, backups must not appear to be lost.
fn only_other_hosts(config: &Config, own: &str, repository: &RepositoryEntry) -> Option<String> {
    if repository.snapshots > 0 || repository.other_hosts.is_empty() {
        return None;
    }
    Some(format!(
        "THIS HOST, {}, HAS NO SNAPSHOT IN THE REPOSITORY; others have: {}: {}",
        output::name(own),
        HostShare::list(&repository.other_hosts),
        foreign_hint(config, "snapshots", &repository.other_hosts, false, false)
    ))
}

/// A note on the other hosts that have snapshots in the repository.
pub(crate) fn shared_note(repository: &RepositoryEntry) -> Option<String> {
    let others = &repository.other_hosts;
    if repository.snapshots == 0 || others.is_empty() {
        return None;
    }
    // Snapshots of a live host should not be removed.
    let now = jiff::Timestamp::now();
    let gone = |share: &HostShare| share.newest.as_ref().is_none_or(|newest| !is_recent(newest, now));
    let forget = if others.iter().any(gone) {
        "; of a host that is gone `tik-backup forget` shows how to remove them"
    } else {
        ""
    };
    Some(format!(
        "the repository also has snapshots of other hosts, which are ignored here: {}; `tik-backup snapshots --all-hosts` \
         lists them{forget}",
        HostShare::list(others)
    ))
}

/// The entry of a repository that was not surveyed.
pub fn not_surveyed(config: &Config) -> RepositoryEntry {
    RepositoryEntry {
        location: config.repository.location.to_string(),
        bytes: None,
        free: None,
        snapshots: 0,
        other_hosts: Vec::new(),
        error: None,
    }
}

/// The entry of a repository that could not be surveyed.
pub fn unreachable(config: &Config, history: &History, error: &Error) -> RepositoryEntry {
    RepositoryEntry {
        snapshots: history.snapshot_count().unwrap_or(0),
        other_hosts: history.other_hosts(&Zoned::now()).unwrap_or_default(),
        bytes: history.repository_bytes().unwrap_or(None),
        error: Some(error.into()),
        ..not_surveyed(config)
    }
}

/// A ledger and the history from which it was built.
pub struct Survey {
    /// The history, for alerts.
    pub history: Arc<History>,
    /// The ledger.
    pub ledger: Ledger,
    /// Why the repository could not be surveyed.
    pub refused: Option<Error>,
}

/// Surveys history and repository, and builds the ledger. An unreachable repository is a problem in the ledger, not an
/// error.
///
/// # Errors
/// The history cannot be used.
pub fn ledger(config: &Config, cancel: &Cancel) -> Result<Survey> {
    match survey_and_build(config, Check::Quick, cancel) {
        // The full check sets the damaged history aside, and a new one is built from the repository.
        Err(error) if History::is_damaged(&error) => survey_and_build(config, Check::Full, cancel),
        drawn => drawn,
    }
}

/// As [`ledger`], for reporting problems: works without a usable history, and does not wait for a storage that does not
/// answer.
///
/// # Errors
/// Memory is short.
pub fn ledger_despite_errors(config: &Config, cancel: &Cancel) -> Result<Survey> {
    let now = Zoned::now();
    let history = History::open(config, Check::Quick).or_else(|error| History::in_memory_because(&error))?;
    let settings = config.clone();
    let history = Arc::new(history);
    let shared = history.clone();
    let (patience, asks) = twice(Patience::short());
    let asked = while_answering(&config.repository.location, (patience, cancel), move |cancel| {
        let repository = Repository::open_patiently(&settings.repository, &asks)?;
        let history = match shared.meet(&repository, Check::Quick) {
            Ok(_) => shared,
            Err(error) => Arc::new(History::in_memory_because(&error)?),
        };
        cancel.check()?;
        let hosts = Hosts::watched(&settings);
        match survey_repository(&settings, &history, &repository, hosts) {
            Ok(seen) => Ok(RepositorySurvey { history, repository: Ok(seen) }),
            // Find out which one failed: the history, which cannot be written, or the repository.
            Err(error) => {
                let memory = Arc::new(History::in_memory_because(&error)?);
                Ok(match survey_repository(&settings, &memory, &repository, hosts) {
                    Ok(seen) => RepositorySurvey { history: memory, repository: Ok(seen) },
                    Err(_) => RepositorySurvey { history, repository: Err(error) },
                })
            }
        }
    });
    let surveyed =
        asked.flatten().unwrap_or_else(|error| RepositorySurvey { history, repository: Err(error) });
    let (history, repository, seen, refused) = surveyed.into_entry(config);
    let interrupted = history.mark_interrupted(&now);
    let mut notes: Vec<String> = interrupted.err().map(|error| error.summary()).into_iter().collect();
    notes.extend(seen);
    let ledger = history.ledger(builder::LedgerInput { config, now: &now, repository, notes })?;
    Ok(Survey { history, ledger, refused })
}

/// The ledger of the configured host, derived from its snapshots alone: for another host, whose history is not on this
/// machine.
///
/// # Errors
/// The repository cannot be used, or has no snapshot of this host.
pub fn ledger_of_host(mut config: Config, cancel: &Cancel) -> Result<Survey> {
    config.sources.clear();
    config.alerts.clear();
    let now = Zoned::now();
    let history = Arc::new(History::in_memory()?);
    let (settings, shared) = (config.clone(), history.clone());
    let (patience, asks) = twice(Patience::short());
    let surveyed = while_answering(&config.repository.location, (patience, cancel), move |_| {
        let opened = Repository::open_patiently(&settings.repository, &asks)?;
        survey_repository(&settings, &shared, &opened, Hosts::Own)
    });
    let (repository, notes) = surveyed.flatten()?;
    if repository.snapshots == 0 {
        return Err(known::no_such_host(&config.repository.host, &repository.other_hosts));
    }
    let ledger = history.ledger(builder::LedgerInput { config: &config, now: &now, repository, notes })?;
    Ok(Survey { history, ledger, refused: None })
}

/// The result of a survey of the repository, and the history in which it was recorded.
struct RepositorySurvey {
    history: Arc<History>,
    repository: Result<(RepositoryEntry, Vec<String>)>,
}

impl RepositorySurvey {
    /// Splits the result into history, entry of the repository, notes and error.
    fn into_entry(self, config: &Config) -> (Arc<History>, RepositoryEntry, Vec<String>, Option<Error>) {
        match self.repository {
            Ok((entry, notes)) => (self.history, entry, notes, None),
            Err(error) => {
                let entry = unreachable(config, &self.history, &error);
                (self.history, entry, Vec::new(), Some(error))
            }
        }
    }
}

/// Surveys the repository and records the result. An error of the repository is a result.
fn ask(
    config: &Config,
    history: &History,
    check: Check,
    patience: &Patience,
    cancel: &Cancel,
) -> Result<Result<(RepositoryEntry, Vec<String>)>> {
    let opened = match Repository::open_patiently(&config.repository, patience) {
        Ok(opened) => opened,
        Err(refused) => return Ok(Err(refused)),
    };
    let survey = || {
        history.meet(&opened, check)?;
        // A host without sources needs only the snapshots, not a rebuilt history.
        if !config.sources.is_empty() {
            history.rebuild(config, &opened, cancel)?;
        }
        cancel.check()?;
        survey_repository(config, history, &opened, Hosts::watched(config))
    };
    match survey() {
        Err(error) if error.kind() != Kind::Repository => Err(error),
        other => Ok(other),
    }
}

/// One for the thread that reads, one for the thread that watches for progress.
fn twice(patience: Patience) -> (Patience, Patience) {
    (patience.clone(), patience)
}

/// As [`ask`], with a timeout for a repository that does not answer.
fn ask_within(
    config: &Config,
    history: Arc<History>,
    check: Check,
    cancel: &Cancel,
) -> Result<RepositorySurvey> {
    let (settings, shared) = (config.clone(), history.clone());
    let (patience, asks) = twice(Patience::short());
    let asked = while_answering(&config.repository.location, (patience, cancel), move |cancel| {
        ask(&settings, &shared, check, &asks, cancel)
    });
    let repository = match asked {
        Ok(answer) => answer?,
        Err(error) if cancel.is_cancelled() => return Err(error),
        Err(silent) => Err(silent),
    };
    Ok(RepositorySurvey { history, repository })
}

fn survey_and_build(config: &Config, check: Check, cancel: &Cancel) -> Result<Survey> {
    let now = Zoned::now();
    let history = Arc::new(History::open(config, check)?);
    let surveyed = ask_within(config, history, check, cancel)?;
    let (history, repository, mut notes, refused) = surveyed.into_entry(config);
    history.mark_interrupted(&now)?;
    notes.extend(history.begun_note()?);
    notes.extend(history.rebuilt_note()?);
    let ledger = history.ledger(builder::LedgerInput { config, now: &now, repository, notes })?;
    Ok(Survey { history, ledger, refused })
}
