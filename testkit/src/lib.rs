//! What integration tests stand on: throwaway database servers, stock restic, the built program, and
//! visible skips where a tool is not there.

// Every file in tests/ is a crate of its own and compiles this module anew, but none uses all of it.
#![allow(dead_code, unused_imports)]
// In a test a panic is the report of a failure, and stderr is where a skip must be seen.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

pub mod azure;
pub mod azurite;
pub mod extension;
pub mod mongo;
pub mod mongod;
pub mod mysql;
pub mod mysql_options;
pub mod namespace;
pub mod postgres;
pub mod postgres_options;
pub mod process;
pub mod program;
pub mod restic;
pub mod tools;

pub use mongo::MongoServer;
pub use mysql::MyServer;
pub use mysql_options::{MyFlavour, MyOptions};
pub use postgres::PgServer;
pub use postgres_options::{PgOptions, PgVersion};
pub use program::{Cmd, Config, ConfigBuilder, Ran, bin};
pub use restic::Restic;
pub(crate) use tools::skip_unless;
pub use tools::{Tool, skip, stress};

use std::path::PathBuf;

/// A file in `tests/fixtures`.
pub fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}
