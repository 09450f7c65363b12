//! Channels of alerts through the library: what they make of answers that are rare, hostile or only look like success.

#![allow(clippy::unwrap_used)]

mod desk;
mod mail;
#[allow(dead_code)]
#[path = "../ledger/receiver.rs"]
mod receiver;
mod webhooks;
