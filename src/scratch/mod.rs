//! Scratch servers of any kind: their directory, their process, which is bound to this one, and its confinement. Details of one kind
//! of server are in the directory of that kind.

pub(crate) mod bound;
pub(crate) mod daemon;
mod folder;
mod orphans;
pub mod sandbox;
pub(crate) mod space;

pub use folder::ScratchDir;
pub use sandbox::Rules;
