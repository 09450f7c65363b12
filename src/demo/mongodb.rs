//! The third server of the demo: MongoDB, if it is installed.

use std::path::{Path, PathBuf};

use mongodb::bson::{Document, doc};

use super::environment::{Environment, Ran};
use crate::{
    error::Result,
    scratch::Rules,
    settings::Secret,
    source::mongodb::{
        connect::{Deployment, Params},
        scratch::MongodbServer,
    },
    stream::cancel::Cancel,
};

/// The environment variable that names the server's program if it is not `mongod` in `PATH`.
const PROGRAM: &str = "TIK_BACKUP_DEMO_MONGOD";
/// The database.
const DATABASE: &str = "library";
/// Its books.
const BOOKS: i32 = 5000;

/// The server and how to reach it.
pub(super) struct MongodbPart {
    // The connections must be closed before the server stops: fields are dropped in this order.
    deployment: Deployment,
    uri_file: PathBuf,
    cancel: Cancel,
    server: MongodbServer,
}

impl MongodbPart {
    /// Starts a server with the library. `None` if none is installed.
    pub(super) fn start(env: &Environment, cancel: &Cancel) -> Result<Option<Self>> {
        let Some(program) = program() else { return Ok(None) };
        let server =
            MongodbServer::start(&program, &env.subfolder("mongodb")?, &Rules::for_own_content(), cancel)?;
        let uri_file = env.folder().join("mongodb-uri");
        super::environment::write(&uri_file, &server.uri())?;
        let params = Params::parse(&Secret::new(server.uri()), "the demo")?;
        let deployment = Deployment::connect(&params, cancel)?;
        let part = Self { deployment, uri_file, cancel: cancel.clone(), server };
        part.fill()?;
        Ok(Some(part))
    }

    /// Whether its server is confined, and so also the servers of a drill.
    pub(super) fn is_confined(&self) -> bool {
        self.server.is_confined()
    }

    fn fill(&self) -> Result<()> {
        let books: Vec<Document> = (0..BOOKS)
            .map(|n| {
                let tags: Vec<String> = (0..n % 4).map(|tag| format!("tag {tag}")).collect();
                doc! { "_id": n, "title": format!("Über Band {n}"), "pages": 80 + n * 7 % 900, "tags": tags }
            })
            .collect();
        let library = self.deployment.client.database(DATABASE);
        self.deployment.ask(&self.cancel, async { library.collection("books").insert_many(books).await })?;
        for command in [
            doc! { "createIndexes": "books", "indexes": [{ "key": { "title": 1, "pages": -1 }, "name": "by title" }] },
            doc! { "create": "thick books", "viewOn": "books", "pipeline": [{ "$match": { "pages": { "$gt": 500 } } }] },
        ] {
            self.deployment.ask(&self.cancel, async { library.run_command(command).await })?;
        }
        Ok(())
    }

    /// The program of the server.
    pub(super) fn program(&self) -> &Path {
        self.server.program()
    }

    /// Its version.
    pub(super) fn version(&self) -> &str {
        &self.deployment.version
    }

    /// Its part of the configuration.
    pub(super) fn config(&self) -> String {
        let file = toml::Value::String(self.uri_file.to_string_lossy().into_owned()).to_string();
        format!("\n[sources.documents]\nkind = \"mongodb\"\nuri_file = {file}\n")
    }

    /// A summary of the library in one document, which is equal only if the content is.
    pub(super) fn content(&self) -> Result<Document> {
        let books = self.deployment.client.database(DATABASE);
        let group = doc! {
            "_id": null, "books": { "$sum": 1 }, "pages": { "$sum": "$pages" }, "last": { "$max": "$title" }
        };
        let command = doc! { "aggregate": "books", "pipeline": [{ "$group": group }], "cursor": {} };
        let reply = self.deployment.ask(&self.cancel, async { books.run_command(command).await })?;
        let first = reply.get_document("cursor").and_then(|cursor| cursor.get_array("firstBatch")).ok();
        let found = first.and_then(|batch| batch.first()).and_then(|found| found.as_document().cloned());
        Ok(found.unwrap_or_default())
    }

    /// Drops the library.
    pub(super) fn lose(&self) -> Result<()> {
        let library = self.deployment.client.database(DATABASE);
        self.deployment.ask(&self.cancel, async { library.drop().await })
    }

    /// Restores it.
    pub(super) fn restore(&self, env: &Environment) -> Result<Ran> {
        env.program(&["restore", "documents/library", "--into", DATABASE])
    }

    /// Stops the server.
    pub(super) fn stop(&mut self) -> Result<()> {
        self.server.stop().map_err(|error| error.context("the third server"))
    }
}

/// The server's program, if there is one.
fn program() -> Option<PathBuf> {
    let named = std::env::var_os(PROGRAM).map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path: Vec<PathBuf> = std::env::split_paths(&path).map(|dir| dir.join("mongod")).collect();
    named.into_iter().chain(in_path).find(|file| Path::is_file(file))
}
