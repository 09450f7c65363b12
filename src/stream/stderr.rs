//! The last lines of a child's stderr, read by a thread so that the child never blocks on a full pipe.

use std::{
    collections::VecDeque,
    io::{self, Read},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex, MutexGuard};
use zeroize::Zeroizing;

/// Lines kept at most.
const LINES: usize = 20;
/// Bytes kept at most, over all lines.
const BYTES: usize = 8 * 1024;
/// Bytes of one line kept at most.
const LINE: usize = 1024;
/// Bytes of one line searched for secrets before it is cut to [`LINE`].
const RAW_LINE: usize = 4 * LINE;

/// Tools that repeat the whole failed statement: the beginning of the statement, and of the line after it. The first is
/// `pg_restore`, the second MariaDB's SQL client.
const REPEATS: [(&str, &str); 2] = [("Command was: ", "pg_restore: "), ("--------------", "ERROR ")];

/// Gets every line at once, cleaned like the kept ones and without repeated statements.
pub(crate) type LineObserver = Arc<dyn Fn(&str) + Send + Sync>;

/// The bounded tail of a text stream; clones see the same tail.
#[derive(Clone)]
pub(crate) struct Tail {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    lines: VecDeque<String>,
    bytes: usize,
    closed: bool,
    /// Set while a tool repeats a statement: the beginning of the line that ends it.
    repeats: Option<&'static str>,
}

impl Tail {
    /// Starts a thread that reads `source` to its end; each text of `secrets` is replaced by `***`. `observer` also gets
    /// lines that are not kept.
    pub(crate) fn observed(
        source: impl Read + Send + 'static,
        secrets: Vec<Zeroizing<String>>,
        observer: Option<LineObserver>,
    ) -> io::Result<Self> {
        let tail = Self { shared: Arc::default() };
        let writer = tail.clone();
        thread::Builder::new()
            .name("tool-messages".into())
            .spawn(move || writer.run(source, &secrets, observer.as_deref()))?;
        Ok(tail)
    }

    /// The lines kept, oldest first, joined by line feeds.
    pub(crate) fn text(&self) -> String {
        let state = self.lock();
        state.lines.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }

    /// Drops the lines kept so far.
    pub(crate) fn clear(&self) {
        let mut state = self.lock();
        state.lines.clear();
        state.bytes = 0;
        state.repeats = None;
    }

    /// Waits until all writers have closed the pipe. A grandchild may keep it open, hence the limit.
    pub(crate) fn wait_closed(&self, limit: Duration) -> bool {
        self.wait(limit, |state| state.closed)
    }

    /// Waits until a kept line equals `line` or the stream is closed. False after `limit`.
    pub(crate) fn wait_line(&self, line: &str, limit: Duration) -> bool {
        self.wait(limit, |state| state.closed || state.lines.iter().any(|kept| kept == line))
    }

    fn wait(&self, limit: Duration, reached: impl Fn(&State) -> bool) -> bool {
        let end = Instant::now() + limit;
        let mut state = self.lock();
        while !reached(&state) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            self.shared.changed.wait_for(&mut state, left);
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock()
    }

    fn run(
        &self,
        mut source: impl Read,
        secrets: &[Zeroizing<String>],
        observer: Option<&(dyn Fn(&str) + Send + Sync)>,
    ) {
        let mut chunk = [0_u8; 4096];
        let mut line = Vec::new();
        loop {
            let n = match source.read(&mut chunk) {
                Ok(0) => break,
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => break,
            };
            for &byte in &chunk[..n] {
                // Progress displays overwrite a line with carriage returns: each version is a line of its own.
                if byte == b'\n' || byte == b'\r' {
                    self.push(&line, secrets, observer);
                    line.clear();
                } else if line.len() < RAW_LINE {
                    line.push(byte);
                }
            }
        }
        self.push(&line, secrets, observer);
        self.lock().closed = true;
        self.shared.changed.notify_all();
    }

    fn push(
        &self,
        raw: &[u8],
        secrets: &[Zeroizing<String>],
        observer: Option<&(dyn Fn(&str) + Send + Sync)>,
    ) {
        let text = clean(raw, secrets);
        if text.is_empty() {
            return;
        }
        let mut state = self.lock();
        // The failed statement may contain a password or rows, and would displace the reason.
        state.repeats = match state.repeats {
            Some(reason) if text.starts_with(reason) => None,
            Some(reason) => Some(reason),
            None => REPEATS.iter().find(|(start, _)| text.starts_with(start)).map(|(_, reason)| *reason),
        };
        if state.repeats.is_some() {
            return;
        }
        if let Some(observer) = observer {
            observer(&text);
        }
        state.bytes += text.len();
        state.lines.push_back(text);
        while state.lines.len() > LINES || state.bytes > BYTES {
            let Some(oldest) = state.lines.pop_front() else { break };
            state.bytes -= oldest.len();
        }
        drop(state);
        self.shared.changed.notify_all();
    }
}

