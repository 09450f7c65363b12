//! Telling whoever must know: what is told, through which channels, and that it arrives.

mod beat;
mod cause;
pub mod channel;
mod deliver;
pub mod message;
mod rules;
mod text;
mod unit;

pub use beat::{Beat, Trouble, beat, knows_the_past, troubles, within};
pub use cause::{Cause, causes};
pub use deliver::{Delivery, Failure, deliver, test};
pub use rules::{after, channel_kinds, item_lines, lines};
pub use unit::{Monitor, unit_failed};

use crate::{
    config::Config,
    error::Result,
    history::{History, ledger::Ledger},
    stream::cancel::Cancel,
};

/// Tells what has changed since the last time, what could not be told then, and what `once` says.
///
/// # Errors
/// The history cannot be read or written.
pub fn tell(
    config: &Config,
    history: &History,
    ledger: &Ledger,
    once: &[message::Line],
    cancel: &Cancel,
) -> Result<Delivery> {
    after(config, history, ledger, once)?;
    Ok(deliver(config, history, cancel))
}
