//! A server that speaks MongoDB's wire protocol and fails as a script says, for what no other server here can be made to
//! do: it keeps the content of each moment that it gave, serves documents that are not valid, and changes in the middle.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use mongodb::bson::{
    Binary, RawArrayBuf, RawBsonRef, RawDocument, RawDocumentBuf, Timestamp, cstr, rawdoc,
    spec::BinarySubtype,
};

use super::wire::{batch, failure, number, receive, send, text};

/// Documents of a batch where the client does not say how many.
const BATCH: usize = 101;

/// A collection, its documents byte for byte.
#[derive(Clone, Default)]
pub struct Kept {
    pub documents: Vec<Vec<u8>>,
    pub indexes: Vec<RawDocumentBuf>,
    uuid: u8,
}

/// Databases and their collections by name.
pub type Databases = BTreeMap<String, BTreeMap<String, Kept>>;

/// What a command meets instead of its reply.
#[derive(Clone, Copy)]
pub enum Trouble {
    /// This error, by code and name.
    Error(i32, &'static str),
    /// The primary steps down: this error, all cursors are gone and all connections are closed.
    StepDown(i32, &'static str),
    /// None: only what happens meanwhile.
    None,
}

/// What happens before the reply to a command.
type Meanwhile = Box<dyn FnMut(&mut Databases) + Send>;
/// The code and text with which a definition of an index is refused.
pub type Refusal = fn(&RawDocument) -> Option<(i32, &'static str)>;

struct Rule {
    command: String,
    skip: u32,
    times: u32,
    trouble: Trouble,
    meanwhile: Meanwhile,
}

struct Cursor {
    namespace: String,
    rest: Vec<Vec<u8>>,
    at: Option<Timestamp>,
}

#[derive(Default)]
struct State {
    port: u16,
    is_sharded: bool,
    databases: Databases,
    /// What there was at each moment that was given.
    moments: HashMap<(u32, u32), Databases>,
    cursors: HashMap<i64, Cursor>,
    numbers: u32,
    rules: Vec<Rule>,
    refusal: Option<Refusal>,
    asked: Vec<String>,
    connections: Vec<TcpStream>,
}

type Reply = Result<RawDocumentBuf, (i32, String)>;

/// A running server. Its threads end with the test process.
pub struct Fake {
    port: u16,
    state: Arc<Mutex<State>>,
}

impl Fake {
    /// An empty one, which says that it is the primary of a replica set of one member.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State { port, ..State::default() }));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let state = Arc::clone(&shared);
                lock(&state).connections.push(client.try_clone().unwrap());
                // An error is a connection that has ended.
                thread::spawn(move || serve(client, &state).ok());
            }
        });
        Self { port, state }
    }

    /// One that says that it is a router of a sharded cluster.
    pub fn start_sharded() -> Self {
        let fake = Self::start();
        fake.state().is_sharded = true;
        fake
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Its connection string.
    pub fn uri(&self) -> String {
        self.url("")
    }

    /// The same with a database.
    pub fn url(&self, database: &str) -> String {
        format!(
            "mongodb://127.0.0.1:{}/{database}?directConnection=true&serverSelectionTimeoutMS=5000",
            self.port
        )
    }

    /// Adds documents to a collection, which is made if it is not there.
    pub fn fill(&self, database: &str, collection: &str, documents: &[RawDocumentBuf]) {
        let documents = documents.iter().map(|document| document.as_bytes().to_vec());
        self.state().collection(database, collection).documents.extend(documents);
    }

    /// Adds indexes to a collection, just as they are described.
    pub fn index(&self, database: &str, collection: &str, specs: &[RawDocumentBuf]) {
        self.state().collection(database, collection).indexes.extend(specs.iter().cloned());
    }

    /// Lets it refuse definitions of indexes from now on.
    pub fn refuse(&self, refusal: Refusal) {
        self.state().refusal = Some(refusal);
    }

    /// Lets a command fail `times` times after `skip` that succeed.
    pub fn fail(&self, command: &str, skip: u32, times: u32, trouble: Trouble) {
        self.meanwhile(command, skip, times, trouble, |_| ());
    }

    /// The same, and changes something each time before.
    pub fn meanwhile(
        &self,
        command: &str,
        skip: u32,
        times: u32,
        trouble: Trouble,
        change: impl FnMut(&mut Databases) + Send + 'static,
    ) {
        let (command, meanwhile) = (command.to_owned(), Box::new(change));
        self.state().rules.push(Rule { command, skip, times, trouble, meanwhile });
    }

    /// A collection as it is now.
    #[track_caller]
    pub fn kept(&self, database: &str, collection: &str) -> Kept {
        let state = self.state();
        let found = state.databases.get(database).and_then(|collections| collections.get(collection));
        found.unwrap_or_else(|| panic!("there is no {database}.{collection}")).clone()
    }

    /// How often this command was sent.
    pub fn asked(&self, command: &str) -> usize {
        self.state().asked.iter().filter(|asked| *asked == command).count()
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers what a client asks until it goes away or is sent away.
fn serve(mut client: TcpStream, state: &Mutex<State>) -> io::Result<()> {
    loop {
        let (request, command) = receive(&mut client)?;
        let mut state = lock(state);
        let reply = state.reply(&command).unwrap_or_else(|(code, text)| failure(code, &text));
        send(&mut client, request, &reply)?;
        if reply.get_bool("closes").is_ok_and(|closes| closes) {
            for connection in std::mem::take(&mut state.connections) {
                connection.shutdown(Shutdown::Both).ok();
            }
            return Ok(());
        }
    }
}

impl State {
    fn number(&mut self) -> u32 {
        self.numbers += 1;
        self.numbers
    }

    fn collection(&mut self, database: &str, collection: &str) -> &mut Kept {
        let uuid = self.number() as u8;
        let collections = self.databases.entry(database.to_owned()).or_default();
        collections.entry(collection.to_owned()).or_insert_with(|| Kept {
            uuid,
            indexes: vec![rawdoc! { "v": 2, "key": { "_id": 1 }, "name": "_id_" }],
            ..Kept::default()
        })
    }

    fn reply(&mut self, command: &RawDocument) -> Reply {
        let name = command.iter_elements().next().unwrap().unwrap().key().as_str().to_owned();
        let database = command.get_str("$db").unwrap().to_owned();
        self.asked.push(name.clone());
        for rule in self.rules.iter_mut().filter(|rule| rule.command == name) {
            if rule.skip > 0 {
                rule.skip -= 1;
                continue;
            }
            if rule.times == 0 {
                continue;
            }
            rule.times -= 1;
            (rule.meanwhile)(&mut self.databases);
            match rule.trouble {
                Trouble::None => {}
                Trouble::Error(code, text) => return Err((code, text.to_owned())),
                Trouble::StepDown(code, text) => {
                    self.cursors.clear();
                    let mut reply = failure(code, text);
                    reply.append(cstr!("closes"), true);
                    return Ok(reply);
                }
            }
        }
        self.answer(&name, &database, command)
    }

    fn answer(&mut self, name: &str, database: &str, command: &RawDocument) -> Reply {
        match name {
            "hello" | "isMaster" | "ismaster" => Ok(self.hello()),
            "ping" | "endSessions" | "killCursors" | "collMod" => Ok(rawdoc! { "ok": 1.0 }),
            "buildInfo" => Ok(rawdoc! { "version": "7.0.99", "ok": 1.0 }),
            "getParameter" => Ok(rawdoc! { "featureCompatibilityVersion": { "version": "7.0" }, "ok": 1.0 }),
            "dbStats" => Ok(rawdoc! { "dataSize": 1000.0, "ok": 1.0 }),
            "listDatabases" => Ok(self.list_databases()),
            "listCollections" => Ok(self.list_collections(database)),
            "listIndexes" => self.list_indexes(database, text(command, "listIndexes")),
            "aggregate" => self.aggregate(database, command),
            "find" => self.find(database, command),
            "getMore" => self.get_more(command),
            "create" => {
                self.collection(database, text(command, "create"));
                Ok(rawdoc! { "ok": 1.0 })
            }
            "createIndexes" => self.create_indexes(database, command),
            "insert" => self.insert(database, command),
            "dropDatabase" => {
                self.databases.remove(database);
                Ok(rawdoc! { "ok": 1.0 })
            }
            _ => Err((59, format!("CommandNotFound: {name}"))),
        }
    }

    fn hello(&self) -> RawDocumentBuf {
        let mut hello = rawdoc! {
            "helloOk": true, "isWritablePrimary": true, "ismaster": true,
            "maxBsonObjectSize": 16_777_216, "maxMessageSizeBytes": 48_000_000, "maxWriteBatchSize": 100_000,
            "logicalSessionTimeoutMinutes": 30, "minWireVersion": 0, "maxWireVersion": 21
        };
        if self.is_sharded {
            hello.append(cstr!("msg"), "isdbgrid");
        } else {
            let address = format!("127.0.0.1:{}", self.port);
            hello.append(cstr!("setName"), "fake");
            hello.append(cstr!("setVersion"), 1);
            hello.append(cstr!("secondary"), false);
            hello.append(cstr!("hosts"), {
                let mut hosts = RawArrayBuf::new();
                hosts.push(address.as_str());
                hosts
            });
            hello.append(cstr!("primary"), address.as_str());
            hello.append(cstr!("me"), address.as_str());
        }
        hello.append(cstr!("ok"), 1.0);
        hello
    }

    fn list_databases(&self) -> RawDocumentBuf {
        let mut databases = RawArrayBuf::new();
        for name in self.databases.keys() {
            databases.push(rawdoc! { "name": name.as_str(), "sizeOnDisk": 1000_i64, "empty": false });
        }
        rawdoc! { "databases": databases, "ok": 1.0 }
    }

    fn list_collections(&self, database: &str) -> RawDocumentBuf {
        let listed = self.databases.get(database).into_iter().flatten().map(|(name, kept)| {
            let uuid = Binary { subtype: BinarySubtype::Uuid, bytes: vec![kept.uuid; 16] };
            let mut info = rawdoc! { "readOnly": false };
            info.append(cstr!("uuid"), uuid);
            rawdoc! { "name": name.as_str(), "type": "collection", "options": {}, "info": info }.into_bytes()
        });
        batch(&format!("{database}.$cmd.listCollections"), 0, "firstBatch", &listed.collect::<Vec<_>>(), None)
    }

    fn list_indexes(&self, database: &str, collection: &str) -> Reply {
        let kept = found(&self.databases, database, collection)?;
        let listed: Vec<_> = kept.indexes.iter().map(|spec| spec.as_bytes().to_vec()).collect();
        Ok(batch(&format!("{database}.{collection}"), 0, "firstBatch", &listed, None))
    }

    fn aggregate(&self, database: &str, command: &RawDocument) -> Reply {
        let collection = text(command, "aggregate");
        let kept = found(&self.databases, database, collection)?;
        let first = command.get_array("pipeline").unwrap().get_document(0).unwrap();
        let stage = first.iter_elements().next().unwrap().unwrap().key().as_str();
        let size: usize = kept.documents.iter().map(Vec::len).sum();
        let answer = match stage {
            "$collStats" => rawdoc! { "storageStats": { "size": size as i64 } },
            "$group" => rawdoc! { "_id": null, "n": kept.documents.len() as i64 },
            _ => return Err((31082, format!("there is no {stage}"))),
        };
        let answers = if stage == "$group" && size == 0 { Vec::new() } else { vec![answer.into_bytes()] };
        Ok(batch(&format!("{database}.{collection}"), 0, "firstBatch", &answers, None))
    }

    fn find(&mut self, database: &str, command: &RawDocument) -> Reply {
        let collection = text(command, "find");
        let concern = command.get_document("readConcern").ok();
        let asked = concern.and_then(|concern| concern.get_timestamp("atClusterTime").ok());
        let at = match (concern, asked) {
            (None, _) => None,
            (Some(_), Some(at)) => Some(at),
            (Some(_), None) => {
                let at = Timestamp { time: 1_700_000_000, increment: self.number() };
                self.moments.insert((at.time, at.increment), self.databases.clone());
                Some(at)
            }
        };
        let databases = match at {
            None => &self.databases,
            Some(at) => {
                let kept = self.moments.get(&(at.time, at.increment));
                kept.ok_or_else(|| (239, "SnapshotTooOld".to_owned()))?
            }
        };
        let mut documents = found(databases, database, collection)?.documents.clone();
        if let Some(limit @ 1..) = number(command, "limit") {
            documents.truncate(limit as usize);
        }
        let namespace = format!("{database}.{collection}");
        let batch_size = number(command, "batchSize").map_or(BATCH, |size| size as usize);
        self.next_batch("firstBatch", None, Cursor { namespace, rest: documents, at }, batch_size)
    }

    fn get_more(&mut self, command: &RawDocument) -> Reply {
        let id = command.get_i64("getMore").unwrap();
        let cursor = self.cursors.remove(&id).ok_or_else(|| (43, "CursorNotFound".to_owned()))?;
        let batch_size = number(command, "batchSize").map_or(usize::MAX, |size| size as usize);
        self.next_batch("nextBatch", Some(id), cursor, batch_size)
    }

    fn next_batch(&mut self, field: &str, id: Option<i64>, mut cursor: Cursor, size: usize) -> Reply {
        let rest = cursor.rest.split_off(size.min(cursor.rest.len()));
        let documents = std::mem::replace(&mut cursor.rest, rest);
        let (namespace, at) = (cursor.namespace.clone(), cursor.at);
        let id = if cursor.rest.is_empty() {
            0
        } else {
            let id = id.unwrap_or_else(|| i64::from(self.number()) + (1 << 40));
            self.cursors.insert(id, cursor);
            id
        };
        Ok(batch(&namespace, id, field, &documents, at))
    }

    fn create_indexes(&mut self, database: &str, command: &RawDocument) -> Reply {
        let refusal = self.refusal;
        let specs = command.get_array("indexes").unwrap().into_iter().map(|spec| match spec.unwrap() {
            RawBsonRef::Document(spec) => spec.to_owned(),
            other => panic!("{other:?} is no definition"),
        });
        let specs: Vec<_> = specs.collect();
        // All or none.
        if let Some((code, text)) = specs.iter().find_map(|spec| refusal.and_then(|refusal| refusal(spec))) {
            return Err((code, text.to_owned()));
        }
        self.collection(database, text(command, "createIndexes")).indexes.extend(specs);
        Ok(rawdoc! { "ok": 1.0 })
    }

    fn insert(&mut self, database: &str, command: &RawDocument) -> Reply {
        let documents = command.get_array("documents").unwrap().into_iter().map(|one| match one.unwrap() {
            RawBsonRef::Document(document) => document.as_bytes().to_vec(),
            other => panic!("{other:?} is no document"),
        });
        let documents: Vec<_> = documents.collect();
        let count = documents.len() as i32;
        self.collection(database, text(command, "insert")).documents.extend(documents);
        Ok(rawdoc! { "n": count, "ok": 1.0 })
    }
}

fn found<'a>(databases: &'a Databases, database: &str, collection: &str) -> Result<&'a Kept, (i32, String)> {
    let found = databases.get(database).and_then(|collections| collections.get(collection));
    found.ok_or_else(|| (26, "NamespaceNotFound".to_owned()))
}
