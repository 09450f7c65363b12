//! The connection to an SFTP server: an `ssh` of this machine, with its configuration, keys and known hosts. It is a child
//! that ends with the connection.

use std::{
    collections::BTreeMap,
    future::Future,
    io,
    os::fd::OwnedFd,
    process::{Command, Stdio},
    sync::OnceLock,
    time::Duration,
};

use openssh_sftp_client::{Error as Client, Sftp, SftpOptions, error::SftpErrorKind};
use tokio::{
    net::unix::pipe,
    runtime::{Builder, Runtime},
    time::timeout,
};

use super::super::objects::{ObjectError, Result};
use crate::stream::{cancel::Cancel, process::Process};

/// How long a failed `ssh` may take to end after its connection was closed.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How long connecting and logging in may take: a bit less than the operation that needs it is waited for.
const CONNECTING: Duration = Duration::from_secs(50);

/// How long a part of the protocol may take. It has been abandoned long before; at its end its connection can be closed.
const DEADLINE: Duration = Duration::from_secs(660);

/// Options of `ssh` that its own SFTP client sets as well, limits for silent servers and dead connections, and messages for
/// every failure.
const OPTIONS: [&str; 10] = [
    "BatchMode=yes",
    "ClearAllForwardings=yes",
    "ForwardAgent=no",
    "ForwardX11=no",
    "PermitLocalCommand=no",
    "ControlPath=none",
    "LogLevel=ERROR",
    "ConnectTimeout=45",
    "ServerAliveInterval=30",
    "ServerAliveCountMax=4",
];

/// Where the server is and how to log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    host: String,
    port: Option<u16>,
    user: Option<String>,
    key: Option<String>,
    /// The value of ssh's option `StrictHostKeyChecking`.
    host_keys: &'static str,
}

impl Address {
    /// Reads `endpoint`, `user`, `key` and `known_hosts_strategy` from the options of a location.
    pub(super) fn from_options(options: &BTreeMap<String, String>) -> Result<Self> {
        let option = |name: &str| options.get(name).filter(|value| !value.is_empty());
        let endpoint = option("endpoint")
            .ok_or_else(|| ObjectError::Unusable("the location names no server".to_owned()))?;
        let mut host = endpoint.as_str();
        let (mut user, mut port) = (option("user").cloned(), None);
        if let Some(rest) = host.strip_prefix("ssh://") {
            host = rest;
            if let Some((name, rest)) = host.rsplit_once('@') {
                (user, host) = (Some(name.to_owned()), rest);
            }
            if let Some((rest, number)) = host.rsplit_once(':')
                && let Ok(number) = number.parse()
            {
                (host, port) = (rest, Some(number));
            }
        }
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).to_owned();
        let host_keys =
            match option("known_hosts_strategy").map(|strategy| strategy.to_lowercase()).as_deref() {
                None | Some("strict") => "yes",
                Some("accept") => "no",
                Some("add") => "accept-new",
                Some(other) => {
                    let what = format!("`known_hosts_strategy` must be strict, add or accept, not {other}");
                    return Err(ObjectError::Unusable(what));
                }
            };
        Ok(Self { host, port, user, key: option("key").cloned(), host_keys })
    }

    fn command(&self) -> Command {
        let mut ssh = Command::new("ssh");
        ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        for option in OPTIONS {
            ssh.arg("-o").arg(option);
        }
        ssh.arg("-o").arg(format!("StrictHostKeyChecking={}", self.host_keys));
        if let Some(port) = self.port {
            ssh.arg("-p").arg(port.to_string());
        }
        if let Some(user) = &self.user {
            ssh.arg("-l").arg(user);
        }
        if let Some(key) = &self.key {
            ssh.args(["-o", "IdentitiesOnly=yes", "-i"]).arg(key);
        }
        ssh.args(["-s", "--"]).arg(&self.host).arg("sftp");
        ssh
    }

    /// The server as `user@host:port`.
    pub(super) fn server(&self) -> String {
        let user = self.user.as_ref().map_or_else(String::new, |user| format!("{user}@"));
        let port = self.port.map_or_else(String::new, |port| format!(":{port}"));
        format!("{user}{}{port}", self.host)
    }
}

/// A connection. Requests of several threads are sent without waiting for each other's answers.
pub(super) struct Session {
    // Dropped before the process: it may still send requests.
    sftp: Sftp,
    _ssh: Process,
}

impl Session {
    /// Logs in.
    pub(super) fn open(address: &Address) -> Result<Self> {
        Self::start(address.command(), CONNECTING)
    }

