//! The common part of all throwaway servers: a directory, a process bound to us, a log whose end explains failures.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::{DirBuilderExt, chown},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use super::{
    bound::{self, Running},
    orphans,
    sandbox::{Rules, Sandbox, owner::Owner},
};
use crate::{
    error::{Error, Result},
    stream::{cancel::Cancel, process::file_name},
};

/// The system's limit for the path of a socket.
const SOCKET_PATH: usize = 107;
/// The time limit for a new server to accept connections, and for its preparation.
const START: Duration = Duration::from_secs(120);
/// The time limit for a server to stop when it is removed.
const THROWN_AWAY: Duration = Duration::from_secs(15);
/// How often a server or tool that starts is looked at.
const LOOK: Duration = Duration::from_millis(5);
/// The number of bytes of a log that are read for an error.
const LOG_END: u64 = 64 * 1024;
/// Lines of a log that an error shows.
const LOG_LINES: usize = 10;

/// A server in a directory that the caller owns and removes afterwards. Dropping it stops the server at once; if this process
/// is killed, the kernel stops it.
#[derive(Debug)]
pub(crate) struct Daemon {
    dir: PathBuf,
    sandbox: Sandbox,
    /// The only directories that it may write to.
    own: Vec<PathBuf>,
    child: Option<Running>,
    /// Stops it quickly, with all of its children.
    kill: Signal,
}

impl Daemon {
    /// A server to be started in `dir`, an existing directory, confined by `rules`. As root it runs as an unprivileged user,
    /// who must be able to reach `dir`. With `port` it listens on that TCP port, else on no network.
    pub(crate) fn new(dir: &Path, kill: Signal, rules: &Rules, port: Option<u16>) -> Result<Self> {
        let sandbox = Sandbox::new(rules, dir, port)?;
        let mut daemon = Self { dir: dir.to_owned(), sandbox, own: Vec::new(), child: None, kill };
        daemon.create_dir(&daemon.temporary())?;
        Ok(daemon)
    }

    /// The user that it runs as; `None` for our own.
    pub(crate) fn owner(&self) -> Option<Owner> {
        self.sandbox.owner()
    }

    /// The resources that are not confined.
    pub(crate) fn unconfined(&self) -> &[String] {
        self.sandbox.open()
    }

    /// Its directory for temporary files.
    pub(crate) fn temporary(&self) -> PathBuf {
        self.dir.join("tmp")
    }

    /// Whether it has ended, without side effects.
    pub(crate) fn is_dead(&self) -> bool {
        use rustix::process::{WaitId, WaitIdOptions, waitid};
        let Some(child) = &self.child else { return true };
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        // A process whose state cannot be read is gone.
        waitid(WaitId::Pid(child.id()), look).map_or(true, |ended| ended.is_some())
    }

    /// Why it no longer runs, if it does not.
    pub(crate) fn death(&mut self) -> Option<Error> {
        let status = self.child.as_mut()?.try_wait().ok().flatten()?;
        if let Some(child) = self.child.take() {
            self.bury(&child);
        }
        Some(self.broken(&format!("the scratch server {}", bound::describe(status))))
    }

    /// The directory of the server.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The process, while it runs.
    #[cfg(test)]
    pub(crate) fn id(&self) -> Option<i32> {
        self.pid()
    }

    fn pid(&self) -> Option<i32> {
        self.child.as_ref().map(|child| child.id().as_raw_nonzero().get())
    }

    /// Fails if a socket cannot be made at this path.
    pub(crate) fn require_short(socket: &Path) -> Result<()> {
        if socket.as_os_str().len() <= SOCKET_PATH {
            return Ok(());
        }
        Err(Error::usage(format!("the path {} is too long for a socket", socket.display()))
            .hint("use a directory with a shorter path"))
    }

    /// Makes a directory of the server's own.
    pub(crate) fn create_dir(&mut self, dir: &Path) -> Result<()> {
        self.own.push(dir.to_owned());
        let made = fs::DirBuilder::new().mode(0o700).create(dir).and_then(|()| match self.owner() {
            Some(Owner { uid, gid, .. }) => chown(dir, Some(uid), Some(gid)),
            None => Ok(()),
        });
        made.map_err(|error| Error::failed(format!("cannot create {}", dir.display())).because(&error))
    }

    /// A tool with a minimal environment: our settings for clients or servers must not affect it.
    pub(crate) fn command(&self, program: &Path) -> Result<Command> {
        let failed =
            |error| Error::failed(format!("cannot write {}", self.log_file().display())).because(&error);
        let log = File::options().create(true).append(true).open(self.log_file()).map_err(failed)?;
        let mut command = Command::new(program);
        command.env_clear().env("LC_ALL", "C").env("TZ", "UTC").env("TMPDIR", self.temporary());
        // The directory of the program, for libraries beside it: without /proc the loader cannot determine it.
        if let Some(folder) = program.canonicalize().ok().as_deref().and_then(Path::parent) {
            command.env("LD_ORIGIN_PATH", folder);
        }
        // On NixOS the C library finds locales only through the LOCALE_ARCHIVE variables, and databases need theirs.
        for name in ["PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LOCALE_ARCHIVE", "LOCALE_ARCHIVE_2_27"]
        {
            command.envs(std::env::var_os(name).map(|value| (name, value)));
        }
        command.stdin(Stdio::null()).stdout(log.try_clone().map_err(failed)?).stderr(log);
        Ok(command)
    }

