//! Proving one item: its snapshot is restored into a scratch server, read there as the source is read for a backup, and
//! compared with the manifest that was written when the snapshot was made.

mod accounts;
pub(super) mod compare;
mod definitions;
pub(super) mod files;
pub(super) mod mongodb;
pub(super) mod mysql;
pub(super) mod postgres;
mod roles;
mod sink;

use std::{path::PathBuf, time::Duration};

use crate::{
    config::{
        AnomalyRules, DrillConfig, Host, Patterns, Retention, ServerConfig, SourceConfig, SourceKind,
        SourceName,
    },
    error::Error,
    source::manifest::{Digested, Manifest},
    stream::cancel::Cancel,
};

/// The account, and the database, that scratch servers have besides those that are restored.
const OURS: &str = "tik_backup_drill";
/// So many differences are listed.
const LISTED: usize = 20;

/// What was found equal.
#[derive(Debug, Clone, Default)]
pub(super) struct Proof {
    /// How long the restore took; not for files, which are only read.
    pub(super) restore: Option<Duration>,
    /// Tables, collections, files, … that were compared.
    pub(super) objects: u64,
    /// Rows or documents of them.
    pub(super) rows: u64,
    /// Bytes that were read back.
    pub(super) bytes: u64,
    /// What an operator should know.
    pub(super) notes: Vec<String>,
}

impl Proof {
    /// All of a database.
    fn of(manifest: &Manifest, restore: Duration, notes: Vec<String>) -> Self {
        Self {
            restore: Some(restore),
            objects: manifest.objects.len() as u64,
            rows: manifest.rows(),
            bytes: manifest.files.iter().map(|file| file.bytes).sum(),
            notes,
        }
    }

    /// It is one if there are no differences.
    fn unless(self, differences: Vec<String>) -> Proven {
        if differences.is_empty() { Ok(self) } else { Err(Fault::Differs(listed(differences))) }
    }
}

/// Fails if the backup has nothing to compare with.
fn require_digested(stored: &Manifest) -> Result<(), Fault> {
    let what = "the dump could not be understood when it was made, so there is nothing to compare with";
    match &stored.digested {
        Digested::Yes => Ok(()),
        Digested::No(reason) => Err(Fault::Cannot(Error::failed(what).because_text(reason))),
    }
}

/// Fails if what was restored cannot be compared, although what was backed up could.
fn require_understood(restored: &Manifest) -> Result<(), Fault> {
    let what = "what was restored could not be understood when it was read";
    match &restored.digested {
        Digested::Yes => Ok(()),
        Digested::No(reason) => Err(Fault::Failed(Error::failed(what).because_text(reason))),
    }
}

/// Why something is not proven.
#[derive(Debug)]
pub(super) enum Fault {
    /// What was restored is not what was backed up; each sentence is a difference.
    Differs(Vec<String>),
    /// It cannot be restored.
    Failed(Error),
    /// That says nothing about the backup: no server to restore into, no space, stopped.
    Cannot(Error),
}

