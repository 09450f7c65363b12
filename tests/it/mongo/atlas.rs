//! What only a real deployment shows, on the one that `TIK_BACKUP_TEST_ATLAS_URI` names; its account may create and drop
//! databases. It leaves nothing there but what was there before.

use std::sync::OnceLock;

use mongodb::{
    Client,
    bson::{DateTime, doc, rawdoc},
};
use testkit::{
    ConfigBuilder,
    reports::{backup, discover, manifest_of, ready, restore},
    skip,
};
use tokio::runtime::{Builder, Runtime};

use super::{
    link::{Link, assert_same},
    support::{SOURCE, full, numbered, source_of},
};

const VARIABLE: &str = "TIK_BACKUP_TEST_ATLAS_URI";

/// A link over a connection string.
pub fn connect(uri: &str) -> Link {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let runtime =
        RUNTIME.get_or_init(|| Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap());
    // The error would show the connection string.
    let Ok(client) = runtime.block_on(Client::with_uri_str(uri)) else {
        panic!("the connection string is not valid")
    };
    Link { client, handle: runtime.handle().clone() }
}

/// Two databases of a name of their own, dropped in the end.
struct Databases<'a> {
    link: &'a Link,
    from: String,
    to: String,
}

impl<'a> Databases<'a> {
    fn new(link: &'a Link) -> Self {
        let mut random = [0; 4];
        getrandom::fill(&mut random).unwrap();
        let name = format!("tik_test_{:08x}", u32::from_le_bytes(random));
        Self { link, to: format!("{name}_again"), from: name }
    }
}

impl Drop for Databases<'_> {
    #[allow(clippy::print_stderr)]
    fn drop(&mut self) {
        for name in [&self.from, &self.to] {
            if let Err(error) = self.link.try_raw(name, rawdoc! { "dropDatabase": 1 }) {
                eprintln!("drop the database {name} by hand: {error}");
            }
        }
    }
}

#[test]
fn a_real_deployment_gives_one_moment_and_takes_everything_back() {
    let Some(uri) = std::env::var(VARIABLE).ok().filter(|uri| !uri.is_empty()) else {
        skip(&format!("a real deployment: set {VARIABLE} to a connection string"));
        return;
    };
    let link = connect(&uri);
    let names = Databases::new(&link);
    let from = names.from.as_str();
    link.insert(from, "orders", &numbered(0..5000));
    link.insert(from, "people", &numbered(0..100));
    link.insert(from, "forms", &super::types::forms());
    link.index(
        from,
        "orders",
        &[
            rawdoc! { "key": { "text": 1, "half": -1 }, "name": "by text" },
            rawdoc! { "key": { "half": "hashed" }, "name": "hashed" },
        ],
    );
    link.index(
        from,
        "people",
        &[rawdoc! { "key": { "text": "text" }, "name": "words", "default_language": "finnish" }],
    );
    link.create(
        from,
        "few",
        &rawdoc! { "viewOn": "people", "pipeline": [{ "$match": { "_id": { "$lt": 9 } } }] },
    );
    link.create(from, "weather", &rawdoc! { "timeseries": { "timeField": "t", "metaField": "m" } });
    let measured: Vec<_> = (0..200)
        .map(|n| rawdoc! { "_id": n, "t": DateTime::from_millis(1_700_000_000_000 + i64::from(n) * 1000), "m": n % 3 })
        .collect();
    link.insert(from, "weather", &measured);

    let builder = ConfigBuilder::new();
    let more = format!("databases = [\"{from}\"]\nconsistency = \"snapshot\"");
    let lines = source_of(&builder, SOURCE, &uri, &more);
    let config = ready(builder.source(SOURCE, &lines));
    assert_eq!(discover(&config, 0).items, [from]);
    backup(&config);
    let manifest = manifest_of(&config, &full(from), "latest");
    assert_eq!(manifest["consistency"], "snapshot", "{manifest:#}");
    assert!(manifest["mongodb"]["snapshot_time"]["time"].is_u64(), "{manifest:#}");
    let before = link.content(from);
    // What is written afterwards is not in it.
    link.insert(from, "orders", [&rawdoc! { "_id": "later" }]);
    restore(&config, &full(from), &["--into", &names.to]);
    assert_same(&link.content(&names.to), &before);
    let found = link.cursor(&names.to, doc! { "listCollections": 1, "cursor": {} });
    assert_eq!(
        found.iter().filter(|one| one.get_str("type").is_ok_and(|kind| kind == "timeseries")).count(),
        1
    );
}
