//! Databases of all kinds through the program and back under another name: documents, options and indexes compared.

use mongodb::bson::{DateTime, RawArrayBuf, RawDocumentBuf, cstr, doc, oid::ObjectId, rawdoc};
use testkit::{
    MongoServer, Tool,
    reports::{backup, item, manifest_of, restore, snapshot_of},
    skip, skip_unless,
};

use super::{
    link::{Link, assert_same, link},
    support::{configured, full, url},
};

/// Numbers that are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// Documents with fields of many types, lengths and numbers.
fn varied(count: u64, seed: u64) -> Vec<RawDocumentBuf> {
    let mut dice = Dice(seed);
    (0..count)
        .map(|n| {
            let roll = dice.roll();
            let mut id = [0; 12];
            id[..8].copy_from_slice(&n.to_be_bytes());
            id[8..].copy_from_slice(&(seed as u32).to_be_bytes());
            let mut document = match n % 3 {
                0 => rawdoc! { "_id": ObjectId::from_bytes(id) },
                1 => rawdoc! { "_id": n as i64 },
                _ => rawdoc! { "_id": format!("id {n:08}") },
            };
            document.append(cstr!("n"), roll as i32);
            document.append(cstr!("name"), format!("name {}", roll % 5000));
            if roll.is_multiple_of(2) {
                document.append(cstr!("when"), DateTime::from_millis((roll % 2_000_000_000_000) as i64));
            }
            if roll.is_multiple_of(5) {
                document.append(cstr!("text"), "wörter ".repeat((roll % 60) as usize));
            }
            if roll.is_multiple_of(7) {
                let mut list = RawArrayBuf::new();
                (0..roll % 9).for_each(|k| list.push(k as f64 / 3.0));
                document.append(cstr!("list"), list);
                document.append(cstr!("inner"), rawdoc! { "z": 1, "a": { "deep": roll as i64 } });
            }
            document
        })
        .collect()
}

#[test]
fn many_documents_and_the_largest_come_back() {
    skip_unless!(Tool::Mongo);
    let server = MongoServer::start();
    let link = link(&server);
    let sizes = [("events", 120_000), ("orders", 50_000), ("people", 25_000), ("rest", 5_000)];
    for (seed, (name, count)) in sizes.into_iter().enumerate() {
        link.insert("many", name, &varied(count, 77 + seed as u64));
    }
    link.index("many", "rest", &[rawdoc! { "key": { "name": 1, "n": -1 }, "name": "by_name" }]);
    // 16 MiB to the byte is the most that a server takes.
    let most = 16 << 20;
    for id in 0..3 {
        let frame = rawdoc! { "_id": id, "large": "" }.as_bytes().len();
        let large =
            rawdoc! { "_id": id, "large": char::from(b'a' + id as u8).to_string().repeat(most - frame) };
        assert_eq!(large.as_bytes().len(), most);
        link.insert("many", "large", [&large]);
    }
    let before = link.content("many");
    let config = configured(&server, "");
    let report = backup(&config);
    let documents: u64 = sizes.iter().map(|(_, count)| count).sum::<u64>() + 3;
    let manifest = manifest_of(&config, &full("many"), "latest");
    let counted: u64 =
        manifest["objects"].as_array().unwrap().iter().map(|object| object["rows"].as_u64().unwrap()).sum();
    assert_eq!(counted, documents);
    let bytes: usize = before
        .values()
        .flat_map(|collection| &collection.documents)
        .map(|document| document.as_bytes().len())
        .sum();
    assert!(item(&report, "many")["bytes_read"].as_u64().unwrap() >= bytes as u64, "{report:#}");
    let restored = restore(&config, &full("many"), &["--into", &url(&server, "many_again")]);
    assert_eq!((&restored["rows"], &restored["tables"]), (&documents.into(), &5.into()), "{restored}");
    assert_same(&link.content("many_again"), &before);

    // The same content again adds next to nothing.
    let again = backup(&config);
    let added = item(&again, "many")["bytes_added"].as_u64().unwrap();
    assert!(added < bytes as u64 / 50, "{added} of {bytes} bytes were stored again");
}

