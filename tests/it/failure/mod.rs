//! Failures: failing tools, killed processes, and storage that is full, missing, damaged or refuses. Results are checked with
//! real PostgreSQL, real files and stock restic, old and new.

mod cifs;
mod compat;
mod damage;
mod disk;
mod far;
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
