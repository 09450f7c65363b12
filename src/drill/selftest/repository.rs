//! The repository of a self-test: created in its directory, and damaged on purpose.

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;

use crate::{
    config::RepositoryConfig,
    error::{Error, Result},
    repository::{Hosts, LockOptions, Repository, Snapshot, SnapshotReader, item_path, writer::SnapshotMeta},
    settings::{RepositoryLocation, SecretFile},
    source::{MANIFEST, Source, subject::Subject},
    stream::{cancel::Cancel, sink::Sink},
};

/// A repository with two backups of a subject.
pub(super) struct Stored {
    config: RepositoryConfig,
    path: PathBuf,
    reader: SnapshotReader,
    snapshots: Vec<Snapshot>,
    /// Packs that the second backup added.
    packs: Vec<PathBuf>,
}

impl Stored {
    /// Creates it, and backs the subject up twice, with a change between.
    pub(super) fn new(path: &Path, subject: &dyn Subject, cancel: &Cancel) -> Result<Self> {
        let password = path.with_extension("password");
        let written = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&password);
        written
            .and_then(|mut file| file.write_all(b"of a self-test\n"))
            .map_err(|error| Error::from_io(format!("cannot write {}", password.display()), error))?;
        let config = RepositoryConfig {
            location: given(path),
            password_file: SecretFile::at("the self-test", &password),
            mount: None,
            host: "self-test".to_owned(),
            compression: 1,
            verify_writes: false,
            min_free: 0,
            lock_wait: Duration::from_secs(60),
            retry_for: Duration::ZERO,
            cache: None,
            pack_size: 4 << 20,
            options: BTreeMap::new(),
            options_files: BTreeMap::new(),
        };
        Repository::init(&config)?;
        let repository = Repository::open(&config)?;
        back_up(&repository, subject.source(), cancel)?;
        let before = packs(path)?;
        subject.change()?;
        back_up(&repository, subject.source(), cancel)?;
        let packs = packs(path)?.into_iter().filter(|pack| !before.contains(pack)).collect();
        let reader = repository.reader()?;
        Ok(Self {
            config,
            path: path.to_owned(),
            reader,
            snapshots: repository.readable_snapshots(Hosts::Own)?.0,
            packs,
        })
    }

    /// Its snapshots in the order of their times.
    pub(super) fn snapshots(&self) -> &[Snapshot] {
        &self.snapshots
    }

    /// Opens it for reading.
    pub(super) fn reader(&self) -> &SnapshotReader {
        &self.reader
    }

    /// A copy with one byte changed in the largest of the packs of today.
    pub(super) fn with_flipped_byte(&self, cancel: &Cancel) -> Result<Self> {
        let path = self.path.with_extension("flipped");
        let failed =
            |error: std::io::Error| Error::from_io("cannot copy the repository of the self-test", error);
        copy(&self.path, &path, cancel).map_err(failed)?;
        let size = |pack: &PathBuf| fs::metadata(pack).map(|meta| meta.len()).unwrap_or(0);
        let largest = self.packs.iter().max_by_key(|pack| size(pack));
        let largest =
            largest.ok_or_else(|| Error::failed("the second backup of the self-test added nothing"))?;
        let pack = path.join(largest.strip_prefix(&self.path).unwrap_or(largest));
        let mut data = fs::read(&pack).map_err(failed)?;
        let middle = data.len() / 2;
        if let Some(byte) = data.get_mut(middle) {
            *byte ^= 1;
        }
        fs::remove_file(&pack).and_then(|()| fs::write(&pack, data)).map_err(failed)?;
        let config = RepositoryConfig { location: given(&path), ..self.config.clone() };
        let repository = Repository::open(&config)?;
        let reader = repository.reader()?;
        Ok(Self { config, path, reader, snapshots: self.snapshots.clone(), packs: Vec::new() })
    }
}

fn given(path: &Path) -> RepositoryLocation {
    RepositoryLocation::Given(path.to_string_lossy().into_owned())
}

/// Backs up all items of a source.
fn back_up(repository: &Repository, source: &dyn Source, cancel: &Cancel) -> Result<()> {
    let notice = |_: &str| {};
    let options = LockOptions { exclusive: false, wait: Duration::from_secs(60), cancel, notice: &notice };
    let writer = repository.begin_run(Arc::new(repository.lock(&options)?), cancel, &|_| {}, &notice)?;
    let failure = Arc::new(Mutex::new(None));
    for item in source.discover(cancel)?.items {
        let stored = writer.item(None)?;
        let manifest = source.dump(&item, &stored, cancel)?;
        stored.store(MANIFEST, &mut manifest.to_json()?.as_slice())?;
        let meta = SnapshotMeta {
            path: item_path(source.name(), &item.name),
            host: repository.host().to_owned(),
            kind: source.kind().to_owned(),
            time: manifest.started,
        };
        let failure = failure.clone();
        writer.commit(stored, meta, move |done| {
            if let Err(error) = done {
                failure.lock().get_or_insert(error);
            }
        });
    }
    writer.flush();
    let (totals, failed) = writer.finish();
    let failed = failed.or(totals.seen.error);
    failed.or_else(|| failure.lock().take()).map_or(Ok(()), Err)
}

fn packs(repository: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let failed = |error: std::io::Error| Error::from_io("cannot list the packs of the self-test", error);
    for folder in fs::read_dir(repository.join("data")).map_err(failed)? {
        for pack in fs::read_dir(folder.map_err(failed)?.path()).map_err(failed)? {
            found.push(pack.map_err(failed)?.path());
        }
    }
    Ok(found)
}

fn copy(from: &Path, to: &Path, cancel: &Cancel) -> std::io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        if cancel.is_cancelled() {
            return Err(std::io::Error::other("stopped"));
        }
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target, cancel)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