/// Indexes that a server must know.
fn indexes() -> Vec<RawDocumentBuf> {
    vec![
        rawdoc! { "key": { "z": 1, "a": -1, "m": 1 }, "name": "zam" },
        rawdoc! { "key": { "m": 1, "a": -1, "z": 1 }, "name": "maz" },
        rawdoc! { "key": { "code": 1 }, "name": "one of a kind", "unique": true },
        rawdoc! { "key": { "maybe": -1 }, "name": "sparse", "sparse": true },
        rawdoc! { "key": { "some": 1 }, "name": "partial",
        "partialFilterExpression": { "n": { "$gt": 3 }, "kind": { "$exists": true } } },
        rawdoc! { "key": { "when": 1 }, "name": "ttl", "expireAfterSeconds": 2_000_000_000 },
        rawdoc! { "key": { "$**": 1 }, "name": "wild", "wildcardProjection": { "n": 0, "inner.z": 0 } },
        rawdoc! { "key": { "inner.$**": 1 }, "name": "wild below" },
        rawdoc! { "key": { "place": "2dsphere", "n": 1 }, "name": "geo" },
        rawdoc! { "key": { "name": 1 }, "name": "collated", "collation": { "locale": "fi", "strength": 2 } },
        rawdoc! { "key": { "secret": 1 }, "name": "hidden", "hidden": true },
        rawdoc! { "key": { "inner.z": 1_i64, "inner.a": -1.0 }, "name": "numbers of other types" },
        rawdoc! { "key": { "ünï": 1, "with space": -1 }, "name": "näme ☃ 'quoted' \"twice\"" },
    ]
}

/// Indexes that not every server has.
fn more_indexes() -> Vec<RawDocumentBuf> {
    vec![
        rawdoc! { "key": { "n": "hashed" }, "name": "hashed" },
        rawdoc! { "key": { "text": "text", "name": "text" }, "name": "words", "weights": { "text": 3, "name": 1 },
        "default_language": "finnish" },
        rawdoc! { "key": { "flat": "2d" }, "name": "flat", "min": -10.0, "max": 10.0, "bits": 20 },
    ]
}

fn indexed(link: &Link) {
    let documents: Vec<_> = (0..500)
        .map(|n| {
            rawdoc! {
                "_id": n, "n": n, "z": n % 7, "a": n % 5, "m": n % 3, "code": format!("c{n}"), "kind": "k",
                "some": n, "when": DateTime::from_millis(1_700_000_000_000 + i64::from(n)), "name": format!("Ä{n}"),
                "place": { "type": "Point", "coordinates": [f64::from(n % 180), f64::from(n % 80)] },
                "inner": { "z": n, "a": -n }, "flat": [f64::from(n % 9), 1.0], "text": "yksi kaksi"
            }
        })
        .collect();
    link.insert("kinds", "indexed", &documents);
    link.index("kinds", "indexed", &indexes());
    for spec in more_indexes() {
        if let Err(error) = link.try_index("kinds", "indexed", std::slice::from_ref(&spec)) {
            skip(&format!("a server with indexes such as {:?}: {error}", spec.get_document("key").unwrap()));
        }
    }
}