impl From<Error> for Fault {
    /// An error says that the restore failed, unless its text says that this machine is to blame.
    fn from(error: Error) -> Self {
        const OURS: [&str; 7] = [
            "No space left on device",
            "no space left on device",
            "Disk quota exceeded",
            "errno: 28",
            "Got error 28",
            "is full",
            "out of memory",
        ];
        const CRASHED: &str = "a process of the scratch server ended by itself: see the kernel's log (out of memory?), and drill again";
        /// What a community server on this machine lacks, or how it fails.
        const LACKING: [(&str, &str); 22] = [
            ("connection to server on socket", CRASHED),
            ("Can't connect to ", CRASHED),
            (
                "via shared_preload_libraries",
                "the extension needs settings that a scratch server does not have",
            ),
            ("must be preloaded", "the extension needs settings that a scratch server does not have"),
            ("\" for encoding \"", "generate the locale of this collation on this machine"),
            ("could not create locale", "generate the locale of this collation on this machine"),
            ("ICU is not supported in this build", "install a build of PostgreSQL with ICU"),
            ("Unknown storage engine", "the scratch server lacks the plugin of this storage engine"),
            ("master key from keyring", "the scratch server has no keyring for encrypted tables"),
            ("server closed the connection unexpectedly", CRASHED),
            ("crash of another server process", CRASHED),
            ("the database system is in recovery mode", CRASHED),
            ("Lost connection to ", CRASHED),
            (
                "must be loaded via shared_preload_libraries",
                "the extension needs settings that a scratch server does not have",
            ),
            ("could not access file", "install the extension's package for this version of PostgreSQL"),
            (
                "could not open extension control file",
                "install the extension's package for this version of PostgreSQL",
            ),
            ("is not available", "install the extension's package for this version of PostgreSQL"),
            (
                "invalid locale name",
                "generate the locale on this machine (`dpkg-reconfigure locales`, `i18n.supportedLocales`)",
            ),
            (
                "invalid LC_COLLATE locale name",
                "generate the locale on this machine (`dpkg-reconfigure locales`)",
            ),
            (
                "locale name",
                "generate the locale on this machine (`dpkg-reconfigure locales`, `i18n.supportedLocales`)",
            ),
            ("Plugin '", "the scratch server has no such plugin for logging in"),
            ("no client tools", "install the clients of this server"),
        ];
        let text = error.summary();
        if OURS.iter().any(|sign| text.contains(sign)) {
            return Self::Cannot(
                Error::failed("the scratch server had no room left")
                    .because_text(text)
                    .hint("name a folder with more room in `drill.dir`"),
            );
        }
        match LACKING.iter().find(|(sign, _)| text.contains(sign)) {
            Some((_, hint)) => Self::Cannot(Error::failed(text).hint(*hint)),
            None => Self::Failed(error),
        }
    }
}

/// The result of proving one thing.
pub(super) type Proven = Result<Proof, Fault>;

/// What a drill works with.
pub(super) struct Setup<'a> {
    /// How drills are made.
    pub(super) drill: &'a DrillConfig,
    /// Folders in which the configuration lets look for clients of this source.
    pub(super) client_dirs: Vec<PathBuf>,
    /// Ends it.
    pub(super) cancel: &'a Cancel,
    /// Where what happens is told.
    pub(super) notice: &'a (dyn Fn(&str) + Sync),
}

impl Setup<'_> {
    /// Where to look for programs.
    pub(super) fn dirs(&self) -> Vec<PathBuf> {
        self.drill.server_dirs.iter().chain(&self.client_dirs).cloned().collect()
    }
}

/// What the self-test does to a restored database before it is compared.
pub(super) type Meddle<'a> = &'a (dyn Fn(&Handle<'_>) -> crate::error::Result<()> + Sync);

/// A restored database, for whoever meddles with it.
pub(super) struct Handle<'a> {
    /// Runs a statement in it (of MongoDB: a command in extended JSON).
    pub(super) run: &'a dyn Fn(&str) -> crate::error::Result<()>,
}

/// Lets somebody meddle. That it did not work says nothing about whether damage is found.
fn meddled(meddle: Option<Meddle<'_>>, run: &dyn Fn(&str) -> crate::error::Result<()>) -> Result<(), Fault> {
    meddle.map_or(Ok(()), |meddle| meddle(&Handle { run })).map_err(Fault::Cannot)
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
pub(super) fn scratch_source(kind: SourceKind) -> SourceConfig {
    SourceConfig {
        name: SourceName::part("drill"),
        schedule: None,
        max_age: None,
        max_proof_age: None,
        anomalies: AnomalyRules::default(),
        retention: Retention::default(),
        jobs: None,
        idle_timeout: Duration::from_secs(3600),
        kind,
    }
}

/// A server that is reached by a socket.
pub(super) fn scratch_server(host: Host, port: u16, user: &str, client_dirs: Vec<PathBuf>) -> ServerConfig {
    ServerConfig {
        host,
        azure: None,
        port,
        user: Some(user.to_owned()),
        password_file: None,
        sslmode: None,
        sslrootcert: None,
        sslcert: None,
        sslkey: None,
        databases: Patterns::default(),
        exclude: Patterns::default(),
        client_dirs,
        globals: true,
    }
}

/// A name for an account or database of ours that none of `taken` has.
fn free_name<'n>(taken: impl Iterator<Item = &'n str>) -> String {
    let taken: std::collections::BTreeSet<&str> = taken.collect();
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
    fn a_full_disk_is_not_held_against_the_backup() {
        let text = "pg_restore: error: could not extend file: No space left on device";
        assert!(matches!(Fault::from(Error::failed(text)), Fault::Cannot(_)));
        assert!(matches!(Fault::from(Error::failed("relation already exists")), Fault::Failed(_)));
    }

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
