//! The client of the blob service against Azurite: what is listed and read, and how it fails.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read,
    thread,
    time::{Duration, Instant},
};

use testkit::{Tool, azurite::Azurite, skip_unless};
use tik_backup::{
    azure::{
        BlobService, Credential, Policy,
        blob::{Blob, BlobType, Body, Download, Page, Properties, Uploaded, is_changed, is_gone},
        http::Http,
    },
    error::{Error, Result},
    settings::Secret,
    stream::cancel::Cancel,
};

use super::relay::Relay;

pub(crate) const MIB: usize = 1024 * 1024;

/// A client that is quick to try again, so that tests of failures are short.
pub(crate) fn quick() -> Policy {
    let pause = Duration::from_millis(20);
    let (total, idle) = (Duration::from_secs(3), Duration::from_secs(5));
    Policy { total, first_pause: pause, longest_pause: pause, idle, ..Policy::default() }
}

fn client(azurite: &Azurite, port: u16, key: &str) -> BlobService {
    let credential = Credential::from_key(Secret::new(key.to_owned()));
    let endpoint = azurite.endpoint_at(port, "shop");
    BlobService::new(Http::new(quick()).unwrap(), &endpoint, "shop", credential).unwrap()
}

/// An Azurite with the account `shop`, a relay in front of it, a client through the relay, and the container `box`.
pub(crate) fn start() -> (Azurite, Relay, BlobService) {
    let azurite = Azurite::start(&["shop", "other"]);
    let relay = Relay::start(azurite.port());
    let blobs = client(&azurite, relay.port(), &azurite.key("shop"));
    assert!(blobs.create_container("box", &BTreeMap::new(), &Cancel::new()).unwrap());
    (azurite, relay, blobs)
}

pub(crate) fn put(
    blobs: &BlobService,
    name: &str,
    kind: BlobType,
    properties: &Properties,
    content: &[u8],
) -> Uploaded {
    try_put(blobs, name, kind, properties, content, false).unwrap()
}

pub(crate) fn try_put(
    blobs: &BlobService,
    name: &str,
    kind: BlobType,
    properties: &Properties,
    mut content: &[u8],
    replace: bool,
) -> Result<Uploaded> {
    let bytes = content.len() as u64;
    Ok(blobs.upload("box", name, kind, properties, bytes, &mut content, replace, &Cancel::new())?)
}

pub(crate) fn text(blobs: &BlobService, name: &str, content: &str) {
    let done = put(blobs, name, BlobType::Block, &Properties::default(), content.as_bytes());
    assert_eq!(done, Uploaded::Done { notes: Vec::new() }, "{name:?}");
}

pub(crate) fn all(blobs: &BlobService, prefix: Option<&str>) -> Vec<Blob> {
    all_of(blobs, "box", prefix)
}

/// The blobs of a container, of all pages.
pub(crate) fn all_of(blobs: &BlobService, container: &str, prefix: Option<&str>) -> Vec<Blob> {
    let (mut listing, mut found) = (blobs.listing(container, prefix), Vec::new());
    while let Some(page) = listing.next(&Cancel::new()).unwrap() {
        found.extend(page.blobs);
    }
    found
}

/// What the first page of the list gives.
fn first_page(blobs: &BlobService, container: &str) -> Result<Option<Page>> {
    Ok(blobs.listing(container, None).next(&Cancel::new())?)
}

pub(crate) fn one(blobs: &BlobService, name: &str) -> Blob {
    let mut found = all(blobs, Some(name));
    found.retain(|blob| blob.name == name);
    assert_eq!(found.len(), 1, "{name:?}");
    found.remove(0)
}

pub(crate) fn open(blobs: &BlobService, blob: &Blob) -> Box<Body> {
    match blobs.download("box", blob, &Cancel::new()).unwrap() {
        Download::Body(body) => body,
        _ => panic!("{:?} cannot be read", blob.name),
    }
}

/// Content of a blob in some container.
pub(crate) fn get_from(blobs: &BlobService, container: &str, blob: &Blob) -> Vec<u8> {
    let Download::Body(mut body) = blobs.download(container, blob, &Cancel::new()).unwrap() else {
        panic!("{:?} cannot be read", blob.name)
    };
    let mut content = Vec::new();
    body.read_to_end(&mut content).unwrap();
    content
}

pub(crate) fn get(blobs: &BlobService, blob: &Blob) -> std::io::Result<Vec<u8>> {
    let mut content = Vec::new();
    open(blobs, blob).read_to_end(&mut content).map(|_| content)
}

/// Bytes without a period that a wrong offset could hide in.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        bytes.extend(next());
    }
    bytes.truncate(length);
    bytes
}

