//! History, ledger and alerts: the built program with real servers and real receivers, at simulated times.

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
mod repositories;
mod schedule;
mod secrets;
mod smtp;
mod volume;
mod watch;
