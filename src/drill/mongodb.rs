//! A throwaway MongoDB server: on a loopback port, gone with whoever started it.

use std::{
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
};

use rustix::process::Signal;

use super::{bound::Network, daemon::Daemon};
use crate::{
    error::{Error, Result},
    stream::cancel::Cancel,
};

/// A running server without accounts. Dropping it stops it at once; if this process is killed, the kernel does.
///
/// Its files are in a folder that the caller owns and removes after the server.
#[derive(Debug)]
pub struct MongodbServer {
    program: PathBuf,
    port: u16,
    daemon: Daemon,
}

impl MongodbServer {
    /// Starts an empty server in `dir`, an existing folder. `program` is `mongod`, or another one that speaks its
    /// protocol and takes `--port` and `--storage-path`. Fails with the last lines of the server's log.
    pub fn start(program: &Path, dir: &Path, cancel: &Cancel) -> Result<Self> {
        let daemon = Daemon::new(dir, Signal::KILL, Network::Shared)?;
        let mut server = Self { program: program.to_owned(), port: free_port()?, daemon };
        server.daemon.create_dir(&server.data_dir())?;
        server.launch(cancel)?;
        Ok(server)
    }

    /// Its program.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Its connection string.
    pub fn uri(&self) -> String {
        format!("mongodb://127.0.0.1:{}", self.port)
    }

    /// Its port on the loopback address.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Stops it in order. Does nothing if it has stopped.
    pub fn stop(&mut self) -> Result<()> {
        self.daemon.stop(Signal::TERM)
    }

    /// Whether it has ended.
    pub(super) fn is_dead(&self) -> bool {
        self.daemon.is_dead()
    }

    /// Why it no longer runs, if it does not.
    pub(super) fn death(&mut self) -> Option<crate::error::Error> {
        self.daemon.death()
    }

    fn data_dir(&self) -> PathBuf {
        self.daemon.dir().join("data")
    }

    fn launch(&mut self, cancel: &Cancel) -> Result<()> {
        let mut command = self.daemon.command(&self.program)?;
        command.arg("--port").arg(self.port.to_string());
        if self.program.file_name().is_some_and(|name| name == "mongod") {
            // Documents past their time limit are part of what was backed up.
            command.args(["--setParameter", "ttlMonitorEnabled=false", "--setParameter"]);
            command.args(["diagnosticDataCollectionEnabled=false", "--bind_ip", "127.0.0.1"]);
            command.args(["--nounixsocket", "--dbpath"]);
        } else {
            command.arg("--storage-path");
        }
        command.arg(self.data_dir());
        let port = self.port;
        self.daemon.start(command, || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok(), cancel)
    }
}

/// A port that nobody uses at the moment.
fn free_port() -> Result<u16> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|error| Error::failed("no free port for the scratch server").because(&error))
}
