//! What a kind says of how its snapshots are proven to restore.

use std::{collections::BTreeSet, path::Path};

use super::{Fault, Proven, Setup};
use crate::{
    error::{Error, Result},
    source::manifest::Manifest,
    stream::{cancel::Cancel, files::Files},
};

/// How snapshots of a kind are proven to restore.
#[derive(Clone, Copy)]
pub enum Verification {
    /// They are restored into a scratch server, and what that has then is compared with the manifest.
    Restore(&'static dyn Verifier),
    /// Their files are read back and compared with the manifest: nothing is needed to restore them but a place.
    ReadBack(&'static dyn ReadBack),
}

/// What reading a snapshot's files back found.
#[derive(Debug, Clone, Default)]
pub struct Verified {
    /// Files in the snapshot.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Those of them that were read.
    pub read_files: u64,
    /// Their bytes.
    pub read_bytes: u64,
    /// What is not as it was recorded.
    pub differences: Vec<String>,
}

/// Files of a kind that is proven by reading them back.
pub trait ReadBack: Sync {
    /// Reads the contents of the chosen files, and compares the names and lengths of all.
    ///
    /// # Errors
    /// Something cannot be read. What can be read and differs is in the result.
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
    /// What a scratch server for an item must be like: its version, and how it must be started. Items of one server share a scratch
    /// server if this is the same for them.
    ///
    /// # Errors
    /// The manifest does not say it.
    fn server_key(&self, setup: &Setup<'_>, manifest: &Manifest) -> Result<String, Fault>;

    /// Whether servers of this kind have an item `@globals` with the roles that databases need.
    fn has_globals(&self) -> bool;

    /// Starts an empty server for an item, prepared for the roles that it will be given.
    ///
    /// # Errors
    /// Nearly always [`Fault::Cannot`]: that there is no server says nothing about the backup.
    fn start(
        &self,
        setup: &Setup<'_>,
        manifest: &Manifest,
        globals: Option<&Globals<'_>>,
    ) -> Result<Box<dyn ScratchServer>, Fault>;
}

/// A scratch server that runs. Dropping it ends it and removes its folder.
pub trait ScratchServer: Send + Sync {
    /// Restores the roles into a server that has none yet, and compares what it then has.
    ///
    /// # Errors
    /// They are not proven.
    fn globals(&self, setup: &Setup<'_>, globals: &Globals<'_>, damage: Option<&str>) -> Proven;

    /// Makes what databases need of roles that could not be restored, in a server that has none: names without rights.
    ///
    /// # Errors
    /// They cannot be made.
    fn stand_ins(&self, _setup: &Setup<'_>, _globals: &Globals<'_>) -> Result<(), Fault> {
        Ok(())
    }

    /// Restores a database, reads it back, compares it with its manifest and drops it.
    ///
    /// # Errors
    /// It is not proven; [`Fault::Alone`] if it must be tried once more, alone on the server.
    fn database(&self, setup: &Setup<'_>, database: &Database<'_>) -> Proven;

    /// Whether it has ended. This is asked by several threads, and changes nothing.
    fn is_dead(&self) -> bool;

    /// Why it has ended, if it has.
    fn death(&mut self) -> Option<Error>;

    /// What of it is not confined.
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
    /// The roles that go with it, if there is a snapshot of them.
    pub globals: Option<&'a Globals<'a>>,
    /// The other databases of its server, if they can be looked for.
    pub siblings: Option<&'a dyn Siblings>,
    /// Set if nothing else is on the scratch server now: the databases with which [`Fault::Alone`] asked for that.
    pub alone_with: Option<&'a BTreeSet<String>>,
    /// What a self-test does to it once it is restored, in the language of the server.
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
