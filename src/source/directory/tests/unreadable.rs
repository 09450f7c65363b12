//! What cannot be read makes the item fail.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    thread,
};

use rustix::{
    process::geteuid,
    thread::{CapabilitySet, capabilities, set_capabilities},
};

use super::super::testing::{Memory, dump, source};

/// Runs something without root's right to read everything, which threads have each for themselves.
fn without_privileges<T: Send>(run: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            if geteuid().is_root() {
                let mut sets = capabilities(None).unwrap();
                sets.effective -= CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH;
                set_capabilities(None, sets).unwrap();
            }
            run()
        });
        thread.join().unwrap()
    })
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn files_and_folders_that_cannot_be_read_are_all_found_before_the_item_fails() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a", "b", "locked", "z"] {
        fs::create_dir(dir.path().join(name)).unwrap();
        fs::write(dir.path().join(name).join("file"), "x").unwrap();
    }
    chmod(&dir.path().join("a/file"), 0);
    chmod(&dir.path().join("locked"), 0);
    chmod(&dir.path().join("z/file"), 0);
    symlink("/root/nothing", dir.path().join("b/link")).unwrap();
    let memory = Memory::default();
    let error = without_privileges(|| dump(&source(dir.path(), &[]), &memory)).unwrap_err().to_string();
    assert!(error.starts_with("3 files or folders cannot be read: "), "{error}");
    for name in ["a/file (Permission denied", "locked (Permission denied", "z/file (Permission denied"] {
        assert!(error.contains(name), "{error}");
    }
    assert!(error.contains("CAP_DAC_READ_SEARCH") && error.contains("`exclude`"), "{error}");
    assert!(memory.get("b/file").is_some(), "the walk went on");

    let exclude = ["/a/file", "locked/", "/z/**"];
    let manifest = without_privileges(|| dump(&source(dir.path(), &exclude), &Memory::default())).unwrap();
    assert_eq!(manifest.directory.unwrap().files, 1, "what is excluded is not touched");
    chmod(&dir.path().join("locked"), 0o700);
}

#[test]
fn a_root_that_cannot_be_read_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    fs::create_dir(&root).unwrap();
    chmod(&root, 0);
    let error = without_privileges(|| dump(&source(&root, &[]), &Memory::default())).unwrap_err().to_string();
    assert!(error.contains("Permission denied") && error.contains("let the account"), "{error}");
}
