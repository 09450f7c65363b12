//! Telling whoever must know: what is told, through which channels, and that it arrives.

mod beat;
mod cause;
pub mod channel;
mod deliver;
mod rules;
mod text;
mod unit;

pub use beat::{Beat, Trouble, beat, knows_the_past, troubles, within};
pub use cause::{Cause, causes};
pub use deliver::{Delivery, Failure, deliver, test};
pub use rules::{after, line, lines, own_lines};
pub use unit::{Monitor, unit_failed};

use crate::{
    config::Config,
    error::Result,
    history::{
        History,
        ledger::{Ledger, Problem, ProblemKind},
        message::Line,
    },
    stream::cancel::Cancel,
};

/// Tells what has changed since the last time, what could not be told then, and what `once` says. Without a history that can
/// be written it is not known what was told: then all that is wrong is told.
///
/// # Errors
/// Memory is short.
pub fn tell(
    config: &Config,
    history: &History,
    ledger: &Ledger,
    once: &[Line],
    cancel: &Cancel,
) -> Result<Delivery> {
    let Err(error) = after(config, history, ledger, once) else {
        return Ok(deliver(config, history, cancel));
    };
    history.fails_with(&error);
    let memory = History::in_memory()?;
    let mut ledger = ledger.clone();
    if ledger.problems.iter().all(|problem| problem.kind != ProblemKind::History) {
        ledger.problems.push(Problem::of_history(&error));
    }
    after(config, &memory, &ledger, once)?;
    Ok(deliver(config, &memory, cancel))
}
