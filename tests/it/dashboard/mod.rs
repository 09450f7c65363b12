//! The page that people look at: in a real browser, over a history with everything in it that goes wrong; and the same for
//! programs, tried against its own description.

#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;

mod access;
mod browser;
mod house;
mod interface;
mod server;
