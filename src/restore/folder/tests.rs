//! Trees that go through a snapshot in memory and come back.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
};

use super::*;
use crate::{
    source::{
        directory::{
            self,
            testing::{Kept, Memory, back_up, tree},
        },
        layout::Layout,
    },
    stream::files::Special,
};

/// The kind whose files come back with their attributes.
const DIRECTORY: &str = "directory";

fn restored(memory: &Memory, into: &Path, kind: &str) -> Result<FolderReport> {
    restore(memory, into, kind == DIRECTORY, &Choice::All, true, &Cancel::new())
}

/// A malicious snapshot.
fn forged(nodes: &[(&str, NodeKind)]) -> Memory {
    let memory = Memory::default();
    for (path, kind) in nodes {
        let kept = Kept { kind: kind.clone(), attributes: Attributes::default(), content: b"evil".to_vec() };
        memory.kept().insert(path.into(), kept);
    }
    memory
}

fn link(target: &str) -> NodeKind {
    NodeKind::Special(Special::Symlink(target.into()))
}

#[test]
fn a_tree_comes_back_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    tree::build(dir.path());
    let (memory, manifest) = back_up(dir.path(), &[]);
    let out = tempfile::tempdir().unwrap();
    let into = out.path().join("new/folder");
    let report = restored(&memory, &into, "directory").unwrap();
    tree::assert_same(&tree::describe(dir.path()), &tree::describe(&into));
    let detail = manifest.into_detail::<directory::Detail>().unwrap();
    assert_eq!((report.files, report.folders, report.bytes), (detail.files, detail.folders, detail.bytes));
    assert_eq!((report.symlinks, report.others), (detail.symlinks, detail.others));
    assert_eq!(report.notes, Vec::<String>::new());
    assert_eq!(report.escaped, []);
    assert_eq!(report.written.len() as u64, detail.files);
    assert!(report.written.contains(&into.join("names/plain.txt")));
    assert!(report.written.iter().all(|path| path.to_str().is_some()), "JSON has no place for other bytes");
    let sparse = fs::metadata(into.join("contents/sparse")).unwrap();
    assert!(sparse.blocks() * 512 < 1_000_000, "{} blocks", sparse.blocks());
}

#[test]
fn files_of_other_kinds_are_private_whatever_the_snapshot_says() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("folder")).unwrap();
    for name in ["a", "folder/b"] {
        fs::write(dir.path().join(name), name).unwrap();
        fs::set_permissions(dir.path().join(name), fs::Permissions::from_mode(0o7777)).unwrap();
    }
    fs::hard_link(dir.path().join("a"), dir.path().join("c")).unwrap();
    let (memory, _) = back_up(dir.path(), &[]);
    let out = tempfile::tempdir().unwrap();
    let into = out.path().join("out");
    let report = restored(&memory, &into, "mysql").unwrap();
    let mode = |path: &str| fs::metadata(into.join(path)).unwrap().mode() & 0o7777;
    assert_eq!((mode(""), mode("files"), mode("files/folder")), (0o700, 0o700, 0o700));
    assert_eq!((mode("files/a"), mode("files/folder/b"), mode("manifest.json")), (0o600, 0o600, 0o600));
    assert_eq!(fs::metadata(into.join("files/a")).unwrap().nlink(), 1);
    assert_eq!((report.files, report.folders), (4, 2));
}

#[test]
fn a_hostile_snapshot_writes_nothing_outside() {
    let out = tempfile::tempdir().unwrap();
    let outside = out.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let to = outside.to_str().unwrap();
    let file = NodeKind::File(4);
    for nodes in [
        vec![("files", NodeKind::Folder), ("files/../../outside/x", file.clone())],
        vec![("/files", NodeKind::Folder), ("/outside/x", file.clone())],
        // A link that the restore itself makes, and then something below it.
        vec![("files", NodeKind::Folder), ("files/l", link(to)), ("files/l/x", file.clone())],
    ] {
        let into = out.path().join("into");
        for kind in ["directory", "mysql"] {
            // What is no part of the tree may also be passed over, with a note.
            if let Ok(report) = restored(&forged(&nodes), &into, kind) {
                assert!(report.notes[0].contains("not restored"), "{nodes:?}");
            }
            assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "{nodes:?}");
            fs::remove_dir_all(&into).ok();
        }
    }
}

