//! What a restore is asked for.

use std::path::PathBuf;

use crate::{repository::At, source::restore::Options};

/// The destination of a restore.
#[derive(Debug, Clone)]
pub enum Destination {
    /// A database: a URL, or a name on the source's own server.
    Database(String),
    /// A directory that does not exist yet or is empty.
    Folder(PathBuf),
}

/// The arguments of a restore.
#[derive(Debug, Clone)]
pub struct Request {
    /// Source name.
    pub source: String,
    /// Item name.
    pub item: String,
    /// Which snapshot.
    pub at: At,
    /// The destination.
    pub destination: Destination,
    /// File with the password of the target's account.
    pub password_file: Option<PathBuf>,
    /// The options of the restore.
    pub options: Options,
}
