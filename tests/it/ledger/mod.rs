//! What is remembered of runs, what is made of it, and who is told: the built program against real servers and real
//! receivers, under clocks that tests move.

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
