//! The journal of contents stored by attempts without a snapshot, so that the next attempt need not download them again: for
//! each file, the mark of its source and the chunks of its content. It is a file of this machine and not a snapshot, which could
//! be taken for a backup. It refers to blobs by their ids; contents that the repository no longer has are downloaded again.
//!
//! The file is text. Each line after the first is one content: key, MD5, length, and the ids of the chunks.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use parking_lot::Mutex;
use rustix::fs::{FlockOperation, flock};
use xxhash_rust::xxh3::Xxh3;

use crate::{
    fs::owner,
    repository::{crypto::Hash, snapshot::id_bytes},
    stream::sink::Mark,
};

/// The directory of these files in the state directory.
const FOLDER: &str = "unfinished";
/// The first line, with the version of the format.
const HEADER: &str = "tik-backup unfinished 1\n";
/// A file to which nothing was added for this time is obsolete: prune may have removed its blobs.
const USEFUL: Duration = Duration::from_secs(30 * 86_400);
/// The maximum size of the file of one item, in bytes: enough for contents of about 10 TiB.
const LARGEST: u64 = 512 << 20;

/// A content that an earlier attempt stored.
pub(super) struct Content {
    pub(super) md5: [u8; 16],
    pub(super) bytes: u64,
    pub(super) chunks: Vec<Hash>,
}

/// The journal of one item.
pub(super) struct Kept {
    path: PathBuf,
    /// Key and position of each content from earlier attempts, sorted.
    earlier: Vec<(u128, u64)>,
    file: File,
    journal: Mutex<Journal>,
}

/// The end of the file, to which this attempt appends.
struct Journal {
    /// Not buffered: a run may be killed, and prune reads the file.
    out: File,
    /// Bytes of the file.
    length: u64,
    /// Nothing more is added: writing failed, or the file has reached its maximum size.
    closed: bool,
}

impl Kept {
    /// Opens or creates the journal of an item. `None` if that is not possible, for example for a second run at the same time:
    /// then nothing is kept, which only costs time.
    pub(super) fn open(state_dir: &Path, repository: &str, source: &str, item: &str) -> Option<Self> {
        let folder = state_dir.join(FOLDER);
        if !folder.is_dir() {
            DirBuilder::new().mode(0o700).create(&folder).ok()?;
            owner::adopt_path(&folder).ok()?;
        }
        let mut hasher = Xxh3::new();
        for part in [repository, source, item] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        Self::open_file(folder.join(format!("{:032x}", hasher.digest128()))).ok()
    }

    fn open_file(path: PathBuf) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true).mode(0o600).custom_flags(owner::no_links());
        let file = options.open(&path)?;
        owner::adopt_path(&path)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        let (earlier, good) = index(&file)?;
        // Removes an incomplete line, or the content of a file that is not a journal.
        file.set_len(good)?;
        let mut out = file.try_clone()?;
        if good == 0 {
            out.write_all(HEADER.as_bytes())?;
        }
        let length = good.max(HEADER.len() as u64);
        let journal = Journal { out, length, closed: false };
        Ok(Self { path, earlier, file, journal: Mutex::new(journal) })
    }

    /// The content of this length that an earlier attempt stored under this key.
    pub(super) fn get(&self, key: u128, bytes: u64) -> Option<Content> {
        let at = self.earlier.binary_search_by_key(&key, |(key, _)| *key).ok()?;
        let mut line = Vec::new();
        let from = At { file: &self.file, place: self.earlier[at].1 };
        BufReader::with_capacity(4096, from).read_until(b'\n', &mut line).ok()?;
        let (found, content) = parse(&line)?;
        (found == key && content.bytes == bytes).then_some(content)
    }

    /// Adds a content. A write error only costs time later.
    pub(super) fn add(&self, mark: Mark, bytes: u64, chunks: &[Hash]) {
        let mut line = format!("{:032x} {:032x} {bytes}", mark.key, u128::from_be_bytes(mark.md5));
        for chunk in chunks {
            line.push(' ');
            line.push_str(chunk.to_hex().as_str());
        }
        line.push('\n');
        let mut journal = self.journal.lock();
        let length = journal.length + line.len() as u64;
        if journal.closed || length > LARGEST {
            return;
        }
        match journal.out.write_all(line.as_bytes()) {
            Ok(()) => journal.length = length,
            Err(_) => journal.closed = true,
        }
    }

    /// Whether nothing more is added because of a write error.
    pub(super) fn is_closed(&self) -> bool {
        self.journal.lock().closed
    }

    /// Removes the journal, because the item has a snapshot.
    pub(super) fn done(self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// The maximum age of unused packs that must be kept because attempts without a snapshot refer to them. `None` if there are no
/// such attempts. Removes obsolete journals.
pub fn keep_packs_for(state_dir: &Path) -> Option<Duration> {
    let entries = fs::read_dir(state_dir.join(FOLDER)).ok()?;
    let now = SystemTime::now();
    let age = |time: io::Result<SystemTime>| {
        time.ok().and_then(|time| now.duration_since(time).ok()).unwrap_or_default()
    };
    let mut longest = None;
    for entry in entries.flatten() {
        let Ok(metadata) = entry.metadata() else { continue };
        if age(metadata.modified()) > USEFUL {
            let _ = fs::remove_file(entry.path());
        } else if metadata.len() > HEADER.len() as u64 {
            // If the file system does not record the creation time, all packs that may be needed are kept.
            let since = metadata.created().map_or(USEFUL, |made| age(Ok(made)));
            longest = longest.max(Some(since.min(USEFUL) + Duration::from_secs(86_400)));
        }
    }
    longest
}

/// Reads a file from a position, without moving its file offset.
struct At<'a> {
    file: &'a File,
    place: u64,
}

