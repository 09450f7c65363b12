//! The systemd units of services and timers, and their next times.

mod planned;
pub mod units;

pub use planned::{Planned, planned};
