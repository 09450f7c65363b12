//! A dump that stock mongodump wrote: loaded into a server, backed up and put back, it is the same byte for byte.

use std::{fs, path::Path};

use mongodb::bson::rawdoc;
use testkit::{
    MongoServer, Tool, fixture,
    reports::{backup, manifest_of, restore, snapshot_of},
    skip_unless,
};
use tik_backup::source::mongodb::format::metadata::Metadata;

use super::{
    link::{Link, link, split},
    support::{configured, files_of, full, names_in},
};

/// The directory of the dump.
fn golden() -> std::path::PathBuf {
    fixture("mongodump-100.18/golden")
}

/// Makes the collections, their indexes and the views from the metadata, and inserts the documents.
pub fn load(link: &Link, database: &str) {
    let mut views = Vec::new();
    for name in names_in(&golden()) {
        let Some(stem) = name.strip_suffix(".metadata.json") else { continue };
        let metadata = Metadata::from_json(&fs::read(golden().join(&name)).unwrap()).unwrap();
        if metadata.is_view() {
            views.push(metadata);
            continue;
        }
        link.create(database, &metadata.collection, &metadata.options);
        let documents = split(&fs::read(golden().join(format!("{stem}.bson"))).unwrap());
        link.insert(database, &metadata.collection, &documents);
        let own = |spec: &&mongodb::bson::RawDocumentBuf| {
            spec.get_document("key").unwrap().as_bytes() != rawdoc! { "_id": 1 }.as_bytes()
        };
        let indexes: Vec<_> = metadata.indexes.iter().filter(own).cloned().collect();
        if !indexes.is_empty() {
            link.index(database, &metadata.collection, &indexes);
        }
    }
    for view in views {
        link.create(database, &view.collection, &view.options);
    }
}

/// A collection's metadata without its `uuid`, which every server generates.
pub fn without_uuid(metadata: &[u8]) -> String {
    let text = String::from_utf8(metadata.to_vec()).unwrap();
    match text.split_once(r#""uuid":""#) {
        Some((before, after)) => {
            let (uuid, rest) = after.split_once("\",").unwrap();
            assert!(uuid.len() == 32 && uuid.bytes().all(|b| b.is_ascii_hexdigit()), "{uuid}");
            format!("{before}{rest}")
        }
        None => text,
    }
}

/// Fails unless two directories hold the dump of the same content. The program version in the prelude may differ.
#[track_caller]
pub fn assert_equal_dumps(found: &Path, wanted: &Path) {
    assert_eq!(names_in(found), names_in(wanted));
    for name in names_in(wanted) {
        let (one, other) = (fs::read(found.join(&name)).unwrap(), fs::read(wanted.join(&name)).unwrap());
        if name.ends_with(".bson") {
            assert!(one == other, "{name} differs");
        } else if name != "prelude.json" {
            assert_eq!(without_uuid(&one), without_uuid(&other), "{name}");
        }
    }
}

#[test]
fn a_dump_of_stock_mongodump_comes_back_byte_for_byte() {
    skip_unless!(Tool::Mongo);
    let server = MongoServer::start();
    load(&link(&server), "golden");
    let config = configured(&server, "");
    snapshot_of(&backup(&config), "golden");
    let files = files_of(&config, "golden");
    assert_equal_dumps(&files.path().join("golden"), &golden());
    assert_eq!(names_in(files.path()), ["golden", "manifest.json"]);
    let prelude = fs::read(files.path().join("golden/prelude.json")).unwrap();
    let prelude: serde_json::Value = serde_json::from_slice(&prelude).unwrap();
    assert!(prelude["ToolVersion"].as_str().unwrap().starts_with("tik-backup "), "{prelude}");
    let manifest = manifest_of(&config, &full("golden"), "latest");
    assert_eq!(prelude["ServerVersion"], manifest["server_version"]);

    // And once more from the database that was restored: nothing has changed on the way.
    let restored = restore(&config, &full("golden"), &["--into", "again"]);
    assert_eq!(restored["created"], true, "{restored}");
    backup(&config);
    let again = files_of(&config, "again");
    assert_equal_dumps(&again.path().join("again"), &golden());
    let digests = |name: &str| {
        let manifest = manifest_of(&config, &full(name), "latest");
        (manifest["objects"].clone(), manifest["mongodb"]["collections"].as_array().unwrap().len())
    };
    assert_eq!(digests("again"), digests("golden"), "counts and digests of the content");
}
