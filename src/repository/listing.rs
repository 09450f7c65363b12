//! Listings that break off. The library leaves out what it could not list and only writes a line into its log: a prune
//! would take what a missing snapshot needs for unused. So the log is listened to.

use std::{
    cell::Cell,
    io,
    sync::{Once, OnceLock},
};

use log::{Level, LevelFilter, Log, Metadata, Record};
use rustic_core::{ErrorKind, RusticError, RusticResult};

/// Where the library's storages log.
const TARGET: &str = "rustic_backend";

thread_local! {
    /// Errors that the storages have logged in this thread, in which they list.
    static LOGGED: Cell<u64> = const { Cell::new(0) };
}

/// Who is told of all that libraries log.
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
        // Nothing else in this program listens.
        if log::set_logger(&Listener).is_ok() {
            log::set_max_level(LevelFilter::Error);
        }
    });
}

/// From now on `tell` gets what libraries log, down to information.
pub(crate) fn hear(tell: fn(&Record<'_>)) {
    listen();
    if HEARD.set(tell).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
}

/// Runs a listing; one that broke off is an error that passes.
pub(super) fn whole<T>(list: impl FnOnce() -> RusticResult<T>) -> RusticResult<T> {
    listen();
    let before = LOGGED.get();
    let listed = list()?;
    if LOGGED.get() == before {
        return Ok(listed);
    }
    let broken = io::Error::new(io::ErrorKind::NotConnected, "it ended with an error before its end");
    Err(RusticError::with_source(ErrorKind::Backend, "the list of files is not whole", broken))
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
        assert!(broken.is_err_and(|error| super::super::remote::passes(&*error)));
        let other = whole(|| {
            log::error!(target: "another_library", "something else");
            log::warn!(target: "rustic_backend::opendal", "trying again");
            Ok(1)
        });
        assert!(other.is_ok());
    }
}
