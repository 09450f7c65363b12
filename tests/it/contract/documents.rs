//! A server that speaks MongoDB's protocol as a subject of the suite.

use mongodb::bson::{Document, doc};
use testkit::{ConfigBuilder, MongoServer, program::quoted, running::Hold};

use super::subject::{Offer, SECRET, SOURCE, Subject};

/// Why there is no tool that dumps, or could be held.
const NO_TOOLS: &str = "the program itself speaks the server's protocol";

/// The server; its secret is part of the connection string.
pub struct Mongodb {
    server: MongoServer,
}

impl Mongodb {
    pub fn start() -> Self {
        Self { server: MongoServer::start_with_test_commands() }
    }

    fn collections(&self, item: &str) -> Vec<Document> {
        let reply = self.server.command(item, doc! { "listCollections": 1 });
        let batch = reply.get_document("cursor").unwrap().get_array("firstBatch").unwrap();
        let mut all: Vec<_> = batch.iter().map(|entry| entry.as_document().unwrap().clone()).collect();
        all.sort_by_key(|entry| entry.get_str("name").unwrap().to_owned());
        all
    }
}

impl Subject for Mongodb {
    fn kind(&self) -> &'static str {
        "mongodb"
    }

    fn add_to(&self, builder: ConfigBuilder, more: &str) -> ConfigBuilder {
        let file = builder.secret("mongodb uri", &format!("{}&appName={SECRET}", self.server.uri()));
        let file = quoted(file.to_str().unwrap());
        builder.source(SOURCE, &format!("kind = \"mongodb\"\nuri_file = {file}\n{more}"))
    }

    fn create(&self, item: &str, texts: &[String]) {
        let documents = (0_i32..).zip(texts).map(|(id, text)| doc! { "_id": id, "text": text });
        self.server.insert(item, "things", documents);
        let index = doc! { "key": { "text": 1 }, "name": "by text" };
        self.server.command(item, doc! { "createIndexes": "things", "indexes": [index] });
    }

    fn create_empty(&self, item: &str) {
        self.server.command(item, doc! { "create": "things" });
    }

    fn add(&self, item: &str, text: &str) {
        self.server.insert(item, "things", [doc! { "_id": text, "text": text }]);
    }

    fn remove(&self, item: &str) {
        self.server.command(item, doc! { "dropDatabase": 1 });
    }

    fn content(&self, item: &str) -> String {
        let mut text = String::new();
        for entry in self.collections(item) {
            let name = entry.get_str("name").unwrap();
            let indexes = self.server.command(item, doc! { "listIndexes": name });
            let indexes = indexes.get_document("cursor").unwrap().get_array("firstBatch").unwrap().clone();
            text += &format!("{name} {} {indexes:?}\n", entry.get_document("options").unwrap());
            for document in self.server.documents(item, name) {
                text += &format!("{document:?} {}\n", Document::try_from(&document).unwrap());
            }
        }
        assert!(text.contains("things"), "{item}: {text}");
        text
    }

    fn odd_names(&self) -> Vec<&'static str> {
        vec!["it's-{a}-[db]", "größe☃", "--clean", "#hash", "UPPER", "%41;c"]
    }

    fn into(&self, item: &str) -> String {
        format!("--into={item}")
    }

    // Only what does not fit into the first batch is fetched with this command: the large item alone.
    fn break_off(&self, _item: &str) {
        self.server.command(
            "admin",
            doc! { "configureFailPoint": "failCommand", "mode": "alwaysOn",
            "data": { "failCommands": ["getMore"], "errorCode": 13, "errmsg": "broken off" } },
        );
    }

    fn heal(&self, _item: &str) {
        self.server.command("admin", doc! { "configureFailPoint": "failCommand", "mode": "off" });
    }

    fn hold(&self, _item: &str) -> Offer<Hold> {
        Err(NO_TOOLS)
    }

    fn has_tools(&self) -> Offer<()> {
        Err(NO_TOOLS)
    }
}
