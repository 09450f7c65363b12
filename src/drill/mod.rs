//! Proof of restore: snapshots are restored into servers of our own and compared with what was backed up; and the servers,
//! which live as long as they are needed and leave nothing behind.

pub(crate) mod bound;
mod daemon;
mod folder;
pub mod mongodb;
pub mod mysql;
mod orphans;
mod plan;
pub(crate) mod prove;
mod run;
pub mod sandbox;
pub mod scratch;
mod selftest;
mod siblings;
mod space;
mod stage;
mod tell;
mod verdict;

pub use folder::ScratchDir;
pub use plan::Request;
pub use run::{Observer, run};
pub use sandbox::Rules;
pub use selftest::{Mutation, SelfTest, Untested, self_test};
pub use verdict::{Left, Report};
