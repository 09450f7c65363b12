//! A running SQL client for several queries, so that each does not need a new connection.

use std::time::Duration;

use super::{code, connect::Connection};
use crate::{
    error::{Error, Result},
    stream::{
        cancel::Cancel,
        pipe::{PipeReader, PipeWriter, Stop},
        process::Process,
    },
};

/// Bytes read at a time.
const CHUNK: usize = 64 * 1024;
/// Time limit for a client to exit after it has closed its output.
const ENDING: Duration = Duration::from_secs(5);
/// A client that waits for queries. It exits at the first one that fails.
pub(super) struct Dialogue {
    process: Process,
    writer: PipeWriter,
    pipe: PipeReader,
    /// The line that marks the end of each answer.
    end: String,
    buf: Vec<u8>,
    at: usize,
    /// Number of bytes of the current line that were searched.
    seen: usize,
}

/// Why there is no answer.
pub(super) struct Unanswered {
    pub(super) error: Error,
    /// Was the connection closed before the query was sent?
    pub(super) closed: bool,
}

impl Dialogue {
    /// Starts the client; it connects by itself. `item` is named in errors.
    pub(super) fn open(connection: &Connection, item: Option<&str>, cancel: &Cancel) -> Result<Self> {
        let mut command = connection
            .sql()
            .args(["--batch", "--skip-column-names", "--quick", "--unbuffered", "--no-auto-rehash"])
            .args(["--binary-mode", "--max-allowed-packet=1G", "--default-character-set=utf8mb4"])
            // Settings of the server or account must not change the quoting of names in answers.
            .arg("--init-command=SET SESSION sql_mode = ''")
            .cancel(cancel);
        if let Some(item) = item {
            command = command.item(item);
        }
        let mut random = [0; 8];
        getrandom::fill(&mut random)
            .map_err(|error| Error::failed("the system gives no random numbers").because(&error))?;
        let end = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let (process, writer, pipe) = command.spawn_dialogue()?;
        Ok(Self { process, writer, pipe, end, buf: Vec::new(), at: 0, seen: 0 })
    }

    /// Sends a query; `limit` is how long the client may accept no input.
    pub(super) fn ask(&mut self, sql: &str, limit: Duration) -> Result<(), Unanswered> {
        let text = format!("{sql}\n;\nSELECT '{}';\n", self.end);
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            match self.writer.write(rest, Some(limit)) {
                Ok(n) => rest = rest.get(n..).unwrap_or_default(),
                Err(stop) => return Err(self.ended(stop)),
            }
        }
        Ok(())
    }

    /// The next line of the answer as the client writes it; `None` after the last. `limit` is how long it may be silent.
    pub(super) fn line(&mut self, limit: Duration) -> Result<Option<&[u8]>, Unanswered> {
        let length = loop {
            let rest = self.buf.get(self.at + self.seen..).unwrap_or_default();
            match memchr::memchr(b'\n', rest) {
                Some(length) => break self.seen + length,
                None => {
                    self.seen += rest.len();
                    self.fill(limit)?;
                }
            }
        };
        let begin = self.at;
        self.at += length + 1;
        self.seen = 0;
        let line = self.buf.get(begin..begin + length).unwrap_or_default();
        Ok((line != self.end.as_bytes()).then_some(line))
    }

    fn fill(&mut self, limit: Duration) -> Result<(), Unanswered> {
        self.buf.drain(..self.at);
        self.at = 0;
        let filled = self.buf.len();
        self.buf.resize(filled + CHUNK, 0);
        let read = self.pipe.read(self.buf.get_mut(filled..).unwrap_or_default(), Some(limit));
        self.buf.truncate(filled + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => Err(self.failed()),
            Ok(_) => Ok(()),
            Err(stop) => Err(self.ended(stop)),
        }
    }

    /// Why the client has exited by itself.
    fn failed(&mut self) -> Unanswered {
        match self.process.wait(Some(ENDING), &Cancel::new()) {
            Ok(status) => {
                let error = self.process.failure(status);
                Unanswered { closed: code::was_closed(&error), error }
            }
            Err(stop) => {
                Unanswered { error: self.process.stopped(stop, "waiting for it to exit"), closed: false }
            }
        }
    }

    fn ended(&mut self, stop: Stop) -> Unanswered {
        match stop {
            // It no longer reads: its last message is the reason.
            Stop::Io(_) => self.failed(),
            stop => Unanswered { error: self.process.stopped(stop, "waiting for an answer"), closed: false },
        }
    }
}