    /// Starts a program that speaks the protocol with its stdin and stdout.
    pub(super) fn start(command: Command, limit: Duration) -> Result<Self> {
        let mut ssh = Process::start(command, "the SFTP connection".to_owned(), Vec::new(), Vec::new(), None)
            .map_err(|error| ObjectError::NoProgram(error.to_string()))?;
        let child = ssh.child();
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(ObjectError::Failed("ssh was started without pipes".to_owned()));
        };
        match within(limit, greet(input.into(), output.into())) {
            Ok(sftp) => Ok(Self { sftp, _ssh: ssh }),
            // The messages of ssh do not explain what the server has sent.
            Err(error @ ObjectError::Unusable(_)) => Err(error),
            Err(error) => {
                let _ = ssh.wait(Some(LAST_WORDS), &Cancel::new());
                ssh.messages().wait_closed(LAST_WORDS);
                let said = ssh.messages().text();
                Err(if said.is_empty() { error } else { of_ssh(&said) })
            }
        }
    }

    pub(super) fn client(&self) -> &Sftp {
        &self.sftp
    }
}

/// Begins the protocol over two pipes.
pub(super) async fn greet(input: OwnedFd, output: OwnedFd) -> Result<Sftp> {
    let failed = |error: io::Error| ObjectError::Failed(error.to_string());
    let input = pipe::Sender::from_owned_fd(input).map_err(failed)?;
    let output = pipe::Receiver::from_owned_fd(output).map_err(failed)?;
    Ok(Sftp::new(input, output, SftpOptions::default()).await?)
}

/// Runs a part of the protocol to its end.
pub(super) fn run<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    within(DEADLINE, work)
}

fn within<T>(limit: Duration, work: impl Future<Output = Result<T>>) -> Result<T> {
    runtime()?.block_on(async {
        let silent = |_| Err(ObjectError::Failed("the server does not answer".to_owned()));
        timeout(limit, work).await.unwrap_or_else(silent)
    })
}

/// The threads of all connections.
pub(super) fn runtime() -> Result<&'static Runtime> {
    static RUNTIME: OnceLock<io::Result<Runtime>> = OnceLock::new();
    let start = || Builder::new_multi_thread().worker_threads(1).thread_name("sftp").enable_all().build();
    let started = RUNTIME.get_or_init(start).as_ref();
    started.map_err(|error| ObjectError::Failed(format!("cannot start a thread: {error}")))
}

impl From<Client> for ObjectError {
    fn from(error: Client) -> Self {
        match error {
            Client::SftpError(SftpErrorKind::NoSuchFile, _) => Self::Absent,
            Client::SftpError(SftpErrorKind::PermDenied, _) => Self::Denied("permission denied".to_owned()),
            Client::SftpError(SftpErrorKind::OpUnsupported, _)
            | Client::UnsupportedSftpProtocol { .. }
            | Client::UnsupportedExtension(_) => Self::Unusable(error.to_string()),
            Client::SftpError(_, said) => Self::Answered(said.get().0.to_owned()),
            Client::SftpServerHelloMsgTooLong { .. } => Self::Unusable(
                "the server sends a text before the protocol begins: the login shell of the user must print nothing".to_owned(),
            ),
            // Errors of cleaning up after an error.
            Client::RecursiveErrors(errors) => errors.original_error.into(),
            Client::RecursiveErrors3(errors) => errors.err1.into(),
            _ => Self::Failed("the connection is lost".to_owned()),
        }
    }
}

/// The error that a message means.
type Meaning = fn(String) -> ObjectError;

/// Messages of `ssh` about errors that another attempt does not change.
const LASTING: [(&str, Meaning); 8] = [
    ("has changed and you have requested strict checking", |_| ObjectError::ChangedHost),
    ("Host key verification failed", |_| ObjectError::UnknownHost),
    ("Permission denied (", ObjectError::Denied),
    ("Too many authentication failures", ObjectError::Denied),
    ("Unable to negotiate with", ObjectError::Unusable),
    ("Bad configuration option", ObjectError::Unusable),
    ("Bad owner or permissions on", ObjectError::Unusable),
    ("subsystem request failed", ObjectError::Unusable),
];

/// The error of an `ssh` that ended before there was a connection. It has one exit code for everything, and its messages are
/// in English.
fn of_ssh(said: &str) -> ObjectError {
    let plain = |line: &str| line.trim().trim_start_matches("ssh: ").to_owned();
    let lasting = LASTING.iter().find_map(|(text, error)| {
        let line = said.lines().find(|line| line.contains(text))?;
        Some(error(plain(line)))
    });
    lasting.unwrap_or_else(|| ObjectError::Failed(plain(said.lines().last().unwrap_or(said))))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "session_tests.rs"]
mod tests;
