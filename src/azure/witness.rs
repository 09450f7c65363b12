//! The cause of an interrupted content, for a caller that passed it to another part of the program.

use std::{
    io,
    sync::{Arc, OnceLock},
};

use super::failure::Failure;
use crate::error::Error;

/// Keeps the failure that ended a content: the error that its reader returns may be another one.
#[derive(Debug, Clone, Default)]
pub struct Witness(Arc<OnceLock<Failure>>);

impl Witness {
    /// Whether the blob or file was changed while it was read.
    pub fn is_changed(&self) -> bool {
        self.0.get().is_some_and(Failure::is_changed)
    }

    /// Whether it was removed while it was read.
    pub fn is_gone(&self) -> bool {
        self.0.get().is_some_and(Failure::is_gone)
    }

    /// What ended the content, if it was the content that failed.
    pub fn failure(&self) -> Option<Failure> {
        self.0.get().cloned()
    }

    /// Records the failure of the content, and returns it to the reader as an error that [`Error::from_io`] extracts
    /// unchanged.
    pub(super) fn testify(&self, failure: Failure) -> io::Error {
        let kind = if failure.is_changed() {
            CHANGED
        } else if failure.is_gone() {
            GONE
        } else {
            io::ErrorKind::Other
        };
        // The first one is the cause.
        self.0.get_or_init(|| failure.clone());
        io::Error::new(kind, Error::from(failure))
    }
}

const CHANGED: io::ErrorKind = io::ErrorKind::StaleNetworkFileHandle;
const GONE: io::ErrorKind = io::ErrorKind::NotFound;

/// Whether reading a content failed because the blob or file was changed meanwhile.
pub fn is_changed(error: &io::Error) -> bool {
    error.kind() == CHANGED
}

/// Whether reading a content failed because the blob or file was removed meanwhile.
pub fn is_gone(error: &io::Error) -> bool {
    error.kind() == GONE
}
