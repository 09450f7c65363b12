//! The inventory of a container or share, stored next to its content: one JSON object per line, in the order of
//! the listing. It has the properties of each blob or file, and the next run uses it to find unchanged
//! entries.

use std::{
    io::{self, Read, Write},
    path::Path,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use crossbeam_channel::{Receiver, Sender, bounded};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::{
    error::{Error, Fact, Result},
    stream::{
        files::{Attributes, Files},
        sink::{Sink, Stored},
    },
};

/// The size of a batch in bytes.
const BATCH: usize = 256 * 1024;
/// The maximum length of a line: names have 1,024 characters, metadata 8 KiB.
const MAX_LINE: usize = 1 << 20;

/// Writes the list while it is being stored.
pub(super) struct Writer {
    out: Option<Sender<Vec<u8>>>,
    batch: Vec<u8>,
}

/// The reader of the list for the storing thread.
pub(super) struct Reader {
    batches: Receiver<Vec<u8>>,
    current: Vec<u8>,
    at: usize,
    ended: bool,
}

/// Marks an error of a writer whose reader has ended: the error of the reader has the reason.
#[derive(Debug)]
struct NotTaken;

impl Fact for NotTaken {}

/// A writer and the reader of what it writes. The reader ends cleanly only after [`Writer::finish`].
pub(super) fn pipe() -> (Writer, Reader) {
    let (out, batches) = bounded(4);
    let reader = Reader { batches, current: Vec::new(), at: 0, ended: false };
    (Writer { out: Some(out), batch: Vec::with_capacity(BATCH) }, reader)
}

impl Writer {
    /// Adds a line.
    pub(super) fn line<T: Serialize>(&mut self, line: &T) -> Result<()> {
        serde_json::to_writer(&mut self.batch, line)
            .map_err(|e| Error::failed("cannot write the inventory").because(&e))?;
        self.batch.push(b'\n');
        if self.batch.len() >= BATCH {
            self.send()?;
        }
        Ok(())
    }

    fn send(&mut self) -> Result<()> {
        let batch = std::mem::replace(&mut self.batch, Vec::with_capacity(BATCH));
        let out = self.out.as_ref();
        out.and_then(|out| out.send(batch).ok())
            .ok_or_else(|| Error::failed("the inventory could not be stored").with(NotTaken))
    }

    /// Hands on the rest and the end.
    pub(super) fn finish(mut self) -> Result<()> {
        if !self.batch.is_empty() {
            self.send()?;
        }
        // An empty batch is the end: a writer that is dropped on an error sends none.
        self.send()
    }
}

impl Read for Reader {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        if self.at == self.current.len() && !self.ended {
            self.current =
                self.batches.recv().map_err(|_| io::Error::other("writing the inventory was interrupted"))?;
            self.at = 0;
            self.ended = self.current.is_empty();
        }
        let rest = &self.current[self.at..];
        let n = rest.len().min(target.len());
        target[..n].copy_from_slice(&rest[..n]);
        self.at += n;
        Ok(n)
    }
}

/// Stores what `write` writes as the file `path`, while it writes.
pub(super) fn store<T>(
    sink: &dyn Sink,
    path: &str,
    attributes: &Attributes,
    write: impl FnOnce(&mut Writer) -> Result<T>,
) -> Result<(T, Stored)> {
    let (mut writer, mut reader) = pipe();
    std::thread::scope(|scope| {
        let storing = scope.spawn(move || sink.put(Path::new(path), attributes, &mut reader));
        let written = write(&mut writer).and_then(|value| writer.finish().map(|()| value));
        let stored = storing.join().unwrap_or_else(|_| Err(Error::failed("storing the inventory panicked")));
        match (written, stored) {
            (Ok(value), Ok(stored)) => Ok((value, stored)),
            // The writer fails as well if its reader has ended; the storage's error is the cause.
            (Err(error), Err(storage)) if error.is::<NotTaken>() => Err(storage),
            (Err(error), _) | (Ok(_), Err(error)) => Err(error),
        }
    })
}

/// Reads the lines of a stored list one by one.
pub(super) fn each<T: DeserializeOwned>(
    files: &dyn Files,
    path: &str,
    visit: &mut dyn FnMut(T) -> Result<()>,
) -> Result<()> {
    let mut lines = Lines { rest: Vec::new(), visit: &mut |line| visit(parse(path, line)?), error: None };
    let copied = files.copy(path, &mut lines);
    if let Some(error) = lines.error {
        return Err(error);
    }
    copied?;
    if !lines.rest.is_empty() {
        return Err(Error::failed(format!("{path} ends in the middle of a line")));
    }
    Ok(())
}

fn parse<T: DeserializeOwned>(path: &str, line: &[u8]) -> Result<T> {
    serde_json::from_slice(line)
        .map_err(|e| Error::failed(format!("a line of {path} is not valid")).because(&e))
}

struct Lines<'a> {
    rest: Vec<u8>,
    visit: &'a mut dyn FnMut(&[u8]) -> Result<()>,
    error: Option<Error>,
}

impl Lines<'_> {
    fn take(&mut self, data: &[u8]) -> Result<()> {
        let mut data = data;
        while let Some(end) = memchr::memchr(b'\n', data) {
            if self.rest.is_empty() {
                (self.visit)(&data[..end])?;
            } else {
                self.rest.extend_from_slice(&data[..end]);
                (self.visit)(&std::mem::take(&mut self.rest))?;
            }
            data = &data[end + 1..];
        }
        self.rest.extend_from_slice(data);
        if self.rest.len() > MAX_LINE {
            return Err(Error::failed("the inventory has a line that is too long"));
        }
        Ok(())
    }
}

