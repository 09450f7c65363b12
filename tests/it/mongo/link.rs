//! A deployment as a test sees it through the driver, raw: what it is filled with and what it holds, byte for byte.

use std::collections::BTreeMap;

use futures_util::{StreamExt, TryStreamExt};
use mongodb::{
    Client,
    bson::{Document, RawArrayBuf, RawBsonRef, RawDocument, RawDocumentBuf, cstr, doc, raw::CString, rawdoc},
};
use testkit::MongoServer;
use tokio::runtime::Handle;

/// Documents of one insert command.
const BATCH: usize = 2000;
/// And their bytes, unless a single one is larger.
const BATCH_BYTES: usize = 4 << 20;

/// A client and the runtime it lives on.
pub struct Link {
    pub client: Client,
    pub handle: Handle,
}

/// A collection or view as the server describes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Collection {
    pub kind: String,
    pub options: RawDocumentBuf,
    /// In the order of their names.
    pub indexes: Vec<RawDocumentBuf>,
    /// In the order of `_id`; those of a view are what it shows.
    pub documents: Vec<RawDocumentBuf>,
}

/// A database, by the names of its collections.
pub type Content = BTreeMap<String, Collection>;

/// To a server. It is that of the server's last start.
pub fn link(server: &MongoServer) -> Link {
    Link { client: server.client().clone(), handle: server.wait(async { Handle::current() }) }
}

impl Link {
    /// Runs a command and returns the reply, or the error's text.
    pub fn try_raw(&self, database: &str, command: RawDocumentBuf) -> Result<Document, String> {
        let database = self.client.database(database);
        self.handle
            .block_on(async { database.run_raw_command(command).await.map_err(|error| error.to_string()) })
    }

    /// Runs a command that must succeed.
    #[track_caller]
    pub fn raw(&self, database: &str, command: RawDocumentBuf) -> Document {
        let text = shown(&command);
        self.try_raw(database, command).unwrap_or_else(|error| panic!("{text} in {database:?}: {error}"))
    }

    /// All documents that a command with a cursor answers with.
    #[track_caller]
    pub fn cursor(&self, database: &str, command: Document) -> Vec<RawDocumentBuf> {
        let database = self.client.database(database);
        let found = self.handle.block_on(async {
            let cursor = database.run_cursor_command(command).await?;
            cursor.with_type::<RawDocumentBuf>().try_collect::<Vec<_>>().await
        });
        found.unwrap()
    }

    /// Inserts documents just as they are, into a collection that is made if it is not there.
    #[track_caller]
    pub fn insert<'a>(
        &self,
        database: &str,
        collection: &str,
        documents: impl IntoIterator<Item = &'a RawDocumentBuf>,
    ) {
        let mut rest = documents.into_iter().peekable();
        while rest.peek().is_some() {
            let (mut batch, mut count, mut bytes) = (RawArrayBuf::new(), 0, 0);
            while let Some(next) = rest
                .next_if(|next| count == 0 || (count < BATCH && bytes + next.as_bytes().len() < BATCH_BYTES))
            {
                (count, bytes) = (count + 1, bytes + next.as_bytes().len());
                batch.push(next.as_ref());
            }
            let mut command = rawdoc! { "insert": collection, "ordered": true };
            command.append(cstr!("documents"), batch);
            command.append(cstr!("bypassDocumentValidation"), true);
            command.append(cstr!("bypassEmptyTsReplacement"), true);
            let reply = self.raw(database, command);
            assert_eq!(reply.get_i32("n").unwrap() as usize, count, "{collection}: {reply}");
        }
    }

    /// Creates a collection or view with these options.
    #[track_caller]
    pub fn create(&self, database: &str, name: &str, options: &RawDocument) {
        let mut command = rawdoc! { "create": name };
        append_fields(&mut command, options, |_| true);
        self.raw(database, command);
    }

    /// Creates indexes as they are described.
    pub fn try_index(
        &self,
        database: &str,
        collection: &str,
        specs: &[RawDocumentBuf],
    ) -> Result<Document, String> {
        let mut indexes = RawArrayBuf::new();
        specs.iter().for_each(|spec| indexes.push(spec.as_ref()));
        let mut command = rawdoc! { "createIndexes": collection };
        command.append(cstr!("indexes"), indexes);
        self.try_raw(database, command)
    }

    /// Creates indexes that the server must accept.
    #[track_caller]
    pub fn index(&self, database: &str, collection: &str, specs: &[RawDocumentBuf]) {
        self.try_index(database, collection, specs)
            .unwrap_or_else(|error| panic!("{database}.{collection} {specs:?}: {error}"));
    }

    /// Names of the databases.
    pub fn databases(&self) -> Vec<String> {
        self.handle.block_on(async { self.client.list_database_names().await }).unwrap()
    }

    /// The documents of a collection by `_id`, byte for byte.
    pub fn documents(&self, database: &str, collection: &str) -> Vec<RawDocumentBuf> {
        let found = self.client.database(database).collection::<RawDocumentBuf>(collection);
        self.handle.block_on(async {
            let find = found.find(doc! {}).sort(doc! { "_id": 1 }).batch_size(10_000);
            let mut batches = find.batch().await.unwrap();
            let mut documents = Vec::new();
            while let Some(batch) = batches.next().await {
                for document in batch.unwrap().doc_slices().unwrap() {
                    match document.unwrap() {
                        RawBsonRef::Document(document) => documents.push(document.to_owned()),
                        other => panic!("{collection}: {other:?} is no document"),
                    }
                }
            }
            documents
        })
    }

    /// The indexes of a collection, without the name space in them: old servers report it, and some keep what old tools
    /// say.
    fn indexes(&self, database: &str, collection: &str) -> Vec<RawDocumentBuf> {
        let told = self.cursor(database, doc! { "listIndexes": collection, "cursor": {} });
        let without = |index: &RawDocumentBuf| {
            let mut rest = RawDocumentBuf::new();
            append_fields(&mut rest, index, |key| key != "ns");
            rest
        };
        told.iter().map(without).collect()
    }

    /// Everything in a database but what the server keeps for itself.
    pub fn content(&self, database: &str) -> Content {
        let mut content = Content::new();
        for listed in self.cursor(database, doc! { "listCollections": 1, "cursor": {} }) {
            let name = listed.get_str("name").unwrap().to_owned();
            if name.starts_with("system.") {
                continue;
            }
            let kind = listed.get_str("type").unwrap().to_owned();
            let mut indexes = match kind.as_str() {
                "view" => Vec::new(),
                _ => self.indexes(database, &name),
            };
            indexes.sort_by(|one, other| one.get_str("name").unwrap().cmp(other.get_str("name").unwrap()));
            let options = listed.get_document("options").unwrap().to_owned();
            let documents = self.documents(database, &name);
            content.insert(name, Collection { kind, options, indexes, documents });
        }
        content
    }
}

