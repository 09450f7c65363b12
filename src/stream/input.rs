//! A tool that reads from us, such as a restore. If it stops reading, its own error is reported instead of a broken pipe.

use std::{
    io::{self, Write},
    time::Duration,
};

use zeroize::Zeroizing;

use super::{
    cancel::Cancel,
    pipe::{PipeWriter, Stop},
    process::{Process, ToolMessages},
    stderr::{LineObserver, Tail},
};
use crate::error::{Error, Result};

/// A tool that has closed its stdin should exit at once; it is ended after this time.
const LAST_STEPS: Duration = Duration::from_secs(10);

/// The stdin of a tool. Only [`ChildInput::finish`] reports whether the tool succeeded; dropping it ends the tool.
pub struct ChildInput {
    process: Process,
    pipe: Option<PipeWriter>,
    cancel: Cancel,
    idle_timeout: Option<Duration>,
    output: Tail,
    failed: Option<Error>,
    had_enough: bool,
}

/// The last lines of a tool's output, at most 20 of each stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastLines {
    /// The end of its stdout.
    pub stdout: String,
    /// The end of its stderr: warnings, because the tool succeeded.
    pub stderr: String,
}

impl ChildInput {
    /// The last argument: secrets to replace in its output by `***`, and the observer of its stdout.
    pub(super) fn new(
        mut process: Process,
        pipe: PipeWriter,
        cancel: Cancel,
        idle_timeout: Option<Duration>,
        (secrets, observer): (Vec<Zeroizing<String>>, Option<LineObserver>),
    ) -> Result<Self> {
        let stdout = process.child().stdout.take();
        let output = stdout
            .ok_or_else(|| io::Error::other("no pipe"))
            .and_then(|stdout| Tail::observed(stdout, secrets, observer))
            .map_err(|error| {
                Error::failed(format!("cannot read the output of {}", process.name())).because(&error)
            })?;
        Ok(Self { process, pipe: Some(pipe), cancel, idle_timeout, output, failed: None, had_enough: false })
    }

    /// Closes stdin and waits for the tool to exit, without a time limit (building indexes may take hours). The stop flag ends
    /// the wait. Fails if the tool failed or stopped reading early.
    pub fn finish(mut self) -> Result<LastLines> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.pipe = None;
        match self.process.wait(None, &self.cancel) {
            Ok(status) if status.success() => {
                self.process.messages().wait_closed(Duration::from_millis(500));
                // The observer must get the last lines too.
                self.output.wait_closed(LAST_STEPS);
                Ok(LastLines { stdout: self.output.text(), stderr: self.process.messages().text() })
            }
            Ok(status) => Err(self.failure(status)),
            Err(stop) => Err(self.process.stopped(stop, "waiting for it to exit")),
        }
    }

    /// As [`ChildInput::finish`], for a tool that continues after errors: the caller decides whether they matter. Returns `None` if
    /// the tool succeeded, otherwise the error of its exit status. Fails only if the wait was ended; stopping to read early is not
    /// an error.
    pub fn end(mut self) -> Result<Option<Error>> {
        self.pipe = None;
        match self.process.wait(None, &self.cancel) {
            Ok(status) => {
                for tail in [self.process.messages(), &self.output] {
                    tail.wait_closed(LAST_STEPS);
                }
                Ok((!status.success()).then(|| self.failure(status)))
            }
            Err(stop) => Err(self.process.stopped(stop, "waiting for it to exit")),
        }
    }

    /// Fails if the tool has ended or the stop flag is set, for callers that have nothing to write at present.
    pub fn check(&mut self) -> io::Result<()> {
        if self.failed.is_none() && self.pipe.is_some() {
            match self.process.wait(Some(Duration::ZERO), &self.cancel) {
                Err(Stop::Silent(_)) => return Ok(()),
                Err(stop) => self.failed = Some(self.process.stopped(stop, "waiting for it")),
                Ok(_) => self.failed = Some(self.broken()),
            }
        }
        match &self.failed {
            Some(error) => Err(io::Error::other(error.clone())),
            None => Ok(()),
        }
    }

    /// Whether the tool stopped reading before the end of the data, regardless of its exit status.
    pub fn has_stopped(&self) -> bool {
        self.failed.is_some()
    }

    /// Whether the tool stopped reading before the end of the data and then succeeded. For [`ChildInput::finish`] this is a
    /// failure; for a tool that needs only a part of the data it is not.
    pub fn had_enough(&self) -> bool {
        self.had_enough
    }

    /// The error of a tool that closed its stdin: its exit status and its messages.
    fn broken(&mut self) -> Error {
        self.pipe = None;
        match self.process.wait(Some(LAST_STEPS), &self.cancel) {
            Ok(status) if status.success() => {
                self.had_enough = true;
                let messages = self.process.messages().text();
                Error::failed(format!("{} ended before it had read all data", self.process.name()))
                    .because_text(messages.as_str())
                    .with(ToolMessages::new(messages))
            }
            Ok(status) => self.failure(status),
            Err(stop) => self.process.stopped(stop, "after it stopped reading"),
        }
    }

    fn failure(&self, status: std::process::ExitStatus) -> Error {
        let error = self.process.failure(status);
        // Few tools report errors on stdout: it is used only if stderr is empty.
        self.output.wait_closed(Duration::from_millis(500));
        if !self.process.messages().text().is_empty() {
            return error;
        }
        let output = self.output.text();
        error.because_text(output.as_str()).with(ToolMessages::new(output))
    }
}

