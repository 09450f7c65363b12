//! What is remembered of runs, what is made of it, and who is told: the built program against real servers and real
//! receivers, under clocks that tests move.

#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/reports.rs"]
mod reports;
#[allow(dead_code)]
#[path = "../failure/running.rs"]
mod running;

mod alerts;
mod anomalies;
mod beats;
mod causes;
mod changes;
mod channels;
mod clock;
mod history;
mod jumps;
mod mail;
mod metrics;
mod receiver;
mod repositories;
mod schedule;
mod secrets;
mod site;
mod smtp;
mod volume;
mod watch;
