//! Storage in a local or mounted directory. Every file is accessed through one directory handle, see [`Root`], and every
//! operation is retried as a whole while the storage does not answer; this is safe because files are named by their content.

use std::{
    io::{self, Read, Seek, SeekFrom},
    os::fd::OwnedFd,
    path::Path,
    time::Duration,
};

use bytes::Bytes;
use rustic_core::{BytesList, ErrorKind, FileType, Id, ReadBackend, RusticError, RusticResult, WriteBackend};
use rustix::fs::{self as rfs, AtFlags};

use super::{
    guard,
    local_files::{TMP_MARK, create_directory, create_tmp, entries, open_read, read_part, write_named},
    local_list,
    open_packs::OpenPacks,
    pack_list::PackList,
    read_before::ReadBefore,
    retry::Patience,
    root::Root,
    transient::{passes, retry},
};
use crate::{
    error::{Error, Passing, Result},
    fs::owner::{self, Account},
};

/// The repository's directory for lock files, which `rustic_core` does not know.
const LOCKS: &str = "locks";
/// File systems that only this machine writes to, by the numbers of `statfs`: ext2 to ext4, XFS, Btrfs, F2FS, bcachefs, ZFS, tmpfs.
const OF_THIS_MACHINE: [u32; 7] =
    [0xef53, 0x5846_5342, 0x9123_683e, 0xf2f5_2010, 0xca45_1a4e, 0x2fc1_2fc1, 0x0102_1994];

/// A repository directory, held open.
#[derive(Debug)]
pub(super) struct LocalStorage {
    root: Root,
    read_before: ReadBefore,
    open_packs: OpenPacks,
}

impl LocalStorage {
    /// Opens the directory `root`, which must lie on the file system mounted at `mount` if that is given.
    pub(super) fn open(root: &Path, mount: Option<&Path>, patience: &Patience) -> Result<Self> {
        let root = Root::open(root, mount, patience)?;
        Ok(Self { root, read_before: ReadBefore::default(), open_packs: OpenPacks::default() })
    }

    /// Creates the directory `root` (on `mount`) if it is missing, and opens it. A directory that root creates below a directory
    /// of root's belongs to `service`.
    pub(super) fn create_root(
        root: &Path,
        mount: Option<&Path>,
        service: Option<&Account>,
        patience: &Patience,
    ) -> Result<Self> {
        if let Some(mount) = mount {
            guard::require_mounted(mount, root)?;
        }
        owner::create_directory(root, service).map_err(|e| {
            let error = Error::repository(format!("cannot create {}", root.display())).because(&e);
            match owner::writing_hint(root, &e) {
                Some(hint) => error.hint(hint),
                None => error,
            }
        })?;
        Self::open(root, mount, patience)
    }

