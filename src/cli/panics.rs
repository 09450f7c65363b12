//! The message of a panic.

use std::{
    panic::{self, PanicHookInfo},
    sync::atomic::{AtomicBool, Ordering},
};

use crate::output::lines::{self, Priority};

/// Prints one plain line instead of the standard text of a panic. Only with `verbose` it has the panic's message and place.
///
/// The repository's library ends its own threads by a panic when they are no longer needed, for example after an error that it
/// returns. This is not a bug and is not printed.
pub(super) fn quiet(verbose: bool) {
    let said = AtomicBool::new(false);
    panic::set_hook(Box::new(move |info| {
        if verbose {
            say(&format!("internal error: {info}"));
        } else if !is_of_library(info) && !said.swap(true, Ordering::Relaxed) {
            say("internal error: please report it, with the output of the same command with -v");
        }
    }));
}

fn is_of_library(info: &PanicHookInfo<'_>) -> bool {
    let of_library = |file: &str| file.contains("rustic_core-") || file.contains("rustic_backend-");
    info.location().is_some_and(|location| of_library(location.file()))
}

/// Prints directly: a panic may happen while progress bars are drawn.
fn say(text: &str) {
    lines::say_directly(Priority::Error, text);
}
