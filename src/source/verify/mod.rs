//! Proving one item: its snapshot is restored into a scratch server, read there as the source is read for a backup, and
//! compared with the manifest that was written when the snapshot was made.

mod ahead;
pub(crate) mod compare;
pub(in crate::source) mod fault;
pub(crate) mod files;
pub(crate) mod sink;
mod verifier;

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

pub use self::{
    ahead::{Ahead, Prepared},
    fault::Fault,
    verifier::{Database, Globals, ReadBack, ScratchServer, Siblings, Verification, Verified, Verifier},
};
use crate::{
    error::{Error, Result},
    settings::{DrillConfig, Host, SourceSettings},
    source::{
        manifest::{Digested, Manifest},
        server::ServerConfig,
    },
    stream::cancel::Cancel,
};

/// The account and the database that scratch servers have in addition to restored ones.
const OURS: &str = "tik_backup_drill";
/// At most this many differences are listed.
const LISTED: usize = 20;

/// The result of a successful proof: what was compared.
#[derive(Debug, Clone, Default)]
pub struct Proof {
    /// The duration of the restore; none for files, which are only read.
    pub restore: Option<Duration>,
    /// The number of tables, collections, files, … that were compared.
    pub objects: u64,
    /// The number of their rows or documents.
    pub rows: u64,
    /// The number of bytes that were read back.
    pub bytes: u64,
    /// Notes for the operator.
    pub notes: Vec<String>,
}

impl Proof {
    /// The proof of a database.
    pub(in crate::source) fn of(manifest: &Manifest, restore: Duration, notes: Vec<String>) -> Self {
        // The proof covers the snapshot, which lacks some objects of the source.
        let notes = manifest.left_out.iter().cloned().chain(notes).collect();
        Self {
            restore: Some(restore),
            objects: manifest.objects.len() as u64,
            rows: manifest.rows(),
            bytes: manifest.files.iter().map(|file| file.bytes).sum(),
            notes,
        }
    }

    /// Succeeds if there are no differences.
    pub(in crate::source) fn unless(self, differences: Vec<String>) -> Proven {
        if differences.is_empty() { Ok(self) } else { Err(Fault::Differs(listed(differences))) }
    }
}

/// Fails if the manifest has nothing to compare with.
pub(in crate::source) fn require_digested(stored: &Manifest) -> Result<(), Fault> {
    let what = "the dump could not be understood when it was made, so there is nothing to compare with";
    match &stored.digested {
        Digested::Yes => Ok(()),
        Digested::No(reason) => Err(Fault::Cannot(Error::failed(what).because_text(reason))),
    }
}

/// Fails if the restored content was not understood, although the backed-up content was.
pub(in crate::source) fn require_understood(restored: &Manifest) -> Result<(), Fault> {
    let what = "the restored content was not understood when it was read";
    match &restored.digested {
        Digested::Yes => Ok(()),
        Digested::No(reason) => Err(Fault::Failed(Error::failed(what).because_text(reason))),
    }
}

/// The result of proving one thing.
pub type Proven = Result<Proof, Fault>;

/// The context of a drill.
pub struct Setup<'a> {
    /// The configuration of drills.
    pub drill: &'a DrillConfig,
    /// The `client_dirs` of this source.
    pub client_dirs: Vec<PathBuf>,
    /// How many processes may restore or read one item at the same time.
    pub processes: usize,
    /// Whether several processes are used even for content that is too small for them: self-tests test this way too.
    pub eager: bool,
    /// Servers that were prepared in advance.
    pub ahead: &'a Ahead,
    /// Cancels it.
    pub cancel: &'a Cancel,
    /// Receives messages for the operator.
    pub notice: &'a (dyn Fn(&str) + Sync),
}

impl Setup<'_> {
    /// Directories to search for programs.
    pub(in crate::source) fn dirs(&self) -> Vec<PathBuf> {
        server_dirs(self.drill, &self.client_dirs)
    }

    /// A message about the item of this manifest: several may be restored at the same time.
    pub(in crate::source) fn notice_about(&self, manifest: &Manifest, message: &str) {
        let item = crate::output::name(&format!("{}/{}", manifest.source, manifest.item));
        (self.notice)(&format!("{item}: {message}"));
    }
}

/// Directories to search for programs of servers.
pub(in crate::source) fn server_dirs(drill: &DrillConfig, client_dirs: &[PathBuf]) -> Vec<PathBuf> {
    drill.server_dirs.iter().chain(client_dirs).cloned().collect()
}

/// Runs a statement that does damage. If that fails, the test has no result.
pub(in crate::source) fn inflict(
    damage: Option<&str>,
    run: impl FnOnce(&str) -> Result<()>,
) -> Result<(), Fault> {
    damage.map_or(Ok(()), run).map_err(Fault::Refused)
}

/// The error of a restore in a drill, without its hint: the hint is meant for the user of a restore (drop this database, use that option) and would
/// be dangerous here, because the database has the name of the source's.
pub(in crate::source) fn of_restore(error: Error) -> Fault {
    Fault::from(error.without_hint())
}

/// A difference list of bounded length.
fn listed(mut differences: Vec<String>) -> Vec<String> {
    let more = differences.len().saturating_sub(LISTED);
    if more > 0 {
        differences.truncate(LISTED);
        differences.push(format!("and {more} more"));
    }
    differences
}

/// A source for a scratch server.
pub(crate) fn scratch_source() -> SourceSettings {
    SourceSettings { idle_timeout: Duration::from_secs(3600), ..SourceSettings::named("drill") }
}

/// A server that is reached by a socket.
pub(crate) fn scratch_server(host: Host, port: u16, user: &str, client_dirs: Vec<PathBuf>) -> ServerConfig {
    let bare = ServerConfig::bare(host, port);
    ServerConfig { user: Some(user.to_owned()), client_dirs, globals: true, ..bare }
}

/// A name for a temporary account or database that is not in `taken`.
pub(in crate::source) fn free_name<'n>(taken: impl Iterator<Item = &'n str>) -> String {
    let taken: BTreeSet<&str> = taken.collect();
    let mut name = OURS.to_owned();
    let mut number = 1;
    while taken.contains(name.as_str()) {
        number += 1;
        name = format!("{OURS}_{number}");
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_ours_avoid_those_that_are_restored() {
        assert_eq!(free_name(["app"].into_iter()), OURS);
        assert_eq!(free_name([OURS, "app"].into_iter()), format!("{OURS}_2"));
    }

    #[test]
    fn long_lists_are_cut() {
        let cut = listed((0..50).map(|n| n.to_string()).collect());
        assert_eq!(cut.len(), LISTED + 1);
        assert_eq!(cut.last().map(String::as_str), Some("and 30 more"));
    }
}