    /// Whether the directory contains files of a repository.
    pub(super) fn has_content(&self) -> io::Result<bool> {
        for folder in ["keys", "snapshots", "index", "data"] {
            match self.entries(folder) {
                Ok(names) if folder != "data" && !names.is_empty() => return Ok(true),
                Ok(names) => {
                    for name in names {
                        if !self.entries(&format!("data/{name}")).is_ok_and(|packs| packs.is_empty()) {
                            return Ok(true);
                        }
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
        Ok(false)
    }

    /// Fails unless the path still resolves to the directory that was written to.
    pub(super) fn verify_identity(&self) -> Result<()> {
        self.root.verify()
    }

    /// Free bytes on this file system for an unprivileged user.
    pub(super) fn free_space(&self) -> Result<u64> {
        let stat = self.root.attempt(|dir, _| Ok(rfs::fstatvfs(dir)?)).map_err(|e| {
            let place = self.root.path().display();
            refused(Error::repository(format!("cannot determine the free space at {place}")), &e)
        })?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn folder(tpe: FileType, id: &Id) -> String {
        match tpe {
            FileType::Config => ".".to_owned(),
            FileType::Pack => format!("data/{}", &id.to_hex().as_str()[..2]),
            other => other.dirname().to_owned(),
        }
    }

    fn name(tpe: FileType, id: &Id) -> String {
        match tpe {
            FileType::Config => "config".to_owned(),
            _ => id.to_hex().as_str().to_owned(),
        }
    }

    fn path(tpe: FileType, id: &Id) -> String {
        format!("{}/{}", Self::folder(tpe, id), Self::name(tpe, id))
    }

    /// Writes a file atomically: it gets its name only after its whole content is on disk.
    pub(super) fn write_file(&self, tpe: FileType, id: &Id, parts: &[&[u8]]) -> io::Result<()> {
        let (folder, name) = (Self::folder(tpe, id), Self::name(tpe, id));
        self.root.attempt(|dir, _| write_named(dir, &folder, &name, parts))?;
        if matches!(tpe, FileType::Pack | FileType::Index | FileType::Snapshot) {
            let bytes = parts.iter().map(|part| part.len() as u64).sum();
            self.root.has_stored(*id, Self::path(tpe, id), bytes);
        }
        Ok(())
    }

    /// Reads a whole file. With `past_cache`, its pages are dropped from the page cache first, so that the bytes come from the
    /// storage itself.
    pub(super) fn read_file(&self, tpe: FileType, id: &Id, past_cache: bool) -> io::Result<Vec<u8>> {
        let content = self.read_path(&Self::path(tpe, id), past_cache)?;
        if tpe == FileType::Config {
            self.root.know_config(&content);
        }
        Ok(content)
    }

    fn read_path(&self, path: &str, past_cache: bool) -> io::Result<Vec<u8>> {
        self.root.attempt_read(|dir| {
            let mut file = open_read(dir, path)?;
            if past_cache {
                rfs::fadvise(&file, 0, None, rfs::Advice::DontNeed)?;
            }
            retry(|| {
                let mut data = Vec::with_capacity(file.metadata()?.len() as usize);
                file.seek(SeekFrom::Start(0))?;
                file.read_to_end(&mut data)?;
                Ok(data)
            })
        })
    }

    /// A part of a pack that is open; `None` if it must be opened, or opened anew.
    fn read_open(&self, id: &Id, offset: u32, length: u32) -> Option<Bytes> {
        let file = self.open_packs.get(id)?;
        let part = self.root.once(|_| read_part(&file, offset, length));
        part.inspect_err(|_| self.open_packs.forget(id)).ok()
    }

    fn remove_path(&self, path: &str) -> io::Result<()> {
        self.root.attempt(|dir, again| match retry(|| Ok(rfs::unlinkat(dir, path, AtFlags::empty())?)) {
            // An earlier attempt has done it, although it reported an error.
            Err(e) if again && e.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        })
    }

    /// Names of the entries of a directory. A missing directory that a repository may lack has none.
    fn entries(&self, folder: &str) -> io::Result<Vec<String>> {
        let optional = folder == LOCKS || folder.starts_with("data/");
        match self.root.attempt(|dir, _| entries(dir, folder)) {
            Err(e) if optional && e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            other => other,
        }
    }

    /// The size of the file `config`. Only a file that certainly does not exist counts as absent: `init` would overwrite it.
    fn config_size(&self) -> io::Result<Option<u32>> {
        match self.root.attempt(|dir, _| Ok(rfs::statat(dir, "config", AtFlags::empty())?)) {
            Ok(stat) => Ok(Some(u32::try_from(stat.st_size).unwrap_or(u32::MAX))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// All packs.
    pub(super) fn packs(&self) -> RusticResult<PackList> {
        local_list::packs(&self.root).map_err(|e| self.rustic_error("list", FileType::Pack.dirname(), e))
    }

    /// Removes temporary files of interrupted writes, and returns their number. `among_packs` are those that a listing of the
    /// packs has found. Needs the exclusive lock: a file that another run is writing looks the same.
    pub(super) fn sweep(&self, among_packs: &[String]) -> io::Result<usize> {
        let mut unfinished = among_packs.to_vec();
        for folder in ["keys", "index", "snapshots", LOCKS] {
            let names = self.entries(folder)?.into_iter().filter(|name| name.contains(TMP_MARK));
            unfinished.extend(names.map(|name| format!("{folder}/{name}")));
        }
        let own = format!("{TMP_MARK}{}", std::process::id());
        unfinished.retain(|path| !path.ends_with(&own));
        let mut removed = 0;
        for path in &unfinished {
            match self.remove_path(path) {
                Ok(()) => removed += 1,
                // It was renamed or removed since it was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(removed)
    }

    /// Whether a listing certainly shows each file that was stored before it, by whatever process: the file system is in this
    /// machine's own kernel. On a network file system, what other hosts store becomes visible later.
    pub(super) fn lists_at_once(&self) -> bool {
        cfg!(target_os = "linux")
            && self
                .root
                .once(|dir| rfs::fstatfs(dir))
                .is_ok_and(|stat| OF_THIS_MACHINE.contains(&(stat.f_type as u32)))
    }

    /// Names of the lock files.
    pub(super) fn locks(&self) -> io::Result<Vec<String>> {
        let mut names = self.entries(LOCKS)?;
        names.retain(|name| !name.contains(TMP_MARK));
        Ok(names)
    }

    /// Whether this lock file exists. If this cannot be determined it counts as yes: the next write fails then.
    pub(super) fn has_lock(&self, name: &str) -> bool {
        let there = self.root.once(|dir| rfs::statat(dir, format!("{LOCKS}/{name}"), AtFlags::empty()));
        !matches!(there, Err(rustix::io::Errno::NOENT))
    }

    /// Content of a lock file as stored, or `None` if it is missing.
    pub(super) fn read_lock(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        match self.read_path(&format!("{LOCKS}/{name}"), false) {
            Ok(data) => Ok(Some(data)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Stores a lock file. A renewal does not wait for long: the present lock expires soon, and the renewal is tried again.
    pub(super) fn write_lock(&self, name: &str, data: &[u8], is_renewal: bool) -> io::Result<()> {
        let write = |dir: &OwnedFd, _| write_named(dir, LOCKS, name, &[data]);
        if is_renewal { self.root.attempt_briefly(write) } else { self.root.attempt(write) }
    }

    /// The age of a lock file by the clock of the storage, which may differ from the clocks of all hosts. `None` if it cannot be
    /// determined, or this user may not write to the storage.
    pub(super) fn lock_age(&self, name: &str) -> Option<Duration> {
        let now_file = format!("{LOCKS}/now{TMP_MARK}{}", std::process::id());
        let age = self.root.attempt_briefly(|dir, _| {
            // A new file has the time of the file system's clock: on a network file system, the server's.
            let file = create_tmp(dir, LOCKS, &now_file)?;
            let now = rfs::fstat(&file)?;
            let lock = rfs::statat(dir, format!("{LOCKS}/{name}"), AtFlags::empty());
            // If this fails, a later prune removes the file.
            let _ = rfs::unlinkat(dir, &now_file, AtFlags::empty());
            Ok(now.st_mtime - lock?.st_mtime)
        });
        age.ok().and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs)
    }

    /// Removes a lock file. A missing one is not an error.
    pub(super) fn remove_lock(&self, name: &str) -> io::Result<()> {
        match self.remove_path(&format!("{LOCKS}/{name}")) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn rustic_error(&self, doing: &str, path: &str, error: io::Error) -> Box<RusticError> {
        RusticError::with_source(ErrorKind::Backend, "cannot {doing} `{path}`", error)
            .attach_context("doing", doing)
            .attach_context("path", self.root.path().join(path).display().to_string())
    }
}

/// The error of an operation with the system's error, marked if that is temporary.
pub(super) fn refused(error: Error, cause: &io::Error) -> Error {
    let error = error.because(cause);
    if passes(cause) { error.passes(Passing::Storage) } else { error }
}

impl ReadBackend for LocalStorage {
    fn location(&self) -> String {
        format!("local:{}", self.root.path().display())
    }

    fn list(&self, tpe: FileType) -> RusticResult<Vec<Id>> {
        let listed = match tpe {
            FileType::Pack => return Ok(self.packs()?.packs.into_iter().map(|(id, _)| id).collect()),
            FileType::Config => {
                self.config_size().map(|size| size.map(|_| Id::default()).into_iter().collect())
            }
            _ => self
                .entries(tpe.dirname())
                .map(|names| names.iter().filter_map(|name| Id::parse_some(name, tpe)).collect()),
        };
        listed.map_err(|e| self.rustic_error("list", tpe.dirname(), e))
    }

    fn list_with_size(&self, tpe: FileType) -> RusticResult<Vec<(Id, u32)>> {
        let listed = match tpe {
            FileType::Pack => return Ok(self.packs()?.packs),
            FileType::Config => {
                self.config_size().map(|size| size.map(|size| (Id::default(), size)).into_iter().collect())
            }
            _ => local_list::sized(&self.root, tpe.dirname(), tpe),
        };
        listed.map_err(|e| self.rustic_error("list", tpe.dirname(), e))
    }

    fn read_full(&self, tpe: FileType, id: &Id) -> RusticResult<Bytes> {
        let known = match tpe {
            // Whether it still exists and is the same is checked elsewhere.
            FileType::Config => self.root.known_config(),
            _ => self.read_before.get(tpe, id),
        };
        if let Some(content) = known {
            return Ok(content);
        }
        let read = self.read_file(tpe, id, false).map(Bytes::from);
        let content = read.map_err(|e| self.rustic_error("read", &Self::path(tpe, id), e))?;
        self.read_before.keep(tpe, id, &content);
        Ok(content)
    }

    fn read_partial(
        &self,
        tpe: FileType,
        id: &Id,
        _cacheable: bool,
        offset: u32,
        length: u32,
    ) -> RusticResult<Bytes> {
        if let Some(part) = self.read_open(id, offset, length) {
            return Ok(part);
        }
        let path = Self::path(tpe, id);
        let read = self.root.attempt_read(|dir| {
            let file = open_read(dir, &path)?;
            let part = read_part(&file, offset, length)?;
            Ok((part, file))
        });
        let (part, file) = read.map_err(|e| self.rustic_error("read", &path, e))?;
        if tpe == FileType::Pack {
            self.open_packs.keep(*id, file);
        }
        Ok(part)
    }

    fn warmup_path(&self, tpe: FileType, id: &Id) -> String {
        Self::path(tpe, id)
    }
}

impl WriteBackend for LocalStorage {
    fn create(&self) -> RusticResult<()> {
        let mut folders: Vec<String> =
            ["keys", "snapshots", "index", "data", LOCKS].map(str::to_owned).into();
        folders.extend((0..=255).map(|n| format!("data/{n:02x}")));
        for folder in folders {
            self.root
                .attempt(|dir, _| create_directory(dir, &folder))
                .map_err(|e| self.rustic_error("create", &folder, e))?;
        }
        Ok(())
    }

    fn write_bytes(&self, tpe: FileType, id: &Id, _cacheable: bool, content: BytesList) -> RusticResult<()> {
        let parts: Vec<&[u8]> = content.slice().iter().map(AsRef::as_ref).collect();
        self.write_file(tpe, id, &parts).map_err(|e| self.rustic_error("write", &Self::path(tpe, id), e))
    }

    fn remove(&self, tpe: FileType, id: &Id, _cacheable: bool) -> RusticResult<()> {
        let path = Self::path(tpe, id);
        // Some network file systems cannot remove an open file.
        self.open_packs.forget(id);
        self.remove_path(&path).map_err(|e| self.rustic_error("remove", &path, e))?;
        self.root.has_removed(id);
        self.read_before.forget(id);
        Ok(())
    }
}
