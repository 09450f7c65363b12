//! Backups of an earlier version are restored into servers, services and directories, have the same content, and are continued
//! with the old repository and the old history.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use mongodb::bson::doc;
use serde_json::Value;
use testkit::{
    MongoServer, MyFlavour, MyServer, PgServer, PgVersion, Tool,
    azure::{FakeAzure, Node},
    azurite::Azurite,
    postgres::assert_same_dump,
    process::run,
    reports::item,
    skip_unless,
};
use tik_backup::stream::cancel::Cancel;

use super::frozen::Frozen;
use crate::azure::support::{add_blob_account, blobs};

const LIMIT: Duration = Duration::from_secs(120);

/// The texts of an object of texts.
fn texts(value: &Value) -> BTreeMap<String, String> {
    let fields = value.as_object().unwrap().iter();
    fields.map(|(name, text)| (name.clone(), text.as_str().unwrap().to_owned())).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn postgresql_databases_of_an_earlier_version_come_back_and_are_backed_up_further() {
    skip_unless!(Tool::Pg15);
    let mut frozen = Frozen::newest();
    let server = PgServer::start(PgVersion::V15);
    frozen.place("POSTGRES", server.socket_dir().to_str().unwrap());
    let globals = fs::read(frozen.files_of("shop/@globals", "latest").join("globals.sql")).unwrap();
    // The role `postgres` is there already, which it says; nothing else is.
    let loaded = run(server.client("psql").args(["-Xq", "-d", "postgres", "-f", "-"]), &globals, LIMIT);
    let said = String::from_utf8_lossy(&loaded.stderr).into_owned();
    assert!(said.lines().all(|line| line.contains("role \"postgres\" already exists")), "{said}");
    let expected = texts(&frozen.expected("postgres"));
    assert!(expected.contains_key("forum") && expected.len() >= 4);
    for (database, dump) in &expected {
        let report = frozen.json(&["restore", &format!("shop/{database}"), "--into", database]);
        assert_eq!(report["database"]["created"], true, "{report:#}");
        assert_same_dump(
            without_words(dump).trim_end(),
            without_words(&server.dump_text(database)).trim_end(),
        );
    }
    server.create_database("scratch_1");
    let report = frozen.continued(&["shop"]);
    assert_eq!(report["items"].as_array().unwrap().len(), expected.len() + 1, "{report:#}");
    // An item that vanished in the frozen history is still known and can be restored.
    assert!(frozen.files_of("shop/gone", "latest").join("database.dump").is_file());
}

/// A dump without the check on a list of words, which a server writes otherwise once it has loaded it.
fn without_words(dump: &str) -> String {
    // What was expected was written with one kind of line end.
    let dump = dump.replace("\r\n", "\n").replace('\r', "\n");
    dump.split_inclusive('\n').filter(|line| !line.contains("orders_word_check")).collect()
}

#[test]
fn mariadb_databases_of_an_earlier_version_come_back_and_are_backed_up_further() {
    skip_unless!(Tool::Mariadb);
    let mut frozen = Frozen::newest();
    let server = MyServer::start(MyFlavour::Mariadb1011);
    frozen.place("MARIADB", server.socket().to_str().unwrap());
    let globals = fs::read(frozen.files_of("wiki/@globals", "latest").join("globals.sql")).unwrap();
    // Once for the definers, and once more for grants on tables that were not there yet.
    let accounts = || run(server.client("mysql").args(["--batch", "--force"]), &globals, LIMIT);
    accounts();
    let expected = frozen.expected("mariadb");
    for (database, answers) in expected.as_object().unwrap() {
        let url = testkit::mysql_world::url(&server, database);
        let report = frozen.json(&["restore", &format!("wiki/{database}"), "--into", &url]);
        assert_eq!(report["database"]["created"], true, "{report:#}");
        for answer in answers.as_array().unwrap() {
            let question = answer[0].as_str().unwrap();
            assert_eq!(server.sql(Some(database), question), answer[1].as_str().unwrap(), "{question}");
        }
    }
    accounts();
    let grants = server.sql(None, "SHOW GRANTS FOR 'readers of it'");
    assert!(grants.contains("GRANT SELECT ON `wiki`.`pages` TO `readers of it`"), "{grants}");
    let report = frozen.continued(&["wiki"]);
    assert_eq!(
        report["items"].as_array().unwrap().len(),
        expected.as_object().unwrap().len() + 1,
        "{report:#}"
    );
    // The messages that waited in the frozen history have arrived.
    assert!(!frozen.receiver.take().is_empty());
    assert_eq!(frozen.json(&["status"])["alerts"][0]["waiting"], 0);
}

#[test]
fn mongodb_databases_of_an_earlier_version_come_back_and_are_backed_up_further() {
    skip_unless!(Tool::Mongo);
    let frozen = Frozen::newest();
    let server = MongoServer::start();
    frozen.secret("mongodb-uri", &server.uri());
    let expected = frozen.expected("mongodb");
    for (database, collections) in expected.as_object().unwrap() {
        frozen.json(&["restore", &format!("library/{database}"), "--into", database]);
        for (collection, documents) in collections.as_object().unwrap() {
            let there: Vec<Value> = server
                .documents(database, collection)
                .iter()
                .map(|found| hex(found.as_bytes()).into())
                .collect();
            assert_eq!(&Value::from(there), documents, "{database}.{collection}");
        }
    }
    let indexes = server.command("library", doc! { "listIndexes": "books" }).to_string();
    assert!(indexes.contains("by title"), "{indexes}");
    frozen.continued(&["library"]);
}

#[test]
fn containers_and_shares_of_an_earlier_version_come_back_and_are_backed_up_further() {
    skip_unless!(Tool::Azurite);
    let mut frozen = Frozen::newest();
    let azurite = Azurite::start(&["tikprod"]);
    let azure = FakeAzure::start();
    let subscription = azure.add_subscription("Production");
    add_blob_account(&azure, &subscription, &azurite, "tikprod");
    azure.add_account(azure.new_account("tikfiles", &subscription));
    frozen.place("AZURE", &azure.url());

    let service = blobs(&azurite, "tikprod");
    let expected = frozen.expected("blobs");
    for (container, content) in expected.as_object().unwrap() {
        let name = format!("tikprod/{container}");
        frozen.json(&["restore", &format!("cloud/{name}"), "--into", &name]);
        let mut listing = service.listing(container, None);
        let mut restored = Vec::new();
        while let Some(page) = listing.next(&Cancel::new()).unwrap() {
            restored.extend(page.blobs);
        }
        assert_eq!(restored.len(), content.as_object().unwrap().len(), "{container}");
        same_content(&frozen, &format!("cloud/{name}"), "blobs.jsonl", content);
        if let Some(blob) = restored.iter().find(|blob| blob.name == "with properties") {
            assert_eq!(blob.properties.content_type.as_deref(), Some("text/x-odd; charset=\"utf-8\""));
            assert_eq!(blob.properties.metadata["author"], "me & you");
        }
    }
    let files = frozen.expected("files");
    frozen.json(&["restore", "cloud/tikfiles/share:docs", "--into", "tikfiles/share:docs"]);
    for (name, content) in texts(&files) {
        let Some(Node::File(file)) = azure.node("tikfiles", "docs", &name) else { panic!("no {name}") };
        assert_eq!(hex(&file.content), content, "{name}");
    }
    assert!(matches!(azure.node("tikfiles", "docs", "nothing here"), Some(Node::Directory(_))));
    same_content(&frozen, "cloud/tikfiles/share:docs", "files.jsonl", &files);

    // The service gives new ETags, so all is read anew; the repository has it.
    let report = frozen.continued(&["cloud"]);
    for (name, length) in [("tikprod/photos", 70_000), ("tikfiles/share:docs", 60_000)] {
        let made = item(&report, name);
        assert!(made["bytes_read"].as_u64().unwrap() >= length, "{made:#}");
        assert!(made["bytes_added"].as_u64().unwrap() < 20_000, "the content is stored once: {made:#}");
    }
    assert!(azure.live_share_deletes().is_empty());
}

/// An item restored as files has this content, by the names in its list.
#[track_caller]
fn same_content(frozen: &Frozen, name: &str, list: &str, expected: &Value) {
    let folder = frozen.files_of(name, "latest");
    let list = fs::read_to_string(folder.join(list)).unwrap();
    let entries = list.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut found = BTreeMap::new();
    for entry in entries {
        let path = folder.join(entry["path"].as_str().unwrap());
        if path.is_file() {
            found.insert(entry["name"].as_str().unwrap().to_owned(), hex(&fs::read(path).unwrap()));
        }
    }
    assert_eq!(found, texts(expected), "{name}");
}

#[test]
fn folders_of_an_earlier_version_come_back_and_are_backed_up_further() {
    let frozen = Frozen::newest();
    let (original, restored) = (frozen.path("files/site"), frozen.files_of("disk/site", "latest"));
    let excluded = |path: &str| path.ends_with(".tmp") || path == "cache" || path.starts_with("cache/");
    let mut expected = tree(&original);
    assert!(expected.keys().any(|path| excluded(path)), "there is something to leave out");
    expected.retain(|path, _| !excluded(path));
    assert_eq!(tree(&restored), expected);

    // A file that changed a moment before a backup may change once more without a trace, and is read again by the next.
    std::thread::sleep(std::time::Duration::from_secs(3));
    let report = frozen.continued(&["disk/site"]);
    let site = item(&report, "site");
    assert!(site["bytes_read"].as_u64().unwrap() > 120_000, "other inodes: all is read: {site:#}");
    assert!(site["bytes_added"].as_u64().unwrap() < 20_000, "and stored once: {site:#}");
    // From now on the new snapshot is the one that is compared with.
    let report = frozen.continued(&["disk/site"]);
    assert!(item(&report, "site")["bytes_read"].as_u64().unwrap() < 20_000, "{report:#}");
}

/// What lies below a folder: by its path (bytes that are no UTF-8 made visible) its type, permissions and content.
fn tree(folder: &Path) -> BTreeMap<String, String> {
    use std::os::unix::{
        ffi::OsStrExt,
        fs::{FileTypeExt, MetadataExt},
    };
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).unwrap().map(Result::unwrap) {
            let (path, meta) = (entry.path(), fs::symlink_metadata(entry.path()).unwrap());
            let kind = meta.file_type();
            let content = if kind.is_dir() {
                folders.push(path.clone());
                "folder".to_owned()
            } else if kind.is_symlink() {
                format!("link to {}", fs::read_link(&path).unwrap().display())
            } else if kind.is_fifo() {
                "pipe".to_owned()
            } else {
                format!("file of {} names: {}", meta.nlink(), hex(&fs::read(&path).unwrap()))
            };
            let below = path.strip_prefix(folder).unwrap().as_os_str().as_bytes();
            found.insert(below.escape_ascii().to_string(), format!("{:o} {content}", meta.mode() & 0o7777));
        }
    }
    found
}
