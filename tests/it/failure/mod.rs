//! What happens when something goes wrong: tools that fail, processes that are killed, storage that is full, gone,
//! damaged or refuses. The witnesses are real PostgreSQL, real files and stock restic, old and new.

#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;

mod cifs;
mod compat;
mod damage;
mod disk;
mod gate;
mod kill;
mod locks;
mod lost;
mod lost_for_good;
mod moments;
mod mount;
mod moving;
mod operations;
mod place;
mod pruned_beside;
mod remote;
mod rest_server;
mod running;
mod sftp;
mod shim;
mod silent;
mod sshfs;
mod storage;
mod sweep;
mod unconfirmed;
mod world;
