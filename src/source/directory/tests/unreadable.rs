//! Unreadable files are left out and named; if nothing can be read, the item fails.

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

use super::super::{
    Detail,
    testing::{Memory, dump, source},
};

/// Runs something without root's right to read everything, which threads have each for themselves.
pub(super) fn without_privileges<T: Send>(run: impl FnOnce() -> T + Send) -> T {
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

pub(super) fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn files_and_folders_that_cannot_be_read_are_left_out_and_named() {
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
    let manifest = without_privileges(|| dump(&source(dir.path(), &[]), &memory)).unwrap();
    memory.finish(&manifest);
    assert_eq!(memory.paths(), ["a", "b", "b/file", "b/link", "z"], "everything else is there");
    let named: Vec<_> = manifest.omitted.iter().map(|o| (o.kind.as_str(), o.name.as_str())).collect();
    assert_eq!(named, [("file", "a/file"), ("file", "z/file"), ("folder", "locked")]);
    assert!(manifest.omitted.iter().all(|o| o.reason == "Permission denied (os error 13)"));
    let detail = manifest.detail::<Detail>().unwrap();
    assert_eq!((detail.files, detail.folders, detail.symlinks), (1, 3, 1), "only what is stored counts");
    let notes = manifest.notes.join("\n");
    assert!(notes.contains("CAP_DAC_READ_SEARCH") && notes.contains("`exclude`"), "{notes}");
    assert!(!notes.contains("a/file"), "{notes}");

    let exclude = ["/a/file", "locked/", "/z/**"];
    let manifest = without_privileges(|| dump(&source(dir.path(), &exclude), &Memory::default())).unwrap();
    assert_eq!(manifest.detail::<Detail>().unwrap().files, 1, "what is excluded is not touched");
    assert!(manifest.omitted.is_empty() && manifest.notes.is_empty(), "{:?}", manifest.notes);
    chmod(&dir.path().join("locked"), 0o700);
}

#[test]
fn an_item_of_which_not_one_file_can_be_read_fails() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("folder")).unwrap();
    symlink("folder", dir.path().join("link")).unwrap();
    for name in ["secret", "folder/other"] {
        fs::write(dir.path().join(name), "x").unwrap();
        chmod(&dir.path().join(name), 0);
    }
    let text =
        without_privileges(|| dump(&source(dir.path(), &[]), &Memory::default())).unwrap_err().to_string();
    assert!(text.contains("no file in") && text.contains("2 files or directories cannot be read"), "{text}");
    assert!(text.contains("secret (Permission denied") && text.contains("CAP_DAC_READ_SEARCH"), "{text}");
    fs::write(dir.path().join("readable"), "x").unwrap();
    let manifest = without_privileges(|| dump(&source(dir.path(), &[]), &Memory::default())).unwrap();
    assert_eq!(manifest.omitted.len(), 2);
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
