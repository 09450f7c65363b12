//! Reading files on several threads, and detecting concurrent writes.

use std::{
    ffi::{CStr, CString, OsStr},
    fs::File,
    io::{self, Read},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use rustix::{
    fs::{Advice, FileType, SeekFrom, Stat, fadvise, fstat, seek},
    io::Errno,
};

use super::{
    attributes::{attributes, mtime, xattrs},
    tally::Entry,
    walk::{Folder, REPLACED, Walk},
};
use crate::{
    error::{Error, Result},
    fs::open::{Opened, open_file, stat_name},
    output,
    stream::sparse::SparseRead,
};

/// The minimum size for requesting read-ahead.
const LARGE: i64 = 1 << 20;
/// The maximum length of a stored file, in bytes. A file can be made arbitrarily long with a hole, which takes no space. But a
/// snapshot lists a chunk for each 512 KiB of a hole: for this length 16 million ids of 32 bytes, which are held in memory.
const LONGEST: u64 = 8 << 40;
/// The maximum total length of the holes of all files of an item, for the same reason: 8 million ids.
pub(super) const MOST_HOLES: u64 = 4 << 40;
/// The minimum length of a chunk and of a hole that is skipped: shorter files are not searched for holes.
const HOLES_FROM: u64 = 512 << 10;

/// A file to be read.
pub(super) struct Job {
    pub(super) folder: Arc<Folder>,
    /// The open directory it lies in.
    pub(super) place: Arc<OwnedFd>,
    pub(super) name: CString,
}

impl Job {
    fn path(&self) -> PathBuf {
        self.folder.path.join(OsStr::from_bytes(self.name.as_bytes()))
    }
}

impl Walk<'_> {
    /// Performs one job. Errors end the walk; an unreadable file is only named.
    pub(super) fn read_file(&self, job: Job) {
        if !self.has_stopped()
            && let Err(error) = self.read(&job)
        {
            self.stop(error);
        }
        self.release(job.folder);
    }

    fn read(&self, job: &Job) -> Result<()> {
        let path = job.path();
        // A file that changes while it is read is read once more, and then stored as read.
        for last in [false, true] {
            let (file, stat) = match open_file(job.place.as_fd(), job.name.as_c_str()) {
                Ok(Opened::File(file, stat)) => (File::from(file), stat),
                Ok(Opened::Other) => {
                    return self.replaced("file", job.place.as_fd(), &job.name, &path);
                }
                // It may have been removed and recreated.
                Err(Errno::NOENT) if !last => continue,
                Err(error) => {
                    self.lost("file", job.place.as_fd(), &job.name, self.below(&path), &error.into());
                    return Ok(());
                }
            };
            if self.is_too_long(self.below(&path), &stat) {
                return Ok(());
            }
            let mut of = attributes(&stat, &self.owners);
            let missing = self.set_xattrs(&mut of, xattrs(file.as_fd()));
            if stat.st_size > LARGE {
                // Only a hint to the system.
                let _ = fadvise(&file, 0, None, Advice::Sequential);
            }
            let mut reader = FileReader::new(&file, &stat, last, &self.holes, || self.check());
            match (self.sink.put_marked(&path, &of, &mut reader, &|| None), reader.end) {
                (Ok(stored), end) => {
                    let tpe = FileType::RegularFile;
                    let (below, content) = (self.below(&path), &stored.content[..]);
                    self.without_xattrs(below, missing);
                    self.tally.stored(&Entry {
                        path: below,
                        tpe,
                        attributes: &of,
                        bytes: stored.bytes,
                        content,
                    });
                    if matches!(end, End::Changed) {
                        self.tally.changed(below);
                    }
                    return Ok(());
                }
                (Err(_), End::Changed) => {
                    self.holes.fetch_add(reader.skipped, Ordering::Relaxed);
                }
                (Err(_), End::Failed(error)) => {
                    self.holes.fetch_add(reader.skipped, Ordering::Relaxed);
                    self.lost("file", job.place.as_fd(), &job.name, self.below(&path), &error);
                    return Ok(());
                }
                (Err(error), End::None) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether a file is too long to be stored; if so, it is named.
    pub(super) fn is_too_long(&self, below: &Path, stat: &Stat) -> bool {
        let length = u64::try_from(stat.st_size).unwrap_or(0);
        if length <= LONGEST {
            return false;
        }
        let reason = format!("it is {} long, more than the maximum of 8 TiB", output::size(length));
        self.unreadable("file", below, &io::Error::other(reason));
        true
    }

    /// An object has another type than when its directory was listed.
    pub(super) fn replaced(
        &self,
        kind: &'static str,
        place: BorrowedFd<'_>,
        name: &CStr,
        path: &Path,
    ) -> Result<()> {
        match stat_name(place, name) {
            Err(error) => self.missing(kind, self.below(path), error),
            Ok(stat) => match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile | FileType::Directory | FileType::Unknown => {
                    self.unreadable(kind, self.below(path), &io::Error::other(REPLACED));
                }
                _ => return self.special(place, name, path, &stat),
            },
        }
        Ok(())
    }
}

/// How a reader ended.
#[derive(Debug)]
enum End {
    /// All was read, or the caller ended it.
    None,
    /// The file was written to.
    Changed,
    /// The file cannot be read.
    Failed(io::Error),
}

/// Reads a file up to the length that it had when it was opened, and fails if it changed; on the last attempt it
/// delivers this length in any case and records the change.
struct FileReader<'a, C> {
    file: &'a File,
    before: &'a Stat,
    last: bool,
    /// The remaining limit for holes, and the skipped ones.
    spare: &'a AtomicU64,
    skipped: u64,
    check: C,
    seen: u64,
    end: End,
    finished: bool,
    /// The end of the current hole or data.
    hole_end: u64,
    data_end: u64,
}

impl<'a, C: Fn() -> Result<()>> FileReader<'a, C> {
    fn new(file: &'a File, before: &'a Stat, last: bool, spare: &'a AtomicU64, check: C) -> Self {
        // A file that takes as much space as its length has no relevant holes.
        let size = u64::try_from(before.st_size).unwrap_or(0);
        let space = u64::try_from(before.st_blocks).unwrap_or(0).saturating_mul(512);
        let dense = size < HOLES_FROM || space >= size;
        Self {
            file,
            before,
            last,
            spare,
            skipped: 0,
            check,
            seen: 0,
            end: End::None,
            finished: false,
            hole_end: 0,
            data_end: if dense { u64::MAX } else { 0 },
        }
    }

    fn size(&self) -> u64 {
        u64::try_from(self.before.st_size).unwrap_or(0)
    }

    fn fail(&mut self, error: io::Error) -> io::Error {
        let kind = error.kind();
        self.end = End::Failed(error);
        kind.into()
    }

    /// Whether the file was written to since it was opened.
    fn has_changed(&mut self) -> io::Result<bool> {
        let now = fstat(self.file).map_err(|error| self.fail(error.into()))?;
        Ok(now.st_size != self.before.st_size || mtime(&now) != mtime(self.before))
    }

    fn go_to(&mut self, place: u64) -> io::Result<()> {
        seek(self.file, SeekFrom::Start(place)).map(drop).map_err(|error| self.fail(error.into()))
    }

    fn changed(&mut self) -> io::Result<usize> {
        self.end = End::Changed;
        if self.last {
            self.finished = true;
            return Ok(0);
        }
        Err(io::Error::other(Error::failed("the file was written to while it was read")))
    }
}

impl<C: Fn() -> Result<()>> Read for FileReader<'_, C> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (self.check)().map_err(io::Error::other)?;
        if self.finished || buffer.is_empty() {
            return Ok(0);
        }
        let left = self.size().saturating_sub(self.seen);
        // Reading a file that grows must end, too; a file whose length is reported as 0 although it
        // has content, as some filesystems do, must not be cut off.
        if left == 0 && self.has_changed()? {
            return self.changed();
        }
        let room = match left {
            0 => buffer.len(),
            left => buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX)),
        };
        let n = loop {
            match self.file.read(&mut buffer[..room]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.fail(error)),
                Ok(n) => break n,
            }
        };
        if n == 0 {
            if left > 0 && self.has_changed()? {
                return self.changed();
            }
            self.finished = true;
        }
        self.seen += n as u64;
        Ok(n)
    }
}

