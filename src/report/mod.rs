//! Reports on the whole: status, metrics, dashboard, runbook.

pub mod dashboard;
pub mod metrics;
pub mod runbook;
pub mod status;

use std::{
    sync::mpsc::RecvTimeoutError,
    time::{Duration, Instant},
};

use jiff::Zoned;

use crate::{
    config::{Config, RepositoryConfig},
    error::{Error, Result},
    history::{
        History, Look, draw,
        ledger::{Ledger, RepositoryEntry},
    },
    known, output,
    repository::{HostShare, Hosts, Repository},
    stream::cancel::Cancel,
};

/// How long somebody who has to tell waits for a storage.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// How often who waits looks whether it is to end.
const STEP: Duration = Duration::from_millis(200);

/// Takes a look at the repository: which snapshots there are of the hosts that count. Also returns what is to be said of it:
/// what is wrong with snapshots that cannot be read, and that only other hosts have some.
///
/// # Errors
/// The snapshots cannot be listed, or the history not be written.
pub fn look_at(
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
    notes.extend(nothing_of_ones_own(repository.host(), &entry));
    Ok((entry, notes))
}

/// On a machine that replaces another nothing must look lost.
fn nothing_of_ones_own(own: &str, repository: &RepositoryEntry) -> Option<String> {
    let first = repository.other_hosts.first().filter(|_| repository.snapshots == 0)?;
    Some(format!(
        "THIS HOST, {}, HAS NO SNAPSHOT IN THE REPOSITORY; others have: {}: {}",
        output::name(own),
        HostShare::list(&repository.other_hosts),
        known::foreign_hint("snapshots", &first.host)
    ))
}

/// Which other hosts have snapshots in the repository, beside this one.
pub(crate) fn shared_note(repository: &RepositoryEntry) -> Option<String> {
    let shared = repository.snapshots > 0 && !repository.other_hosts.is_empty();
    shared.then(|| {
        format!(
            "the repository also has snapshots of other hosts, which count for nothing here: {}; `tik-backup snapshots \
             --all-hosts` lists them, `tik-backup forget` what nothing adds to any more",
            HostShare::list(&repository.other_hosts)
        )
    })
}

/// What is said of a repository that was not looked at.
pub fn unseen(config: &Config) -> RepositoryEntry {
    RepositoryEntry {
        location: config.repository.location.to_string(),
        bytes: None,
        free: None,
        snapshots: 0,
        other_hosts: Vec::new(),
        error: None,
    }
}

/// What is said of a repository that could not be looked at.
pub fn unreachable(config: &Config, history: &History, error: &Error) -> RepositoryEntry {
    RepositoryEntry {
        snapshots: history.snapshot_count().unwrap_or(0),
        other_hosts: history.other_hosts(&Zoned::now()).unwrap_or_default(),
        bytes: history.repository_bytes().unwrap_or(None),
        error: Some(error.to_string()),
        ..unseen(config)
    }
}

/// The ledger with what it was drawn from.
pub struct Seen {
    /// The history, for what is to be told.
    pub history: History,
    /// The ledger.
    pub ledger: Ledger,
    /// Why the repository could not be looked at.
    pub refused: Option<Error>,
}

/// Looks at history and repository, and draws up the ledger. A repository that refuses is part of the picture.
///
/// # Errors
/// The history cannot be used.
pub fn ledger(config: &Config, cancel: &Cancel) -> Result<Seen> {
    match look_and_draw(config, Look::Brief, cancel) {
        // Seen only now: the thorough look sets it aside, and what the repository tells takes its place.
        Err(error) if History::is_damaged(&error) => look_and_draw(config, Look::Thorough, cancel),
        drawn => drawn,
    }
}

