//! Trees that change while they are walked.

use std::{
    fs::{self, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use parking_lot::Mutex;

use super::super::{
    Detail,
    testing::{Memory, dump, source},
};
use crate::{
    error::{Error, Result},
    source::{Item, Source, manifest::Manifest},
    stream::{
        cancel::Cancel,
        files::{Attributes, NodeKind, Special},
        sink::{Sink, Stored},
    },
};

type Hook<'a> = Box<dyn FnMut(&Path) -> Result<()> + Send + 'a>;

/// Calls a hook when a directory has been listed and when the first bytes of a file have been read.
struct Meddler<'a> {
    memory: Memory,
    listed: Mutex<Hook<'a>>,
    reading: Mutex<Hook<'a>>,
}

impl<'a> Meddler<'a> {
    fn new(
        listed: impl FnMut(&Path) -> Result<()> + Send + 'a,
        reading: impl FnMut(&Path) -> Result<()> + Send + 'a,
    ) -> Self {
        Self {
            memory: Memory::default(),
            listed: Mutex::new(Box::new(listed)),
            reading: Mutex::new(Box::new(reading)),
        }
    }
}

struct Hooked<'r> {
    reader: &'r mut dyn Read,
    hook: Option<Box<dyn FnOnce() -> Result<()> + 'r>>,
}

impl Read for Hooked<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.reader.read(buffer)?;
        if let Some(hook) = self.hook.take() {
            hook().map_err(io::Error::other)?;
        }
        Ok(n)
    }
}

impl Sink for Meddler<'_> {
    fn store(&self, path: &str, reader: &mut dyn Read) -> Result<Stored> {
        self.memory.store(path, reader)
    }

    fn put(&self, path: &Path, attributes: &Attributes, reader: &mut dyn Read) -> Result<Stored> {
        let hook = Box::new(|| (self.reading.lock())(path));
        self.memory.put(path, attributes, &mut Hooked { reader, hook: Some(hook) })
    }

    fn folder(&self, path: &Path, attributes: &Attributes) -> Result<()> {
        (self.listed.lock())(path)?;
        self.memory.folder(path, attributes)
    }

    fn special(&self, path: &Path, special: &Special, attributes: &Attributes) -> Result<()> {
        self.memory.special(path, special, attributes)
    }

    fn finish_folder(&self, path: &Path) -> Result<()> {
        self.memory.finish_folder(path)
    }
}

fn append(path: &Path) {
    OpenOptions::new().append(true).open(path).unwrap().write_all(b"more").unwrap();
}

#[test]
fn a_file_that_changes_once_is_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    fs::write(&log, "begin").unwrap();
    let mut times = 0;
    let sink = Meddler::new(
        |_| Ok(()),
        |_| {
            times += 1;
            if times == 1 {
                append(&log);
            }
            Ok(())
        },
    );
    let manifest = dump(&source(dir.path(), &[]), &sink).unwrap();
    assert_eq!(sink.memory.get("log").unwrap().content, b"beginmore");
    assert_eq!((manifest.detail::<Detail>().unwrap().changed, manifest.notes.len()), (0, 0));
    drop(sink);
    assert_eq!(times, 2);
}

#[test]
fn a_file_that_keeps_growing_is_stored_as_it_was_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    fs::write(&log, "begin").unwrap();
    let sink = Meddler::new(
        |_| Ok(()),
        |_| {
            append(&log);
            Ok(())
        },
    );
    let manifest = dump(&source(dir.path(), &[]), &sink).unwrap();
    assert_eq!(
        sink.memory.get("log").unwrap().content,
        b"beginmore",
        "as long as it was at the second attempt"
    );
    assert_eq!(manifest.detail::<Detail>().unwrap().changed, 1);
    assert!(manifest.notes[0].contains("written to while") && manifest.notes[0].contains("log"));
}

