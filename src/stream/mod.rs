//! Streams between child processes, the repository and servers, with bounded memory. The end of a stream is either success or an
//! error with its reason.

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
