//! A psql process as SQL client: the program's own queries use exactly the TLS and authentication of `pg_dump`.
//!
//! Statements go in on stdin; `\echo` of a random word and the SQLSTATE marks the end of each answer. The session stays
//! open between queries, so it can hold a transaction whose snapshot others use.

use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use super::{
    clients::Client,
    code::{self, SqlState},
    connect::Connection,
    hints,
};
use crate::{
    error::{Error, Passing, Result},
    stream::{
        cancel::Cancel,
        pipe::{PipeReader, PipeWriter, Stop},
        process::Process,
    },
};

/// Longest answer accepted.
const ANSWER: usize = 512 * 1024 * 1024;
/// libpq gives up after 30 s per address; a name may have several.
const CONNECT: Duration = Duration::from_secs(45);
/// Seconds that libpq waits at each address of the server.
const CONNECT_ADDRESS: &str = "15";
/// Longest time a query may take unless [`Psql::set_timeout`] says otherwise.
const QUERY: Duration = Duration::from_secs(300);
/// Time for psql to repeat the server's error message.
const REPEATING: Duration = Duration::from_secs(5);
/// Time for psql to exit by itself after it has cancelled a running statement.
const LEAVING: Duration = Duration::from_secs(1);
/// The first psql version with `LAST_ERROR_SQLSTATE`; an older one has to exit at an error so that the error is noticed.
const KNOWS_SQLSTATE: u32 = 11;

/// No time limits; an empty search path; rows hidden by a policy are an error instead of missing. A database with the
/// encoding SQL_ASCII sends its bytes unconverted: the server would refuse to send bytes that are not valid UTF-8.
const SETTINGS: &str = "SELECT pg_catalog.set_config(s.name, v.value, false) FROM pg_catalog.pg_settings s \
     JOIN (VALUES ('statement_timeout', '0'), ('lock_timeout', '0'), ('idle_in_transaction_session_timeout', '0'), \
     ('idle_session_timeout', '0'), ('transaction_timeout', '0'), ('search_path', ''), ('row_security', 'off'), \
     ('standard_conforming_strings', 'on'), ('client_min_messages', 'error'), ('client_encoding', \
     CASE pg_catalog.getdatabaseencoding() WHEN 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END)\
     ) v(name, value) ON s.name = v.name";
/// Lines of psql without new information.
const NOISE: [&str; 6] = [
    "LINE ",
    "Try \\?",
    "password retrieved from file",
    "server closed the connection unexpectedly",
    "This probably means the server terminated abnormally",
    "before or while processing the request",
];

/// An open session in one database. Dropping it ends the session and cancels a running statement.
///
/// The search path is empty: names of tables and functions outside `pg_catalog` need their schema.
pub struct Psql {
    process: Process,
    writer: Option<PipeWriter>,
    reader: PipeReader,
    /// The database and server for messages.
    place: String,
    timeout: Duration,
    /// Whether it has answered before.
    connected: bool,
    /// Whether a statement was sent whose answer was not read.
    busy: bool,
    /// Why the session can no longer be used.
    dead: Option<String>,
}

impl Psql {
    /// Opens a session. Fails with libpq's or the server's message, and a hint for the common causes.
    pub fn connect(
        client: &Client,
        connection: &Connection,
        database: &str,
        cancel: &Cancel,
    ) -> Result<Self> {
        Self::connect_within(client, connection, database, cancel, CONNECT)
    }

    /// As [`Psql::connect`]; the server must have accepted the session within this time.
    pub(crate) fn connect_within(
        client: &Client,
        connection: &Connection,
        database: &str,
        cancel: &Cancel,
        limit: Duration,
    ) -> Result<Self> {
        let mut command = connection
            .command(client.tool("psql"))
            .args([
                "-X",
                "-w",
                "-q",
                "-A",
                "-t",
                "-P",
                "pager=off",
                "-P",
                "null=",
                "-v",
                "SHOW_CONTEXT=never",
            ])
            .args(["--dbname".to_owned(), connection.conninfo(database)?])
            .env("PGCLIENTENCODING", "UTF8")
            // For one address; a dump that follows may wait for longer.
            .env("PGCONNECT_TIMEOUT", CONNECT_ADDRESS)
            .item(database)
            .cancel(cancel);
        if client.major < KNOWS_SQLSTATE {
            command = command.args(["-v", "ON_ERROR_STOP=1"]);
        }
        let (process, writer, reader) = command.spawn_dialogue()?;
        let place = format!("database \"{database}\" on {}", connection.server());
        let writer = Some(writer);
        let mut psql = Self {
            process,
            writer,
            reader,
            place,
            timeout: limit,
            connected: false,
            busy: false,
            dead: None,
        };
        // psql ends if it cannot connect, and does not read before it has connected.
        psql.exchange("").map_err(|error| psql.not_connected(error))?;
        psql.connected = true;
        // A pooler may accept the session and let its first query wait.
        psql.timeout = if limit < CONNECT { limit } else { QUERY };
        psql.execute(SETTINGS)?;
        psql.timeout = QUERY;
        Ok(psql)
    }