#[test]
fn what_vanishes_is_counted_and_no_failure() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a", "b"] {
        fs::write(dir.path().join(name), "x").unwrap();
        fs::create_dir(dir.path().join(format!("folder {name}"))).unwrap();
    }
    let sink = Meddler::new(
        |path| {
            if path == Path::new("files") {
                fs::remove_file(dir.path().join("a")).unwrap();
                fs::remove_dir(dir.path().join("folder a")).unwrap();
            }
            Ok(())
        },
        |_| Ok(()),
    );
    let manifest = dump(&source(dir.path(), &[]), &sink).unwrap();
    assert_eq!(sink.memory.paths(), ["b", "folder b"]);
    assert_eq!(manifest.detail::<Detail>().unwrap().vanished, 2);
    assert!(manifest.notes[0].starts_with("removed after they were listed"), "{:?}", manifest.notes);
}

#[test]
fn a_file_that_became_a_link_is_stored_as_a_link() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a"), "x").unwrap();
    let sink = Meddler::new(
        |_| {
            fs::remove_file(dir.path().join("a")).unwrap();
            symlink("/etc/passwd", dir.path().join("a")).unwrap();
            Ok(())
        },
        |_| Ok(()),
    );
    dump(&source(dir.path(), &[]), &sink).unwrap();
    let kept = sink.memory.get("a").unwrap();
    assert_eq!(kept.kind, NodeKind::Special(Special::Symlink("/etc/passwd".into())));
}

/// A tree of 40 directories `d`, one in the other, each with a link `z` that comes after it, and its deepest path.
fn deep(top: &Path) -> PathBuf {
    let mut path = top.to_owned();
    for _ in 0..40 {
        path.push("d");
        fs::create_dir(&path).unwrap();
        symlink("target", path.join("z")).unwrap();
    }
    path.strip_prefix(top).unwrap().to_owned()
}

/// Walks through a deep tree and has this done when the deepest directory is listed.
fn walk_deep(meddle: impl Fn(&Path) + Send + Sync) -> Manifest {
    let dir = tempfile::tempdir().unwrap();
    let (top, aside) = (dir.path().join("top"), dir.path().join("aside"));
    fs::create_dir_all(&aside).unwrap();
    fs::create_dir(&top).unwrap();
    fs::write(top.join("file"), "x").unwrap();
    let deepest = Path::new("files").join(deep(&top));
    let sink = Meddler::new(
        |path| {
            if path == deepest {
                meddle(dir.path());
            }
            Ok(())
        },
        |_| Ok(()),
    );
    let manifest = dump(&source(&top, &[]), &sink).unwrap();
    sink.memory.finish(&manifest);
    manifest
}

#[test]
fn folders_that_are_moved_far_above_the_one_at_hand_cost_only_themselves() {
    let counts = |manifest: &Manifest| {
        let detail = manifest.detail::<Detail>().unwrap();
        (detail.folders, detail.symlinks, detail.vanished, manifest.omitted.len())
    };
    let undisturbed = walk_deep(|_| {});
    assert_eq!(counts(&undisturbed), (40, 40, 0, 0));
    // The way up from `d/d/d` leads elsewhere; `d/d` is found by its name.
    let moved = walk_deep(|dir| fs::rename(dir.join("top/d/d/d"), dir.join("aside/d")).unwrap());
    assert_eq!(counts(&moved), (40, 40, 0, 0));
    // `d/d` has gone, too, and what it still had is not known; `d` is found again.
    let both = walk_deep(|dir| {
        fs::rename(dir.join("top/d/d/d"), dir.join("aside/d")).unwrap();
        fs::rename(dir.join("top/d/d"), dir.join("aside/e")).unwrap();
    });
    assert_eq!(counts(&both), (40, 39, 1, 0));
    // Another directory has its name.
    let replaced = walk_deep(|dir| {
        fs::rename(dir.join("top/d/d/d"), dir.join("aside/d")).unwrap();
        fs::rename(dir.join("top/d/d"), dir.join("aside/e")).unwrap();
        fs::create_dir(dir.join("top/d/d")).unwrap();
    });
    assert_eq!(counts(&replaced), (40, 39, 0, 1));
    let omitted = &replaced.omitted[0];
    assert_eq!((omitted.kind.as_str(), omitted.name.as_str()), ("folder", "d/d"));
    assert!(omitted.reason.contains("another directory has this name now"), "{}", omitted.reason);
}

