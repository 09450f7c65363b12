//! Folders of this machine through the built program and stock restic: what is backed up, what is restored, and how it
//! fails.

mod changes;
mod failures;
mod hosts;
mod parts;
mod patterns;
mod round_trip;
mod sparse;
mod support;
mod terminal;
