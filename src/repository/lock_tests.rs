use jiff::SignedDuration;
use rustic_core::repofile::MasterKey;

use super::*;
use crate::repository::retry::Patience;

fn lock() -> LockFile {
    LockFile::ours(false)
}

#[test]
fn a_living_lock_counts() {
    assert_eq!(lock().stale(Timestamp::now(), None), None);
}

#[test]
fn a_lock_of_a_dead_process_on_this_host_is_stale() {
    let mut child = std::process::Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    let dead = LockFile { pid: child.id().cast_signed(), ..lock() };
    assert_eq!(dead.stale(Timestamp::now(), None), Some("its process is dead"));
    let other_boot = LockFile { pid_scope: Some("another start of this machine".to_owned()), ..dead.clone() };
    assert_eq!(other_boot.stale(Timestamp::now(), None), None);
    // Locks of restic contain only the host name, and "localhost", as in a build sandbox, is not unique.
    let restic = LockFile { pid_scope: None, ..dead };
    let told_apart = restic.hostname != "localhost";
    assert_eq!(restic.stale(Timestamp::now(), None), told_apart.then_some("its process is dead"));
    let elsewhere = LockFile { hostname: "another-host".to_owned(), ..restic };
    assert_eq!(elsewhere.stale(Timestamp::now(), None), None);
}

#[test]
fn a_lock_counts_from_the_time_that_is_in_it() {
    let room = tempfile::tempdir().unwrap();
    let local = LocalStorage::open(room.path(), None, &Patience::short()).unwrap();
    let cipher = Cipher::new(&MasterKey::new()).unwrap();
    let before = Timestamp::now();
    let (name, time) = write(&local, &cipher, false, false).map_err(Error::from).unwrap();
    let data = local.read_lock(&name).unwrap().unwrap();
    let stored: LockFile = serde_json::from_slice(&cipher.decrypt_file(&data).unwrap()).unwrap();
    assert_eq!(stored.time, time, "others count from there");
    assert!(before <= time);
    let storage = Storage::of_directory(local);
    let cancel = Cancel::new();
    let options = LockOptions { exclusive: false, wait: Duration::ZERO, cancel: &cancel, notice: &|_| {} };
    let guard = LockGuard::acquire(&storage, &cipher, &options).map_err(Error::from).unwrap();
    let state = guard.held.as_ref().unwrap().state();
    let data = storage.local().unwrap().read_lock(&state.name).unwrap().unwrap();
    let stored: LockFile = serde_json::from_slice(&cipher.decrypt_file(&data).unwrap()).unwrap();
    assert_eq!(stored.time, state.renewed, "and so does its owner, however long it took to write");
}

#[test]
fn a_lock_that_is_not_renewed_is_stale_after_half_an_hour() {
    let other = LockFile { hostname: "another-host".to_owned(), ..lock() };
    assert_eq!(other.stale(other.time + SignedDuration::from_mins(29), None), None);
    assert!(other.stale(other.time + SignedDuration::from_mins(31), None).is_some());
}

#[test]
fn the_clock_of_the_storage_decides_and_not_that_of_the_owner() {
    let (young, old) = (Some(Duration::from_secs(60)), Some(Duration::from_secs(31 * 60)));
    let day = SignedDuration::from_hours(24);
    let other = LockFile { hostname: "another-host".to_owned(), ..lock() };
    let ahead = LockFile { time: Timestamp::now() + day, ..other.clone() };
    assert_eq!(ahead.stale(Timestamp::now(), young), None, "it is being renewed");
    assert!(ahead.stale(Timestamp::now(), old).is_some(), "its owner is gone");
    let behind = LockFile { time: Timestamp::now() - day, ..other };
    assert_eq!(behind.stale(Timestamp::now(), young), None, "it is being renewed");
}
