//! The walk over real trees, into a repository in memory.

mod left_out;
mod limits;
mod meddling;
mod patterns;
mod unreadable;

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    time::Duration,
};

use jiff::Zoned;

use super::{
    testing::{Memory, back_up, configured, dump, source, tree},
    *,
};
use crate::{fs::open, stream::files::NodeKind};

/// A snapshot made so long after the last change that nothing can have changed within a tick of the clock.
fn settled(path: &Path) -> Memory {
    let memory = Memory::default();
    let mut manifest = dump(&source(path, &[]), &memory).unwrap();
    manifest.started = Zoned::now().checked_add(Duration::from_secs(60)).unwrap();
    memory.finish(&manifest);
    memory
}

#[test]
fn everything_is_stored_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    tree::build(dir.path());
    let (memory, manifest) = back_up(dir.path(), &[]);
    let mut counts = [0_u64; 4];
    let mut bytes = 0;
    tree::each(dir.path(), &mut |path| {
        let meta = fs::symlink_metadata(path).unwrap();
        let tpe = meta.file_type();
        counts[if tpe.is_file() {
            bytes += meta.len();
            0
        } else if tpe.is_dir() {
            1
        } else if tpe.is_symlink() {
            2
        } else {
            3
        }] += 1;
        let kept = memory.get(path.strip_prefix(dir.path()).unwrap()).unwrap();
        if tpe.is_file() {
            assert!(kept.content == fs::read(path).unwrap(), "{path:?}");
        }
    });
    let detail = manifest.detail::<Detail>().unwrap();
    assert_eq!([detail.files, detail.folders, detail.symlinks, detail.others], counts);
    assert_eq!((detail.bytes, detail.taken_over, detail.vanished, detail.changed), (bytes, 0, 0, 0));
    assert_eq!(memory.paths().len() as u64, detail.entries());
    assert_eq!(manifest.objects[0].rows, detail.entries());
    assert_eq!(manifest.notes, Vec::<String>::new());
    let (_, again) = back_up(dir.path(), &[]);
    assert_eq!(again.detail::<Detail>().unwrap().digest, detail.digest);
}

#[test]
fn what_has_not_changed_is_not_read_again() {
    let dir = tempfile::tempdir().unwrap();
    tree::build(dir.path());
    let previous = settled(dir.path());
    let then =
        Manifest::from_json(&crate::stream::files::Files::read(&previous, "manifest.json").unwrap()).unwrap();
    fs::write(dir.path().join("contents/empty"), "no more").unwrap();
    let time = fs::metadata(dir.path().join("names/plain.txt")).unwrap().modified().unwrap();
    // Another content of the same length, with its time set back.
    fs::write(dir.path().join("names/plain.txt"), "CONTENT 0").unwrap();
    fs::File::options()
        .write(true)
        .open(dir.path().join("names/plain.txt"))
        .unwrap()
        .set_modified(time)
        .unwrap();
    let memory = Memory::after(previous);
    let manifest = dump(&source(dir.path(), &[]), &memory).unwrap();
    let mut read = memory.read.lock().clone();
    read.sort();
    assert_eq!(read, [Path::new("files/contents/empty"), Path::new("files/names/plain.txt")]);
    let (detail, then) = (manifest.detail::<Detail>().unwrap(), then.into_detail::<Detail>().unwrap());
    assert_eq!((detail.taken_over, detail.files), (then.files - 2, then.files));
    assert_ne!(detail.digest, then.digest);
    assert_eq!(memory.get("names/plain.txt").unwrap().content, b"CONTENT 0");
    assert_eq!(memory.get("contents/noise").unwrap().content.len(), 3_000_000);
}

#[test]
fn what_changed_just_before_the_previous_backup_is_read_again() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("fresh"), "x").unwrap();
    let (previous, _) = back_up(dir.path(), &[]);
    let memory = Memory::after(previous);
    let manifest = dump(&source(dir.path(), &[]), &memory).unwrap();
    assert_eq!(manifest.detail::<Detail>().unwrap().taken_over, 0);
}

#[test]
fn a_previous_snapshot_whose_manifest_is_damaged_is_not_relied_on() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "x").unwrap();
    let previous = settled(dir.path());
    previous.kept().get_mut(Path::new("manifest.json")).unwrap().content.truncate(10);
    let memory = Memory::after(previous);
    let manifest = dump(&source(dir.path(), &[]), &memory).unwrap();
    assert_eq!(manifest.detail::<Detail>().unwrap().taken_over, 0);
    assert!(manifest.notes[0].contains("read again"), "{:?}", manifest.notes);
}

#[test]
fn excludes_keep_out_what_they_say_and_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    for path in ["cache/x/y", "a/cache/z", "a/b/keep", "a/b/skip.tmp"] {
        fs::create_dir_all(dir.path().join(path).parent().unwrap()).unwrap();
        fs::write(dir.path().join(path), "x").unwrap();
    }
    let (memory, manifest) = back_up(dir.path(), &["/cache", "*.tmp", "keep/"]);
    assert_eq!(memory.paths(), ["a", "a/b", "a/b/keep", "a/cache", "a/cache/z"]);
    let excluded = manifest.into_detail::<Detail>().unwrap().excluded;
    let counts: Vec<_> = excluded.iter().map(|rule| (rule.pattern.as_str(), rule.entries)).collect();
    assert_eq!(counts, [("/cache", 1), ("*.tmp", 1), ("keep/", 0)]);
}