/// A malicious snapshot with entries in a wrong order, or repeated.
struct Listing(Vec<(&'static str, NodeKind)>);

impl Files for Listing {
    fn list(&self) -> Result<Vec<(String, u64)>> {
        Ok(Vec::new())
    }

    fn walk(&self, visit: &mut dyn FnMut(Node<'_>) -> Result<()>) -> Result<()> {
        for (path, kind) in &self.0 {
            let attributes = Attributes::default();
            let content =
                Kept { kind: kind.clone(), attributes: attributes.clone(), content: b"evil".to_vec() };
            visit(Node {
                path: Path::new(path),
                kind: kind.clone(),
                attributes: &attributes,
                content: &content,
            })?;
        }
        Ok(())
    }

    fn read(&self, _path: &str) -> Result<Vec<u8>> {
        Ok(Vec::new())
    }

    fn copy(&self, _path: &str, _target: &mut dyn io::Write) -> Result<u64> {
        Ok(0)
    }
}

#[test]
fn a_name_that_comes_twice_is_not_followed_or_written_over() {
    let out = tempfile::tempdir().unwrap();
    fs::write(out.path().join("victim"), "mine").unwrap();
    let top = ("files", NodeKind::Folder);
    for (number, nodes) in [
        vec![top.clone(), ("files/a", link("../victim")), ("files/a", NodeKind::File(4))],
        vec![
            top.clone(),
            ("files/a", link("..")),
            ("files/a", NodeKind::Folder),
            ("files/a/victim", NodeKind::File(4)),
        ],
        vec![top.clone(), ("files/a", NodeKind::File(4)), ("files/a", NodeKind::File(4))],
        vec![top.clone(), ("files/a", NodeKind::File(4)), ("files/a/b", NodeKind::File(4))],
        vec![top, ("files/a/b", NodeKind::File(4))],
    ]
    .into_iter()
    .enumerate()
    {
        let error = restored_listing(Listing(nodes), &out.path().join(number.to_string())).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("File exists") || text.contains("at another place"), "{number}: {text}");
    }
    assert_eq!(fs::read(out.path().join("victim")).unwrap(), b"mine");
}

fn restored_listing(listing: Listing, into: &Path) -> Result<FolderReport> {
    restore(&listing, into, true, &Choice::All, true, &Cancel::new())
}

#[test]
fn a_file_of_another_length_than_the_snapshot_says_is_an_error() {
    let out = tempfile::tempdir().unwrap();
    let listing = Listing(vec![("files", NodeKind::Folder), ("files/a", NodeKind::File(5))]);
    let error = restored_listing(listing, &out.path().join("x")).unwrap_err();
    assert!(error.to_string().contains("has 4 bytes instead of 5"), "{error}");
}

#[test]
fn a_folder_that_is_not_empty_is_refused_and_one_that_is_keeps_its_place() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a"), "x").unwrap();
    let (memory, _) = back_up(dir.path(), &[]);
    let out = tempfile::tempdir().unwrap();
    let report = restored(&memory, out.path(), "directory").unwrap();
    assert_eq!(report.written, [out.path().join("a")]);
    let error = restored(&memory, out.path(), "directory").unwrap_err();
    assert_eq!(error.kind(), crate::error::Kind::Usage);
    assert!(error.to_string().contains("is not empty"), "{error}");
    let error = restored(&memory, &dir.path().join("a"), "directory").unwrap_err();
    assert!(error.to_string().contains("cannot write"), "{error}");
}

#[test]
fn names_that_are_too_long_are_cut_and_told() {
    let long: &'static str = "é".repeat(300).leak();
    let file: &'static str = format!("files/{long}").leak();
    let folder: &'static str = format!("files/z{long}").leak();
    let in_it: &'static str = format!("files/z{long}/x").leak();
    let out = tempfile::tempdir().unwrap();
    let listing = Listing(vec![
        ("files", NodeKind::Folder),
        (file, NodeKind::File(4)),
        (folder, NodeKind::Folder),
        (in_it, NodeKind::File(4)),
    ]);
    let report = restored_listing(listing, &out.path().join("x")).unwrap();
    assert_eq!(report.escaped.len(), 2, "{:?}", report.escaped);
    assert_eq!(report.escaped[0].stored, Path::new(long));
    for written in report.escaped.iter().map(|escaped| &escaped.written).chain(&report.written) {
        assert!(written.exists() && written.to_str().is_some(), "{written:?}");
    }
    assert!(report.notes[0].contains("too long"), "{:?}", report.notes);
}

#[test]
fn an_attribute_that_cannot_be_set_is_noted() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a"), "x").unwrap();
    symlink("a", dir.path().join("b")).unwrap();
    let (memory, _) = back_up(dir.path(), &[]);
    for kept in memory.kept().values_mut() {
        kept.attributes.xattrs.push(("nonsense.name".to_owned(), b"x".to_vec()));
    }
    let out = tempfile::tempdir().unwrap();
    let report = restored(&memory, &out.path().join("x"), "directory").unwrap();
    assert!(report.notes[0].starts_with("extended attributes that could not be set: nonsense.name of "));
    assert_eq!(report.files, 1);
}

