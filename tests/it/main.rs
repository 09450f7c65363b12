//! Every integration test of the project, in one binary with a module for each topic: the library is linked once, and a
//! helper is compiled once. What the topics share is the crate `testkit`.

// In a test a panic is the report of a failure, and some tests print what they measured.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod alerts;
mod azure;
mod contract;
mod dashboard;
mod demo;
mod drill;
mod failure;
mod files;
mod install;
mod ledger;
mod mongo;
mod mysql;
mod postgres;
mod servers;
