//! What happens when something goes wrong: tools that fail, processes that are killed, storage that is full, gone,
//! damaged or refuses. The witnesses are real PostgreSQL, real files and stock restic, old and new.

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
mod sftp;
mod silent;
mod sshfs;
mod storage;
mod sweep;
mod unconfirmed;