/// Collections with all kinds of options, and views.
fn collections(link: &Link) {
    let some: Vec<_> =
        (0..40).map(|n| rawdoc! { "_id": n, "n": n, "x": n, "name": format!("n{n}") }).collect();
    let schema = rawdoc! { "$jsonSchema": { "bsonType": "object", "required": ["x"],
    "properties": { "x": { "bsonType": "int" }, "mail": { "pattern": "^.+@.+$" } } } };
    let patterns = rawdoc! { "$or": [
        { "mail": { "$regex": "@example\\.com$", "$options": "i" } }, { "x": { "$type": "int" } },
        { "x": { "$in": [1_i64, 2.5, null] } }, { "mail": { "$regex": "only" } }
    ] };
    for (name, options) in [
        ("plain", rawdoc! {}),
        ("empty", rawdoc! {}),
        (
            "checked",
            rawdoc! { "validator": schema, "validationLevel": "moderate", "validationAction": "warn" },
        ),
        (
            "patterns",
            rawdoc! { "validator": patterns, "validationAction": "error", "validationLevel": "strict" },
        ),
        ("capped", rawdoc! { "capped": true, "size": 1 << 20, "max": 500 }),
        ("capped empty", rawdoc! { "capped": true, "size": 4096 }),
        ("collated", rawdoc! { "collation": { "locale": "sv", "strength": 1, "numericOrdering": true } }),
        (
            "clustered",
            rawdoc! { "clusteredIndex": { "key": { "_id": 1 }, "unique": true, "name": "own name" } },
        ),
        ("images", rawdoc! { "changeStreamPreAndPostImages": { "enabled": true } }),
    ] {
        link.create("kinds", name, &options);
        if !name.contains("empty") {
            link.insert("kinds", name, &some);
        }
    }
    // From before the rule: the validator would refuse it.
    link.insert("kinds", "checked", [&rawdoc! { "_id": "old", "x": "no number" }]);
    link.index(
        "kinds",
        "collated",
        &[
            rawdoc! { "key": { "name": 1 }, "name": "inherits" },
            rawdoc! { "key": { "name": 1, "n": 1 }, "name": "its own", "collation": { "locale": "de" } },
            rawdoc! { "key": { "n": 1 }, "name": "bytes", "collation": { "locale": "simple" } },
        ],
    );
    let few = rawdoc! { "$match": { "n": { "$gte": 10 }, "name": { "$regex": "^N", "$options": "i" } } };
    for (name, on, stage) in [
        // Named so that each comes before the one it reads.
        ("a top", "b middle", rawdoc! { "$project": { "n": 1, "twice": { "$multiply": ["$n", 2] } } }),
        ("b middle", "c bottom", rawdoc! { "$sort": { "n": -1, "name": 1 } }),
        ("c bottom", "plain", few),
        ("of nothing", "never created", rawdoc! { "$limit": 1 }),
    ] {
        let mut pipeline = RawArrayBuf::new();
        pipeline.push(stage);
        let mut options = rawdoc! { "viewOn": on };
        options.append(cstr!("pipeline"), pipeline);
        link.create("kinds", name, &options);
    }
}

#[test]
fn every_kind_of_collection_and_index_comes_back_as_it_was() {
    skip_unless!(Tool::Mongo);
    let server = MongoServer::start();
    let other = MongoServer::start();
    let (from, to) = (link(&server), link(&other));
    indexed(&from);
    collections(&from);
    let before = from.content("kinds");
    assert!(before["indexed"].indexes.len() > indexes().len());
    assert!(!before["a top"].documents.is_empty() && before["of nothing"].documents.is_empty());

    let config = configured(&server, "");
    snapshot_of(&backup(&config), "kinds");
    let manifest = manifest_of(&config, &full("kinds"), "latest");
    let listed: Vec<_> = manifest["mongodb"]["collections"].as_array().unwrap().iter().collect();
    assert_eq!(listed.len(), before.len());
    for one in listed {
        let found = &before[one["name"].as_str().unwrap()];
        assert_eq!(one["type"], found.kind.as_str());
        assert_eq!(one["indexes"].as_array().map_or(0, Vec::len), found.indexes.len(), "{one}");
    }
    for (name, link, into) in [("again", &from, "again".to_owned()), ("kinds", &to, url(&other, "kinds"))] {
        restore(&config, &full("kinds"), &["--into", &into]);
        assert_same(&link.content(name), &before);
    }
    // The rules are in effect, not only listed.
    let bad = doc! { "insert": "patterns", "documents": [{ "x": "text", "mail": "x@example.org" }] };
    let reply = other.try_command("kinds", bad);
    assert!(format!("{reply:?}").contains("121"), "a document that the validator refuses: {reply:?}");
    let twice = doc! { "insert": "indexed", "documents": [{ "_id": -1, "code": "c7" }] };
    let reply = other.try_command("kinds", twice);
    assert!(format!("{reply:?}").contains("11000"), "a value that is there: {reply:?}");
}
