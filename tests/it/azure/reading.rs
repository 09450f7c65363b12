//! What is special about reading some blobs: append blobs that grow, page blobs with holes, lists whose pages are empty,
//! a service that is busy for a while, and what a failure is about.

use std::{
    io::Read,
    thread,
    time::{Duration, Instant},
};

use reqwest::Method;
use testkit::{Tool, azurite::Azurite, skip_unless};
use tik_backup::{
    azure::{
        BlobService, Failure, Scope,
        blob::{Blob, BlobType, Download, Properties, is_changed},
    },
    stream::{cancel::Cancel, sparse::SparseRead},
};

use super::{
    client::{MIB, all, get, noise, one, open, put, quick, start, text, try_put},
    support::ask,
};

/// Sends a request with content for a part of a blob, past the client.
fn send(azurite: &Azurite, name: &str, component: &str, headers: &[(&str, &str)], content: &[u8]) {
    ask(azurite, "shop", Method::PUT, &["box", name], ("comp", component), headers, content);
}

fn append(azurite: &Azurite, name: &str, content: &[u8]) {
    send(azurite, name, "appendblock", &[], content);
}

fn write_pages(azurite: &Azurite, name: &str, offset: usize, content: &[u8]) {
    let range = format!("bytes={offset}-{}", offset + content.len() - 1);
    send(azurite, name, "page", &[("x-ms-page-write", "update"), ("x-ms-range", &range)], content);
}

fn download(blobs: &BlobService, blob: &Blob) -> Result<Download, Failure> {
    blobs.download("box", blob, &Cancel::new())
}

fn is_new_version(blobs: &BlobService, blob: &Blob) -> bool {
    matches!(download(blobs, blob).unwrap(), Download::Changed)
}

#[test]
fn an_append_blob_that_grows_is_read_as_far_as_it_was_listed() {
    skip_unless!(Tool::Azurite);
    let (azurite, relay, blobs) = start();
    let content = noise(3 * MIB);
    put(&blobs, "log", BlobType::Append, &Properties::default(), &content);
    let blob = one(&blobs, "log");
    let mut body = open(&blobs, &blob);
    let mut back = Vec::new();
    body.read_to_end(&mut back).unwrap();
    assert!(back == content && body.is_listed_state());

    // It grows before it is read, and again between two connections.
    append(&azurite, "log", b"one more line\n");
    relay.cut("GET /shop/box/log", 1, MIB);
    let mut body = open(&blobs, &blob);
    let mut back = vec![0; 1000];
    body.read_exact(&mut back).unwrap();
    append(&azurite, "log", b"and another one\n");
    body.read_to_end(&mut back).unwrap();
    assert!(back == content, "{} bytes", back.len());
    assert!(!body.is_listed_state(), "the next run has to read it again");
    assert_eq!(relay.count("GET /shop/box/log"), 3);
    assert_eq!(one(&blobs, "log").bytes, content.len() as u64 + 30);

    put(&blobs, "empty", BlobType::Append, &Properties::default(), b"");
    let blob = one(&blobs, "empty");
    append(&azurite, "empty", b"not empty any more");
    assert_eq!(get(&blobs, &blob).unwrap(), b"");
    assert_eq!(relay.count("GET /shop/box/empty"), 0, "there is nothing to ask for");
}

#[test]
fn an_append_blob_that_was_written_anew_is_another_one() {
    skip_unless!(Tool::Azurite);
    let (_azurite, relay, blobs) = start();
    let none = Properties::default();
    let fresh = |kind, length| {
        try_put(&blobs, "log", kind, &none, &noise(length), true).unwrap();
        one(&blobs, "log")
    };
    let old = fresh(BlobType::Append, 3 * MIB);
    // Creation times have whole seconds.
    thread::sleep(Duration::from_millis(1100));
    fresh(BlobType::Append, 4 * MIB);
    assert!(is_new_version(&blobs, &old), "it was created later");
    let mut unknown = old.clone();
    unknown.properties.created = None;
    fresh(BlobType::Append, 1000);
    assert!(is_new_version(&blobs, &unknown), "it is shorter");
    fresh(BlobType::Append, 0);
    assert!(is_new_version(&blobs, &unknown), "it has not even a first byte");
    fresh(BlobType::Block, 4 * MIB);
    assert!(is_new_version(&blobs, &unknown), "it is no append blob");

    // While it is read.
    let blob = fresh(BlobType::Append, 3 * MIB);
    relay.cut("GET /shop/box/log", 1, MIB);
    let mut body = open(&blobs, &blob);
    let witness = body.witness();
    thread::sleep(Duration::from_millis(1100));
    fresh(BlobType::Append, 3 * MIB);
    let error = body.read_to_end(&mut Vec::new()).unwrap_err();
    assert!(is_changed(&error) && witness.is_changed() && !witness.is_gone(), "{error}");
    assert_eq!(witness.failure().unwrap().scope(), Scope::Object);
}