/// One line for a message: valid text without secrets and control characters, at most [`LINE`] bytes.
fn clean(raw: &[u8], secrets: &[Zeroizing<String>]) -> String {
    let mut text = String::from_utf8_lossy(raw).into_owned();
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        text = text.replace(secret.as_str(), "***");
    }
    let mut text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    text.truncate(text.trim_end().len());
    if text.len() > LINE {
        let mut end = LINE - '…'.len_utf8();
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn tail_of(text: impl Into<Vec<u8>>, secrets: &[&str]) -> String {
        let secrets = secrets.iter().map(|secret| Zeroizing::new((*secret).to_owned())).collect();
        let tail = Tail::observed(Cursor::new(text.into()), secrets, None).unwrap();
        assert!(tail.wait_closed(Duration::from_secs(5)));
        tail.text()
    }

    #[test]
    fn only_the_last_lines_are_kept() {
        let text: String = (0..100).map(|i| format!("line {i}\n")).collect();
        let kept = tail_of(text, &[]);
        assert_eq!(kept.lines().count(), LINES);
        assert!(kept.starts_with("line 80\n") && kept.ends_with("line 99"), "{kept}");
    }

    #[test]
    fn long_lines_and_many_bytes_are_bounded() {
        let kept = tail_of("é".repeat(1_000_000), &[]);
        assert!(kept.len() <= LINE && kept.ends_with("é…"), "{} bytes", kept.len());
        let kept = tail_of(format!("{}\n", "x".repeat(LINE)).repeat(30), &[]);
        assert_eq!(kept.lines().count(), BYTES / LINE);
    }

    #[test]
    fn secrets_bad_utf8_and_control_characters_do_not_pass() {
        assert_eq!(tail_of(*b"\x1b[31mbad \xff\r\n\n", &[]), " [31mbad \u{fffd}");
        assert_eq!(
            tail_of("login mongodb://u:s3cret@h failed", &["s3cret", ""]),
            "login mongodb://u:***@h failed"
        );
        let edge = format!("{}s3cret", "x".repeat(LINE - 4));
        assert!(!tail_of(edge, &["s3cret"]).contains("s3"), "a secret at the cut must not show in part");
    }

    #[test]
    fn statements_that_failed_are_not_repeated() {
        let mariadb = "--------------\nINSERT INTO t VALUES ('a','s3cret\n--------------\n')\n--------------\n\n\
                       ERROR 1146 (42S02) at line 7: Table 'd.t' doesn't exist\n";
        assert_eq!(tail_of(mariadb, &[]), "ERROR 1146 (42S02) at line 7: Table 'd.t' doesn't exist");
        let pg = "pg_restore: error: no\nCommand was: CREATE USER MAPPING\n  OPTIONS (password 'x')\npg_restore: warning: 1";
        assert_eq!(tail_of(pg, &[]), "pg_restore: error: no\npg_restore: warning: 1");
    }

    #[test]
    fn an_observer_sees_every_line_but_no_repeated_statement() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&seen);
        let observer: LineObserver = Arc::new(move |line: &str| sink.lock().push(line.to_owned()));
        let text: String =
            (0..100).map(|i| format!("pg_restore: {i}\nCommand was: SECRET\nSECRET\n")).collect();
        let tail = Tail::observed(Cursor::new(text.into_bytes()), Vec::new(), Some(observer)).unwrap();
        assert!(tail.wait_closed(Duration::from_secs(5)));
        let seen = seen.lock();
        assert_eq!(
            (seen.len(), seen[0].as_str(), seen[99].as_str()),
            (100, "pg_restore: 0", "pg_restore: 99")
        );
    }

    #[test]
    fn waiting_for_a_line_ends_at_the_limit() {
        let (reader, mut writer) = io::pipe().unwrap();
        let tail = Tail::observed(reader, Vec::new(), None).unwrap();
        assert!(!tail.wait_line("mark", Duration::from_millis(20)));
        io::Write::write_all(&mut writer, b"mark\n").unwrap();
        assert!(tail.wait_line("mark", Duration::from_secs(5)));
        tail.clear();
        assert_eq!(tail.text(), "");
        assert!(!tail.wait_closed(Duration::from_millis(20)), "the writer is still open");
    }
}