#[test]
fn an_empty_snapshot_of_a_database_is_an_error_and_an_empty_folder_is_not() {
    let out = tempfile::tempdir().unwrap();
    let error = restored(&Memory::default(), &out.path().join("a"), "mysql").unwrap_err();
    assert_eq!(error.to_string(), "the snapshot holds no files");
    let dir = tempfile::tempdir().unwrap();
    let (memory, _) = back_up(dir.path(), &[]);
    assert_eq!(restored(&memory, &out.path().join("b"), "directory").unwrap(), FolderReport::default());
}

/// The files that are written from a snapshot of the directory `dir` with these arguments.
fn part(dir: &Path, into: &Path, patterns: &[&str]) -> Result<FolderReport> {
    let (memory, manifest) = back_up(dir, &[]);
    let patterns: Vec<OsString> = patterns.iter().map(OsString::from).collect();
    let cancel = Cancel::new();
    let item = (manifest.source.as_str(), manifest.item.as_str());
    let choice = Choice::of(&memory, Layout::Tree, item, &patterns, &cancel)?;
    restore(&memory, into, true, &choice, true, &cancel)
}

#[test]
fn only_what_is_chosen_is_written_and_the_folders_above_it_are_as_they_were() {
    let dir = tempfile::tempdir().unwrap();
    tree::build(dir.path());
    let before = tree::describe(dir.path());
    let out = tempfile::tempdir().unwrap();
    let into = out.path().join("one");
    let report = part(dir.path(), &into, &["contents/noise"]).unwrap();
    assert_eq!((report.files, report.folders), (1, 1));
    let expected = |wanted: &dyn Fn(&[u8]) -> bool| -> BTreeMap<Vec<u8>, String> {
        before.iter().filter(|(path, _)| wanted(path)).map(|(p, t)| (p.clone(), t.clone())).collect()
    };
    tree::assert_same(
        &expected(&|path| path.is_empty() || path == b"contents" || path == b"contents/noise"),
        &tree::describe(&into),
    );

    let into = out.path().join("two");
    part(dir.path(), &into, &["/modes/", "links/dangling"]).unwrap();
    let below_modes = |path: &[u8]| path == b"modes" || path.starts_with(b"modes/");
    tree::assert_same(
        &expected(&|path| {
            path.is_empty() || below_modes(path) || path == b"links" || path == b"links/dangling"
        }),
        &tree::describe(&into),
    );
}

