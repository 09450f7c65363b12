//! Restores into servers of our own: throwaway servers that live as long as they are needed and leave nothing behind.

pub(crate) mod bound;
mod daemon;
mod folder;
pub mod mongodb;
pub mod mysql;
pub mod scratch;

pub use folder::ScratchDir;