#[test]
fn a_tree_may_be_deeper_than_there_are_file_descriptors_for() {
    let dir = tempfile::tempdir().unwrap();
    let mut fd = open::open_top(dir.path()).unwrap();
    // Deeper than a path may be long.
    for _ in 0..600 {
        use std::os::fd::AsFd;
        rustix::fs::mkdirat(&fd, "0123456789", rustix::fs::Mode::RWXU).unwrap();
        rustix::fs::symlinkat("target", &fd, "z").unwrap();
        fd = open::open_folder(fd.as_fd(), "0123456789").unwrap();
    }
    let (_, manifest) = back_up(dir.path(), &[]);
    let detail = manifest.detail::<Detail>().unwrap();
    assert_eq!(
        (detail.folders, detail.symlinks),
        (600, 600),
        "also what comes after a folder, on the way up"
    );
}

#[test]
fn an_empty_folder_is_fine_unless_it_was_not_empty_before() {
    let dir = tempfile::tempdir().unwrap();
    let (empty, manifest) = back_up(dir.path(), &[]);
    assert_eq!(manifest.detail::<Detail>().unwrap().entries(), 0);
    let still_empty = Memory::after(empty);
    let manifest = dump(&source(dir.path(), &[]), &still_empty).unwrap();
    still_empty.finish(&manifest);

    fs::write(dir.path().join("a"), "x").unwrap();
    fs::create_dir(dir.path().join("b")).unwrap();
    let full = Memory::after(still_empty);
    full.finish(&dump(&source(dir.path(), &[]), &full).unwrap());
    fs::remove_file(dir.path().join("a")).unwrap();
    fs::remove_dir(dir.path().join("b")).unwrap();
    let text = dump(&source(dir.path(), &[]), &Memory::after(full)).unwrap_err().to_string();
    assert!(text.contains("is empty now; it had 2 files and directories"), "{text}");
    assert!(text.contains("mount its filesystem"), "{text}");
}

#[test]
fn a_folder_of_which_nothing_is_left_by_exclude_is_not_said_to_be_empty() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a.log", "b.log"] {
        fs::write(dir.path().join(name), "x").unwrap();
    }
    let (full, _) = back_up(dir.path(), &[]);
    let text = dump(&source(dir.path(), &["*.log"]), &Memory::after(full)).unwrap_err().to_string();
    let now = format!("everything in {} is left out by `exclude`; it had 2 files", dir.path().display());
    assert!(text.starts_with(&now) && text.contains("\n  → correct `exclude`"), "{text}");
    assert!(!text.contains("empty"), "{text}");
    // One that never had anything else is as the operator wants it.
    let (_, manifest) = back_up(dir.path(), &["*.log"]);
    assert_eq!(manifest.detail::<Detail>().unwrap().excluded[0].entries, 2);
}

#[test]
fn a_root_that_is_not_there_or_no_folder_is_a_problem_of_its_item() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "x").unwrap();
    for (name, hint) in [("none", "mount or create it"), ("file", "takes directories")] {
        let source = source(&dir.path().join(name), &[]);
        let found = source.discover(&Cancel::new()).unwrap();
        assert_eq!(found.items[0].name, name);
        let problem = found.items[0].problem.clone().unwrap().to_string();
        assert!(problem.contains(hint) && problem.contains(&format!("/{name}")), "{problem}");
        assert!(source.dump(&found.items[0], &Memory::default(), &Cancel::new()).is_err());
    }
    symlink("/", dir.path().join("link")).unwrap();
    let found = source(&dir.path().join("link"), &[]).discover(&Cancel::new()).unwrap();
    assert_eq!(found.items[0].problem, None, "a link that the operator names is followed");
}

#[test]
fn items_are_named_by_their_last_component_unless_that_would_be_ambiguous() {
    let config = |paths: &[&str]| DirectoryConfig::new(paths.iter().map(PathBuf::from).collect());
    let names = |paths: &[&str]| -> Vec<String> {
        let found = configured(config(paths)).discover(&Cancel::new()).unwrap();
        found.items.into_iter().map(|item| item.name).collect()
    };
    assert_eq!(names(&["/srv/www/", "/home"]), ["www", "home"]);
    assert_eq!(names(&["/srv/www", "/home", "/var/www/."]), ["/srv/www", "home", "/var/www"]);
    assert_eq!(names(&["/", "/x/@globals"]), ["/", "/x/@globals"]);
    let error = Directory::named("disk", &config(&["/srv/www", "/srv//www/"])).err().unwrap();
    assert!(error.to_string().contains("/srv/www is named twice"), "{error}");
}

#[test]
fn the_attributes_of_the_folder_itself_are_stored() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o1750)).unwrap();
    tree::set_times(dir.path(), 1_000_000_000, 5);
    let (memory, _) = back_up(dir.path(), &[]);
    let top = memory.get("").unwrap();
    assert_eq!((top.kind, top.attributes.mode), (NodeKind::Folder, Some(0o1750)));
    assert_eq!(top.attributes.mtime.unwrap().to_string(), "2001-09-09T01:46:40.000000005Z");
}