impl<C: Fn() -> Result<()>> SparseRead for FileReader<'_, C> {
    fn hole(&mut self) -> io::Result<u64> {
        if self.finished || self.seen < self.data_end {
            return Ok(0);
        }
        if self.seen >= self.hole_end {
            let size = self.size();
            // A filesystem without support for holes reports only data, or an error.
            self.hole_end = match seek(self.file, SeekFrom::Data(self.seen)) {
                Ok(data) => data.min(size),
                Err(Errno::NXIO) => size,
                Err(_) => self.seen,
            };
            if self.hole_end <= self.seen {
                let end = seek(self.file, SeekFrom::Hole(self.seen)).unwrap_or(u64::MAX);
                self.data_end = if end > self.seen { end } else { u64::MAX };
            }
            // The search has moved the file position.
            self.go_to(self.seen)?;
        }
        Ok(self.hole_end.saturating_sub(self.seen))
    }

    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        (self.check)().map_err(io::Error::other)?;
        let less = |spare: u64| spare.checked_sub(bytes);
        if self.spare.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_err() {
            let reason = "its holes and those of the files read before it exceed 4 TiB in total";
            return Err(self.fail(io::Error::other(reason)));
        }
        self.skipped += bytes;
        self.seen += bytes;
        self.go_to(self.seen)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::{fs::OpenOptions, io::Write};

    static PLENTY: AtomicU64 = AtomicU64::new(MOST_HOLES);

    fn open(path: &Path) -> (File, Stat) {
        let file = File::open(path).unwrap();
        let stat = fstat(&file).unwrap();
        (file, stat)
    }

    fn path_with(content: &[u8]) -> tempfile::TempPath {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        file.into_temp_path()
    }

    #[test]
    fn a_file_that_grows_is_cut_off_where_it_ended_when_it_was_opened() {
        let path = path_with(b"12345");
        let mut more = OpenOptions::new().append(true).open(&path).unwrap();
        for last in [false, true] {
            let (file, stat) = open(&path);
            let length = usize::try_from(stat.st_size).unwrap();
            let mut reader = FileReader::new(&file, &stat, last, &PLENTY, || Ok(()));
            let mut buffer = [0; 100];
            assert_eq!(reader.read(&mut buffer[..2]).unwrap(), 2);
            more.write_all(b"more").unwrap();
            let rest = reader.read_to_end(&mut Vec::new());
            assert!(matches!(reader.end, End::Changed), "{:?}", reader.end);
            match last {
                false => assert!(rest.is_err()),
                true => assert_eq!(rest.unwrap(), length - 2),
            }
        }
    }

    #[test]
    fn a_file_that_shrinks_is_noticed() {
        let path = path_with(&[1; 100]);
        let (file, stat) = open(&path);
        OpenOptions::new().write(true).open(&path).unwrap().set_len(10).unwrap();
        let mut reader = FileReader::new(&file, &stat, false, &PLENTY, || Ok(()));
        assert!(reader.read_to_end(&mut Vec::new()).is_err() && matches!(reader.end, End::Changed));
        let (file, mut content) = (File::open(&path).unwrap(), Vec::new());
        let mut reader = FileReader::new(&file, &stat, true, &PLENTY, || Ok(()));
        reader.read_to_end(&mut content).unwrap();
        assert_eq!((content.len(), matches!(reader.end, End::Changed)), (10, true));
    }

    #[test]
    fn a_quiet_file_is_read_to_its_end_even_if_its_length_is_told_wrong() {
        // Files of the kernel say 0, or a page.
        for path in ["/proc/self/status", "/proc/self/mounts"] {
            let (file, stat) = open(Path::new(path));
            assert_eq!(stat.st_size, 0);
            let mut content = String::new();
            let mut reader = FileReader::new(&file, &stat, false, &PLENTY, || Ok(()));
            reader.read_to_string(&mut content).unwrap();
            assert!(!content.is_empty() && matches!(reader.end, End::None));
        }
    }

    #[test]
    fn holes_are_looked_for_where_one_may_be_gone_over_and_count_together() {
        let spare = AtomicU64::new(1 << 20);
        let file = tempfile::tempfile().unwrap();
        for (length, hole) in [(HOLES_FROM - 1, 0), (HOLES_FROM, HOLES_FROM)] {
            file.set_len(length).unwrap();
            let stat = fstat(&file).unwrap();
            assert_eq!(FileReader::new(&file, &stat, false, &spare, || Ok(())).hole().unwrap(), hole);
        }
        file.set_len(3 << 19).unwrap();
        let stat = fstat(&file).unwrap();
        let mut reader = FileReader::new(&file, &stat, false, &spare, || Ok(()));
        assert_eq!(reader.hole().unwrap(), 3 << 19);
        reader.skip(1 << 20).unwrap();
        assert!(reader.skip(1 << 19).is_err() && reader.skipped == 1 << 20);
        assert!(matches!(&reader.end, End::Failed(error) if error.to_string().contains("4 TiB in total")));
    }

    #[test]
    fn the_stop_flag_ends_it_with_its_own_error() {
        let path = path_with(b"12345");
        let (file, stat) = open(&path);
        let check = || Err(Error::failed("stopped: test"));
        let mut reader = FileReader::new(&file, &stat, false, &PLENTY, check);
        let error = reader.read(&mut [0; 10]).unwrap_err();
        assert_eq!(Error::from_io("x", error).to_string(), "stopped: test");
        assert!(matches!(reader.end, End::None));
    }

    #[test]
    fn an_error_of_the_system_is_told() {
        let folder = File::open("/").unwrap();
        let stat = fstat(&folder).unwrap();
        let mut reader = FileReader::new(&folder, &stat, true, &PLENTY, || Ok(()));
        assert!(reader.read(&mut [0; 10]).is_err());
        assert!(matches!(&reader.end, End::Failed(error) if error.kind() == io::ErrorKind::IsADirectory));
    }
}
