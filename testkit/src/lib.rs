//! Shared by the tests of tik-backup: temporary database servers and storages, stock restic, the built program, and visible
//! skips for missing tools.
//!
//! The crate does not use the library `tik_backup`: it can be compiled beside it, and the library's own tests can use it.
//! Errors here panic, so that the test fails.

pub mod azure;
pub mod azurite;
pub mod debian;
pub mod extension;
pub mod fake_clients;
pub mod locked_table;
pub mod mongo;
pub mod mongod;
pub mod mysql;
pub mod mysql_options;
pub mod mysql_world;
pub mod namespace;
pub mod onlookers;
pub mod postgres;
pub mod postgres_options;
pub mod postgres_world;
pub mod process;
pub mod program;
pub mod receiver;
pub mod reports;
pub mod restic;
pub mod running;
pub mod shim;
pub mod site;
pub mod tools;
pub mod tree;

pub use fake_clients::FakeClients;
pub use locked_table::LockedTable;
pub use mongo::MongoServer;
pub use mysql::MyServer;
pub use mysql_options::{MyFlavour, MyOptions};
pub use postgres::PgServer;
pub use postgres_options::{PgOptions, PgVersion};
pub use program::{Cmd, Config, ConfigBuilder, Ran, bin};
pub use restic::Restic;
pub use tools::{Tool, skip, stress};

use std::path::{Path, PathBuf};

/// The directory of the project.
pub fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("testkit is in the project's directory")
}

/// A file in `tests/fixtures`.
pub fn fixture(name: &str) -> PathBuf {
    project().join("tests/fixtures").join(name)
}

/// A directory in cargo's target directory for files that test processes create once and reuse in later runs.
pub fn kept() -> PathBuf {
    let target = program::bin().parent().and_then(Path::parent).expect("a target directory").to_owned();
    let kept = target.join("tmp");
    std::fs::create_dir_all(&kept).unwrap();
    kept
}