#[test]
fn a_tree_that_is_replaced_and_removed_while_it_is_read_is_no_backup() {
    let dir = tempfile::tempdir().unwrap();
    let (top, old) = (dir.path().join("top"), dir.path().join("old"));
    let make = || {
        for name in ["a", "b"] {
            fs::create_dir_all(top.join(name)).unwrap();
            fs::write(top.join(name).join("file"), "x").unwrap();
        }
        fs::write(top.join("file"), "x").unwrap();
    };
    make();
    let listed = |remove: bool| {
        let (top, old) = (top.clone(), old.clone());
        move |path: &Path| {
            if path == Path::new("files/a") {
                fs::rename(&top, &old).unwrap();
                make();
                if remove {
                    fs::remove_dir_all(old.join("b")).unwrap();
                }
            }
            Ok(())
        }
    };
    let sink = Meddler::new(listed(true), |_| Ok(()));
    let error = dump(&source(&top, &[]), &sink).unwrap_err().to_string();
    assert!(
        error.contains("was replaced by another directory") && error.contains("run the backup again"),
        "{error}"
    );

    fs::remove_dir_all(&old).unwrap();
    let sink = Meddler::new(listed(false), |_| Ok(()));
    let detail = dump(&source(&top, &[]), &sink).unwrap().into_detail::<Detail>().unwrap();
    assert_eq!((detail.files, detail.vanished), (3, 0), "the old one was read whole");
}

#[test]
fn nobody_can_lead_the_walk_out_by_swapping_a_folder_for_a_link() {
    let dir = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), "secret").unwrap();
    fs::create_dir(dir.path().join("folder")).unwrap();
    fs::write(dir.path().join("folder/mine"), "mine").unwrap();
    symlink(outside.path(), dir.path().join("link")).unwrap();
    let top = crate::fs::open::open_top(dir.path()).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let flags = rustix::fs::RenameFlags::EXCHANGE;
                rustix::fs::renameat_with(&top, "folder", &top, "link", flags).unwrap();
            }
        });
        let mut whole = 0;
        for _ in 0..500 {
            let memory = Memory::default();
            // A run that noticed may fail, but must not have looked outside.
            whole += u32::from(dump(&source(dir.path(), &[]), &memory).is_ok());
            assert!(memory.kept().values().all(|kept| kept.content != b"secret"));
        }
        done.store(true, Ordering::Relaxed);
        assert!(whole > 0);
    });
}

#[test]
fn the_stop_flag_and_an_error_of_the_sink_end_the_walk() {
    let dir = tempfile::tempdir().unwrap();
    for number in 0..200 {
        fs::write(dir.path().join(format!("{number:03}")), "x").unwrap();
    }
    let sink = Meddler::new(|_| Ok(()), |_| Err(Error::repository("the storage is full")));
    let error = dump(&source(dir.path(), &[]), &sink).unwrap_err();
    assert_eq!(error.to_string(), "the storage is full");

    let cancel = Cancel::new();
    let sink = Meddler::new(
        |_| Ok(()),
        |_| {
            cancel.cancel("test");
            Ok(())
        },
    );
    let item = Item {
        name: dir.path().file_name().unwrap().to_string_lossy().into_owned(),
        estimate: None,
        problem: None,
    };
    let error = source(dir.path(), &[]).dump(&item, &sink, &cancel).unwrap_err();
    assert_eq!(error.to_string(), "stopped: test");
    assert!(sink.memory.paths().len() < 50);
}
