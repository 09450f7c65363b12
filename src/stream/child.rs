//! Vendor tools as streams: the end of a tool's output is reported only after the tool has exited successfully, so that
//! the output of a failed dump is never taken for a complete one.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use zeroize::Zeroizing;

use super::{
    cancel::Cancel,
    input::ChildInput,
    pipe::{PipeReader, PipeWriter},
    private::PrivateDir,
    process::Process,
    stderr::LineObserver,
};
use crate::error::{Error, Result};

/// A read waits briefly until this many bytes are available, see [`ChildOutput`].
const PORTION: usize = 256 * 1024;
/// Variables that a tool inherits. All others are withheld: passwords, and settings that change a tool's behaviour.
const INHERITED: [&str; 9] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "TMPDIR",
    "TZ",
    "XDG_RUNTIME_DIR",
    "LOCALE_ARCHIVE",
    "NIX_SSL_CERT_FILE",
];
/// Inherited variables by prefix: certificates, Kerberos tickets, library paths.
const INHERITED_PREFIXES: [&str; 5] = ["SSL_CERT_", "OPENSSL_", "KRB5", "LD_LIBRARY_", "DYLD_"];

/// A tool to run: program, arguments, environment and stop flag.
///
/// The tool gets a small part of our environment (`PATH`, `HOME`, certificate and Kerberos settings) with `LC_ALL=C`,
/// and an empty stdin unless started with [`Command::spawn_input`].
pub struct Command {
    program: PathBuf,
    args: Vec<OsString>,
    env: BTreeMap<OsString, OsString>,
    private: Vec<Arc<PrivateDir>>,
    secrets: Vec<Zeroizing<String>>,
    item: Option<String>,
    idle_timeout: Option<Duration>,
    cancel: Cancel,
    observer: Option<LineObserver>,
    output_observer: Option<LineObserver>,
    input: Option<File>,
}

impl Command {
    /// A tool without arguments. A bare name is looked up in `PATH`.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        let inherited = std::env::vars_os().filter(|(name, _)| {
            name.to_str().is_some_and(|name| {
                INHERITED.contains(&name) || INHERITED_PREFIXES.iter().any(|start| name.starts_with(start))
            })
        });
        let stable = ["LC_ALL", "LC_MESSAGES"].map(|name| (name.into(), "C".into()));
        Self {
            program: program.into(),
            args: Vec::new(),
            env: inherited.chain(stable).collect(),
            private: Vec::new(),
            secrets: Vec::new(),
            item: None,
            idle_timeout: None,
            cancel: Cancel::new(),
            observer: None,
            output_observer: None,
            input: None,
        }
    }

    /// Adds an argument. All users of the host can read it, so it must not be a secret.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments, see [`Command::arg`].
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets a variable. It must not be a secret: secrets go into a [`PrivateDir`].
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.insert(name.as_ref().to_owned(), value.as_ref().to_owned());
        self
    }

    /// Removes a variable from the tool's environment.
    #[must_use]
    pub fn env_remove(mut self, name: impl AsRef<OsStr>) -> Self {
        self.env.remove(name.as_ref());
        self
    }

    /// Empties the tool's environment.
    #[must_use]
    pub fn env_clear(mut self) -> Self {
        self.env.clear();
        self
    }

    /// Keeps a directory of private files until the tool has ended.
    #[must_use]
    pub fn private(mut self, dir: Arc<PrivateDir>) -> Self {
        self.private.push(dir);
        self
    }

    /// Replaces `secret` by `***` in what the tool writes to stderr.
    #[must_use]
    pub fn redact(mut self, secret: impl Into<String>) -> Self {
        self.secrets.push(Zeroizing::new(secret.into()));
        self
    }

    /// The file that is the tool's stdin if it is started with [`Command::spawn_output`].
    #[must_use]
    pub fn input(mut self, file: File) -> Self {
        self.input = Some(file);
        self
    }

    /// Names the item (`source/item`) in error messages.
    #[must_use]
    pub fn item(mut self, item: impl Into<String>) -> Self {
        self.item = Some(item.into());
        self
    }

    /// Ends the tool if it neither writes nor reads a byte for this long while we wait for it.
    #[must_use]
    pub fn idle_timeout(mut self, limit: Duration) -> Self {
        self.idle_timeout = Some(limit);
        self
    }

    /// Ends the tool once this flag is set.
    #[must_use]
    pub fn cancel(mut self, cancel: &Cancel) -> Self {
        self.cancel = cancel.clone();
        self
    }

    /// Passes every line that the tool writes to stderr to `observer` at once.
    #[must_use]
    pub fn observe(mut self, observer: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// Passes every line that a tool started with [`Command::spawn_input`] writes to stdout to `observer` at once.
    #[must_use]
    pub fn observe_output(mut self, observer: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.output_observer = Some(Arc::new(observer));
        self
    }

    /// The program.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Starts the tool to read its stdout.
    pub fn spawn_output(mut self) -> Result<ChildOutput> {
        let (idle_timeout, cancel) = (self.idle_timeout, self.cancel.clone());
        let stdin = self.input.take().map_or_else(Stdio::null, Stdio::from);
        let mut process = self.start(stdin)?;
        let pipe = take_stdout(&mut process, &cancel, PORTION)?;
        Ok(ChildOutput { process, pipe, cancel, idle_timeout, bytes: 0, end: None })
    }

    /// Starts the tool to write to its stdin.
    pub fn spawn_input(self) -> Result<ChildInput> {
        let (idle_timeout, cancel) = (self.idle_timeout, self.cancel.clone());
        let (secrets, observer) = (self.secrets.clone(), self.output_observer.clone());
        let mut process = self.start(Stdio::piped())?;
        let pipe = take_stdin(&mut process, &cancel)?;
        ChildInput::new(process, pipe, cancel, idle_timeout, (secrets, observer))
    }

    /// Starts the tool for a dialogue: its answers are returned without waiting for more.
    pub(crate) fn spawn_dialogue(self) -> Result<(Process, PipeWriter, PipeReader)> {
        let cancel = self.cancel.clone();
        let mut process = self.start(Stdio::piped())?;
        let writer = take_stdin(&mut process, &cancel)?;
        let reader = take_stdout(&mut process, &cancel, 1)?;
        Ok((process, writer, reader))
    }

    fn start(self, stdin: Stdio) -> Result<Process> {
        let tool = self.program.file_name().unwrap_or(self.program.as_os_str()).to_string_lossy();
        let name = match &self.item {
            Some(item) => format!("{tool} ({item})"),
            None => tool.into_owned(),
        };
        let mut command = std::process::Command::new(&self.program);
        command.args(&self.args).env_clear().envs(&self.env);
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        Process::start(command, name, self.secrets, self.private, self.observer)
    }
}