    /// Runs a command that prepares the server, and waits for its end.
    pub(crate) fn prepare(&self, what: &str, command: Command, cancel: &Cancel) -> Result<()> {
        // Its files are removed with the server.
        let mut child = self.spawn(command, Signal::KILL)?;
        let begin = Instant::now();
        loop {
            let ended =
                child.try_wait().map_err(|e| Error::failed(format!("cannot wait for {what}")).because(&e))?;
            match ended {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(self.broken(&format!("{what} {}", bound::describe(status)))),
                None => {}
            }
            let late = begin.elapsed() > START;
            if late || cancel.is_cancelled() {
                let _ = bound::stop(&mut child, &[(Signal::KILL, Duration::from_secs(5))]);
                self.bury(&child);
                cancel.check()?;
                return Err(self.broken(&format!("{what} took too long")));
            }
            thread::sleep(LOOK);
        }
    }

    /// Starts the server and waits until `ready` says that it accepts connections. Fails with the last lines of its log.
    pub(crate) fn start(
        &mut self,
        command: Command,
        ready: impl Fn() -> bool,
        cancel: &Cancel,
    ) -> Result<()> {
        let program = file_name(command.get_program());
        self.child = Some(self.spawn(command, self.kill)?);
        let begin = Instant::now();
        while !ready() {
            cancel.check()?;
            let ended = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            if let Some(status) = ended {
                self.child = None;
                return Err(self.broken(&format!("the scratch server {}", bound::describe(status))));
            }
            if begin.elapsed() > START {
                return Err(self.broken("the scratch server did not become ready"));
            }
            thread::sleep(LOOK);
        }
        let (pid, seconds) = (self.pid(), begin.elapsed().as_secs_f64());
        tracing::debug!(program, pid, seconds, "a scratch server is ready");
        Ok(())
    }

    /// Stops it cleanly, by `signal` first, so that its data can be used again. Does nothing if it has stopped.
    pub(crate) fn stop(&mut self, signal: Signal) -> Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        let steps = [(signal, Duration::from_secs(30)), (self.kill, THROWN_AWAY)];
        let status = bound::stop(&mut child, &steps)
            .map_err(|error| Error::failed("cannot stop the scratch server").because(&error))?;
        self.bury(&child);
        let (pid, exit) = (child.id().as_raw_nonzero().get(), status.code());
        tracing::debug!(pid, exit, "a scratch server has stopped");
        if status.success() {
            Ok(())
        } else {
            Err(self.broken(&format!("the scratch server {}", bound::describe(status))))
        }
    }

    /// The log of the server and its tools.
    pub(crate) fn log_file(&self) -> PathBuf {
        self.dir.join("server.log")
    }

    fn spawn(&self, command: Command, signal: Signal) -> Result<Running> {
        let program = PathBuf::from(command.get_program());
        let plan = self.sandbox.plan(&program, &self.own)?;
        orphans::starting(|| bound::start(command, signal, plan), Running::id)
            .map_err(|error| self.broken(&format!("cannot start {}: {error}", program.display())))
    }

    /// Kills the processes that an ended server left behind.
    fn bury(&self, server: &Running) {
        orphans::was_server(server.id());
        if let Some(uid) = self.sandbox.leaves_orphans() {
            orphans::end(uid);
        }
    }

    /// An error with the end of the log.
    fn broken(&self, what: &str) -> Error {
        let log = end_of(&self.log_file()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
        let error =
            Error::failed(what).because_text(lines[lines.len().saturating_sub(LOG_LINES)..].join("\n"));
        if log.contains("Permission denied") {
            return error.hint(format!(
                "the server is confined, and does not run as root: it must be able to reach {}; name what it reads besides \
                 its programs in `drill.server_files`",
                self.dir.display()
            ));
        }
        if ["No such file or directory", "cannot open shared object"].iter().any(|sign| log.contains(sign)) {
            return error.hint(
                "the server is confined: name what it reads besides its programs (libraries, extensions, what a wrapper \
                 runs) in `drill.server_files`",
            );
        }
        error
    }
}

/// The end of a log, whatever its length.
fn end_of(log: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_END)))?;
    let mut end = Vec::new();
    file.take(LOG_END).read_to_end(&mut end)?;
    Ok(end)
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = bound::stop(&mut child, &[(self.kill, THROWN_AWAY)]);
            tracing::debug!(pid = child.id().as_raw_nonzero().get(), "a scratch server was thrown away");
            self.bury(&child);
        }
    }
}