#[test]
fn odd_names_are_listed_read_and_written() {
    skip_unless!(Tool::Azurite);
    let (_azurite, _relay, blobs) = start();
    let long = "n".repeat(1024);
    // Not here: control characters, to whose list Azurite answers 500, and `\`, of which it makes `/`.
    let names = [
        "plain.txt",
        " lead",
        "trail ",
        "/lead",
        "trail/",
        "a//b",
        "a/../b",
        "./x",
        "../..",
        "a/./b",
        "...",
        "100%25+more & <tags> \"quoted\" 'single'",
        "a?b=c#d",
        "semi;colon,comma=equals:@$!*()[]{}|^`~",
        "größe 日本語 🐘",
        "tab\tand delete\u{7f}",
        "line\nbreak\r\nboth",
        "%2e%2e",
        long.as_str(),
    ];
    for name in names {
        text(&blobs, name, name);
    }
    let listed = all(&blobs, None);
    let found: BTreeSet<_> = listed.iter().map(|blob| blob.name.as_str()).collect();
    assert_eq!(found, BTreeSet::from(names));
    for blob in &listed {
        assert_eq!(get(&blobs, blob).unwrap(), blob.name.as_bytes());
    }
    for name in [".", ".."] {
        let error = try_put(&blobs, name, BlobType::Block, &Properties::default(), b"x", false).unwrap_err();
        assert!(error.to_string().contains("cannot be part of a web address"), "{error}");
    }
    assert_eq!(all(&blobs, None).len(), names.len(), "nothing was written elsewhere");
}

#[test]
fn lists_come_in_pages() {
    skip_unless!(Tool::Azurite);
    let (_azurite, relay, blobs) = start();
    let few = blobs.clone().with_page_size(2);
    for number in 0..5 {
        text(&blobs, &format!("b{number}"), "x");
        let metadata = BTreeMap::from([("purpose".to_owned(), format!("n{number}"))]);
        assert!(blobs.create_container(&format!("more{number}"), &metadata, &Cancel::new()).unwrap());
        assert!(!blobs.create_container(&format!("more{number}"), &metadata, &Cancel::new()).unwrap());
    }
    let before = relay.count("comp=list");
    let names: Vec<_> = all(&few, None).into_iter().map(|blob| blob.name).collect();
    assert_eq!(names, ["b0", "b1", "b2", "b3", "b4"]);
    assert_eq!(relay.count("comp=list") - before, 3);
    assert_eq!(all(&few, Some("b3")).len(), 1);

    let containers = few.containers(&Cancel::new()).unwrap();
    let names: Vec<_> = containers.iter().map(|container| container.name.as_str()).collect();
    assert_eq!(names, ["box", "more0", "more1", "more2", "more3", "more4"]);
    assert_eq!(containers[5].metadata, BTreeMap::from([("purpose".to_owned(), "n4".to_owned())]));
    assert_eq!(containers[5].public_access, None);
    assert!(first_page(&blobs, "box").unwrap().unwrap().tags);
    let error = first_page(&blobs, "nowhere").unwrap_err();
    assert!(
        error.summary().contains("the container does not exist (status 404 ContainerNotFound)"),
        "{error}"
    );
    assert!(error.hint_text().unwrap().contains("discover"), "{error}");
}

#[test]
fn reading_goes_on_where_the_connection_broke() {
    skip_unless!(Tool::Azurite);
    let (_azurite, relay, blobs) = start();
    let content = noise(6 * MIB);
    put(&blobs, "big", BlobType::Block, &Properties::default(), &content);
    let blob = one(&blobs, "big");
    let before = relay.returned();
    for after in [2 * MIB, MIB, 700, 100, 5] {
        relay.cut("GET /shop/box/big", 1, after);
    }
    assert!(get(&blobs, &blob).unwrap() == content);
    assert_eq!(relay.count("x-ms-range: bytes="), relay.count("GET /shop/box/big") - 1);
    let came = relay.returned() - before;
    assert!(came < content.len() as u64 + 64 * 1024, "{came} bytes came: nothing is read twice");
}

#[test]
fn a_line_that_breaks_always_is_an_error() {
    skip_unless!(Tool::Azurite);
    let (_azurite, relay, blobs) = start();
    put(&blobs, "big", BlobType::Block, &Properties::default(), &noise(MIB));
    let blob = one(&blobs, "big");
    relay.cut("GET /shop/box/big", 1, 10_000);
    relay.cut("GET /shop/box/big", 1000, 100);
    let error = get(&blobs, &blob).unwrap_err();
    assert!(!is_changed(&error) && !is_gone(&error));
    let error = Error::from_io("x", error).to_string();
    assert!(error.contains("GET http://127.0.0.1") && error.contains("/shop/box/big"), "{error}");
}

