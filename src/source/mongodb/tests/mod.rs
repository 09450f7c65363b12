//! Dumps of a real server, whose program `TIK_BACKUP_TEST_MONGO` names; without it they are passed over.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod content;
mod failure;

use std::{
    collections::BTreeMap,
    io::Read,
    net::TcpListener,
    path::PathBuf,
    time::{Duration, Instant},
};

use mongodb::bson::{Document, RawDocumentBuf, doc};
use parking_lot::Mutex;

use super::testing::TestServer;
use super::{
    Detail, Mongodb,
    connect::{Deployment, Params},
    dump::dump,
};
use crate::{
    error::{Error, Result},
    settings::{Patterns, Secret, SecretFile},
    source::mongodb::config::{MongodbConfig, MongodbConsistency},
    source::{
        Source,
        manifest::{Consistency, Digested, Manifest},
    },
    stream::{
        cancel::Cancel,
        digest::RowDigest,
        sink::{Sink, Stored},
    },
};

/// Keeps what it is given.
#[derive(Default)]
struct Memory(Mutex<BTreeMap<String, Vec<u8>>>);

impl Memory {
    fn file(&self, path: &str) -> Vec<u8> {
        self.0.lock().get(path).unwrap_or_else(|| panic!("no file {path}")).clone()
    }

    fn paths(&self) -> Vec<String> {
        self.0.lock().keys().cloned().collect()
    }
}

impl Sink for Memory {
    fn store(&self, path: &str, reader: &mut dyn Read) -> Result<Stored> {
        let mut content = Vec::new();
        let bytes = reader
            .read_to_end(&mut content)
            .map_err(|error| Error::from_io(format!("storing {path}"), error))?;
        assert!(self.0.lock().insert(path.to_owned(), content).is_none(), "{path} twice");
        Ok(Stored { bytes: bytes as u64, ..Stored::default() })
    }
}

struct Server(TestServer);

impl Server {
    /// Starts one, if there is a program for it.
    fn start(arguments: &[&str]) -> Option<Self> {
        TestServer::start(arguments).map(Self)
    }

    fn uri(&self) -> String {
        format!("mongodb://127.0.0.1:{}/?serverSelectionTimeoutMS=3000", self.0.port)
    }

    fn source(&self) -> Mongodb {
        self.source_with(&self.uri(), MongodbConsistency::Auto)
    }

    fn source_with(&self, uri: &str, consistency: MongodbConsistency) -> Mongodb {
        let uri_file: PathBuf = self.0.folder.path().join("uri");
        std::fs::write(&uri_file, uri).unwrap();
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&uri_file, std::fs::Permissions::from_mode(0o600)).unwrap();
        let uri_file = SecretFile::at("uri_file", uri_file);
        Mongodb {
            name: "docs".to_owned(),
            params: Params::load(&uri_file).unwrap(),
            config: MongodbConfig {
                uri_file,
                databases: Patterns::new(["*"]).unwrap(),
                exclude: Patterns::default(),
                include_system: false,
                parallel_collections: 4,
                consistency,
            },
            idle_timeout: Duration::from_secs(60),
            unsteady: Mutex::default(),
            tried_again: Mutex::default(),
        }
    }

    fn connect(&self) -> Deployment {
        let params = Params::parse(&Secret::new(self.uri()), "the test").unwrap();
        Deployment::connect(&params, &Cancel::new()).unwrap()
    }
}

impl Deployment {
    fn must(&self, database: &str, command: Document) -> Document {
        self.ask(&Cancel::new(), async { self.client.database(database).run_command(command).await }).unwrap()
    }

    fn insert(&self, database: &str, collection: &str, documents: Vec<RawDocumentBuf>) {
        let collection = self.client.database(database).collection::<RawDocumentBuf>(collection);
        self.ask(&Cancel::new(), async { collection.insert_many(documents).await }).unwrap();
    }

    /// Lets a command fail the given number of times after it succeeded `skip` times.
    fn fail(&self, command: &str, skip: i32, times: i32, how: Document) {
        let mut data = doc! { "failCommands": [command] };
        data.extend(how);
        let mode = doc! { "skip": skip, "times": times };
        self.must("admin", doc! { "configureFailPoint": "failCommand", "mode": mode, "data": data });
    }
}

fn numbered(range: std::ops::Range<i32>) -> Vec<RawDocumentBuf> {
    range
        .map(|n| RawDocumentBuf::try_from(&doc! { "_id": n, "text": "x".repeat((n % 90) as usize) }).unwrap())
        .collect()
}

fn bytes_of(documents: &[RawDocumentBuf]) -> Vec<u8> {
    documents.iter().flat_map(|document| document.as_bytes().to_vec()).collect()
}

fn run(source: &Mongodb, database: &str) -> (Result<Manifest>, Memory) {
    let memory = Memory::default();
    (dump(source, database, &memory, &Cancel::new()), memory)
}

/// Cuts a `.bson` file into its documents.
fn documents(mut file: &[u8]) -> Vec<RawDocumentBuf> {
    let mut found = Vec::new();
    while let Some(length) = file.first_chunk::<4>() {
        let (document, rest) = file.split_at(i32::from_le_bytes(*length) as usize);
        found.push(RawDocumentBuf::from_bytes(document.to_vec()).unwrap());
        file = rest;
    }
    found
}
