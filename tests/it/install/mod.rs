//! How the program is installed and run: units, the package for Debian on a machine with a real systemd, the module for
//! NixOS, and the runbook, whose commands are executed.

mod document;
mod evaluation;
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
