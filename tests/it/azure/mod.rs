//! Azure: the clients against an emulator and a fake that Microsoft's own clients accept, and the sources on top.

pub mod client;
mod files;
mod files_refused;
mod files_support;
mod microsoft;
mod odd_blobs;
mod parts;
mod reading;
mod real;
pub mod relay;
mod servers;
mod share_failures;
pub mod shares;
mod storage;
mod storage_apart;
mod storage_changes;
mod storage_kept;
pub mod support;
mod tenant;
mod upload;
