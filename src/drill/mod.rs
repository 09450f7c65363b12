//! Proof of restore: snapshots are restored into scratch servers and compared with what was backed up. Each kind of
//! source defines how. This module chooses the items, their order and servers, and records the results.

mod ahead;
mod notify;
mod observer;
mod plan;
mod pool;
mod run;
mod selftest;
mod siblings;
mod verdict;

pub use observer::Observer;
pub use plan::Request;
pub use run::run;
pub use selftest::{Mutation, self_test};
pub use verdict::Report;
