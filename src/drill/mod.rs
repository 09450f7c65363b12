//! Proof of restore: snapshots are restored into scratch servers and compared with what was backed up. How that is done for a kind
//! of source, the kind knows; here is what is tried, in which order, on which servers, and what is written down.

mod plan;
mod run;
mod selftest;
mod siblings;
mod stage;
mod tell;
mod verdict;

pub use plan::Request;
pub use run::{Observer, run};
pub use selftest::{Mutation, self_test};
pub use verdict::Report;
