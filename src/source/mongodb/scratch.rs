//! A throwaway MongoDB server. It listens on a Unix socket, or on a loopback port if it supports nothing else, and ends with
//! the process that started it.

use std::{
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rustix::process::Signal;

use crate::{
    error::{Error, Result},
    scratch::{daemon::Daemon, sandbox::Rules},
    stream::cancel::Cancel,
};

/// What is written as it is where a connection string has a host; by the end `.sock` the driver knows a socket.
const IN_HOST: &AsciiSet = &NON_ALPHANUMERIC.remove(b'.').remove(b'-').remove(b'_');

/// A running server without accounts. Dropping it stops it at once; if this process is killed, the kernel does.
///
/// Its files are in a directory that the caller owns and removes after the server.
#[derive(Debug)]
pub struct MongodbServer {
    program: PathBuf,
    place: Place,
    daemon: Daemon,
}

/// Its address.
#[derive(Debug, Clone)]
enum Place {
    /// MongoDB's own: it needs no network.
    Socket(PathBuf),
    /// Other servers support only ports.
    Port(u16),
}

impl Place {
    fn answers(&self) -> bool {
        match self {
            Self::Socket(path) => UnixStream::connect(path).is_ok(),
            Self::Port(port) => TcpStream::connect((Ipv4Addr::LOCALHOST, *port)).is_ok(),
        }
    }
}

impl MongodbServer {
    /// Starts an empty server in `dir`, an existing directory. `program` is `mongod`, or another one that speaks its
    /// protocol and takes `--port` and `--storage-path`. Fails with the last lines of the server's log.
    pub fn start(program: &Path, dir: &Path, rules: &Rules, cancel: &Cancel) -> Result<Self> {
        let (place, port) = if program.file_name().is_some_and(|name| name == "mongod") {
            let socket = dir.join("socket/mongod.sock");
            Daemon::require_short(&socket)?;
            (Place::Socket(socket), None)
        } else {
            let port = free_port()?;
            (Place::Port(port), Some(port))
        };
        let daemon = Daemon::new(dir, Signal::KILL, rules, port)?;
        let mut server = Self { program: program.to_owned(), place, daemon };
        server.daemon.create_dir(&server.data_dir())?;
        server.daemon.create_dir(&server.socket_dir())?;
        server.launch(cancel)?;
        Ok(server)
    }

    /// Its program.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Its connection string.
    pub fn uri(&self) -> String {
        match &self.place {
            Place::Socket(path) => {
                format!("mongodb://{}", utf8_percent_encode(&path.to_string_lossy(), IN_HOST))
            }
            Place::Port(port) => format!("mongodb://127.0.0.1:{port}"),
        }
    }

    /// Whether all required restrictions are in effect.
    pub fn is_confined(&self) -> bool {
        self.daemon.unconfined().is_empty()
    }

    /// The missing restrictions.
    pub(in crate::source) fn unconfined(&self) -> &[String] {
        self.daemon.unconfined()
    }

    /// Stops it cleanly. Does nothing if it has stopped.
    pub fn stop(&mut self) -> Result<()> {
        self.daemon.stop(Signal::TERM)
    }

    /// Whether it has ended.
    pub(in crate::source) fn is_dead(&self) -> bool {
        self.daemon.is_dead()
    }

    /// Why it no longer runs, if it has ended.
    pub(in crate::source) fn death(&mut self) -> Option<crate::error::Error> {
        self.daemon.death()
    }

    fn data_dir(&self) -> PathBuf {
        self.daemon.dir().join("data")
    }

    fn socket_dir(&self) -> PathBuf {
        self.daemon.dir().join("socket")
    }

    fn launch(&mut self, cancel: &Cancel) -> Result<()> {
        let mut command = self.daemon.command(&self.program)?;
        match &self.place {
            Place::Socket(socket) => {
                // Expired documents are part of the backup.
                command.args(["--setParameter", "ttlMonitorEnabled=false", "--setParameter"]);
                command.args(["diagnosticDataCollectionEnabled=false", "--bind_ip"]).arg(socket);
                // It makes one more socket, whose name has a port.
                command.arg("--unixSocketPrefix").arg(self.socket_dir()).arg("--dbpath");
            }
            Place::Port(port) => {
                command.arg("--port").arg(port.to_string()).arg("--storage-path");
            }
        }
        command.arg(self.data_dir());
        let place = self.place.clone();
        self.daemon.start(command, || place.answers(), cancel)
    }
}

/// A currently unused port.
fn free_port() -> Result<u16> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|error| Error::failed("no free port for the scratch server").because(&error))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use mongodb::options::ServerAddress;

    use super::*;

    #[test]
    fn the_driver_knows_the_path_of_a_socket() {
        let path = PathBuf::from("/var/tmp/a b:c@d/%41-_é/socket/mongod.sock");
        let text = utf8_percent_encode(&path.to_string_lossy(), IN_HOST).to_string();
        assert!(!text.contains(['/', ':', '@', ' ']), "{text}");
        assert_eq!(ServerAddress::parse(text).unwrap(), ServerAddress::Unix { path });
    }
}
