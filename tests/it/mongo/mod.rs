//! The source `mongodb` against a real server: what is backed up, what is restored, and how it fails.

mod atlas;
mod consistency;
mod discovery;
mod failures;
mod fake;
mod golden;
mod link;
mod memory;
mod names;
mod real;
mod relay;
mod restore;
mod round_trip;
mod scripted;
mod secrets;
mod stock;
mod support;
mod types;
mod wire;
