//! A stand-in for Azure: token endpoint, Resource Manager and File service on a port of 127.0.0.1.
//!
//! It keeps everything in memory, checks tokens and SharedKey signatures itself, counts requests and can simulate failures.
//! `tests/it/azure/microsoft.rs` tests it with Microsoft's own clients. It has no blobs: for those there is Azurite.

mod arm;
mod entries;
mod fake;
mod faults;
mod files;
mod http;
mod listing;
mod signature;
mod tree;
mod world;

pub use fake::{CLIENT, FakeAzure, MANAGEMENT_SCOPE, SECRET, STORAGE_SCOPE, TENANT};
pub use faults::Fault;
pub use tree::{Directory, FileNode, Node, Share, Snapshot};
pub use world::{Account, ListKeys, Logged, PERMISSION, PERMISSION_KEY, Server};
