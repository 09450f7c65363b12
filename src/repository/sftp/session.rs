//! The connection to an SFTP server: an `ssh` of this machine, with its configuration, keys and known hosts. It is a child
//! that ends with the connection.

use std::{
    collections::BTreeMap,
    future::Future,
    io,
    process::{Command, Stdio},
    sync::OnceLock,
    time::Duration,
};

use openssh_sftp_client::{Error as Client, Sftp, SftpOptions, error::SftpErrorKind};
use tokio::{
    net::unix::pipe,
    runtime::{Builder, Runtime},
};

use super::super::objects::{ObjectError, Result};
use crate::stream::{cancel::Cancel, process::Process};

/// How long a failed `ssh` may take to end after its connection was closed.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Options of `ssh` that its own SFTP client sets as well, and a limit for the silence of a dead connection.
const OPTIONS: [&str; 8] = [
    "BatchMode=yes",
    "ClearAllForwardings=yes",
    "ForwardAgent=no",
    "ForwardX11=no",
    "PermitLocalCommand=no",
    "ControlPath=none",
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
        let failed = |error: io::Error| ObjectError::Failed(error.to_string());
        let mut ssh = Process::start(address.command(), "ssh".to_owned(), Vec::new(), Vec::new(), None)
            .map_err(|error| ObjectError::Unusable(error.to_string()))?;
        let child = ssh.child();
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(ObjectError::Failed("ssh was started without pipes".to_owned()));
        };
        let opened = runtime()?.block_on(async {
            let input = pipe::Sender::from_owned_fd(input.into()).map_err(failed)?;
            let output = pipe::Receiver::from_owned_fd(output.into()).map_err(failed)?;
            Sftp::new(input, output, SftpOptions::default()).await.map_err(of_client)
        });
        match opened {
            Ok(sftp) => Ok(Self { sftp, _ssh: ssh }),
            Err(error) => {
                let _ = ssh.wait(Some(LAST_WORDS), &Cancel::new());
                ssh.messages().wait_closed(LAST_WORDS);
                let said = ssh.messages().text();
                Err(if said.is_empty() { error } else { of_ssh(said) })
            }
        }
    }

    pub(super) fn client(&self) -> &Sftp {
        &self.sftp
    }
}

/// Runs a part of the protocol to its end.
pub(super) fn run<T>(work: impl Future<Output = std::result::Result<T, Client>>) -> Result<T> {
    runtime()?.block_on(work).map_err(of_client)
}

/// The threads of all connections.
pub(super) fn runtime() -> Result<&'static Runtime> {
    static RUNTIME: OnceLock<io::Result<Runtime>> = OnceLock::new();
    let start = || Builder::new_multi_thread().worker_threads(1).thread_name("sftp").enable_all().build();
    let started = RUNTIME.get_or_init(start).as_ref();
    started.map_err(|error| ObjectError::Failed(format!("cannot start a thread: {error}")))
}

/// The error of a request.
fn of_client(error: Client) -> ObjectError {
    match &error {
        Client::SftpError(SftpErrorKind::NoSuchFile, _) => ObjectError::Absent,
        Client::SftpError(SftpErrorKind::PermDenied, _) => {
            ObjectError::Denied("permission denied".to_owned())
        }
        Client::SftpError(SftpErrorKind::OpUnsupported, _)
        | Client::UnsupportedSftpProtocol { .. }
        | Client::UnsupportedExtension(_) => ObjectError::Unusable(error.to_string()),
        Client::SftpError(_, said) => ObjectError::Failed(format!("the server answers: {said}")),
        _ => ObjectError::Failed("the connection is lost".to_owned()),
    }
}

/// The error of an `ssh` that ended before there was a connection. It has one exit code for everything, and its messages are
/// in English.
fn of_ssh(said: String) -> ObjectError {
    let line = said.lines().rev().find(|line| !line.starts_with("Warning: ")).unwrap_or(&said).trim();
    let line = line.strip_prefix("ssh: ").unwrap_or(line).to_owned();
    if said.contains("Host key verification failed") {
        return ObjectError::WrongHost("the key of the server is not known, or has changed".to_owned());
    }
    if line.contains("Permission denied (") { ObjectError::Denied(line) } else { ObjectError::Failed(line) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "session_tests.rs"]
mod tests;