impl Write for Lines<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.take(data).map(|()| data.len()).map_err(|error| {
            let text = error.summary();
            self.error = Some(error);
            io::Error::other(text)
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The MD5 of a blob's or file's content, in base64 as the service writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Md5(pub(super) [u8; 16]);

impl Md5 {
    /// Reads the service's form; `None` if it is something else.
    pub(super) fn parse(text: &str) -> Option<Self> {
        STANDARD.decode(text).ok()?.try_into().ok().map(Self)
    }
}

impl Serialize for Md5 {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(self.0))
    }
}

impl<'de> Deserialize<'de> for Md5 {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not an MD5 in base64"))
    }
}

/// Identifies a blob or file, or a state of one. Two words, so that a pair of it and a value takes no space for alignment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key(u64, u64);

impl Key {
    /// As one number.
    pub(super) fn number(self) -> u128 {
        u128::from(self.0) << 64 | u128::from(self.1)
    }
}

/// The key of these parts: equal keys mean equal parts.
pub(super) fn key(parts: &[&str]) -> Key {
    let mut hasher = Xxh3::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    let number = hasher.digest128();
    Key((number >> 64) as u64, number as u64)
}

/// A text in eight bytes, to be compared with another one.
pub(super) fn hash(text: &str) -> u64 {
    xxh3_64(text.as_bytes())
}

/// A compact map of the previous snapshot: the state of each entry, and the properties that a listing does not have.
pub(super) struct Known<V>(Vec<(Key, V)>);

impl<V> Known<V> {
    /// Nothing at all.
    pub(super) fn nothing() -> Self {
        Self(Vec::new())
    }

    /// Of pairs in any order.
    pub(super) fn new(mut pairs: Vec<(Key, V)>) -> Self {
        pairs.sort_unstable_by_key(|(key, _)| *key);
        pairs.shrink_to_fit();
        Self(pairs)
    }

    /// The value of this key.
    pub(super) fn get(&self, key: Key) -> Option<&V> {
        let at = self.0.binary_search_by_key(&key, |(key, _)| *key).ok()?;
        Some(&self.0[at].1)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Memory(parking_lot::Mutex<Vec<u8>>);

    impl Sink for Memory {
        fn store(&self, path: &str, reader: &mut dyn Read) -> Result<Stored> {
            let mut content = Vec::new();
            reader.read_to_end(&mut content).map_err(|e| Error::from_io(path.to_owned(), e))?;
            *self.0.lock() = content;
            Ok(Stored::default())
        }
    }

    impl Files for Memory {
        fn list(&self) -> Result<Vec<(String, u64)>> {
            Ok(Vec::new())
        }

        fn read(&self, _path: &str) -> Result<Vec<u8>> {
            Ok(self.0.lock().clone())
        }

        fn copy(&self, _path: &str, target: &mut dyn Write) -> Result<u64> {
            for piece in self.0.lock().chunks(7) {
                target.write_all(piece).map_err(|e| Error::from_io("copying", e))?;
            }
            Ok(0)
        }
    }

    #[test]
    fn lines_come_back_as_they_were_written() {
        let memory = Memory::default();
        let lines: Vec<String> = (0..20_000).map(|n| format!("line\n{n} \"ü\"")).collect();
        store(&memory, "list", &Attributes::default(), |writer| {
            lines.iter().try_for_each(|line| writer.line(line))
        })
        .unwrap();
        let mut read = Vec::new();
        each::<String>(&memory, "list", &mut |line| {
            read.push(line);
            Ok(())
        })
        .unwrap();
        assert_eq!(read, lines);
    }

    #[test]
    fn a_list_that_breaks_off_is_not_stored() {
        let memory = Memory::default();
        let broken = store(&memory, "list", &Attributes::default(), |writer| {
            writer.line(&"first")?;
            Err::<(), _>(Error::failed("the listing failed"))
        });
        assert_eq!(broken.unwrap_err().summary(), "the listing failed");
        assert!(memory.0.lock().is_empty());
    }

    /// A repository that takes nothing in.
    struct Full;

    impl Sink for Full {
        fn store(&self, _: &str, _: &mut dyn Read) -> Result<Stored> {
            Err(Error::repository("the storage is full"))
        }
    }

    #[test]
    fn what_keeps_a_list_from_being_stored_is_the_error() {
        let write = |error: Option<Error>| {
            let written = store(&Full, "list", &Attributes::default(), |writer| {
                error.map_or(Ok(()), Err)?;
                (0..1_000_000).try_for_each(|line| writer.line(&line))
            });
            written.unwrap_err().summary()
        };
        assert_eq!(write(None), "the storage is full");
        assert_eq!(write(Some(Error::failed("the listing failed"))), "the listing failed");
    }

    #[test]
    fn states_are_told_apart() {
        let known = Known::new(vec![(key(&["a", "1"]), 'x'), (key(&["b", "1"]), 'y')]);
        assert_eq!(known.get(key(&["b", "1"])), Some(&'y'));
        assert_eq!(known.get(key(&["b", "2"])), None);
        assert_ne!(key(&["ab", "c"]), key(&["a", "bc"]));
    }
}
