//! Streams between children, the repository and servers: bounded memory, and no end of a stream without its reason.

pub mod cancel;
pub mod child;
pub mod digest;
pub mod files;
pub mod input;
pub(crate) mod pipe;
pub mod private;
pub(crate) mod process;
pub mod sink;
pub mod sparse;
pub(crate) mod starter;
mod stderr;
