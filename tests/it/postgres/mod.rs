//! The source `postgres` against real servers of two versions: what is backed up, and what comes back.

mod busy;
mod contracts;
mod discovery;
mod encodings;
mod globals;
mod manifests;
mod many;
mod names;
mod pooler;
mod restore;
mod restore_continue;
mod restore_extensions;
mod restore_parallel;
mod restore_properties;
mod restore_verify;
mod retention;
mod round_trip;
mod secrets;
mod support;
mod tables;
mod unprivileged;
mod versions;