#[test]
fn pages_that_were_never_written_are_holes_and_are_not_asked_for() {
    skip_unless!(Tool::Azurite);
    let (azurite, relay, blobs) = start();
    let none = Properties::default();
    let mut disk = vec![0; 20 * MIB];
    put(&blobs, "disk", BlobType::Page, &none, &disk);
    // Between the last two there are few zeros, which are read along with them.
    let data = noise(MIB);
    for (offset, length) in [(0, 512), (8 * MIB, MIB), (9 * MIB + 65_536, 512)] {
        write_pages(&azurite, "disk", offset, &data[..length]);
        disk[offset..offset + length].copy_from_slice(&data[..length]);
    }
    let blob = one(&blobs, "disk");
    let before = relay.returned();
    relay.cut("x-ms-range: bytes=8388608-", 1, 300_000);
    assert!(get(&blobs, &blob).unwrap() == disk, "the zeros are read too");
    let came = relay.returned() - before;
    assert!(came < 3 * MIB as u64 / 2, "{came} bytes came");
    assert_eq!((relay.count("comp=pagelist"), relay.count("GET /shop/box/disk HTTP")), (1, 3));

    let mut body = open(&blobs, &blob);
    let mut part = vec![0; 512];
    assert_eq!(body.hole().unwrap(), 0);
    body.read_exact(&mut part).unwrap();
    assert_eq!(part, data[..512]);
    let hole = 8 * MIB as u64 - 512;
    assert_eq!(body.hole().unwrap(), hole);
    assert!(body.skip(hole + 1).is_err());
    body.skip(hole - 100).unwrap();
    assert_eq!(body.hole().unwrap(), 100);
    body.read_exact(&mut part[..100]).unwrap();
    assert_eq!((&part[..100], body.hole().unwrap()), (&[0; 100][..], 0));
    let mut rest = vec![0; MIB + 65_536 + 512];
    body.read_exact(&mut rest).unwrap();
    assert!(rest[..] == disk[8 * MIB..][..rest.len()]);
    let hole = body.hole().unwrap();
    assert_eq!(hole, 11 * MIB as u64 - 65_536 - 512);
    body.skip(hole).unwrap();
    assert_eq!((body.hole().unwrap(), body.read(&mut part).unwrap()), (0, 0));

    put(&blobs, "zeros", BlobType::Page, &none, &vec![0; 4 * MIB]);
    assert!(get(&blobs, &one(&blobs, "zeros")).unwrap() == vec![0; 4 * MIB]);
    assert_eq!(relay.count("GET /shop/box/zeros"), 1, "nothing but the list of its pages");

    // Where the list is refused, all of it is read.
    relay.answer("comp=pagelist", 1, "400 Bad Request\r\nx-ms-error-code: UnsupportedQueryParameter");
    let mut body = open(&blobs, &blob);
    assert_eq!(body.hole().unwrap(), 0);
    let mut whole = Vec::new();
    body.read_to_end(&mut whole).unwrap();
    assert!(whole == disk);
    write_pages(&azurite, "disk", 0, &data[512..1024]);
    assert!(is_new_version(&blobs, &blob));
}

/// A page of a list with one blob of another name.
const WITHOUT_IT: &str = "<EnumerationResults><Blobs><Blob><Name>ab</Name><Properties><Etag>0x1</Etag>\
    <Content-Length>1</Content-Length><BlobType>BlockBlob</BlobType></Properties></Blob></Blobs>";

