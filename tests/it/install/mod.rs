//! How the program is installed and run: units, the package for Debian on a machine with a real systemd, the module for
//! NixOS, and the runbook, whose commands are executed.

#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;
#[allow(dead_code)]
#[path = "../ledger/receiver.rs"]
mod receiver;
#[path = "../common/reports.rs"]
mod reports;
#[allow(dead_code)]
#[path = "../failure/running.rs"]
mod running;
#[allow(dead_code)]
#[path = "../mysql/support.rs"]
mod support;

mod document;
mod machine;
mod nix;
mod nix_package;
mod nixos;
mod nixos_host;
mod options;
mod package;
mod runbook;
mod sources;
mod units;
