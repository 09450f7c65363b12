//! What systemd runs: the units of the services and timers, and when these are due.

mod planned;
pub mod units;

pub use planned::{Planned, planned};
