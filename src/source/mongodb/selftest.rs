//! A MongoDB server for the self-test.

use std::path::Path;

use mongodb::bson::{Document, doc};

use super::{
    Mongodb,
    config::{MongodbConfig, MongodbConsistency},
    connect::{Deployment, Params},
    scratch::MongodbServer,
    verify::program,
};
use crate::{
    error::Result,
    scratch::Rules,
    settings::{DrillConfig, Patterns, Secret, SecretFile},
    source::{
        Source,
        subject::{Subject, Target},
        verify::scratch_source,
    },
    stream::{cancel::Cancel, private::PrivateDir},
};

const DATABASE: &str = "self-test";

const DAMAGES: &[(Target, &str, &str)] = &[
    (
        Target::Item,
        "one changed field",
        r#"{"update": "accounts", "updates": [{"q": {"_id": 7}, "u": {"$set": {"amount": -1}}}]}"#,
    ),
    (
        Target::Item,
        "one deleted document",
        r#"{"delete": "accounts", "deletes": [{"q": {"_id": 7}, "limit": 1}]}"#,
    ),
    (
        Target::Item,
        "one added document",
        r#"{"insert": "accounts", "documents": [{"_id": 99999, "name": "x", "amount": 1}]}"#,
    ),
    (
        Target::Item,
        "two values swapped between documents",
        r#"{"update": "accounts", "updates": [{"q": {"_id": 1}, "u": {"$set": {"name": "account 2"}}},
            {"q": {"_id": 2}, "u": {"$set": {"name": "account 1"}}}]}"#,
    ),
    (Target::Item, "a dropped index", r#"{"dropIndexes": "accounts", "index": "by name"}"#),
    (Target::Item, "a dropped view", r#"{"drop": "rich"}"#),
    (Target::Item, "an added collection", r#"{"create": "intruder"}"#),
];

struct Server {
    source: Mongodb,
    // Connections, then the server: fields are dropped in this order.
    deployment: Deployment,
    _server: MongodbServer,
    _private: PrivateDir,
    cancel: Cancel,
}

/// A server as it is installed.
pub(super) fn subject(drill: &DrillConfig, dir: &Path, cancel: &Cancel) -> Result<Box<dyn Subject>> {
    let server = MongodbServer::start(&program(drill, &[])?, dir, &Rules::of(drill), cancel)?;
    let private = PrivateDir::new()?;
    let uri_file = private.file("uri", server.uri().as_bytes())?;
    let params = Params::parse(&Secret::new(server.uri()), "the self-test")?;
    let deployment = Deployment::connect(&params, cancel)?;
    let config = MongodbConfig {
        uri_file: SecretFile::at("the self-test", &uri_file),
        databases: Patterns::all(),
        exclude: Patterns::default(),
        include_system: false,
        parallel_collections: 4,
        consistency: MongodbConsistency::None,
    };
    let source = Mongodb::new(&scratch_source(), &config)?;
    let server = Server { source, deployment, _server: server, _private: private, cancel: cancel.clone() };
    server.insert(1, 1000)?;
    for command in [
        doc! { "createIndexes": "accounts", "indexes": [{ "key": { "name": 1 }, "name": "by name" }] },
        doc! { "create": "rich", "viewOn": "accounts", "pipeline": [{ "$match": { "amount": { "$gt": 500 } } }] },
    ] {
        let database = server.deployment.client.database(DATABASE);
        server.deployment.ask(cancel, async { database.run_command(command).await })?;
    }
    Ok(Box::new(server))
}

impl Server {
    fn insert(&self, first: i32, count: i32) -> Result<()> {
        let documents: Vec<Document> = (first..first + count)
            .map(|n| doc! { "_id": n, "name": format!("account {n}"), "amount": n * 7 % 1000 })
            .collect();
        let accounts = self.deployment.client.database(DATABASE).collection("accounts");
        self.deployment.ask(&self.cancel, async { accounts.insert_many(documents).await }).map(drop)
    }
}

impl Subject for Server {
    fn name(&self) -> String {
        "mongodb".to_owned()
    }

    fn source(&self) -> &dyn Source {
        &self.source
    }

    fn change(&self) -> Result<()> {
        self.insert(2000, 500)
    }

    fn damages(&self) -> &'static [(Target, &'static str, &'static str)] {
        DAMAGES
    }

    fn file(&self) -> &'static str {
        "self-test/accounts.bson"
    }

    fn no_attacks(&self) -> Option<&'static str> {
        Some(
            "not attacked: its server-side JavaScript (`$where`, `$function`) has no access to files, processes or the network",
        )
    }
}