/// Adds fields of a document to another.
fn append_fields(to: &mut RawDocumentBuf, from: &RawDocument, chosen: impl Fn(&str) -> bool) {
    for field in from.iter_elements().map(Result::unwrap).filter(|field| chosen(field.key().as_str())) {
        to.append(CString::from(field.key()), field.value().unwrap());
    }
}

/// The same with the fields of each index in the order of their names: stock mongorestore mixes them.
pub fn mixed(mut content: Content) -> Content {
    for index in content.values_mut().flat_map(|collection| &mut collection.indexes) {
        let mut names: Vec<String> =
            index.iter_elements().map(|field| field.unwrap().key().as_str().to_owned()).collect();
        names.sort_unstable();
        let mut sorted = RawDocumentBuf::new();
        names.iter().for_each(|name| append_fields(&mut sorted, index, |key| key == name));
        *index = sorted;
    }
    content
}

/// Fails, naming the first difference, unless two databases hold the same: documents, options and indexes.
#[track_caller]
pub fn assert_same(found: &Content, wanted: &Content) {
    let names = |content: &Content| content.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(found), names(wanted), "the collections differ");
    for (name, wanted) in wanted {
        let found = &found[name];
        assert_eq!(found.kind, wanted.kind, "{name:?}");
        assert_eq!(found.options, wanted.options, "the options of {name:?} differ");
        assert_eq!(found.indexes, wanted.indexes, "the indexes of {name:?} differ");
        let pairs = found.documents.iter().zip(&wanted.documents);
        for (position, (found, wanted)) in pairs.enumerate() {
            assert!(
                found.as_bytes() == wanted.as_bytes(),
                "document {position} of {name:?}:\n{}\nis not\n{}",
                shown(found),
                shown(wanted)
            );
        }
        assert_eq!(found.documents.len(), wanted.documents.len(), "documents of {name:?}");
    }
}

/// A document for a message.
pub fn shown(document: &RawDocument) -> String {
    let text = format!("{document:?}");
    text.chars().take(2000).collect()
}

/// The documents of a `.bson` file in their order there.
pub fn split(mut file: &[u8]) -> Vec<RawDocumentBuf> {
    let mut found = Vec::new();
    while let Some(length) = file.first_chunk::<4>() {
        let (document, rest) = file.split_at(i32::from_le_bytes(*length) as usize);
        found.push(RawDocumentBuf::from_bytes(document.to_vec()).unwrap());
        file = rest;
    }
    assert!(file.is_empty(), "{} bytes are no document", file.len());
    found
}

/// Documents one after the other, as in a `.bson` file.
pub fn joined(documents: &[RawDocumentBuf]) -> Vec<u8> {
    documents.iter().flat_map(|document| document.as_bytes().iter().copied()).collect()
}