    /// The longest time each following query may take; five minutes at first. Gives the one before.
    pub fn set_timeout(&mut self, limit: Duration) -> Duration {
        std::mem::replace(&mut self.timeout, limit)
    }

    /// All rows of a `SELECT`, `VALUES` or `TABLE` statement, each as a JSON object by column name.
    ///
    /// Bytes that are not valid UTF-8 (a database with encoding SQL_ASCII may hold any) become `U+FFFD`. Fails with the
    /// server's message and, as a fact, its SQLSTATE: the session remains usable, but an open transaction is aborted. A query that takes
    /// too long is cancelled and ends the session.
    pub fn query<T: DeserializeOwned>(&mut self, sql: &str) -> Result<Vec<T>> {
        let sql = sql.trim_end().trim_end_matches(';');
        let answer =
            self.exchange(&format!("SELECT pg_catalog.to_jsonb(q)::pg_catalog.text FROM ({sql}\n) q"))?;
        let lines = answer.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
        lines
            .map(|line| {
                let text = String::from_utf8_lossy(line);
                serde_json::from_str(&text).map_err(|error| {
                    Error::failed(format!("the result of a query in {} is not as expected", self.place))
                        .because(&error)
                })
            })
            .collect()
    }

    /// The only row of a query; see [`Psql::query`].
    pub fn query_one<T: DeserializeOwned>(&mut self, sql: &str) -> Result<T> {
        let mut rows = self.query(sql)?;
        match (rows.pop(), rows.len()) {
            (Some(row), 0) => Ok(row),
            (None, _) => {
                Err(Error::failed(format!("a query in {} returned no row instead of one", self.place)))
            }
            (Some(_), more) => Err(Error::failed(format!(
                "a query in {} returned {} rows instead of one",
                self.place,
                more + 1
            ))),
        }
    }

    /// Runs one statement without an answer. Several statements in one text are not stopped at the first error.
    pub fn execute(&mut self, sql: &str) -> Result<()> {
        self.exchange(sql).map(drop)
    }

    /// Whether the session can still be used.
    pub fn is_alive(&self) -> bool {
        self.dead.is_none()
    }

    /// Sends a statement and gives the lines of its answer.
    fn exchange(&mut self, sql: &str) -> Result<Vec<u8>> {
        if sql.contains('\0') {
            return Err(Error::failed(format!("a query for {} contains a NUL character", self.place)));
        }
        let mark = random_mark()?;
        let end = Instant::now() + self.timeout;
        self.send(
            &format!("\\set LAST_ERROR_SQLSTATE 00000\n{sql}\n;\n\\echo {mark} :LAST_ERROR_SQLSTATE\n"),
            end,
        )?;
        let (answer, state) = match self.receive(&mark, end) {
            Ok(done) => done,
            Err(Stop::Silent(_)) => return Err(self.took_too_long()),
            Err(stop) => return Err(self.died(stop)),
        };
        if state == "00000" {
            return Ok(answer);
        }
        let message = self.server_message()?;
        let (first, rest) = message.split_at(message.find('\n').unwrap_or(message.len()));
        let error = Error::failed(format!("a query in {} failed", self.place));
        let error = error.because_text(format!("{first} (SQLSTATE {state}){rest}"));
        Err(hints::with_hint(error, SqlState::parse(&state), &message))
    }

