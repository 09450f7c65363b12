//! Walking a tree: depth first, names in order, every directory opened relative to its parent, so that
//! replacing a directory by a link has no effect. Files that have to be read go to other threads; a directory is finished
//! when all its files are stored.

use std::{
    ffi::{CStr, CString, OsStr},
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    vec::IntoIter,
};

use crossbeam_channel::Sender;
use jiff::Timestamp;
use rustix::{
    fs::{FileType, Stat, fstat, fstatfs},
    io::Errno,
};

use super::{
    attributes::{Owners, attributes, xattrs},
    omissions::kind,
    protected::Protected,
    read::Job,
    tally::{Entry, Tally},
};
use crate::{
    error::{Error, Result},
    fs::open::{
        Identity, KEEP_OPEN, Listing, identity, is, names, open_below, open_folder, open_parent, stat_name,
    },
    output::paths::shown,
    source::{exclude::Excludes, layout::CONTENT},
    stream::{cancel::Cancel, files::Attributes, sink::Sink},
};

/// The reason for an object whose type changed since its directory was listed.
pub(super) const REPLACED: &str = "it was replaced by something else while the backup ran";

/// Types of virtual filesystems of the kernel: nothing in them can be restored, and some files in them never end.
/// Their numbers are those of `linux/magic.h`.
const MADE_UP: [u64; 16] = [
    0x9fa0,      // proc
    0x6265_6572, // sysfs
    0x1cd1,      // devpts
    0x0027_e0eb, // cgroup
    0x6367_7270, // cgroup2
    0x6462_6720, // debugfs
    0x7472_6163, // tracefs
    0x7363_6673, // securityfs
    0x6265_6570, // configfs
    0x6165_676c, // pstore
    0xcafe_4a11, // bpf
    0x6e73_6673, // nsfs
    0x1980_0202, // mqueue
    0xde5e_81e4, // efivarfs
    0x4249_4e4d, // binfmt_misc
    0xf97c_ff8c, // selinuxfs
];

/// A directory that is being stored.
pub(super) struct Folder {
    /// Path in the snapshot.
    pub(super) path: PathBuf,
    parent: Option<Arc<Folder>>,
    /// The number of pending tasks: its own listing, directories below it, and files that are being read.
    pending: AtomicUsize,
}

/// A directory whose names are being processed.
struct Frame {
    folder: Arc<Folder>,
    /// None while the walk is far below it.
    fd: Option<Arc<OwnedFd>>,
    identity: Identity,
    names: IntoIter<(CString, FileType)>,
}

/// One walk through one tree.
pub(super) struct Walk<'a> {
    /// The directory that is walked through.
    pub(super) top: &'a Path,
    pub(super) sink: &'a dyn Sink,
    pub(super) cancel: &'a Cancel,
    pub(super) excludes: &'a Excludes,
    pub(super) exclude_caches: bool,
    pub(super) one_file_system: bool,
    pub(super) protected: Protected,
    /// Whether files are stored; if not, the walk only counts the entries that rules exclude.
    pub(super) storing: bool,
    /// Files that last changed before this moment may be reused from the previous snapshot.
    pub(super) settled: Option<Timestamp>,
    pub(super) owners: Owners,
    /// The remaining total length for the holes of further files.
    pub(super) holes: AtomicU64,
    pub(super) tally: Tally,
    /// Why the walk ends early.
    pub(super) failure: OnceLock<Error>,
    pub(super) stopped: AtomicBool,
}

