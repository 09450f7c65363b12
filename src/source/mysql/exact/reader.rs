//! A session beside a dump that reads the rows of which a value may be written otherwise than it is.

use std::time::Duration;

use crate::{
    error::{Error, Passing, Result},
    source::mysql::{connect::Connection, hints, session::unescape_bytes},
    stream::{
        cancel::Cancel,
        pipe::{PipeReader, PipeWriter, Stop},
        process::Process,
    },
};

/// How the session is: rows as the dump tool reads them, and no limit of the server ends it while the dump goes on.
const SETTINGS: &str = "SET SESSION sql_mode='', time_zone='+00:00', net_write_timeout=86400, wait_timeout=86400;\n\
     /*!50708 SET SESSION max_execution_time=0 */;\n\
     /*M!100101 SET SESSION max_statement_time=0 */;\n\
     /*M!100300 SET SESSION idle_transaction_timeout=0, idle_readonly_transaction_timeout=0 */;\n\
     SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ;\n\
     START TRANSACTION /*!40100 WITH CONSISTENT SNAPSHOT */;\n";
/// A line that no row is: rows have a tab.
const END: &[u8] = b"END";
/// Bytes read at a time.
const CHUNK: usize = 64 * 1024;

/// A session whose transaction has begun.
pub(super) struct Reader {
    process: Process,
    writer: PipeWriter,
    pipe: PipeReader,
    limit: Duration,
    buf: Vec<u8>,
    at: usize,
}

impl Reader {
    /// Connects and begins the transaction. `limit` is how long the server may be silent.
    pub(super) fn open(
        connection: &Connection,
        item: &str,
        limit: Duration,
        cancel: &Cancel,
    ) -> Result<Self> {
        let (process, writer, pipe) = connection
            .sql()
            .args(["--batch", "--skip-column-names", "--quick", "--unbuffered", "--no-auto-rehash"])
            .arg("--default-character-set=utf8mb4")
            .item(item)
            .cancel(cancel)
            .spawn_dialogue()?;
        let mut reader = Self { process, writer, pipe, limit, buf: Vec::new(), at: 0 };
        reader.ask(SETTINGS.trim_end().trim_end_matches(';'))?;
        while reader.line()?.is_some() {}
        Ok(reader)
    }

    /// Asks for rows, which [`Self::line`] gives.
    pub(super) fn ask(&mut self, sql: &str) -> Result<()> {
        let text = format!("{sql};\nSELECT 'END';\n");
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            match self.writer.write(rest, Some(self.limit)) {
                Ok(n) => rest = rest.get(n..).unwrap_or_default(),
                Err(stop) => return Err(self.ended(stop)),
            }
        }
        Ok(())
    }

    /// The next row, its values as [`unescape_bytes`] gives them; `None` after the last.
    pub(super) fn line(&mut self) -> Result<Option<Vec<Vec<u8>>>> {
        loop {
            let rest = self.buf.get(self.at..).unwrap_or_default();
            if let Some(length) = memchr::memchr(b'\n', rest) {
                let line = &rest[..length];
                self.at += length + 1;
                if line == END {
                    return Ok(None);
                }
                return Ok(Some(line.split(|&b| b == b'\t').map(unescape_bytes).collect()));
            }
            self.fill()?;
        }
    }

    fn fill(&mut self) -> Result<()> {
        self.buf.drain(..self.at);
        self.at = 0;
        let filled = self.buf.len();
        self.buf.resize(filled + CHUNK, 0);
        let read = self.pipe.read(&mut self.buf[filled..], Some(self.limit));
        self.buf.truncate(filled + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => Err(self.failed()),
            Ok(_) => Ok(()),
            Err(stop) => Err(self.ended(stop)),
        }
    }

    /// Why the client ended by itself.
    fn failed(&mut self) -> Error {
        match self.process.wait(Some(Duration::from_secs(5)), &Cancel::new()) {
            // A table may have been altered or dropped since.
            Ok(status) => hints::explain(self.process.failure(status)).passes(Passing::Busy),
            Err(stop) => self.process.stopped(stop, "reading exact values"),
        }
    }

    fn ended(&mut self, stop: Stop) -> Error {
        match stop {
            Stop::Io(_) => self.failed(),
            stop => self.process.stopped(stop, "reading exact values"),
        }
    }
}
