//! Incomplete listings. The library omits entries that it could not list and only logs this. A prune would then take the data of
//! an omitted snapshot for unused, so the log is watched.

use std::{
    cell::Cell,
    io,
    sync::{Once, OnceLock},
};

use log::{Level, LevelFilter, Log, Metadata, Record};
use rustic_core::{ErrorKind, RusticError, RusticResult};

/// The log targets of the library's storages.
const TARGET: &str = "rustic_backend";

thread_local! {
    /// Errors that the storages have logged in this thread, which does the listing.
    static LOGGED: Cell<u64> = const { Cell::new(0) };
}

/// The receiver of all log records of libraries.
static HEARD: OnceLock<fn(&Record<'_>)> = OnceLock::new();

struct Listener;

impl Log for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        HEARD.get().is_some() || is_broken(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if is_broken(record.metadata()) {
            LOGGED.set(LOGGED.get() + 1);
        }
        if let Some(tell) = HEARD.get() {
            tell(record);
        }
    }

    fn flush(&self) {}
}

fn is_broken(metadata: &Metadata<'_>) -> bool {
    metadata.level() == Level::Error && metadata.target().starts_with(TARGET)
}

fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // No other logger is installed in this program.
        if log::set_logger(&Listener).is_ok() {
            log::set_max_level(LevelFilter::Error);
        }
    });
}

/// From now on, `tell` gets the log records of libraries, down to information.
pub(crate) fn hear(tell: fn(&Record<'_>)) {
    listen();
    if HEARD.set(tell).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
}

/// Runs a listing; an incomplete one is a temporary error.
pub(super) fn whole<T>(list: impl FnOnce() -> RusticResult<T>) -> RusticResult<T> {
    listen();
    let before = LOGGED.get();
    let listed = list()?;
    if LOGGED.get() == before {
        return Ok(listed);
    }
    let broken = io::Error::new(io::ErrorKind::NotConnected, "the listing ended with an error");
    Err(RusticError::with_source(ErrorKind::Backend, "the list of files is incomplete", broken))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_that_breaks_off_is_an_error_that_passes() {
        assert!(whole(|| Ok(1)).is_ok());
        let broken = whole(|| {
            log::error!(target: "rustic_backend::opendal", "error listing snapshots: lost");
            Ok(1)
        });
        assert!(broken.is_err_and(|error| super::super::remote_errors::passes(&*error)));
        let other = whole(|| {
            log::error!(target: "another_library", "something else");
            log::warn!(target: "rustic_backend::opendal", "trying again");
            Ok(1)
        });
        assert!(other.is_ok());
    }
}