fn take_stdout(process: &mut Process, cancel: &Cancel, portion: usize) -> Result<PipeReader> {
    let pipe = process.child().stdout.take();
    let pipe = pipe.ok_or_else(|| Error::failed(format!("{} has no stdout", process.name())))?;
    Ok(PipeReader::new(pipe.into(), cancel.clone(), portion))
}

fn take_stdin(process: &mut Process, cancel: &Cancel) -> Result<PipeWriter> {
    let pipe = process.child().stdin.take();
    let pipe = pipe.ok_or_else(|| Error::failed(format!("{} has no stdin", process.name())))?;
    PipeWriter::new(pipe.into(), cancel.clone()).map_err(|error| {
        Error::failed(format!("cannot set up the stdin of {}", process.name())).because(&error)
    })
}

/// The stdout of a tool.
///
/// `read` returns 0 only after the tool has exited successfully. Any other end is an [`io::Error`] that contains an
/// [`Error`]; [`into_error`] extracts it. With a large buffer, a read waits a few milliseconds for more bytes (256 KiB):
/// tools write 4 KiB at a time, and waking up for each write costs more than the data. Dropping it ends the tool.
pub struct ChildOutput {
    process: Process,
    pipe: PipeReader,
    cancel: Cancel,
    idle_timeout: Option<Duration>,
    bytes: u64,
    end: Option<Result<()>>,
}

impl ChildOutput {
    /// Bytes read so far.
    pub fn bytes_read(&self) -> u64 {
        self.bytes
    }

    /// The last lines the tool wrote to stderr: warnings, if it succeeded.
    pub fn messages(&self) -> String {
        self.process.messages().text()
    }

    fn finish(&mut self) -> Result<()> {
        match self.process.wait(self.idle_timeout, &self.cancel) {
            Ok(status) if status.success() => {
                self.process.messages().wait_closed(Duration::from_millis(500));
                Ok(())
            }
            Ok(status) => Err(self.process.failure(status)),
            Err(stop) => {
                Err(self.process.stopped(stop, "waiting for it to exit after the end of its output"))
            }
        }
    }
}

impl Read for ChildOutput {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        if self.end.is_none() {
            match self.pipe.read(buf, self.idle_timeout) {
                Ok(0) => self.end = Some(self.finish()),
                Ok(n) => {
                    self.bytes += n as u64;
                    return Ok(n);
                }
                Err(stop) => self.end = Some(Err(self.process.stopped(stop, "reading its output"))),
            }
        }
        match &self.end {
            Some(Err(error)) => Err(io::Error::other(error.clone())),
            _ => Ok(0),
        }
    }
}

/// The [`Error`] inside an [`io::Error`], or a new one around it.
pub fn into_error(error: io::Error) -> Error {
    match error.downcast::<Error>() {
        Ok(inner) => inner,
        Err(error) => Error::failed("reading or writing a stream failed").because(&error),
    }
}

/// Runs a tool with little output and returns its stdout. More than `limit` bytes are an error.
pub fn run_capture(command: Command, limit: usize) -> Result<Vec<u8>> {
    let mut output = command.spawn_output()?;
    let mut text = Vec::new();
    output.by_ref().take(limit as u64 + 1).read_to_end(&mut text).map_err(into_error)?;
    if text.len() > limit {
        return Err(Error::failed(format!("{} wrote more than {limit} bytes", output.process.name())));
    }
    Ok(text)
}

#[cfg(test)]
#[path = "child_tests.rs"]
mod tests;
