//! Temporary servers, MongoDB's own or one that speaks its protocol, and a driver's client to fill and query them. They end
//! with the test.

use std::{
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use mongodb::{
    Client,
    bson::{Document, RawDocumentBuf, doc},
    options::{ClientOptions, ServerAddress},
};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use crate::{Tool, mongod, process::spawn_bound};

/// A running server; killed and removed when dropped, or when the test process ends in any other way.
#[derive(Debug)]
pub struct MongoServer {
    child: Option<Child>,
    /// 0 until it has started for the first time: then it takes a free one, and keeps it.
    port: u16,
    arguments: Vec<String>,
    runtime: Runtime,
    client: Option<Client>,
    // Dropped last: the server must have stopped before its directory goes.
    dir: TempDir,
}

impl MongoServer {
    /// Starts one on a free port of 127.0.0.1, without accounts. It is, or takes itself for, a replica set of one server.
    ///
    /// # Panics
    /// With the server's log if it does not start, or if it is not installed: `skip_unless!(Tool::Mongo)` first.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// As [`Self::start`], and the command `configureFailPoint` makes it fail as told.
    pub fn start_with_test_commands() -> Self {
        Self::start_with(&["--enable-test-commands"])
    }

    /// As [`Self::start`], with further arguments: `--standalone`, `--auth`, `--enable-test-commands`.
    pub fn start_with(arguments: &[&str]) -> Self {
        let dir = tempfile::Builder::new().prefix("tik-mongo-").tempdir_in("/tmp").unwrap();
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let mut server = Self { child: None, port: 0, arguments, runtime, client: None, dir };
        let mut launched = server.launch();
        if launched.is_err() && mongod::is_mongod() {
            // Another process has taken the port.
            server.port = 0;
            launched = server.launch();
        }
        if let Err(log) = launched {
            panic!("the MongoDB server did not start:\n{log}");
        }
        server
    }

    /// Starts the server process and waits until it answers.
    fn launch(&mut self) -> Result<(), String> {
        let program =
            Tool::Mongo.path().expect("the MongoDB server is there: skip_unless!(Tool::Mongo) first");
        let log = fs::File::create(self.dir.path().join("log")).unwrap();
        let mut command = if mongod::is_mongod() {
            if self.port == 0 {
                self.port = mongod::free_port();
            }
            mongod::command(&program, self.dir.path(), self.port, &self.arguments)
        } else {
            self.compatible(&program)
        };
        // It would read settings from its directory and from home.
        command.current_dir(self.dir.path()).env("HOME", self.dir.path());
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let mut child = spawn_bound(command, Signal::KILL).map_err(|error| error.to_string())?;
        let begin = Instant::now();
        let listening = loop {
            let port = self.listening();
            if port.is_some()
                || child.try_wait().unwrap().is_some()
                || begin.elapsed() > Duration::from_secs(60)
            {
                break port;
            }
            thread::sleep(Duration::from_millis(10));
        };
        self.child = Some(child);
        self.port = listening.unwrap_or(self.port);
        let is_ready = listening.is_some()
            && self.answers()
            && (!mongod::is_mongod() || self.become_primary(&self.arguments));
        if !is_ready {
            self.end(Signal::KILL);
            return Err(self.log());
        }
        Ok(())
    }

    /// The command that starts the server that only speaks the protocol.
    fn compatible(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.arg("--storage-path").arg(self.dir.path().join("data"));
        command.args(["--port", &self.port.to_string(), "--cache-size", "64M", "--log-file-max", "8MB"]);
        command.args(&self.arguments);
        command
    }

    /// The port on which it listens, if it does.
    fn listening(&self) -> Option<u16> {
        if mongod::is_mongod() {
            return TcpStream::connect(("127.0.0.1", self.port)).is_ok().then_some(self.port);
        }
        let log = self.log();
        log.lines().find_map(|line| line.split_once("listening on ")?.1.rsplit(':').next()?.parse().ok())
    }

    /// Creates a new client, and waits for an answer.
    fn answers(&mut self) -> bool {
        let address = ServerAddress::Tcp { host: "127.0.0.1".to_owned(), port: Some(self.port) };
        let options = ClientOptions::builder()
            .hosts(vec![address])
            .direct_connection(true)
            .server_selection_timeout(Duration::from_secs(30))
            .build();
        let _inside = self.runtime.enter();
        let client = Client::with_options(options).unwrap();
        self.client = Some(client);
        self.try_command("admin", doc! { "ping": 1 }).is_ok()
    }

    fn end(&mut self, signal: Signal) {
        let Some(mut child) = self.child.take() else { return };
        kill_process(Pid::from_child(&child), signal).ok();
        let begin = Instant::now();
        while child.try_wait().unwrap().is_none() {
            if begin.elapsed() > Duration::from_secs(15) {
                child.kill().ok();
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Shuts it down normally; [`Self::restart`] starts it again. Does nothing if it has stopped.
    pub fn stop(&mut self) {
        self.end(Signal::TERM);
    }

    /// Kills it while it is working. Does nothing if it has stopped.
    pub fn kill(&mut self) {
        self.end(Signal::KILL);
    }

    /// Starts it again after [`Self::stop`], with the same data and port.
    ///
    /// # Panics
    /// With the server's log if it does not start.
    pub fn restart(&mut self) {
        self.stop();
        if let Err(log) = self.launch() {
            panic!("the MongoDB server did not start again:\n{log}");
        }
    }

    /// As [`Self::restart`], with more arguments from now on.
    pub fn restart_with(&mut self, arguments: &[&str]) {
        self.arguments.extend(arguments.iter().map(|&argument| argument.to_owned()));
        self.restart();
    }

    /// Its connection string.
    pub fn uri(&self) -> String {
        format!("mongodb://127.0.0.1:{}/?directConnection=true", self.port)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Its output since the last start.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.dir.path().join("log")).unwrap()).into_owned()
    }

    /// The driver's client; use it within [`Self::wait`].
    pub fn client(&self) -> &Client {
        self.client.as_ref().expect("the server has started once")
    }

    /// Runs something asynchronous to its end, such as calls of [`Self::client`].
    pub fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// Runs a command and returns the reply.
    ///
    /// # Panics
    /// If the server refuses it.
    pub fn command(&self, database: &str, command: Document) -> Document {
        let shown = command.to_string();
        self.try_command(database, command).unwrap_or_else(|error| panic!("{shown} in {database:?}: {error}"))
    }

    /// As [`Self::command`], but a failure is the error's text.
    pub fn try_command(&self, database: &str, command: Document) -> Result<Document, String> {
        let database = self.client().database(database);
        self.wait(async { database.run_command(command).await.map_err(|error| error.to_string()) })
    }

    /// Inserts documents, at least one. The collection is created if it does not exist.
    ///
    /// # Panics
    /// If any of them is not inserted.
    pub fn insert(&self, database: &str, collection: &str, documents: impl IntoIterator<Item = Document>) {
        let collection = self.client().database(database).collection::<Document>(collection);
        let documents: Vec<_> = documents.into_iter().collect();
        let expected = documents.len();
        let inserted = self.wait(async { collection.insert_many(documents).await });
        assert_eq!(inserted.unwrap().inserted_ids.len(), expected);
    }

    /// The documents of a collection by `_id`, byte for byte as the server has them.
    pub fn documents(&self, database: &str, collection: &str) -> Vec<RawDocumentBuf> {
        let collection = self.client().database(database).collection::<RawDocumentBuf>(collection);
        self.wait(async {
            let mut cursor = collection.find(doc! {}).sort(doc! { "_id": 1 }).await.unwrap();
            let mut documents = Vec::new();
            while cursor.advance().await.unwrap() {
                documents.push(cursor.current().to_owned());
            }
            documents
        })
    }
}

impl Drop for MongoServer {
    fn drop(&mut self) {
        self.end(Signal::KILL);
    }
}