#[test]
fn a_page_without_blobs_is_not_the_end_of_a_list() {
    skip_unless!(Tool::Azurite);
    let (_azurite, relay, blobs) = start();
    let cancel = Cancel::new();
    relay.empty_page("comp=list", 1, "!");
    assert_eq!(blobs.has_blobs("box", &cancel).unwrap(), None);
    for name in ["a", "ab", "b"] {
        text(&blobs, name, name);
    }
    let found = |name: &str| blobs.find("box", name, &cancel).map(|blob| blob.map(|blob| blob.name));
    for _ in 0..2 {
        relay.empty_page("comp=list", 1, "!");
        assert_eq!(all(&blobs, None).len(), 3);
        relay.empty_page("comp=list", 1, "!");
        assert_eq!(blobs.has_blobs("box", &cancel).unwrap().as_deref(), Some("a"));
        relay.empty_page("comp=list", 1, "!");
        assert_eq!(found("a").unwrap().as_deref(), Some("a"));
    }
    assert_eq!(relay.count("HEAD /shop/box/a"), 0, "what the list shows is not asked for");
    relay.empty_page("comp=list", 2, "!");
    let error = blobs.has_blobs("box", &cancel).unwrap_err();
    assert!(error.summary().contains("its pages repeat"), "{error}");

    // What the list does not show is gone only if it is not there when it is asked for.
    assert_eq!(found("c").unwrap(), None);
    assert_eq!(relay.count("HEAD /shop/box/c"), 1);
    let xml = "200 OK\r\nContent-Type: application/xml";
    let more = format!("{WITHOUT_IT}<NextMarker>!</NextMarker></EnumerationResults>");
    relay.answer_with("comp=list", 1, xml, &more);
    assert_eq!(found("a").unwrap().as_deref(), Some("a"), "it is on the next page");
    relay.answer_with("comp=list", 1, xml, &more);
    relay.answer(
        "HEAD /shop/box/a",
        1,
        "409 Conflict\r\nx-ms-error-code: BlobUsesCustomerSpecifiedEncryption",
    );
    assert_eq!(found("a").unwrap().as_deref(), Some("a"), "what may not be read is there");
    relay.answer_with("comp=list", 3, xml, &format!("{WITHOUT_IT}</EnumerationResults>"));
    let error = found("a").unwrap_err();
    assert!(error.to_string().contains("the container's list does not show it"), "{error}");
    relay.answer("HEAD /shop/box/c", 1, "403 Forbidden\r\nx-ms-error-code: AuthorizationFailure");
    assert!(found("c").is_err(), "no answer is not an answer");
}

#[test]
fn a_service_that_is_busy_for_a_while_is_waited_for() {
    skip_unless!(Tool::Azurite);
    let (_azurite, relay, blobs) = start();
    let content = noise(MIB);
    put(&blobs, "b", BlobType::Block, &Properties::default(), &content);
    let (blob, begin, busy) = (one(&blobs, "b"), Instant::now(), quick().total / 2);
    relay.answer_for("GET /shop/box/b", busy, "503 Server Busy\r\nx-ms-error-code: ServerBusy");
    assert!(get(&blobs, &blob).unwrap() == content);
    assert!(begin.elapsed() >= busy);
    assert!(relay.count("GET /shop/box/b") > 10, "so many tries would once have been too many");
}

#[test]
fn a_failure_says_what_it_is_about() {
    skip_unless!(Tool::Azurite);
    let (_azurite, relay, blobs) = start();
    put(&blobs, "b", BlobType::Block, &Properties::default(), &noise(3 * MIB));
    let blob = one(&blobs, "b");
    let refused = |answer: &str| {
        relay.answer("GET /shop/box/b", 1, answer);
        download(&blobs, &blob).err().unwrap()
    };
    let locked = "409 Conflict\r\nx-ms-error-code: BlobUsesCustomerSpecifiedEncryption";
    let failure = refused(locked);
    assert_eq!(failure.scope(), Scope::Object);
    assert!(failure.reason().contains("customer-provided key"), "{failure}");
    assert_eq!(refused("404 Not Found\r\nx-ms-error-code: ContainerNotFound").scope(), Scope::Service);
    assert_eq!(refused("403 Forbidden\r\nx-ms-error-code: AuthorizationFailure").scope(), Scope::Service);

    let named = Blob { name: "..".to_owned(), ..blob.clone() };
    let failure = download(&blobs, &named).err().unwrap();
    assert_eq!(failure.scope(), Scope::Object);
    assert!(failure.reason().contains("cannot be part of a web address"), "{failure}");
    let longer = Blob { bytes: blob.bytes + 1, ..blob.clone() };
    assert_eq!(download(&blobs, &longer).err().unwrap().scope(), Scope::Object);
    let cancelled = Cancel::new();
    cancelled.cancel("enough");
    let failure = blobs.download("box", &blob, &cancelled).err().unwrap();
    assert_eq!((failure.scope(), failure.reason().as_str()), (Scope::Service, "stopped: enough"));

    // In the middle of a content.
    relay.cut("GET /shop/box/b", 1, MIB);
    let mut body = open(&blobs, &blob);
    let witness = body.witness();
    assert!(witness.failure().is_none());
    relay.answer("GET /shop/box/b", 1, locked);
    assert!(body.read_to_end(&mut Vec::new()).is_err());
    let failure = witness.failure().unwrap();
    assert!(failure.is("BlobUsesCustomerSpecifiedEncryption") && failure.scope() == Scope::Object);
    relay.cut("GET /shop/box/b", 1, MIB);
    let mut body = open(&blobs, &blob);
    let witness = body.witness();
    relay.answer("GET /shop/box/b", u32::MAX, "503 Server Busy");
    assert!(body.read_to_end(&mut Vec::new()).is_err());
    assert_eq!(witness.failure().unwrap().scope(), Scope::Passing);
}
