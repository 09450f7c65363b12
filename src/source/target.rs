//! Where items are restored to, and how a restore is checked: what `restore` asks of each kind of source.

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

/// So many differences are listed.
const LISTED: usize = 20;

/// A snapshot that is restored, and how.
#[derive(Clone, Copy)]
pub struct RestoreJob<'a> {
    /// What is in it.
    pub manifest: &'a Manifest,
    /// Its files.
    pub files: &'a dyn Files,
    /// The manifest of the `@globals` that belongs to it, if the target asked for one and there is one.
    pub globals: Option<&'a Manifest>,
    /// How to restore.
    pub options: &'a Options,
    /// Shows what is being done.
    pub notice: &'a dyn Fn(&str),
    /// Ends the restore.
    pub cancel: &'a Cancel,
}

/// What a restore did.
pub enum Done {
    /// It made a database.
    Database(Box<Restored>),
    /// It filled a container or share.
    Storage(Storage),
}

/// A database, container or share to restore one item into, and the tools to reach it with.
pub trait RestoreTarget: Send + Sync {
    /// The name of the kind of which a snapshot must be.
    fn kind(&self) -> &'static str;

    /// The password of the account, which goes before a configured one.
    ///
    /// # Errors
    /// The target names no account.
    fn set_password(&mut self, password: Secret) -> Result<()>;

    /// Whether `--overwrite` means something.
    fn can_overwrite(&self) -> bool {
        false
    }

    /// What to say if there is no snapshot of `@globals`, of a kind whose restores use its manifest; `None` if they do not.
    fn without_globals(&self) -> Option<&'static str> {
        None
    }

    /// Restores a snapshot of its kind. Options that mean nothing for the kind are refused.
    ///
    /// # Errors
    /// It was not restored; what is to be done about what is there now stands in the hint.
    fn restore(&self, job: &RestoreJob<'_>) -> Result<Done>;

    /// Reads back what was restored, and names the differences from what was backed up. Only asked of what is
    /// [`Done::Database`], and only if the contents were digested when they were backed up.
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

/// What a kind does that restores all of a server with one command.
pub trait WholeServer: Sync {
    /// Names of what it restores into, for texts.
    fn servers(&self) -> &'static [&'static str];

    /// A URL of a server, for texts.
    fn example(&self) -> &'static str;

    /// The server that a URL of one of the kind's schemes names. `configured` is the source, which may be of another kind.
    ///
    /// # Errors
    /// It is not the URL of a server.
    fn open(
        &self,
        url: &str,
        configured: Option<&(dyn KindConfig + 'static)>,
    ) -> Result<Box<dyn ServerTarget>>;
}

/// A server to restore all items of another one into.
pub trait ServerTarget {
    /// The password of the account.
    ///
    /// # Errors
    /// The target names no account.
    fn set_password(&mut self, password: Secret) -> Result<()>;

    /// Restores all parts, and reads them back if that is wanted. What came of each is in the order of the parts.
    ///
    /// # Errors
    /// What kept it from beginning: then nothing was changed.
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
    /// Whether it is what belongs to the server as a whole.
    pub is_globals: bool,
    /// What is in it.
    pub manifest: &'a Manifest,
    /// Its files.
    pub files: &'a dyn Files,
}

/// What came of an item of a server.
pub enum ServerDone {
    /// Of a database.
    Database(Box<Result<Restored>>),
    /// Of the globals.
    Accounts(Result<Accounts>),
}

/// What came of the accounts of a server.
#[derive(Debug, Default)]
pub struct Accounts {
    /// Whether every statement was run.
    pub whole: bool,
    /// What an operator should know.
    pub notes: Vec<String>,
}

/// Fails if a database is not what was backed up: does what a drill does in a scratch server in the database that was restored
/// into.
///
/// # Errors
/// It is not, unless the restore is to go on; or it cannot be compared.
pub(crate) fn verify(target: &dyn RestoreTarget, job: &RestoreJob<'_>, done: &mut Restored) -> Result<()> {
    if let Digested::No(reason) = &job.manifest.digested {
        return Err(Error::failed(
            "the contents cannot be compared: the dump was not understood when it was made",
        )
        .because_text(reason));
    }
    (job.notice)("reading everything back to compare it");
    let mut notes = Vec::new();
    let differences = target.read_back(job, done, &mut notes)?;
    done.notes.append(&mut notes);
    done.compared = differences.is_empty();
    if done.compared {
        return Ok(());
    }
    if job.options.keep_going {
        // An error would hide what else is missing.
        done.differences = differences;
        return Ok(());
    }
    let more = differences.len().saturating_sub(LISTED);
    let listed = differences.into_iter().take(LISTED).collect::<Vec<_>>().join("; ");
    let rest = if more > 0 { format!("; and {more} more") } else { String::new() };
    Err(Options::wrong(&format!("{listed}{rest}")))
}

/// Reads what the server has, as a backup would. What the backup lacks is not compared.
///
/// # Errors
/// It cannot be read, or what is read is not understood.
pub(super) fn read_again(source: &dyn Source, database: &str, job: &RestoreJob<'_>) -> Result<Manifest> {
    let item = Item { name: database.to_owned(), estimate: None, problem: None };
    let mut again = source
        .dump(&item, &NullSink::default(), job.cancel)
        .map_err(|error| error.context("the restored database cannot be read back"))?;
    again.forget_omitted(job.manifest);
    match &again.digested {
        Digested::Yes => Ok(again),
        Digested::No(reason) => {
            Err(Error::failed("the restored content was not understood when it was read back")
                .because_text(reason))
        }
    }
}

/// The objects of this name.
pub(super) fn named(objects: &[Object], name: &str) -> Vec<Object> {
    objects.iter().filter(|object| object.name == name).cloned().collect()
}
