//! Alerts: which problems are sent, through which channels, and their delivery.

mod beat;
mod cause;
pub mod channel;
mod deliver;
mod rules;
mod text;
mod unit;

pub use beat::{Beat, Trouble, beat, knows_other_runs, troubles, within};
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

/// Sends alerts: changes since the last alert, undelivered messages, and the lines in `once`. If the history cannot be
/// written, earlier alerts are unknown and all problems are sent.
///
/// # Errors
/// Memory is short.
pub fn notify(
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