impl Walk<'_> {
    /// Returns an error once the walk must end.
    pub(super) fn check(&self) -> Result<()> {
        self.cancel.check()?;
        match self.failure.get() {
            None => Ok(()),
            Some(error) => Err(error.clone()),
        }
    }

    /// Whether the walk must end.
    pub(super) fn has_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed) || self.cancel.is_cancelled()
    }

    /// Ends the walk. The first error is kept.
    pub(super) fn stop(&self, error: Error) {
        self.failure.get_or_init(|| error);
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// A path in the snapshot as one below the directory that is backed up.
    pub(super) fn below<'p>(&self, path: &'p Path) -> &'p Path {
        path.strip_prefix(CONTENT).unwrap_or(path)
    }

    /// Walks through everything in `top`. Files that must be read are sent as jobs.
    pub(super) fn run(&self, top: OwnedFd, jobs: &Sender<Job>) -> Result<()> {
        let stat = fstat(&top).map_err(|error| failed(Path::new("."), error.into()))?;
        let device = stat.st_dev;
        let mut frames: Vec<Frame> =
            self.enter(top, &stat, PathBuf::from(CONTENT), None)?.into_iter().collect();
        while let Some(frame) = frames.last_mut() {
            self.check()?;
            match frame.names.next() {
                None => self.leave(&mut frames),
                Some((name, tpe)) => {
                    if let Some(below) = self.visit(frame, &name, tpe, device, jobs)? {
                        frames.push(below);
                        // The first stays open: the others can be reopened from it.
                        if let Some(far) = frames.len().checked_sub(KEEP_OPEN + 1).filter(|far| *far > 0) {
                            frames[far].fd = None;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Stores a directory and lists it. `None` if it cannot be read, or must not be stored. If not all names can be read,
    /// the readable part is stored and the directory is named.
    fn enter(
        &self,
        fd: OwnedFd,
        stat: &Stat,
        path: PathBuf,
        parent: Option<Arc<Folder>>,
    ) -> Result<Option<Frame>> {
        let Listing { mut names, error } = names(fd.as_fd());
        match error {
            Some(error) if names.is_empty() && parent.is_none() => {
                return Err(Error::failed(format!("cannot list {}", self.top.display()))
                    .because(&io::Error::from(error))
                    .hint(
                        "let the account that runs the backup read it, or check the filesystem and the system's log",
                    ));
            }
            Some(error) => {
                self.missing("folder", self.below(&path), error);
                if names.is_empty() {
                    return Ok(None);
                }
            }
            None => {}
        }
        if self.is_protected(fd.as_fd(), &names, &path, parent.is_none())? {
            return Ok(None);
        }
        if parent.is_some() && self.exclude_caches {
            self.leave_out_cache(fd.as_fd(), &mut names);
        }
        let mut of = attributes(stat, &self.owners);
        let missing = self.set_xattrs(&mut of, xattrs(fd.as_fd()));
        self.sink.folder(&path, &of)?;
        self.without_xattrs(self.below(&path), missing);
        if let Some(parent) = &parent {
            self.count_folder(&path, &of);
            parent.pending.fetch_add(1, Ordering::Relaxed);
        }
        let folder = Arc::new(Folder { path, parent, pending: AtomicUsize::new(1) });
        let (fd, identity) = (Some(Arc::new(fd)), identity(stat));
        Ok(Some(Frame { folder, fd, identity, names: names.into_iter() }))
    }

    /// Ends the current directory and goes up. A parent that was moved in the meantime ends, too.
    fn leave(&self, frames: &mut Vec<Frame>) {
        let Some(done) = frames.pop() else { return };
        while let Some((above, higher)) = frames.split_last_mut()
            && above.fd.is_none()
        {
            match open_again(&done, above, higher) {
                Ok(fd) => above.fd = Some(Arc::new(fd)),
                Err(error) => {
                    if !above.names.as_slice().is_empty() {
                        self.lost_on_the_way(&above.folder, &error);
                    }
                    if let Some(lost) = frames.pop() {
                        self.release(lost.folder);
                    }
                }
            }
        }
        self.release(done.folder);
    }

    /// A task of this directory is done. The last one finishes the directory, and possibly its parents.
    pub(super) fn release(&self, folder: Arc<Folder>) {
        let mut next = Some(folder);
        while let Some(folder) = next {
            if folder.pending.fetch_sub(1, Ordering::AcqRel) != 1 {
                return;
            }
            if !self.has_stopped()
                && let Err(error) = self.sink.finish_folder(&folder.path)
            {
                self.stop(error);
            }
            next = folder.parent.clone();
        }
    }

    /// Processes one name. Returns the directory if it is one.
    fn visit(
        &self,
        frame: &Frame,
        name: &CStr,
        tpe: FileType,
        device: u64,
        jobs: &Sender<Job>,
    ) -> Result<Option<Frame>> {
        let Some(place) = &frame.fd else { return Err(failed(&frame.folder.path, Errno::BADF.into())) };
        let path = frame.folder.path.join(OsStr::from_bytes(name.to_bytes()));
        let below = self.below(&path);
        // Excluded entries are not accessed if the listing has their type: their filesystem may hang.
        if tpe != FileType::Unknown && self.is_excluded(below, tpe == FileType::Directory) {
            return Ok(None);
        }
        if !self.storing && !matches!(tpe, FileType::Directory | FileType::Unknown) {
            return Ok(None);
        }
        let stat = match stat_name(place.as_fd(), name) {
            Ok(stat) => stat,
            Err(error) => {
                self.missing(kind(tpe), below, error);
                return Ok(None);
            }
        };
        if tpe == FileType::Unknown && self.is_excluded(below, is(&stat, FileType::Directory)) {
            return Ok(None);
        }
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => return self.folder(frame, place.as_fd(), name, path, &stat, device),
            _ if !self.storing => {}
            FileType::RegularFile if self.is_too_long(below, &stat) => {}
            FileType::RegularFile => {
                if !self.take_over(place.as_fd(), name, &path, &stat)? {
                    let (folder, place) = (frame.folder.clone(), place.clone());
                    folder.pending.fetch_add(1, Ordering::Relaxed);
                    jobs.send(Job { folder, place, name: name.to_owned() })
                        .map_err(|_| Error::failed("the threads that read files are gone"))?;
                }
            }
            _ => self.special(place.as_fd(), name, &path, &stat)?,
        }
        Ok(None)
    }

    fn is_excluded(&self, below: &Path, folder: bool) -> bool {
        let rule = self.excludes.matched(below, folder);
        rule.inspect(|rule| self.tally.excluded(*rule, 1)).is_some()
    }

    /// Goes into a directory, unless something else is mounted there.
    fn folder(
        &self,
        frame: &Frame,
        place: BorrowedFd<'_>,
        name: &CStr,
        path: PathBuf,
        stat: &Stat,
        device: u64,
    ) -> Result<Option<Frame>> {
        if self.one_file_system && stat.st_dev != device {
            return self.mount_point(path, stat);
        }
        // Before it is opened: this account may not be allowed to open it.
        if self.is_place(&path, stat) {
            return Ok(None);
        }
        let fd = match open_folder(place, name) {
            Ok(fd) => fd,
            Err(Errno::LOOP | Errno::NOTDIR) => {
                return self.replaced("folder", place, name, &path).map(|()| None);
            }
            Err(error) => {
                self.lost("folder", place, name, self.below(&path), &error.into());
                return Ok(None);
            }
        };
        // Opening may have triggered an automount.
        let opened = match fstat(&fd) {
            Ok(stat) => stat,
            Err(error) => {
                self.missing("folder", self.below(&path), error);
                return Ok(None);
            }
        };
        let foreign = opened.st_dev != device && self.one_file_system;
        if foreign || (opened.st_dev != frame.identity.0 && is_made_up(fd.as_fd())) {
            return self.mount_point(path, &opened);
        }
        if self.is_place(&path, &opened) {
            return Ok(None);
        }
        self.enter(fd, &opened, path, Some(frame.folder.clone()))
    }

    /// Stores an empty directory in the place of another filesystem.
    fn mount_point(&self, path: PathBuf, stat: &Stat) -> Result<Option<Frame>> {
        let of = attributes(stat, &self.owners);
        self.sink.folder(&path, &of)?;
        self.count_folder(&path, &of);
        self.tally.not_entered(self.below(&path));
        self.sink.finish_folder(&path)?;
        Ok(None)
    }

    fn count_folder(&self, path: &Path, of: &Attributes) {
        let (path, tpe) = (self.below(path), FileType::Directory);
        self.tally.stored(&Entry { path, tpe, attributes: of, bytes: 0, content: &[] });
    }
}

/// Reopens a parent of the current directory: from there, or else by its path from the top.
fn open_again(done: &Frame, above: &Frame, higher: &[Frame]) -> io::Result<OwnedFd> {
    if let Some(from) = &done.fd
        && let Ok(opened) = open_parent(from.as_fd(), above.identity)
    {
        return Ok(opened);
    }
    let Some((Frame { fd: Some(top), .. }, between)) = higher.split_first() else {
        return Err(Errno::BADF.into());
    };
    let names = between.iter().chain([above]).filter_map(|frame| frame.folder.path.file_name());
    open_below(top.as_fd(), names, above.identity)
}

fn is_made_up(fd: BorrowedFd<'_>) -> bool {
    // The width of the type differs between processors; all numbers fit into 32 bits.
    fstatfs(fd).is_ok_and(|stat| MADE_UP.contains(&(stat.f_type as u64 & 0xffff_ffff)))
}

fn failed(path: &Path, error: io::Error) -> Error {
    Error::from_io(format!("cannot continue in the directory {}", shown(path)), error)
        .hint("run the backup again")
}
