//! Storage in a local or mounted directory. Every file is reached from one directory handle that is opened at the
//! start, so nothing can land in the directory *underneath* a mount that vanishes during a run.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use rustic_core::{BytesList, ErrorKind, FileType, Id, ReadBackend, RusticError, RusticResult, WriteBackend};
use rustix::fs::{self as rfs, AtFlags, Dir, Mode, OFlags};

use super::{
    guard::{self, Identity},
    retry::retry,
};
use crate::{
    error::{Error, Result},
    owner::{self, Account},
};

/// Folder of a repository that holds lock files, which `rustic_core` does not know.
const LOCKS: &str = "locks";
/// Marks files that are being written; a crash can leave them behind, [`LocalStorage::sweep`] removes them.
const TMP_MARK: &str = "-tmp-";

/// A repository directory, held open.
#[derive(Debug)]
pub(super) struct LocalStorage {
    root: PathBuf,
    mount: Option<PathBuf>,
    dir: OwnedFd,
    identity: Identity,
}

impl LocalStorage {
    /// Opens the directory `root`, which must lie on the file system mounted at `mount` if that is given.
    pub(super) fn open(root: &Path, mount: Option<&Path>) -> Result<Self> {
        if let Some(mount) = mount {
            guard::require_mounted(mount, root)?;
        }
        let dir = rfs::open(root, OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|e| {
                let error = Error::repository(format!("cannot open the repository at {}", root.display()))
                    .because(&io::Error::from(e));
                match e {
                    rustix::io::Errno::NOENT => {
                        error.hint("check that the right storage is mounted; only if there never was a repository, `tik-backup init` creates one")
                    }
                    rustix::io::Errno::NOTDIR => error.hint("`repository.location` names a file: name a folder"),
                    _ => match owner::reading_hint(root, &io::Error::from(e)) {
                        Some(hint) => error.hint(hint),
                        None => error.hint("check that the storage is mounted and that this user may read it"),
                    },
                }
            })?;
        let identity = Identity::of(&dir, root)?;
        if let Some(mount) = mount {
            identity.require_on(mount)?;
        }
        if let Some(mount) = mount {
            // It may have been unmounted between the first look and the opening.
            guard::require_mounted(mount, root)?;
        }
        Ok(Self { root: root.to_owned(), mount: mount.map(Path::to_owned), dir, identity })
    }

    /// Creates the directory `root` (on `mount`) if it is missing, and opens it. What root creates in a folder of root's
    /// belongs to `service`.
    pub(super) fn create_root(root: &Path, mount: Option<&Path>, service: Option<&Account>) -> Result<Self> {
        if let Some(mount) = mount {
            guard::require_mounted(mount, root)?;
        }
        owner::create_folder(root, service).map_err(|e| {
            let error = Error::repository(format!("cannot create {}", root.display())).because(&e);
            match owner::writing_hint(root, &e) {
                Some(hint) => error.hint(hint),
                None => error,
            }
        })?;
        Self::open(root, mount)
    }

    /// Whether there is anything of a repository here.
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

    /// Fails unless `root` still leads to the directory opened at the start.
    pub(super) fn verify_identity(&self) -> Result<()> {
        self.identity.require_same(&self.root, self.mount.as_deref())
    }

