//! What is printed when the program has a fault.

use std::{
    panic::{self, PanicHookInfo},
    sync::atomic::{AtomicBool, Ordering},
};

use crate::output::lines::{self, Priority};

/// Prints one plain line instead of the standard text of a panic; what was wrong and where is said only if `verbose`.
///
/// The repository's library ends its own threads by panicking when they are not needed any more, as after an error that it
/// returns. That is no fault and not worth a line.
pub(super) fn quiet(verbose: bool) {
    let said = AtomicBool::new(false);
    panic::set_hook(Box::new(move |info| {
        if verbose {
            say(&format!("internal error: {info}"));
        } else if !is_of_library(info) && !said.swap(true, Ordering::Relaxed) {
            say("internal error: please report it, with what the same command prints with -v");
        }
    }));
}

fn is_of_library(info: &PanicHookInfo<'_>) -> bool {
    let of_library = |file: &str| file.contains("rustic_core-") || file.contains("rustic_backend-");
    info.location().is_some_and(|location| of_library(location.file()))
}

/// Directly: a panic may come while bars are drawn.
fn say(text: &str) {
    lines::say_directly(Priority::Error, text);
}
