//! Directories of this machine with the built program and stock restic: backup, restore, and how it
//! fails.

mod changes;
mod failures;
mod future;
mod host_names;
mod hosts;
mod parts;
mod patterns;
mod round_trip;
mod sparse;
mod support;
mod terminal;
