//! MongoDB's own server, where the machine has one: how it is started, and how it becomes a replica set of one member.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use mongodb::{Client, bson::doc};
use rustix::process::Signal;

use crate::{MongoServer, Tool, process::spawn_bound};

/// The name of the replica set, and that of config servers.
const SET: &str = "tik";
const CONFIG_SET: &str = "tik-config";

/// Whether tests run against it, and not against a server that only speaks its protocol.
pub fn is_mongod() -> bool {
    Tool::Mongod.path().is_some()
}

/// A free port.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The command that starts it on a port, with its data and keys below `dir`. The arguments are those of
/// [`MongoServer::start_with`].
pub fn command(program: &Path, dir: &Path, port: u16, arguments: &[String]) -> Command {
    let data = dir.join("data");
    fs::create_dir_all(&data).unwrap();
    let mut command = Command::new(program);
    command.arg("--dbpath").arg(data);
    command.args(["--port", &port.to_string(), "--bind_ip", "127.0.0.1", "--nounixsocket"]);
    command.args(["--wiredTigerCacheSizeGB", "0.25"]);
    command.args(["--setParameter", "diagnosticDataCollectionEnabled=false"]);
    if !has(arguments, "--standalone") {
        command.args(["--replSet", set_of(arguments), "--oplogSize", "128"]);
    }
    for argument in arguments {
        match argument.as_str() {
            "--enable-test-commands" => command.args(["--setParameter", "enableTestCommands=1"]),
            // Members of a replica set prove themselves with a key; it implies accounts.
            "--auth" if !has(arguments, "--standalone") => command.arg("--keyFile").arg(key_file(dir)),
            "--standalone" => &mut command,
            other => command.arg(other),
        };
    }
    command
}

fn has(arguments: &[String], wanted: &str) -> bool {
    arguments.iter().any(|argument| argument == wanted)
}

fn set_of(arguments: &[String]) -> &'static str {
    if has(arguments, "--configsvr") { CONFIG_SET } else { SET }
}

fn key_file(dir: &Path) -> std::path::PathBuf {
    let file = dir.join("key");
    if !file.exists() {
        fs::write(&file, "dGhlIGtleSBvZiBhIHRocm93YXdheSBzZXJ2ZXI=").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    }
    file
}

impl MongoServer {
    /// Makes it a replica set of one member, if it is none, and waits until it is the primary. False if it does not
    /// become one.
    pub(crate) fn become_primary(&self, arguments: &[String]) -> bool {
        if has(arguments, "--standalone") {
            return true;
        }
        let member = doc! { "_id": 0, "host": format!("127.0.0.1:{}", self.port()) };
        let mut set = doc! { "_id": set_of(arguments), "members": [member] };
        if has(arguments, "--configsvr") {
            set.insert("configsvr", true);
        }
        // After a restart it is one, and may want an account for this.
        self.try_command("admin", doc! { "replSetInitiate": set }).ok();
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(60) {
            // Servers of version 4.4.0 and 4.4.1 know it by this name alone.
            let hello = self.try_command("admin", doc! { "isMaster": 1 });
            if hello.is_ok_and(|hello| hello.get_bool("ismaster").unwrap_or(false)) {
                return true;
            }
            thread::sleep(Duration::from_millis(50));
        }
        false
    }

    /// Major and minor version.
    pub fn version(&self) -> (u32, u32) {
        let told = self.command("admin", doc! { "buildInfo": 1 });
        let mut parts = told.get_str("version").unwrap().split('.').map(|part| part.parse().unwrap_or(0));
        (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
    }
}

/// A sharded cluster of one shard behind a router; all of it ends with the test.
#[derive(Debug)]
pub struct Cluster {
    router: Child,
    port: u16,
    servers: [MongoServer; 2],
}

impl Cluster {
    /// Starts one, reached over [`Self::uri`].
    ///
    /// # Panics
    /// If it does not start: `skip_unless!(Tool::Mongod, Tool::Mongos)` first.
    pub fn start() -> Self {
        let config = MongoServer::start_with(&["--configsvr"]);
        let shard = MongoServer::start_with(&["--shardsvr"]);
        let port = free_port();
        let program = Tool::Mongos.path().expect("the router is there: skip_unless!(Tool::Mongos) first");
        let mut command = Command::new(program);
        command.arg("--configdb").arg(format!("{CONFIG_SET}/127.0.0.1:{}", config.port()));
        command.args(["--port", &port.to_string(), "--bind_ip", "127.0.0.1", "--nounixsocket"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let router = spawn_bound(command, Signal::KILL).unwrap();
        let shard_uri = format!("{SET}/127.0.0.1:{}", shard.port());
        let cluster = Self { router, port, servers: [config, shard] };
        let client = cluster.servers[0].wait(async { Client::with_uri_str(cluster.uri()).await }).unwrap();
        let add = async { client.database("admin").run_command(doc! { "addShard": shard_uri }).await };
        cluster.servers[0].wait(add).unwrap();
        cluster
    }

    /// The router's connection string.
    pub fn uri(&self) -> String {
        format!("mongodb://127.0.0.1:{}/?directConnection=true&serverSelectionTimeoutMS=60000", self.port)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.router.kill().ok();
        self.router.wait().ok();
    }
}
