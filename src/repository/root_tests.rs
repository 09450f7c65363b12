use super::*;
use crate::stream::cancel::Cancel;
use std::fs;

/// A root whose first operation fails as that of a broken mount does, and what it finds afterwards.
fn after_an_outage(change: impl FnOnce(&Path)) -> (io::Result<()>, Root, tempfile::TempDir) {
    let room = tempfile::tempdir().unwrap();
    let path = room.path().join("repo");
    fs::create_dir_all(path.join("data/00")).unwrap();
    fs::write(path.join("config"), "config").unwrap();
    fs::write(path.join("data/00/pack"), "pack").unwrap();
    let root = Root::open(&path, None, &Patience::short()).unwrap();
    root.know_config(b"config");
    root.has_stored(Id::new([0; 32]), "data/00/pack".to_owned(), 4);
    let mut change = Some(change);
    let outcome = root.attempt(|dir, again| match change.take() {
        Some(change) => {
            assert!(!again);
            change(&path);
            Err(Errno::IO.into())
        }
        None => {
            assert!(again);
            rfs::statat(dir, "new", AtFlags::empty()).map(|_| ()).map_err(io::Error::from)
        }
    });
    (outcome, root, room)
}

/// Replaces the repository by a copy, as if the storage were remounted.
fn replace(path: &Path) {
    let old = path.with_file_name("old");
    fs::rename(path, &old).unwrap();
    fs::create_dir_all(path.join("data/00")).unwrap();
    for name in ["config", "data/00/pack"] {
        fs::copy(old.join(name), path.join(name)).unwrap();
    }
    fs::write(path.join("new"), "").unwrap();
}

#[test]
fn a_remounted_storage_is_used_again() {
    let (outcome, root, _room) = after_an_outage(replace);
    outcome.unwrap();
    root.verify().unwrap();
}

#[test]
fn a_single_unreadable_file_is_lost_and_not_waited_for() {
    let room = tempfile::tempdir().unwrap();
    fs::write(room.path().join("config"), "config").unwrap();
    let root = Root::open(room.path(), None, &Patience::short()).unwrap();
    root.know_config(b"config");
    let fail = |_: &OwnedFd| Err::<(), _>(io::Error::from(Errno::IO));
    let calls = std::cell::Cell::new(0);
    let broken = |dir: &OwnedFd| {
        calls.set(calls.get() + 1);
        fail(dir)
    };
    // Without the doubt this would take an hour.
    let hour = Patience::new(Duration::from_secs(3600), &Cancel::new());
    let lost = root.attempt_read_within(Duration::from_millis(20), &hour, broken).unwrap_err();
    assert!(!passes(&lost) && lost.to_string().contains("the storage answers"), "{lost}");
    assert!(calls.get() > 2, "a connection that was broken for a moment gives the same error");
    assert_eq!(hour.given_up(), 0, "it is no outage");
    // The result is the same without waiting time.
    let hasty = Patience::new(Duration::ZERO, &Cancel::new());
    let lost = root.attempt_read_within(hasty.doubt(), &hasty, fail).unwrap_err();
    assert!(!passes(&lost) && hasty.given_up() == 0, "{lost}");
    // A file that becomes readable again is read.
    let mut failures = 1;
    let read = root.attempt_read_within(Duration::ZERO, &hour, |dir| {
        failures -= 1;
        if failures == 0 { fail(dir) } else { Ok(()) }
    });
    read.unwrap();
    // Where the storage is away altogether, nothing is known of the file.
    fs::remove_file(room.path().join("config")).unwrap();
    let away = root.attempt_read_within(Duration::ZERO, &hasty, fail).unwrap_err();
    assert!(passes(&away), "{away}");
}

#[test]
fn another_repository_and_an_older_state_are_not_written_to() {
    let (outcome, _, _room) = after_an_outage(|path| {
        replace(path);
        fs::write(path.join("config"), "other!").unwrap();
    });
    assert!(outcome.unwrap_err().to_string().contains("another repository"));
    let (outcome, root, _room) = after_an_outage(|path| {
        replace(path);
        fs::remove_file(path.join("data/00/pack")).unwrap();
    });
    assert!(outcome.unwrap_err().to_string().contains("is no longer the directory it was"));
    assert!(root.verify().unwrap_err().summary().contains("data/00/pack, which this run stored, is missing"));
}

#[test]
fn the_directory_underneath_is_not_written_to() {
    let (outcome, _, _room) = after_an_outage(|path| {
        fs::rename(path, path.with_file_name("old")).unwrap();
        fs::create_dir(path).unwrap();
    });
    let error = outcome.unwrap_err();
    assert!(
        passes(&error) && error.to_string().contains("does not contain the repository at present"),
        "{error}"
    );
}
