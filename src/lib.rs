//! tik-backup: finds every database of the configured servers, streams each into a restic repository, and puts it
//! back. `docs/design.md` tells how the parts belong together.

pub mod alert;
pub mod azure;
pub mod backup;
pub mod calendar;
pub mod cli;
pub mod config;
mod demo;
mod doctor;
pub mod drill;
pub mod error;
pub mod forget;
mod fs;
pub mod history;
mod known;
pub mod moment;
pub mod outcome;
pub mod output;
pub mod report;
pub mod repository;
pub mod restore;
pub mod scratch;
pub mod settings;
pub mod source;
pub mod stream;
pub mod survey;
pub mod systemd;
mod tls;
mod workers;

#[cfg(test)]
mod layers_tests;
