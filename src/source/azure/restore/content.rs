//! Distributes the lines of a list to several threads, and streams contents.

use std::{
    io::{self, Read, Write},
    thread,
};

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;

use crate::{
    error::{Error, Result},
    source::azure::inventory,
    stream::{cancel::Cancel, files::Files},
};

/// Uploads at the same time.
const WORKERS: usize = 8;
/// The number of lines per batch. Small, so that all threads have work in a small container too: a line is an upload.
const BATCH: usize = 4;
/// Contents up to this size are read before they are sent.
const SMALL: u64 = 4 << 20;

/// Passes the lines of a list to several threads. The first error ends it.
pub(in crate::source::azure) fn each_parallel<T: DeserializeOwned + Send>(
    files: &dyn Files,
    path: &str,
    cancel: &Cancel,
    visit: &(dyn Fn(T) -> Result<()> + Sync),
) -> Result<()> {
    let failure = Mutex::new(None);
    thread::scope(|scope| {
        let (out, lines): (Sender<Vec<T>>, Receiver<Vec<T>>) = bounded(WORKERS);
        for _ in 0..WORKERS {
            let (lines, failure) = (lines.clone(), &failure);
            scope.spawn(move || {
                for line in lines.iter().flatten() {
                    if let Err(error) = cancel.check().and_then(|()| visit(line)) {
                        failure.lock().get_or_insert(error);
                        return;
                    }
                }
            });
        }
        drop(lines);
        let mut batch = Vec::new();
        let gone = || Error::failed("the worker threads have ended");
        let hand_on = |batch: &mut Vec<T>| {
            let failed = failure.lock().is_some();
            if failed { Err(gone()) } else { out.send(std::mem::take(batch)).map_err(|_| gone()) }
        };
        inventory::each(files, path, &mut |line| {
            batch.push(line);
            if batch.len() >= BATCH { hand_on(&mut batch) } else { Ok(()) }
        })?;
        hand_on(&mut batch)
    })
    // The error that stopped the threads is the cause.
    .or_else(|error| if failure.lock().is_some() { Ok(()) } else { Err(error) })?;
    failure.into_inner().map_or(Ok(()), Err)
}

/// Passes the content of a file to `take` as a stream.
pub(super) fn with_content<T: Send>(
    files: &dyn Files,
    path: &str,
    bytes: u64,
    take: &mut (dyn FnMut(&mut dyn Read) -> Result<T> + Send),
) -> Result<T> {
    if bytes <= SMALL {
        let content = files.read(path)?;
        return take(&mut content.as_slice());
    }
    let (mut reader, writer) = io::pipe().map_err(|e| Error::failed("cannot make a pipe").because(&e))?;
    let mut writer = Pipe { writer, left: false };
    thread::scope(|scope| {
        let copying = scope.spawn(move || {
            let copied = files.copy(path, &mut writer);
            let copied = writer.flush().map_err(|e| Error::from_io("cannot pass content on", e)).and(copied);
            // An upload that ends before its content has its own result, which says why.
            if writer.left { Ok(0) } else { copied }
        });
        let taken = take(&mut reader);
        drop(reader);
        let copied = copying.join().unwrap_or_else(|_| Err(Error::failed("reading the repository panicked")));
        match (taken, copied) {
            // An interrupted content fails the upload; the cause is the error of reading.
            (_, Err(error)) => Err(error),
            (taken, Ok(_)) => taken,
        }
    })
}

/// A pipe into an upload.
struct Pipe {
    writer: io::PipeWriter,
    /// Whether the upload ended before the content.
    left: bool,
}

impl Write for Pipe {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.writer.write(data).inspect_err(|error| self.left |= error.kind() == io::ErrorKind::BrokenPipe)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{collections::HashSet, time::Duration};

    use super::*;

    /// A snapshot of one file.
    struct One(String);

    impl Files for One {
        fn list(&self) -> Result<Vec<(String, u64)>> {
            Ok(vec![("list".to_owned(), self.0.len() as u64)])
        }

        fn read(&self, _: &str) -> Result<Vec<u8>> {
            Ok(self.0.clone().into_bytes())
        }

        fn copy(&self, _: &str, target: &mut dyn Write) -> Result<u64> {
            target.write_all(self.0.as_bytes()).map_err(|e| Error::from_io("cannot copy", e))?;
            Ok(self.0.len() as u64)
        }
    }

    #[test]
    fn an_upload_that_ends_early_has_its_own_result_and_a_content_that_breaks_off_its_cause() {
        let files = One("x".repeat(SMALL as usize + 1));
        let bytes = SMALL + 1;
        let early = |result: Result<u8>| {
            with_content(&files, "list", bytes, &mut |content| {
                content.read_exact(&mut [0]).unwrap();
                result.clone()
            })
        };
        assert_eq!(early(Ok(7)).unwrap(), 7);
        assert_eq!(early(Err(Error::failed("refused"))).unwrap_err().summary(), "refused");

        /// A snapshot whose file cannot be read.
        struct Broken;

        impl Files for Broken {
            fn list(&self) -> Result<Vec<(String, u64)>> {
                Ok(Vec::new())
            }

            fn read(&self, _: &str) -> Result<Vec<u8>> {
                Err(Error::failed("a pack is missing"))
            }

            fn copy(&self, _: &str, target: &mut dyn Write) -> Result<u64> {
                target.write_all(b"some").map_err(|e| Error::from_io("cannot copy", e))?;
                // The text of an error decides nothing.
                Err(Error::failed("the storage said: Broken pipe"))
            }
        }

        let broken = with_content(&Broken, "list", bytes, &mut |content| {
            let mut all = Vec::new();
            content.read_to_end(&mut all).map_err(|e| Error::from_io("cannot read", e))?;
            Err::<(), _>(Error::failed("it is too short"))
        });
        assert_eq!(broken.unwrap_err().summary(), "the storage said: Broken pipe");
    }

    #[test]
    fn all_threads_have_work_although_the_list_is_short() {
        let files = One((0..WORKERS * BATCH).map(|number| format!("{number}\n")).collect());
        let seen = Mutex::new((0_usize, HashSet::new()));
        each_parallel::<usize>(&files, "list", &Cancel::new(), &|number| {
            let mut seen = seen.lock();
            seen.0 += number;
            seen.1.insert(thread::current().id());
            drop(seen);
            // As an upload takes.
            thread::sleep(Duration::from_millis(50));
            Ok(())
        })
        .unwrap();
        let (sum, threads) = seen.into_inner();
        assert_eq!(sum, (0..WORKERS * BATCH).sum::<usize>(), "each line once");
        assert!(threads.len() > WORKERS / 2, "{} threads", threads.len());
    }
}