impl Write for ChildInput {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        if let Some(pipe) = self.pipe.as_mut().filter(|_| self.failed.is_none()) {
            match pipe.write(buf, self.idle_timeout) {
                Ok(n) => return Ok(n),
                Err(Stop::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                    self.failed = Some(self.broken());
                }
                Err(stop) => self.failed = Some(self.process.stopped(stop, "writing to it")),
            }
        }
        Err(io::Error::other(match &self.failed {
            Some(error) => error.clone(),
            None => Error::failed(format!("{} was written to after its end", self.process.name())),
        }))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::child::{Command, into_error};
    use super::*;

    fn sh(script: &str) -> Command {
        Command::new("/bin/sh").arg("-c").arg(script).item("pg/shop")
    }

    #[test]
    fn all_bytes_arrive_and_the_end_is_said() {
        let mut input = sh("wc -c; echo note >&2").spawn_input().unwrap();
        for _ in 0..300 {
            input.write_all(&[b'x'; 10_000]).unwrap();
        }
        let said = input.finish().unwrap();
        assert_eq!((said.stdout.trim(), said.stderr.as_str()), ("3000000", "note"));
    }

    #[test]
    fn every_line_of_the_output_is_seen_also_those_that_are_not_kept() {
        let seen = std::sync::Arc::new(parking_lot::Mutex::new(Vec::new()));
        let sink = std::sync::Arc::clone(&seen);
        let command = sh("cat >/dev/null; seq 1 5000")
            .observe_output(move |line: &str| sink.lock().push(line.to_owned()));
        let said = command.spawn_input().unwrap().finish().unwrap();
        assert_eq!(said.stdout.lines().next(), Some("4981"));
        let seen = seen.lock();
        assert_eq!((seen.len(), seen[0].as_str(), seen[4999].as_str()), (5000, "1", "5000"));
    }

    #[test]
    fn the_error_of_a_tool_that_stops_reading_is_its_own() {
        let mut input =
            sh("head -c 10 >/dev/null; echo 'relation exists' >&2; exit 3").spawn_input().unwrap();
        let chunk = vec![0; 256 * 1024];
        let first =
            std::iter::repeat_with(|| input.write_all(&chunk)).find_map(|result| result.err()).unwrap();
        let text = into_error(first).to_string();
        assert_eq!(text, "sh (pg/shop) failed with exit status 3: relation exists");
        assert_eq!(input.finish().unwrap_err().to_string(), text, "finishing after a failure fails alike");
    }

    #[test]
    fn success_without_having_read_all_is_a_failure() {
        let mut input = sh("exit 0").spawn_input().unwrap();
        let chunk = vec![0; 256 * 1024];
        let error =
            std::iter::repeat_with(|| input.write_all(&chunk)).find_map(|result| result.err()).unwrap();
        assert!(error.to_string().contains("ended before it had read all data"), "{error}");
    }

    #[test]
    fn a_tool_that_ends_while_nothing_is_written_is_noticed() {
        let mut input = sh("read line; echo 'no such table' >&2; exit 1").spawn_input().unwrap();
        input.check().unwrap();
        input.write_all(b"x\n").unwrap();
        let first = std::iter::repeat_with(|| {
            std::thread::sleep(Duration::from_millis(5));
            input.check()
        })
        .find_map(|result| result.err())
        .unwrap();
        assert_eq!(into_error(first).to_string(), "sh (pg/shop) failed with exit status 1: no such table");
        assert!(input.check().is_err() && input.write_all(b"x").is_err(), "it stays an error");
    }

    #[test]
    fn failure_after_the_last_byte_is_a_failure() {
        let mut input = sh("cat >/dev/null; echo only on stdout; exit 1").spawn_input().unwrap();
        input.write_all(b"data").unwrap();
        assert_eq!(
            input.finish().unwrap_err().to_string(),
            "sh (pg/shop) failed with exit status 1: only on stdout"
        );
    }

    #[test]
    fn the_errors_of_a_tool_that_goes_on_are_for_the_caller_to_judge() {
        let mut input =
            sh("head -c 10 >/dev/null; echo 'one thing failed' >&2; exit 1").spawn_input().unwrap();
        let chunk = vec![0; 256 * 1024];
        std::iter::repeat_with(|| input.write_all(&chunk)).find_map(|result| result.err()).unwrap();
        assert!(input.has_stopped());
        assert_eq!(
            input.end().unwrap().unwrap().to_string(),
            "sh (pg/shop) failed with exit status 1: one thing failed"
        );
        let mut input = sh("cat >/dev/null").spawn_input().unwrap();
        input.write_all(b"data").unwrap();
        assert!(!input.has_stopped() && input.end().unwrap().is_none());
    }

    #[test]
    fn a_tool_that_does_not_read_is_ended_after_the_idle_timeout_or_the_stop_flag() {
        let chunk = vec![0; 4 * 1024 * 1024];
        let mut input = sh("exec sleep 100").idle_timeout(Duration::from_millis(50)).spawn_input().unwrap();
        let text = input.write_all(&chunk).unwrap_err().to_string();
        assert!(text.contains("nothing happened for 0.") && text.contains("idle_timeout"), "{text}");

        let cancel = Cancel::new();
        let input = sh("exec sleep 100").cancel(&cancel).spawn_input().unwrap();
        cancel.cancel("enough");
        assert_eq!(input.finish().unwrap_err().to_string(), "sh (pg/shop): stopped: enough");
    }
}