impl Read for At<'_> {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(target, self.place)?;
        self.place += count as u64;
        Ok(count)
    }
}

/// Keys and positions of all lines, and the length of the complete lines. A repeated key counts once.
fn index(file: &File) -> io::Result<(Vec<(u128, u64)>, u64)> {
    let mut reader = BufReader::with_capacity(64 * 1024, At { file, place: 0 });
    let (mut found, mut line) = (Vec::new(), Vec::new());
    let mut at = reader.read_until(b'\n', &mut line)? as u64;
    if line != HEADER.as_bytes() {
        return Ok((found, 0));
    }
    loop {
        line.clear();
        let length = reader.read_until(b'\n', &mut line)? as u64;
        let Some((key, _)) = parse(&line) else { break };
        found.push((key, at));
        at += length;
    }
    found.sort_unstable();
    found.dedup_by_key(|(key, _)| *key);
    found.shrink_to_fit();
    Ok((found, at))
}

fn parse(line: &[u8]) -> Option<(u128, Content)> {
    let text = std::str::from_utf8(line).ok()?.strip_suffix('\n')?;
    let mut parts = text.split(' ');
    let key = u128::from_str_radix(parts.next()?, 16).ok()?;
    let md5 = u128::from_str_radix(parts.next()?, 16).ok()?.to_be_bytes();
    let bytes = parts.next()?.parse().ok()?;
    let chunks = parts.map(|id| id_bytes(id).map(Hash::new)).collect::<Option<_>>()?;
    Some((key, Content { md5, bytes, chunks }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn mark(key: u128) -> Mark {
        Mark { key, md5: [7; 16] }
    }

    fn open(dir: &Path) -> Option<Kept> {
        Kept::open(dir, "repository", "azure", "acct/box")
    }

    fn chunks(byte: u8) -> Vec<Hash> {
        vec![Hash::new([byte; 32]), Hash::new([0xf0; 32])]
    }

    #[test]
    fn what_was_added_is_found_by_the_next_attempt_and_gone_after_success() {
        let dir = tempfile::tempdir().unwrap();
        let kept = open(dir.path()).unwrap();
        assert!(open(dir.path()).is_none(), "one attempt at a time");
        assert!(Kept::open(dir.path(), "repository", "azure", "acct/other").is_some());
        kept.add(mark(3), 10, &chunks(3));
        kept.add(mark(1), 0, &[]);
        assert!(kept.get(3, 10).is_none(), "it is for the next attempt");
        drop(kept);
        let kept = open(dir.path()).unwrap();
        assert!(kept.get(3, 11).is_none(), "of another length");
        let content = kept.get(3, 10).unwrap();
        assert_eq!((content.md5, content.bytes, content.chunks), ([7; 16], 10, chunks(3)));
        assert!(kept.get(1, 0).unwrap().chunks.is_empty() && kept.get(2, 5).is_none());
        kept.add(mark(2), 5, &chunks(2));
        drop(kept);
        let kept = open(dir.path()).unwrap();
        assert!(kept.get(1, 0).is_some() && kept.get(2, 5).is_some() && kept.get(3, 10).is_some());
        assert!(keep_packs_for(dir.path()).is_some());
        kept.done();
        assert!(open(dir.path()).unwrap().get(2, 5).is_none());
    }

    #[test]
    fn a_line_that_broke_off_and_another_file_do_no_harm() {
        let dir = tempfile::tempdir().unwrap();
        let kept = open(dir.path()).unwrap();
        kept.add(mark(1), 10, &chunks(1));
        kept.add(mark(2), 10, &chunks(2));
        let path = kept.path.clone();
        drop(kept);
        let whole = fs::metadata(&path).unwrap().len();
        OpenOptions::new().write(true).open(&path).unwrap().set_len(whole - 3).unwrap();
        let kept = open(dir.path()).unwrap();
        assert!(kept.get(1, 10).is_some() && kept.get(2, 10).is_none());
        kept.add(mark(3), 10, &chunks(3));
        drop(kept);
        let kept = open(dir.path()).unwrap();
        assert!(kept.get(1, 10).is_some() && kept.get(3, 10).is_some());
        drop(kept);
        fs::write(&path, "something else\n").unwrap();
        assert!(open(dir.path()).unwrap().get(1, 10).is_none());
        assert!(keep_packs_for(dir.path()).is_none(), "nothing is kept");
    }
}
