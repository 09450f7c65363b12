//! How the snapshots of a kind are proven to restore.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use super::{Fault, Prepared, Proven, Setup};
use crate::{
    error::{Error, Result},
    settings::DrillConfig,
    source::manifest::Manifest,
    stream::{cancel::Cancel, files::Files},
};

/// How snapshots of a kind are proven to restore.
#[derive(Clone, Copy)]
pub enum Verification {
    /// They are restored into a scratch server, whose content is then compared with the manifest.
    Restore(&'static dyn Verifier),
    /// Their files are read back and compared with the manifest: restoring them does not need a server.
    ReadBack(&'static dyn ReadBack),
}

/// The result of reading a snapshot's files back.
#[derive(Debug, Clone, Default)]
pub struct Verified {
    /// The number of files in the snapshot.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The number of files that were read.
    pub read_files: u64,
    /// Their bytes.
    pub read_bytes: u64,
    /// Differences from the manifest.
    pub differences: Vec<String>,
}

/// Files of a kind that is proven by reading them back.
pub trait ReadBack: Sync {
    /// Reads the contents of the chosen files, and compares the names and lengths of all.
    ///
    /// # Errors
    /// A file cannot be read. Differences of readable files are in the result.
    fn read_back(
        &self,
        manifest: &Manifest,
        files: &dyn Files,
        chosen: &(dyn Fn(&Path) -> bool + Sync),
        cancel: &Cancel,
    ) -> Result<Verified>;
}

/// Scratch servers of a kind.
pub trait Verifier: Sync {
    /// The requirements of an item for a scratch server: version and settings. Items of one server share a scratch
    /// server if their requirements are equal.
    ///
    /// # Errors
    /// The manifest does not contain them.
    fn server_key(&self, setup: &Setup<'_>, manifest: &Manifest) -> Result<String, Fault>;

    /// Whether servers of this kind have an item `@globals` with the roles that databases need.
    fn has_globals(&self) -> bool;

    /// Makes the files of an empty server before the items are known, if it is evident which server they will need. `start`
    /// takes it from [`Setup::ahead`].
    fn prepare(&self, _drill: &DrillConfig, _client_dirs: &[PathBuf], _cancel: &Cancel) -> Option<Prepared> {
        None
    }

    /// Starts an empty server for an item, prepared for the roles that will be restored into it.
    ///
    /// # Errors
    /// Nearly always [`Fault::Cannot`]: a server that does not start says nothing about the backup.
    fn start(
        &self,
        setup: &Setup<'_>,
        manifest: &Manifest,
        globals: Option<&Globals<'_>>,
    ) -> Result<Box<dyn ScratchServer>, Fault>;
}

/// A running scratch server. Dropping it stops it and removes its directory.
pub trait ScratchServer: Send + Sync {
    /// Restores the roles into a new server, and compares them with the manifest.
    ///
    /// # Errors
    /// They are not proven.
    fn globals(&self, setup: &Setup<'_>, globals: &Globals<'_>, damage: Option<&str>) -> Proven;

    /// Creates roles without rights in a new server, in place of roles that could not be restored.
    ///
    /// # Errors
    /// They cannot be created.
    fn stand_ins(&self, _setup: &Setup<'_>, _globals: &Globals<'_>) -> Result<(), Fault> {
        Ok(())
    }

    /// Restores a database, reads it back, compares it with its manifest and drops it.
    ///
    /// # Errors
    /// It is not proven; [`Fault::Alone`] if it must be tried once more, alone on the server.
    fn database(&self, setup: &Setup<'_>, database: &Database<'_>) -> Proven;

    /// Whether it has ended. Several threads may call this; it has no side effects.
    fn is_dead(&self) -> bool;

    /// Why it has ended, if it has.
    fn death(&mut self) -> Option<Error>;

    /// The resources that are not confined.
    fn unconfined(&self) -> &[String];
}

/// A snapshot of `@globals`.
#[derive(Clone, Copy)]
pub struct Globals<'a> {
    /// Its manifest.
    pub manifest: &'a Manifest,
    /// Its files.
    pub files: &'a dyn Files,
}

/// A database to restore and compare.
#[derive(Clone, Copy)]
pub struct Database<'a> {
    /// Its manifest.
    pub manifest: &'a Manifest,
    /// The files of its snapshot.
    pub files: &'a dyn Files,
    /// Its name on the server.
    pub name: &'a str,
    /// The roles that belong to it, if there is a snapshot of them.
    pub globals: Option<&'a Globals<'a>>,
    /// The other databases of its server, if their snapshots are available.
    pub siblings: Option<&'a dyn Siblings>,
    /// Set if nothing else is on the scratch server: the databases of the [`Fault::Alone`] that requested this.
    pub alone_with: Option<&'a BTreeSet<String>>,
    /// The damage that a self-test does to the restored database, as statements of the server.
    pub damage: Option<&'a str>,
}

/// The other databases of an item's server, as far as there are snapshots of them.
pub trait Siblings: Sync {
    /// Name of the item whose siblings they are, for messages.
    fn of(&self) -> String;

    /// Whether there is a snapshot of this database.
    fn has(&self, database: &str) -> bool;

    /// Opens the snapshot of a database that is nearest in time to the item's.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    fn open(&self, database: &str) -> Result<(Manifest, Box<dyn Files + '_>)>;
}
