//! A running tool in a process group of its own. It never outlives this program, and its exit status and last messages become
//! one error.

use std::{
    fs, io,
    os::unix::process::{CommandExt, ExitStatusExt},
    path::Path,
    process::{Child, ExitStatus},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid};
use zeroize::Zeroizing;

use super::{
    cancel::Cancel,
    pipe::Stop,
    private::PrivateDir,
    starter::{self, EndsWithUs},
    stderr::{LineObserver, Tail},
};
use crate::error::{Error, Fact, Result};

/// Time between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(2);
/// How long to wait for the end of stderr, which a grandchild may keep open after the tool has ended.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How long a silent tool is watched to see whether it uses the CPU.
const SAMPLE: Duration = Duration::from_millis(500);

/// The last messages of a failed tool, from which its vendor's codes are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ToolMessages(String);

impl Fact for ToolMessages {}

impl ToolMessages {
    /// The last lines of a tool's stderr, or of its stdout if it reports errors there.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The messages of the tool that failed; empty if the error does not come from a tool.
    pub(crate) fn of(error: &Error) -> &str {
        error.fact::<Self>().map_or("", |messages| &messages.0)
    }
}

/// A child that is ended and reaped when this is dropped.
pub(crate) struct Process {
    child: Child,
    group: Pid,
    /// The tool, and the item in brackets if known.
    name: String,
    messages: Tail,
    status: Option<ExitStatus>,
    /// The name of its program.
    program: String,
    begun: Instant,
    /// Of the item that it was started for.
    span: tracing::Span,
    // The tool may open its password file at any time: the directory must exist as long as the tool runs.
    _private: Vec<Arc<PrivateDir>>,
}

impl Process {
    /// Starts `command`, whose stderr must be piped. stdin and stdout stay in the returned process's child handle
    /// until taken with [`Process::child`].
    pub(crate) fn start(
        mut command: std::process::Command,
        name: String,
        secrets: Vec<Zeroizing<String>>,
        private: Vec<Arc<PrivateDir>>,
        observer: Option<LineObserver>,
    ) -> Result<Self> {
        let program = command.get_program().to_string_lossy().into_owned();
        command.process_group(0);
        let bound = EndsWithUs(Signal::TERM);
        let mut child = starter::start(command, bound, |spawned| spawned).map_err(|error| {
            let failed = Error::failed(format!("cannot start {program} for {name}")).because(&error);
            match error.kind() {
                io::ErrorKind::NotFound => failed.hint(format!("install {program} or configure where it is")),
                _ => failed,
            }
        })?;
        let started = (|| {
            let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw)?;
            Some((group, child.stderr.take()?))
        })();
        let Some((group, stderr)) = started else {
            let _ = child.kill().and_then(|()| child.wait());
            return Err(Error::failed(format!("{name} was started without a pipe for its messages")));
        };
        let pid = group.as_raw_nonzero().get();
        let program = file_name(&program);
        tracing::debug!(program, pid, "a tool has started");
        match Tail::observed(stderr, secrets, observer) {
            Ok(messages) => Ok(Self {
                child,
                group,
                name,
                messages,
                status: None,
                program,
                begun: Instant::now(),
                span: tracing::Span::current(),
                _private: private,
            }),
            Err(error) => {
                let _ = child.kill().and_then(|()| child.wait());
                Err(Error::failed(format!("cannot read the messages of {name}")).because(&error))
            }
        }
    }

    /// The handle, to take stdin and stdout from.
    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// The tool's name in messages.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The last lines of its stderr.
    pub(crate) fn messages(&self) -> &Tail {
        &self.messages
    }

    /// Interrupts the tool, as Ctrl-C does.
    pub(crate) fn interrupt(&self) {
        if self.status.is_none() {
            let _ = kill_process(self.group, Signal::INT);
        }
    }

    /// Waits for the exit, then ends the rest of the process group and reaps the child.
    pub(crate) fn wait(&mut self, limit: Option<Duration>, cancel: &Cancel) -> Result<ExitStatus, Stop> {
        let began = Instant::now();
        let mut nap = Duration::from_micros(50);
        while self.status.is_none() && !self.has_exited() {
            cancel.check().map_err(Stop::Cancelled)?;
            if limit.is_some_and(|limit| began.elapsed() >= limit) {
                return Err(Stop::Silent(began.elapsed()));
            }
            thread::sleep(nap);
            nap = (nap * 2).min(Duration::from_millis(50));
        }
        self.reap().map_err(Stop::Io)
    }

    /// Ends the whole process group: SIGTERM, and SIGKILL after two seconds. Does nothing if it was reaped already.
    pub(crate) fn terminate(&mut self) {
        if self.status.is_some() {
            return;
        }
        let _ = kill_process_group(self.group, Signal::TERM);
        // A stopped process cannot act on SIGTERM.
        let _ = kill_process_group(self.group, Signal::CONT);
        let _ = self.wait(Some(GRACE), &Cancel::new());
        if self.status.is_none() {
            let _ = kill_process_group(self.group, Signal::KILL);
            let _ = self.reap();
        }
    }

    /// The error for an exit status that is not success.
    pub(crate) fn failure(&self, status: ExitStatus) -> Error {
        self.messages.wait_closed(LAST_WORDS);
        let messages = self.messages.text();
        let error = Error::failed(format!("{} {}", self.name, describe(status)));
        let error = if messages.is_empty() {
            error
        } else {
            error.because_text(messages.as_str()).with(ToolMessages::new(messages))
        };
        if status.signal() == Some(Signal::KILL.as_raw()) {
            return error.hint("the kernel may have killed it for lack of memory: see `journalctl -k`");
        }
        error
    }

    /// The error for a wait that ended without a result; the process group is ended first.
    pub(crate) fn stopped(&mut self, stop: Stop, doing: &str) -> Error {
        // Checked while it is still running.
        let busy = matches!(stop, Stop::Silent(_)) && is_busy(self.group);
        self.terminate();
        let messages = self.messages.text();
        match stop {
            Stop::Cancelled(error) => error.context(&self.name),
            Stop::Io(error) => Error::failed(format!("{}: {doing} failed", self.name)).because(&error),
            Stop::Silent(time) => {
                let seconds = time.as_secs_f64();
                if busy {
                    return Error::failed(format!(
                        "{} was ended: {doing}, there was no output for {seconds:.1} s although it uses the CPU all the time",
                        self.name
                    ))
                    .because_text(messages.as_str())
                    .with(ToolMessages::new(messages))
                    .hint(
                        "it is busy, so neither a lock nor a connection is the cause: use another version of this tool, or raise \
                         `idle_timeout` if it needs that long",
                    );
                }
                Error::failed(format!(
                    "{} was ended: {doing}, nothing happened for {seconds:.1} s",
                    self.name
                ))
                .because_text(messages.as_str())
                .with(ToolMessages::new(messages))
                .hint(
                    "check the server for locks and lost connections; raise `idle_timeout` if this is normal",
                )
            }
        }
    }

    /// Whether the leader has ended, without reaping it: while it is a zombie, the group's id cannot be reused, and signals
    /// reach no other process.
    fn has_exited(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        !matches!(waitid(WaitId::Pid(self.group), options), Ok(None))
    }

    /// Ends the other members of the group and reaps the leader. Blocks until the leader has ended.
    fn reap(&mut self) -> io::Result<ExitStatus> {
        if let Some(status) = self.status {
            return Ok(status);
        }
        let _ = kill_process_group(self.group, Signal::KILL);
        let status = self.child.wait()?;
        self.status = Some(status);
        tracing::debug!(
            parent: &self.span,
            program = self.program,
            pid = self.group.as_raw_nonzero().get(),
            exit = status.code(),
            signal = status.signal(),
            seconds = self.begun.elapsed().as_secs_f64(),
            "a tool has ended"
        );
        Ok(status)
    }
}

