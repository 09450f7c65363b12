//! A server for unit tests, in a directory of its own, ended with the test however that ends.

use std::{
    net::{TcpListener, TcpStream},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::Signal;
use testkit::Tool;

use crate::scratch::{bound, sandbox::enter::Plan};

/// A running server with failpoints.
pub(super) struct TestServer {
    child: bound::Running,
    pub(super) port: u16,
    pub(super) folder: tempfile::TempDir,
}

impl TestServer {
    /// Starts one. `None`, visibly, if there is no program for it.
    pub(super) fn start(arguments: &[&str]) -> Option<Self> {
        if !Tool::MongoCompatible.or_skip() {
            return None;
        }
        let program = Tool::MongoCompatible.path()?;
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(program);
        command
            .args(["--enable-test-commands", "--cache-size", "256M", "--port", &port.to_string()])
            .arg("--storage-path")
            .arg(folder.path().join("data"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = bound::start(command, Signal::KILL, Plan::default()).unwrap();
        let end = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < end, "the server does not start");
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(Self { child, port, folder })
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        let _ = self.child.signal(Signal::KILL);
        let _ = self.child.wait();
    }
}
