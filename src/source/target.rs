//! Restore targets, and the verification of a restore: the interface between `restore` and the kinds of sources.

use super::{
    Item, KindConfig, Source,
    manifest::{Digested, Manifest, Object},
    restore::{Options, Restored, Storage},
    verify::sink::NullSink,
};
use crate::{
    error::{Error, Result},
    settings::Secret,
    stream::{cancel::Cancel, files::Files},
};

/// At most this many differences are listed.
const LISTED: usize = 20;

/// A snapshot to restore, and how to restore it.
#[derive(Clone, Copy)]
pub struct RestoreJob<'a> {
    /// Its manifest.
    pub manifest: &'a Manifest,
    /// Its files.
    pub files: &'a dyn Files,
    /// The manifest of the matching `@globals` snapshot, if the target uses one and it exists.
    pub globals: Option<&'a Manifest>,
    /// How to restore.
    pub options: &'a Options,
    /// Shows progress messages.
    pub notice: &'a dyn Fn(&str),
    /// Cancels the restore.
    pub cancel: &'a Cancel,
}

/// The result of a restore.
pub enum Done {
    /// A database was restored.
    Database(Box<Restored>),
    /// A container or share was filled.
    Storage(Storage),
}

/// A database, container or share to restore one item into, with the tools to access it.
pub trait RestoreTarget: Send + Sync {
    /// The kind of snapshots that it accepts.
    fn kind(&self) -> &'static str;

    /// Sets the account's password, which takes precedence over a configured one.
    ///
    /// # Errors
    /// The target names no account.
    fn set_password(&mut self, password: Secret) -> Result<()>;

    /// Whether it supports `--overwrite`.
    fn can_overwrite(&self) -> bool {
        false
    }

    /// The message if there is no snapshot of `@globals`, for kinds whose restores use its manifest; `None` for others.
    fn without_globals(&self) -> Option<&'static str> {
        None
    }

    /// Restores a snapshot of its kind. Options that the kind does not support are refused.
    ///
    /// # Errors
    /// The restore failed; the hint says how to clean up.
    fn restore(&self, job: &RestoreJob<'_>) -> Result<Done>;

    /// Reads the restored database back and lists the differences from the backup. Only called after [`Done::Database`], and
    /// only if the contents were digested when they were backed up.
    ///
    /// # Errors
    /// It cannot be read back.
    fn read_back(
        &self,
        job: &RestoreJob<'_>,
        done: &Restored,
        notes: &mut Vec<String>,
    ) -> Result<Vec<String>>;
}

/// Restores a whole server with one command.
pub trait WholeServer: Sync {
    /// Names of the supported servers, for messages.
    fn servers(&self) -> &'static [&'static str];

    /// Example URL of a server, for messages.
    fn example(&self) -> &'static str;

    /// Parses the URL of a server. `configured` is the source, which may be of another kind.
    ///
    /// # Errors
    /// The URL is not valid for a server.
    fn open(
        &self,
        url: &str,
        configured: Option<&(dyn KindConfig + 'static)>,
    ) -> Result<Box<dyn ServerTarget>>;
}

/// A server to restore all items of another server into.
pub trait ServerTarget {
    /// The password of the account.
    ///
    /// # Errors
    /// The target names no account.
    fn set_password(&mut self, password: Secret) -> Result<()>;

    /// Restores all parts, and reads them back if requested. The results are in the order of the parts.
    ///
    /// # Errors
    /// The restore could not begin; nothing was changed.
    fn restore(
        &self,
        parts: &[ServerPart<'_>],
        options: &Options,
        notice: &dyn Fn(&str),
        cancel: &Cancel,
    ) -> Result<Vec<ServerDone>>;
}

/// An item of a server.
pub struct ServerPart<'a> {
    /// The database, or the name of the globals.
    pub name: &'a str,
    /// Whether it is the `@globals` of the server.
    pub is_globals: bool,
    /// Its manifest.
    pub manifest: &'a Manifest,
    /// Its files.
    pub files: &'a dyn Files,
}

/// The result for one item of a server.
pub enum ServerDone {
    /// For a database.
    Database(Box<Result<Restored>>),
    /// For the globals.
    Accounts(Result<Accounts>),
}

/// The result for the accounts of a server.
#[derive(Debug, Default)]
pub struct Accounts {
    /// Whether every statement succeeded.
    pub whole: bool,
    /// Notes for the operator.
    pub notes: Vec<String>,
}

/// Fails if a restored database differs from the backup: the same comparison that a drill makes in a scratch server.
///
/// # Errors
/// The database differs, unless the restore continues after errors; or it cannot be compared.
pub(crate) fn verify(target: &dyn RestoreTarget, job: &RestoreJob<'_>, done: &mut Restored) -> Result<()> {
    if let Digested::No(reason) = &job.manifest.digested {
        return Err(Error::failed(
            "the contents cannot be compared: the dump could not be parsed when it was made",
        )
        .because_text(reason));
    }
    (job.notice)("reading the database back to compare it with the backup");
    let mut notes = Vec::new();
    let differences = target.read_back(job, done, &mut notes)?;
    done.notes.append(&mut notes);
    done.compared = differences.is_empty();
    if done.compared {
        return Ok(());
    }
    if job.options.keep_going {
        // An error would hide the list of missing objects.
        done.differences = differences;
        return Ok(());
    }
    let more = differences.len().saturating_sub(LISTED);
    let listed = differences.into_iter().take(LISTED).collect::<Vec<_>>().join("; ");
    let rest = if more > 0 { format!("; and {more} more") } else { String::new() };
    Err(Options::wrong(&format!("{listed}{rest}")))
}

/// Reads the database as a backup would. Objects that the backup lacks are not compared.
///
/// # Errors
/// The database cannot be read, or its dump cannot be parsed.
pub(super) fn read_again(source: &dyn Source, database: &str, job: &RestoreJob<'_>) -> Result<Manifest> {
    let item = Item { name: database.to_owned(), estimate: None, problem: None };
    let mut again = source
        .dump(&item, &NullSink::default(), job.cancel)
        .map_err(|error| error.context("the restored database cannot be read back"))?;
    again.forget_omitted(job.manifest);
    match &again.digested {
        Digested::Yes => Ok(again),
        Digested::No(reason) => {
            Err(Error::failed("the dump of the restored database could not be parsed").because_text(reason))
        }
    }
}

/// The objects of this name.
pub(super) fn named(objects: &[Object], name: &str) -> Vec<Object> {
    objects.iter().filter(|object| object.name == name).cloned().collect()
}