/// The name of a program without its directory.
pub(crate) fn file_name(program: impl AsRef<Path>) -> String {
    program.as_ref().file_name().unwrap_or_default().to_string_lossy().into_owned()
}

impl Drop for Process {
    fn drop(&mut self) {
        self.terminate();
    }
}

/// Whether the processes of a group are using the CPU. On a loaded machine they may get only a part of it; a process that waits
/// for a lock or an answer uses none.
fn is_busy(group: Pid) -> bool {
    let (before, began) = (processor_time(group), Instant::now());
    thread::sleep(SAMPLE);
    let used = processor_time(group).saturating_sub(before);
    used > began.elapsed() / 8
}

/// The CPU time of the processes of a group, as far as the kernel reports it.
fn processor_time(group: Pid) -> Duration {
    let Ok(processes) = fs::read_dir("/proc") else { return Duration::ZERO };
    let in_group = |folder: &Path| {
        let text = fs::read_to_string(folder.join("stat")).ok()?;
        // The name in brackets may hold anything; state, parent and group follow it.
        let (_, rest) = text.rsplit_once(')')?;
        let id: i32 = rest.split_whitespace().nth(2)?.parse().ok()?;
        (id == group.as_raw_nonzero().get()).then_some(())
    };
    let nanoseconds = |thread: &Path| -> Option<u64> {
        fs::read_to_string(thread.join("schedstat")).ok()?.split_whitespace().next()?.parse().ok()
    };
    let folders = processes.flatten().map(|entry| entry.path()).filter(|path| in_group(path).is_some());
    let threads = folders.filter_map(|folder| fs::read_dir(folder.join("task")).ok()).flatten().flatten();
    Duration::from_nanos(threads.filter_map(|thread| nanoseconds(&thread.path())).sum())
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("failed with exit status {code}"),
        (None, Some(signal)) => {
            let name = match Signal::from_named_raw(signal) {
                Some(Signal::KILL) => " (SIGKILL)",
                Some(Signal::TERM) => " (SIGTERM)",
                Some(Signal::INT) => " (SIGINT)",
                Some(Signal::SEGV) => " (SIGSEGV)",
                Some(Signal::ABORT) => " (SIGABRT)",
                Some(Signal::PIPE) => " (SIGPIPE)",
                _ => "",
            };
            format!("was ended by signal {signal}{name}")
        }
        (None, None) => format!("ended with {status}"),
    }
}

/// Makes this process the subreaper: orphaned descendants become its children.
///
/// # Errors
/// The system cannot do it.
pub(crate) fn adopt_orphans() -> io::Result<()> {
    Ok(rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?)
}

/// The children of this process, including adopted ones.
pub(crate) fn children() -> Vec<Pid> {
    let Ok(threads) = fs::read_dir("/proc/self/task") else { return Vec::new() };
    let lists =
        threads.flatten().filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<i32>>())
        .filter_map(Pid::from_raw)
        .collect()
}
