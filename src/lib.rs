//! tik-backup: finds every database of the configured servers, streams each into a restic repository, and puts it
//! back. `docs/design.md` is the map of the parts.

// Code that only an optional part uses is dead in a build without that part. The build with all parts is checked for dead code.
#![cfg_attr(not(all(feature = "dashboard", feature = "mongodb")), allow(dead_code))]

pub mod alert;
pub mod azure;
pub mod backup;
pub mod calendar;
pub(crate) mod cli;
pub mod config;
pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod drill;
pub mod error;
pub(crate) mod forget;
pub(crate) mod fs;
pub mod history;
pub(crate) mod known;
pub(crate) mod moment;
pub mod outcome;
pub(crate) mod output;
pub(crate) mod report;
pub(crate) mod repository;
pub(crate) mod restore;
pub(crate) mod scratch;
pub mod settings;
pub mod source;
pub mod stream;
pub mod survey;
pub(crate) mod systemd;
pub(crate) mod tls;
pub(crate) mod workers;

pub use cli::main;

#[cfg(test)]
mod layers_tests;