/// As [`ledger`], for telling that something is wrong: without a history that can be used, and without waiting for a storage
/// that does not answer.
///
/// # Errors
/// Memory is short.
pub fn ledger_whatever(config: &Config, cancel: &Cancel) -> Result<Seen> {
    let now = Zoned::now();
    let mut history =
        History::open(config, Look::Brief).or_else(|error| History::in_memory_because(&error))?;
    let opened = open_within(config, PATIENCE, Repository::open, cancel);
    if let Ok(repository) = &opened
        && let Err(error) = history.meet(repository, Look::Brief)
    {
        history = History::in_memory_because(&error)?;
    }
    let interrupted = history.mark_interrupted(&now);
    let mut notes: Vec<String> = interrupted.err().map(|error| error.summary()).into_iter().collect();
    let opened = opened.and_then(|repository| {
        cancel.check()?;
        look_at(&history, &repository, Hosts::watched(config))
    });
    let (repository, refused) = match opened {
        Ok((entry, damaged)) => {
            notes.extend(damaged);
            (entry, None)
        }
        Err(error) => (unreachable(config, &history, &error), Some(error)),
    };
    let ledger = history.ledger(draw::Look { config, now: &now, repository, notes })?;
    Ok(Seen { history, ledger, refused })
}

/// The ledger of the host that the configuration names, made out from its snapshots alone: for looking at another host, whose
/// history lies there.
///
/// # Errors
/// The repository refuses, or has no snapshot of this host.
pub fn ledger_of_host(mut config: Config) -> Result<Seen> {
    config.sources.clear();
    config.alerts.clear();
    let now = Zoned::now();
    let history = History::in_memory()?;
    let opened = Repository::open(&config.repository)?;
    let (repository, notes) = look_at(&history, &opened, Hosts::Own)?;
    if repository.snapshots == 0 {
        let hosts = repository.other_hosts.iter().map(|share| share.host.as_str());
        let meant = crate::config::nearest(opened.host(), hosts);
        let meant = meant.map(|meant| format!("did you mean {}? ", output::name(meant))).unwrap_or_default();
        let text = format!("the repository has no snapshot of a host {}", output::name(opened.host()));
        return Err(Error::usage(text)
            .hint(format!("{meant}it has snapshots of: {}", HostShare::list(&repository.other_hosts))));
    }
    let ledger = history.ledger(draw::Look { config: &config, now: &now, repository, notes })?;
    Ok(Seen { history, ledger, refused: None })
}

/// Opens the repository, unless that takes too long: a network storage can hold whoever looks at it for ever.
pub(crate) fn open_within(
    config: &Config,
    patience: Duration,
    open: impl FnOnce(&RepositoryConfig) -> Result<Repository> + Send + 'static,
    cancel: &Cancel,
) -> Result<Repository> {
    let (sender, receiver) = std::sync::mpsc::channel();
    let settings = config.repository.clone();
    std::thread::Builder::new()
        .name("storage".to_owned())
        // Whoever has stopped waiting does not care for the answer.
        .spawn(move || drop(sender.send(open(&settings))))
        .map_err(|error| Error::failed("cannot look at the repository").because(&error))?;
    let until = Instant::now() + patience;
    loop {
        cancel.check()?;
        match receiver.recv_timeout(STEP) {
            Ok(opened) => return opened,
            Err(RecvTimeoutError::Timeout) if Instant::now() < until => {}
            Err(_) => {
                let seconds = patience.as_secs();
                let location = &config.repository.location;
                return Err(Error::repository(format!("{location} does not answer within {seconds} s")));
            }
        }
    }
}

fn look_and_draw(config: &Config, look: Look, cancel: &Cancel) -> Result<Seen> {
    let now = Zoned::now();
    let history = History::open(config, look)?;
    let mut notes = Vec::new();
    let (repository, refused) = match Repository::open(&config.repository) {
        Ok(opened) => {
            history.meet(&opened, look)?;
            // On a second host, which backs up nothing, the snapshots themselves say enough.
            if !config.sources.is_empty() {
                history.rebuild(config, &opened, cancel)?;
            }
            let (entry, damaged) = look_at(&history, &opened, Hosts::watched(config))?;
            notes.extend(damaged);
            (entry, None)
        }
        Err(error) => (unreachable(config, &history, &error), Some(error)),
    };
    history.mark_interrupted(&now)?;
    notes.extend(history.begun_note()?);
    notes.extend(history.rebuilt_note()?);
    let ledger = history.ledger(draw::Look { config, now: &now, repository, notes })?;
    Ok(Seen { history, ledger, refused })
}