    /// Bytes a user without privileges may still write on this file system.
    pub(super) fn free_space(&self) -> Result<u64> {
        let stat = rfs::fstatvfs(&self.dir).map_err(|e| {
            Error::repository(format!("cannot ask for the free space at {}", self.root.display()))
                .because(&io::Error::from(e))
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

    /// Writes a file so that it appears under its name only when its whole content is on disk.
    pub(super) fn write_file(&self, tpe: FileType, id: &Id, parts: &[&[u8]]) -> io::Result<()> {
        self.write_named(&Self::folder(tpe, id), &Self::name(tpe, id), parts)
    }

    fn write_named(&self, folder: &str, name: &str, parts: &[&[u8]]) -> io::Result<()> {
        let tmp = format!("{folder}/{name}{TMP_MARK}{}", std::process::id());
        let written = self.write_tmp(folder, &tmp, parts).and_then(|()| {
            let target = format!("{folder}/{name}");
            retry(|| Ok(rfs::renameat(&self.dir, &tmp, &self.dir, &target)?))
        });
        if let Err(error) = written {
            // The temporary file is swept by a later prune if even its removal fails.
            let _ = rfs::unlinkat(&self.dir, &tmp, AtFlags::empty());
            return Err(error);
        }
        self.sync_folder(folder);
        Ok(())
    }

    fn write_tmp(&self, folder: &str, tmp: &str, parts: &[&[u8]]) -> io::Result<()> {
        retry(|| {
            let mut file = self.create_tmp(folder, tmp)?;
            for part in parts {
                write_all(&mut file, part)?;
            }
            // Not tried again by itself: the system reports a lost page once, a second call would find nothing wrong.
            file.sync_all()
        })
    }

    fn create_tmp(&self, folder: &str, tmp: &str) -> io::Result<File> {
        let flags = OFlags::CREATE | OFlags::TRUNC | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let open = || rfs::openat(&self.dir, tmp, flags, Mode::RUSR | Mode::WUSR);
        let file = match open() {
            Err(rustix::io::Errno::NOENT) => {
                self.create_folder(folder)?;
                open()?
            }
            other => other?,
        };
        owner::adopt(&file, &self.dir)?;
        Ok(file.into())
    }

    fn create_folder(&self, folder: &str) -> io::Result<()> {
        match rfs::mkdirat(&self.dir, folder, Mode::RWXU) {
            Err(rustix::io::Errno::EXIST) => Ok(()),
            Ok(()) => {
                let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
                owner::adopt(rfs::openat(&self.dir, folder, flags, Mode::empty())?, &self.dir)
            }
            Err(e) => Err(e.into()),
        }
    }

    /// Makes a rename durable where the file system can. Network file systems often refuse to sync a directory
    /// (CIFS answers EINVAL or EIO); the file itself was synced, so that is no reason to fail.
    fn sync_folder(&self, folder: &str) {
        if let Ok(fd) = rfs::openat(
            &self.dir,
            folder,
            OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        ) {
            let _ = retry(|| File::from(fd.try_clone()?).sync_all());
        }
    }

    fn open_read(&self, path: &str) -> io::Result<File> {
        retry(|| Ok(rfs::openat(&self.dir, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?.into()))
    }

    /// Reads a whole file. With `past_cache` its pages are dropped from the cache before, so that the bytes come
    /// from the storage itself.
    pub(super) fn read_file(&self, tpe: FileType, id: &Id, past_cache: bool) -> io::Result<Vec<u8>> {
        self.read_path(&Self::path(tpe, id), past_cache)
    }

    fn read_path(&self, path: &str, past_cache: bool) -> io::Result<Vec<u8>> {
        let mut file = self.open_read(path)?;
        if past_cache {
            rfs::fadvise(&file, 0, None, rfs::Advice::DontNeed)?;
        }
        retry(|| {
            let mut data = Vec::with_capacity(file.metadata()?.len() as usize);
            file.seek(SeekFrom::Start(0))?;
            file.read_to_end(&mut data)?;
            Ok(data)
        })
    }

    fn remove_path(&self, path: &str) -> io::Result<()> {
        retry(|| Ok(rfs::unlinkat(&self.dir, path, AtFlags::empty())?))
    }

    /// Names of the entries of a folder. Of the folders that a repository may lack, a missing one has none.
    fn entries(&self, folder: &str) -> io::Result<Vec<String>> {
        let optional = folder == LOCKS || folder.starts_with("data/");
        let fd = match retry(|| {
            Ok(rfs::openat(
                &self.dir,
                folder,
                OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC,
                Mode::empty(),
            )?)
        }) {
            Ok(fd) => fd,
            Err(e) if optional && e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(e),
        };
        let mut names = Vec::new();
        for entry in Dir::read_from(&fd)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name != "." && name != ".." {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// All files of a type with the folder they are in. Unlike a plain directory walk this fails rather than
    /// leaving out what it could not read.
    fn files(&self, tpe: FileType) -> io::Result<Vec<(String, Id)>> {
        let folders = match tpe {
            FileType::Config => {
                // Only a file that is certainly not there counts as absent: `init` would write over it.
                return match retry(|| Ok(rfs::statat(&self.dir, "config", AtFlags::empty())?)) {
                    Ok(_) => Ok(vec![(".".to_owned(), Id::default())]),
                    Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
                    Err(e) => Err(e),
                };
            }
            FileType::Pack => self
                .entries("data")?
                .into_iter()
                .filter(|n| n.len() == 2)
                .map(|n| format!("data/{n}"))
                .collect(),
            other => vec![other.dirname().to_owned()],
        };
        let mut files = Vec::new();
        for folder in folders {
            let ids = self.entries(&folder)?.into_iter().filter_map(|name| Id::parse_some(&name, tpe));
            files.extend(ids.map(|id| (folder.clone(), id)));
        }
        Ok(files)
    }

    /// Removes files that an interrupted write left behind. Needs the exclusive lock: a file that another run is
    /// writing looks the same. Returns how many there were.
    pub(super) fn sweep(&self) -> io::Result<usize> {
        let mut folders: Vec<String> = ["keys", "index", "snapshots", LOCKS].map(str::to_owned).into();
        folders.extend(self.entries("data")?.into_iter().map(|n| format!("data/{n}")));
        let mut swept = 0;
        for folder in folders {
            for name in self.entries(&folder)? {
                let own = name.ends_with(&format!("{TMP_MARK}{}", std::process::id()));
                if name.contains(TMP_MARK) && !own {
                    self.remove_path(&format!("{folder}/{name}"))?;
                    swept += 1;
                }
            }
        }
        Ok(swept)
    }

    /// Names of the lock files.
    pub(super) fn locks(&self) -> io::Result<Vec<String>> {
        let mut names = self.entries(LOCKS)?;
        names.retain(|name| !name.contains(TMP_MARK));
        Ok(names)
    }

    /// Is this lock file there? What cannot be told counts as yes: writing will show.
    pub(super) fn has_lock(&self, name: &str) -> bool {
        let there = rfs::statat(&self.dir, format!("{LOCKS}/{name}"), AtFlags::empty());
        !matches!(there, Err(rustix::io::Errno::NOENT))
    }

    /// Content of a lock file as stored, or nothing if it is gone.
    pub(super) fn read_lock(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        match self.read_path(&format!("{LOCKS}/{name}"), false) {
            Ok(data) => Ok(Some(data)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Stores a lock file.
    pub(super) fn write_lock(&self, name: &str, data: &[u8]) -> io::Result<()> {
        self.write_named(LOCKS, name, &[data])
    }

    /// Removes a lock file; that it is gone already is no error.
    pub(super) fn remove_lock(&self, name: &str) -> io::Result<()> {
        match self.remove_path(&format!("{LOCKS}/{name}")) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn rustic_error(&self, doing: &str, path: &str, error: io::Error) -> Box<RusticError> {
        RusticError::with_source(ErrorKind::Backend, "cannot {doing} `{path}`", error)
            .attach_context("doing", doing)
            .attach_context("path", self.root.join(path).display().to_string())
    }
}

/// Like `write_all`, but an interrupted or momentarily refused write goes on where it stopped instead of beginning
/// again.
fn write_all(file: &mut File, mut data: &[u8]) -> io::Result<()> {
    while !data.is_empty() {
        match retry(|| file.write(data))? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            n => data = &data[n..],
        }
    }
    Ok(())
}

impl ReadBackend for LocalStorage {
    fn location(&self) -> String {
        format!("local:{}", self.root.display())
    }

    fn list(&self, tpe: FileType) -> RusticResult<Vec<Id>> {
        let files = self.files(tpe).map_err(|e| self.rustic_error("list", tpe.dirname(), e))?;
        Ok(files.into_iter().map(|(_, id)| id).collect())
    }

    fn list_with_size(&self, tpe: FileType) -> RusticResult<Vec<(Id, u32)>> {
        let files = self.files(tpe).map_err(|e| self.rustic_error("list", tpe.dirname(), e))?;
        let mut sizes = Vec::with_capacity(files.len());
        for (folder, id) in files {
            let path = format!("{folder}/{}", Self::name(tpe, &id));
            match rfs::statat(&self.dir, &path, AtFlags::empty()) {
                // Sizes beyond 4 GiB do not occur in a sound repository; such a file shows as damaged, not as absent.
                Ok(stat) => sizes.push((id, u32::try_from(stat.st_size).unwrap_or(u32::MAX))),
                Err(rustix::io::Errno::NOENT) => {}
                Err(e) => return Err(self.rustic_error("read the size of", &path, e.into())),
            }
        }
        Ok(sizes)
    }

    fn read_full(&self, tpe: FileType, id: &Id) -> RusticResult<Bytes> {
        self.read_file(tpe, id, false)
            .map(Bytes::from)
            .map_err(|e| self.rustic_error("read", &Self::path(tpe, id), e))
    }

    fn read_partial(
        &self,
        tpe: FileType,
        id: &Id,
        _cacheable: bool,
        offset: u32,
        length: u32,
    ) -> RusticResult<Bytes> {
        let path = Self::path(tpe, id);
        let read = || {
            let mut file = self.open_read(&path)?;
            retry(|| {
                let mut data = vec![0; length as usize];
                file.seek(SeekFrom::Start(offset.into()))?;
                file.read_exact(&mut data)?;
                Ok(data)
            })
        };
        read().map(Bytes::from).map_err(|e| self.rustic_error("read", &path, e))
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
            self.create_folder(&folder).map_err(|e| self.rustic_error("create", &folder, e))?;
        }
        Ok(())
    }

    fn write_bytes(&self, tpe: FileType, id: &Id, _cacheable: bool, content: BytesList) -> RusticResult<()> {
        let parts: Vec<&[u8]> = content.slice().iter().map(AsRef::as_ref).collect();
        self.write_file(tpe, id, &parts).map_err(|e| self.rustic_error("write", &Self::path(tpe, id), e))
    }

    fn remove(&self, tpe: FileType, id: &Id, _cacheable: bool) -> RusticResult<()> {
        let path = Self::path(tpe, id);
        self.remove_path(&path).map_err(|e| self.rustic_error("remove", &path, e))
    }
}

impl AsFd for LocalStorage {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.dir.as_fd()
    }
}