    fn send(&mut self, text: &str, end: Instant) -> Result<()> {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            let Some(writer) = self.writer.as_mut() else {
                let reason = self.dead.as_deref().unwrap_or("it was ended");
                return Err(
                    Error::failed(format!("the session in {} is closed", self.place)).because_text(reason)
                );
            };
            self.busy = true;
            match writer.write(rest, Some(end.saturating_duration_since(Instant::now()))) {
                Ok(n) => rest = rest.get(n..).unwrap_or_default(),
                Err(stop) => return Err(self.died(stop)),
            }
        }
        Ok(())
    }

    /// Reads up to the line that starts with `mark`; gives what came before it and the rest of that line.
    fn receive(&mut self, mark: &str, end: Instant) -> Result<(Vec<u8>, String), Stop> {
        let mut answer = Vec::new();
        let mut chunk = vec![0; 64 * 1024];
        loop {
            let n = self.reader.read(&mut chunk, Some(end.saturating_duration_since(Instant::now())))?;
            if n == 0 {
                return Err(Stop::Io(std::io::ErrorKind::UnexpectedEof.into()));
            }
            answer.extend_from_slice(chunk.get(..n).unwrap_or_default());
            if let Some((lines, state)) = split_mark(&answer, mark) {
                self.busy = false;
                answer.truncate(lines);
                return Ok((answer, state));
            }
            if answer.len() > ANSWER {
                return Err(Stop::Io(std::io::Error::other(format!(
                    "the answer has more than {ANSWER} bytes"
                ))));
            }
        }
    }

    /// The message of the statement that just failed. stderr is another pipe: psql marks the end there too.
    fn server_message(&mut self) -> Result<String> {
        let mark = random_mark()?;
        let end = Instant::now() + REPEATING;
        self.send(&format!("\\warn {mark}\n\\echo {mark} 0\n"), end)?;
        self.receive(&mark, end).map_err(|stop| self.died(stop))?;
        self.process.messages().wait_line(&mark, LEAVING);
        let text = self.process.messages().text();
        self.process.messages().clear();
        Ok(tidy(&text, &mark))
    }

    /// Cancels the running statement at the server, as Ctrl-C does; psql ends with it.
    fn took_too_long(&mut self) -> Error {
        let limit = self.timeout;
        if !self.connected {
            self.close(format!("no connection within {limit:?}"));
            return Error::failed(format!("no answer from {} within {limit:?}", self.place))
                .passes(Passing::Unreachable)
                .hint("check that PostgreSQL listens at `host` and `port`, and not something else");
        }
        self.close(format!("a query took longer than {limit:?}"));
        Error::failed(format!("a query in {} was cancelled: it took longer than {limit:?}", self.place))
            .hint("look for locks in pg_stat_activity on the server")
    }

    /// Closes the session, and returns the reason as an error.
    fn died(&mut self, stop: Stop) -> Error {
        let error = match stop {
            Stop::Cancelled(error) => error.context(&self.place),
            Stop::Silent(time) => Error::failed(format!(
                "psql in {} has not answered for {:.0} s",
                self.place,
                time.as_secs_f64()
            )),
            Stop::Io(cause) => {
                let ended = self.process.wait(Some(LEAVING), &Cancel::new());
                let lost = format!("the session in {} was lost", self.place);
                match ended {
                    Ok(status) => {
                        self.process.messages().wait_closed(LEAVING);
                        let said = tidy(&self.process.messages().text(), "");
                        let said = if said.is_empty() { format!("psql ended with {status}") } else { said };
                        hints::with_hint(Error::failed(lost).because_text(&said), None, &said)
                    }
                    Err(_) => Error::failed(lost).because(&cause),
                }
            }
        };
        self.close(error.summary());
        error
    }

    fn not_connected(&self, error: Error) -> Error {
        let said = tidy(&self.process.messages().text(), "");
        if said.is_empty() {
            return error.context("cannot connect");
        }
        let error = Error::failed(format!("cannot connect to {}", self.place));
        hints::with_hint(error.because_text(&said), None, &said)
    }

    /// Ends psql; a running statement is cancelled at the server first.
    fn close(&mut self, reason: String) {
        self.dead.get_or_insert(reason);
        if self.busy {
            self.process.interrupt();
        }
        // At the end of its input psql closes the connection and exits.
        self.writer = None;
        let _ = self.process.wait(Some(LEAVING), &Cancel::new());
        self.process.terminate();
    }
}

impl Drop for Psql {
    fn drop(&mut self) {
        self.close("closed".to_owned());
    }
}

/// A string as an SQL literal, whatever the server's `standard_conforming_strings`.
pub fn quote_literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if text.contains('\\') { format!("E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

/// A name as a quoted SQL identifier.
pub fn quote_ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A random word that no answer contains.
fn random_mark() -> Result<String> {
    let mut random = [0_u8; 16];
    getrandom::fill(&mut random).map_err(|error| {
        Error::failed("the system gives no random numbers").because_text(error.to_string())
    })?;
    Ok(format!("tik{:032x}", u128::from_ne_bytes(random)))
}

/// If the last line is complete and starts with the mark: where that line starts, and what follows the mark.
fn split_mark(answer: &[u8], mark: &str) -> Option<(usize, String)> {
    let lines = answer.strip_suffix(b"\n")?;
    let start = memchr::memrchr(b'\n', lines).map_or(0, |feed| feed + 1);
    let state = lines.get(start..)?.strip_prefix(mark.as_bytes())?;
    Some((start, String::from_utf8_lossy(state).trim().to_owned()))
}

/// The messages of psql about a failure, without the statement and its position, each line once: libpq may try twice.
fn tidy(said: &str, mark: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for line in said.lines() {
        let trimmed = line.trim_start();
        let ours = !mark.is_empty() && line.contains(mark) || line.contains("\\warn");
        if ours || trimmed == "^" || NOISE.iter().any(|noise| trimmed.starts_with(noise)) {
            continue;
        }
        let line = match line.strip_prefix("psql:<stdin>:").and_then(|rest| rest.split_once(": ")) {
            Some((number, rest)) if number.bytes().all(|byte| byte.is_ascii_digit()) => rest,
            _ => line.strip_prefix("psql: ").unwrap_or(line),
        };
        let line = line.strip_prefix("error: ").unwrap_or(line).replacen(":  ", ": ", 1);
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    // The line about a lost connection is kept only if there is no other reason.
    let text = lines.join("\n").trim().to_owned();
    if text.is_empty() && said.contains(code::CLOSED) {
        return "the server closed the connection unexpectedly".to_owned();
    }
    text
}

#[cfg(test)]
#[path = "psql_tests.rs"]
mod tests;
