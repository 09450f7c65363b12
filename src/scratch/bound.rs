//! Servers bound to this process: however it ends, the kernel sends them the signal to stop.

use std::{
    io::{self, Read},
    os::unix::process::ExitStatusExt,
    process::{Child, ChildStdout, Command, ExitStatus},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    pipe::{PipeFlags, pipe_with},
    process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, waitpid},
};

use super::sandbox::enter::{Line, LineEnds, Plan};
use crate::stream::starter;

/// A process that was started here.
#[derive(Debug)]
pub(crate) struct Running {
    pid: Pid,
    status: Option<ExitStatus>,
    /// Its output, if requested.
    pub(crate) stdout: Option<ChildStdout>,
}

impl Running {
    /// Its process ID, which is valid until its end was seen.
    pub(crate) fn id(&self) -> Pid {
        self.pid
    }

    /// How it ended, if it has.
    pub(crate) fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        if self.status.is_none() {
            let ended = waitpid(Some(self.pid), WaitOptions::NOHANG)?;
            self.status = ended.map(|(_, status)| status_of(status));
        }
        Ok(self.status)
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> io::Result<ExitStatus> {
        loop {
            if let Some(status) = self.status {
                return Ok(status);
            }
            match waitpid(Some(self.pid), WaitOptions::empty()) {
                Ok(ended) => self.status = ended.map(|(_, status)| status_of(status)),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Sends a signal, unless its end was seen.
    pub(crate) fn signal(&mut self, signal: Signal) -> io::Result<()> {
        // The process ID is only valid until the process was waited for.
        match self.try_wait()? {
            Some(_) => Ok(()),
            None => Ok(kill_process(self.pid, signal)?),
        }
    }
}

fn status_of(status: WaitStatus) -> ExitStatus {
    ExitStatus::from_raw(status.as_raw())
}

/// Confined as its plan says, and bound to us.
struct Confined {
    plan: Plan,
    signal: Signal,
    ends: LineEnds,
}

// SAFETY: `enter` only makes system calls; it neither allocates nor locks.
unsafe impl starter::Plan for Confined {
    fn enter(&self, parent: Pid) -> io::Result<()> {
        self.plan.enter(self.signal, parent, self.ends)
    }
}

/// The server that was started. `line` is set if it is another process than the forked one.
fn started(spawned: io::Result<Child>, line: Option<Line>) -> io::Result<Running> {
    let Some(Line { reader, writer }) = line else {
        let mut child = spawned?;
        let pid = pid_of(&child)?;
        return Ok(Running { pid, status: None, stdout: child.stdout.take() });
    };
    drop(writer);
    let mut number = [0; 4];
    let told = std::fs::File::from(reader).read_exact(&mut number);
    let pid = told.ok().and_then(|()| Pid::from_raw(i32::from_ne_bytes(number)));
    match (spawned, pid) {
        (Ok(mut child), Some(pid)) => {
            // It has ended: the server is its sibling.
            child.wait()?;
            Ok(Running { pid, status: None, stdout: child.stdout.take() })
        }
        (Ok(mut child), None) => {
            child.wait()?;
            Err(io::Error::other("the process ID of the server was not reported"))
        }
        (Err(error), pid) => {
            // It could not run its program, and must be waited for.
            if let Some(pid) = pid {
                let _ = waitpid(Some(pid), WaitOptions::empty());
            }
            Err(error)
        }
    }
}

fn pid_of(child: &Child) -> io::Result<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Starts `command` in a session of its own, confined by the plan. When this process ends, in whatever way, the server gets `signal`,
/// or SIGKILL if it has a process namespace.
pub(crate) fn start(mut command: Command, signal: Signal, plan: Plan) -> io::Result<Running> {
    command.current_dir("/");
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
    let pair = Line { reader, writer };
    let ends = pair.ends();
    let line = plan.is_first_process().then_some(pair);
    starter::start(command, Confined { plan, signal, ends }, |spawned| started(spawned, line))
}

/// Sends each signal in turn and waits for its timeout, until the child has ended; finally SIGKILL.
pub(crate) fn stop(child: &mut Running, signals: &[(Signal, Duration)]) -> io::Result<ExitStatus> {
    for (signal, limit) in signals {
        let begin = Instant::now();
        let _ = child.signal(*signal);
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            if begin.elapsed() >= *limit {
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
    child.signal(Signal::KILL)?;
    child.wait()
}

/// The exit status, for messages.
pub(crate) fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit status {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_child_that_ignores_the_first_signal_gets_the_next() {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "trap '' INT; echo ready; while :; do sleep 0.05; done"]);
        command.stdout(std::process::Stdio::piped());
        let mut child = start(command, Signal::KILL, Plan::default()).unwrap();
        let mut ready = [0; 6];
        child.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
        let steps = [(Signal::INT, Duration::from_millis(100)), (Signal::TERM, Duration::from_secs(10))];
        let status = stop(&mut child, &steps).unwrap();
        assert_eq!(status.signal(), Some(Signal::TERM.as_raw()), "{}", describe(status));
    }

    #[test]
    fn a_child_that_ends_by_itself_is_not_waited_for() {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "exit 0"]);
        let mut child = start(command, Signal::KILL, Plan::default()).unwrap();
        let begin = Instant::now();
        stop(&mut child, &[(Signal::TERM, Duration::from_secs(60))]).unwrap();
        assert!(begin.elapsed() < Duration::from_secs(10));
    }
}
