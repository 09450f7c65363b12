//! When something is due: systemd's calendar expressions.

mod calendar;
mod component;

pub use calendar::Calendar;