#[test]
fn a_link_whose_first_name_is_not_chosen_is_a_file_and_the_next_is_linked_to_it() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("z")).unwrap();
    fs::write(dir.path().join("a"), "linked").unwrap();
    for name in ["b", "c", "z/d"] {
        fs::hard_link(dir.path().join("a"), dir.path().join(name)).unwrap();
    }
    let out = tempfile::tempdir().unwrap();
    let into = out.path().join("x");
    let report = part(dir.path(), &into, &["b", "z"]).unwrap();
    assert_eq!((report.files, report.bytes, report.notes), (2, 12, Vec::new()));
    let (b, d) = (fs::metadata(into.join("b")).unwrap(), fs::metadata(into.join("z/d")).unwrap());
    assert_eq!((b.nlink(), b.ino()), (2, d.ino()));
    assert_eq!(fs::read(into.join("z/d")).unwrap(), b"linked");
    assert!(!into.join("a").exists() && !into.join("c").exists());
}

#[test]
fn nothing_is_written_if_nothing_is_chosen() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("invoice.pdf"), "x").unwrap();
    let out = tempfile::tempdir().unwrap();
    let error = part(dir.path(), &out.path().join("x"), &["invoices.pdf"]).unwrap_err();
    assert!(error.to_string().contains("did you mean 'invoice.pdf'?"), "{error}");
    assert!(!out.path().join("x").exists());
    fs::create_dir(dir.path().join("empty")).unwrap();
    let report = part(dir.path(), &out.path().join("x"), &["empty"]).unwrap();
    assert_eq!((report.files, report.folders), (0, 1), "a folder without files is something");
}

#[test]
fn the_stop_flag_ends_it() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a"), "x").unwrap();
    let (memory, _) = back_up(dir.path(), &[]);
    let cancel = Cancel::new();
    cancel.cancel("test");
    let out = tempfile::tempdir().unwrap();
    let error = restore(&memory, &out.path().join("x"), true, &Choice::All, true, &cancel).unwrap_err();
    assert_eq!(error.to_string(), "stopped: test");
}

#[test]
fn rights_that_a_file_lends_and_devices_are_restored_only_if_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let chmod = |name: &str, mode| {
        fs::set_permissions(dir.path().join(name), fs::Permissions::from_mode(mode)).unwrap()
    };
    fs::write(dir.path().join("su"), "x").unwrap();
    fs::create_dir(dir.path().join("shared")).unwrap();
    chmod("su", 0o6755);
    chmod("shared", 0o2775);
    let (memory, _) = back_up(dir.path(), &[]);
    let device = NodeKind::Special(Special::CharDevice(0x103));
    let owned = memory.kept().values().next().unwrap().attributes.clone();
    let kept = Kept {
        kind: device,
        attributes: Attributes { links: 1, inode: 0, xattrs: Vec::new(), ..owned },
        content: Vec::new(),
    };
    memory.kept().insert(Path::new(CONTENT).join("null"), kept);
    let out = tempfile::tempdir().unwrap();
    let mode = |into: &Path, name: &str| fs::metadata(into.join(name)).unwrap().mode() & 0o7777;

    let into = out.path().join("without");
    let report = restore(&memory, &into, true, &Choice::All, false, &Cancel::new()).unwrap();
    assert_eq!((mode(&into, "su"), mode(&into, "shared")), (0o755, 0o2775), "a folder lends nothing");
    assert!(!into.join("null").exists());
    let told = report.notes.join("\n");
    for part in ["su (mode 6755)", "devices not restored", "null", WITH_PRIVILEGES] {
        assert!(told.contains(part), "{told}");
    }

    let into = out.path().join("with");
    let report = restore(&memory, &into, true, &Choice::All, true, &Cancel::new()).unwrap();
    assert_eq!((mode(&into, "su"), mode(&into, "shared")), (0o6755, 0o2775));
    assert!(!report.notes.join("\n").contains(WITH_PRIVILEGES));
    // Outside of a container only root may make a device.
    assert_eq!(into.join("null").exists(), report.others == 1);
}
