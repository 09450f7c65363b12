//! Folders of this machine through the built program and stock restic: what is backed up, what comes back, and how it
//! fails.

#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/reports.rs"]
mod reports;
#[allow(dead_code)]
#[path = "../failure/running.rs"]
mod running;
#[allow(dead_code)]
#[path = "../failure/shim.rs"]
mod shim;

mod changes;
mod failures;
mod hosts;
mod parts;
mod patterns;
mod round_trip;
mod sparse;
mod support;
mod terminal;
mod tree;
