//! When something is due: systemd's calendar expressions, and the units that act on them.

mod calendar;
mod component;
mod planned;
pub mod units;

pub use calendar::Calendar;
pub use planned::{Planned, planned};