#[test]
fn only_the_listed_version_is_read() {
    skip_unless!(Tool::Azurite);
    let (_azurite, relay, blobs) = start();
    let none = Properties::default();
    let fresh = |length| {
        try_put(&blobs, "b", BlobType::Block, &none, &noise(length), true).unwrap();
        one(&blobs, "b")
    };
    let old = fresh(MIB);
    fresh(MIB + 1);
    assert!(matches!(blobs.download("box", &old, &Cancel::new()).unwrap(), Download::Changed));
    // Azurite compares the version before it looks whether there is one at all.
    relay.answer("GET /shop/box/b", 1, "404 Gone\r\nx-ms-error-code: BlobNotFound");
    assert!(matches!(blobs.download("box", &old, &Cancel::new()).unwrap(), Download::Gone));

    // Changed between two connections.
    let blob = fresh(3 * MIB);
    relay.cut("GET /shop/box/b", 1, MIB);
    let mut body = open(&blobs, &blob);
    let witness = body.witness();
    fresh(3 * MIB);
    let error = body.read_to_end(&mut Vec::new()).unwrap_err();
    assert!(is_changed(&error) && !is_gone(&error), "{error}");
    assert!(witness.is_changed() && !witness.is_gone());

    // A list that says another length than what comes.
    let mut liar = fresh(MIB);
    liar.bytes += 1;
    let error = blobs.download("box", &liar, &Cancel::new()).err().unwrap().to_string();
    assert!(error.contains("the list said 1048577"), "{error}");
    let refused = relay.count("GET /shop/box/b");
    let archived = Properties { tier: Some("Archive".to_owned()), ..none };
    try_put(&blobs, "b", BlobType::Block, &archived, b"x", true).unwrap();
    let blob = one(&blobs, "b");
    assert!(blob.is_archived());
    assert!(matches!(blobs.download("box", &blob, &Cancel::new()).unwrap(), Download::Archived));
    assert_eq!(relay.count("GET /shop/box/b"), refused, "it was not even asked for");
    // Archived after it was listed.
    let mut unaware = blob.clone();
    unaware.properties.tier = None;
    assert!(matches!(blobs.download("box", &unaware, &Cancel::new()).unwrap(), Download::Archived));
}

#[test]
fn a_busy_service_is_waited_for() {
    skip_unless!(Tool::Azurite);
    let (_azurite, relay, blobs) = start();
    text(&blobs, "b", "x");
    relay.answer("comp=list", 1, "503 Busy\r\nx-ms-error-code: ServerBusy\r\nRetry-After: 1");
    relay.answer("comp=list", 1, "500 Slow\r\nx-ms-error-code: OperationTimedOut");
    let begin = Instant::now();
    assert_eq!(all(&blobs, None).len(), 1);
    let waited = begin.elapsed();
    assert!((Duration::from_secs(1)..Duration::from_secs(5)).contains(&waited), "{waited:?}");
    assert_eq!(relay.count("comp=list"), 3);

    relay.answer("comp=list", 1000, "503 Busy\r\nx-ms-error-code: ServerBusy");
    let before = relay.count("comp=list");
    let begin = Instant::now();
    let error = first_page(&blobs, "box").unwrap_err().to_string();
    let tried = relay.count("comp=list") - before;
    assert!(
        error.contains("503 ServerBusy") && error.contains(&format!("(tried {tried} times in ")),
        "{error}"
    );
    assert!(tried > 10, "time ends it, not a number of tries: {tried}");
    let (took, total) = (begin.elapsed(), quick().total);
    assert!((total..total + Duration::from_secs(2)).contains(&took), "{took:?}");
}

#[test]
fn lists_that_break_off_are_read_again() {
    skip_unless!(Tool::Azurite);
    let (_azurite, relay, blobs) = start();
    for number in 0..20 {
        text(&blobs, &format!("b{number}"), "x");
    }
    relay.cut("comp=list", 2, 3000);
    assert_eq!(all(&blobs, None).len(), 20);
    assert_eq!(relay.count("comp=list"), 3);
}

#[test]
fn a_wrong_key_is_told_without_it() {
    skip_unless!(Tool::Azurite);
    let (azurite, relay, _) = start();
    let wrong = client(&azurite, relay.port(), &azurite.key("other"));
    let error = wrong.containers(&Cancel::new()).unwrap_err();
    assert!(error.summary().contains("refused with status"), "{error}");
    assert!(!error.to_string().contains(&azurite.key("other")) && !format!("{wrong:?}").contains("key of"));
    // What Azure answers where Azurite says 400.
    relay.answer("comp=list", 1, "403 Forbidden\r\nx-ms-error-code: AuthenticationFailed");
    let error = wrong.containers(&Cancel::new()).unwrap_err();
    assert!(error.hint_text().unwrap().contains("key"), "{error}");
}

#[test]
fn a_cancelled_run_does_not_wait() {
    skip_unless!(Tool::Azurite);
    let (azurite, relay, _) = start();
    let patient = BlobService::new(
        Http::new(Policy::default()).unwrap(),
        &azurite.endpoint_at(relay.port(), "shop"),
        "shop",
        Credential::from_key(Secret::new(azurite.key("shop"))),
    );
    let blobs = patient.unwrap();
    relay.answer("comp=list", 100, "503 Busy\r\nRetry-After: 200");
    let cancel = Cancel::new();
    let canceller = cancel.clone();
    let begin = Instant::now();
    let thread = thread::spawn(move || {
        thread::sleep(Duration::from_millis(300));
        canceller.cancel("interrupted by a test");
    });
    let error = blobs.listing("box", None).next(&cancel).unwrap_err();
    assert_eq!(error.to_string(), "stopped: interrupted by a test");
    assert!(begin.elapsed() < Duration::from_secs(3));
    thread.join().unwrap();
}
