//! Writing blobs back, against Azurite: all is restored as it was, once, and lost answers do no harm.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use md5::{Digest, Md5};
use testkit::{Tool, skip_unless};
use tik_backup::{
    azure::{
        Scope,
        blob::{BlobType, Properties, Uploaded},
    },
    stream::cancel::Cancel,
};

use super::client::{MIB, get, noise, one, put, start, try_put};

#[test]
fn each_type_comes_back_with_its_properties() {
    skip_unless!(Tool::Azurite);
    let (_azurite, _relay, blobs) = start();
    let mut disk = noise(9 * MIB);
    disk[4 * MIB..8 * MIB].fill(0);
    for (kind, content) in [
        (BlobType::Block, noise(1000)),
        (BlobType::Block, noise(20 * MIB + 1)),
        (BlobType::Block, Vec::new()),
        (BlobType::Append, noise(9 * MIB + 7)),
        (BlobType::Append, Vec::new()),
        (BlobType::Page, disk),
        (BlobType::Page, Vec::new()),
    ] {
        let name = format!("{kind} of {}", content.len());
        let some = |text: &str| Some(text.to_owned());
        let properties = Properties {
            content_type: some("text/x-odd; charset=\"utf-8\""),
            content_encoding: some("gzip"),
            content_language: some("de-AT"),
            content_disposition: some("attachment; filename=\"a b.txt\""),
            cache_control: some("max-age=60"),
            content_md5: some(&md5(&content)),
            tier: (kind == BlobType::Block).then(|| "Cool".to_owned()),
            metadata: BTreeMap::from([
                ("author".to_owned(), "a  b".to_owned()),
                ("k_1".to_owned(), "v".to_owned()),
            ]),
            tags: BTreeMap::from([("stage".to_owned(), "prod + test".to_owned())]),
            ..Properties::default()
        };
        let done = put(&blobs, &name, kind, &properties, &content);
        assert_eq!(done, Uploaded::Done { notes: Vec::new() }, "{name}");
        let blob = one(&blobs, &name);
        assert_eq!((blob.kind, blob.bytes, blob.directory), (kind, content.len() as u64, false), "{name}");
        let times = (blob.properties.last_modified.clone(), blob.properties.created.clone());
        assert!(times.0.unwrap().starts_with("20") && times.1.unwrap().ends_with('Z'));
        let listed = Properties { last_modified: None, created: None, ..blob.properties.clone() };
        assert_eq!(listed, properties, "{name}");
        assert!(get(&blobs, &blob).unwrap() == content, "{name}");

        assert_eq!(put(&blobs, &name, kind, &properties, &content), Uploaded::Exists, "{name}");
        assert_eq!(one(&blobs, &name).etag, blob.etag, "{name} was not touched");
        let shorter = &content[..content.len() / 1024 * 512];
        try_put(&blobs, &name, kind, &Properties::default(), shorter, true).unwrap();
        assert!(get(&blobs, &one(&blobs, &name)).unwrap() == shorter, "{name}");
    }
}

fn md5(content: &[u8]) -> String {
    STANDARD.encode(Md5::digest(content))
}

#[test]
fn zero_pages_are_not_sent() {
    skip_unless!(Tool::Azurite);
    let (_azurite, relay, blobs) = start();
    put(&blobs, "disk", BlobType::Page, &Properties::default(), &vec![0; 13 * MIB]);
    assert_eq!(relay.count("comp=page"), 0);
    assert!(get(&blobs, &one(&blobs, "disk")).unwrap() == vec![0; 13 * MIB]);
}

#[test]
fn a_page_blob_that_does_not_end_with_a_page_costs_only_itself() {
    skip_unless!(Tool::Azurite);
    let (_azurite, _relay, blobs) = start();
    let content = noise(513);
    let (none, cancel) = (Properties::default(), Cancel::new());
    let done =
        blobs.upload("box", "odd", BlobType::Page, &none, 513, &mut content.as_slice(), false, &cancel);
    let failure = done.unwrap_err();
    assert_eq!(failure.scope(), Scope::Object);
    assert_eq!(failure.reason(), "it has 513 bytes: a page blob has pages of 512");
}

#[test]
fn what_the_account_refuses_is_told() {
    skip_unless!(Tool::Azurite);
    let (_azurite, relay, blobs) = start();
    let properties = Properties {
        tier: Some("Lukewarm".to_owned()),
        content_md5: Some("AAAAAAAAAAAAAAAAAAAAAA==".to_owned()),
        tags: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
        ..Properties::default()
    };
    relay.answer("comp=tags", 1, "403 No\r\nx-ms-error-code: AuthorizationPermissionMismatch");
    let Uploaded::Done { notes } = put(&blobs, "b", BlobType::Block, &properties, b"content") else {
        panic!()
    };
    assert_eq!(notes.len(), 3, "{notes:?}");
    assert!(notes[0].contains("Content-MD5"), "{notes:?}");
    assert!(notes[1].contains("tags") && notes[1].contains("AuthorizationPermissionMismatch"), "{notes:?}");
    assert!(notes[2].contains("tier Lukewarm"), "{notes:?}");
    assert_eq!(get(&blobs, &one(&blobs, "b")).unwrap(), b"content");

    relay.answer("include=metadata%2Ctags", 1, "403 No\r\nx-ms-error-code: AuthorizationPermissionMismatch");
    let has_tags = || blobs.listing("box", None).next(&Cancel::new()).unwrap().unwrap().tags;
    assert!(!has_tags());
    let asked = relay.count("%2Ctags");
    assert!(!has_tags());
    assert_eq!(relay.count("%2Ctags"), asked, "it is not asked for again");
}

#[test]
fn an_upload_whose_answers_are_lost_is_carried_out_once() {
    skip_unless!(Tool::Azurite);
    let (_azurite, relay, blobs) = start();
    let none = Properties::default();
    for (kind, length, lost) in [
        (BlobType::Block, 1000, "PUT /shop/box/"),
        (BlobType::Block, 9 * MIB, "comp=blocklist"),
        (BlobType::Block, 9 * MIB, "comp=block&"),
        (BlobType::Append, 9 * MIB, "x-ms-blob-type"),
        (BlobType::Append, 9 * MIB, "comp=appendblock"),
        (BlobType::Append, 9 * MIB, "comp=metadata"),
        (BlobType::Page, 9 * MIB, "x-ms-blob-type"),
        (BlobType::Page, 9 * MIB, "comp=page"),
    ] {
        let name = format!("{kind} {lost}").replace(['/', '&', '='], "-");
        let content = noise(length);
        relay.cut(lost, 1, 0);
        let before = relay.count(lost);
        let done = put(&blobs, &name, kind, &none, &content);
        assert_eq!(done, Uploaded::Done { notes: Vec::new() }, "{name}");
        assert!(relay.count(lost) > before + 1, "{name}: sent a second time");
        let blob = one(&blobs, &name);
        assert!(get(&blobs, &blob).unwrap() == content, "{name}");
        assert!(blob.properties.metadata.is_empty(), "{name}");
    }
}

#[test]
fn what_a_crashed_upload_left_is_replaced() {
    skip_unless!(Tool::Azurite);
    let (_azurite, _relay, blobs) = start();
    let none = Properties::default();
    for kind in [BlobType::Block, BlobType::Append, BlobType::Page] {
        let content = noise(9 * MIB);
        let (name, length) = (kind.name(), content.len() as u64);
        for wrong in [&content[..8 * MIB], &[&content[..], &[0; 512]].concat()] {
            let result =
                blobs.upload("box", name, kind, &none, length, &mut &wrong[..], false, &Cancel::new());
            let error = result.unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("9437184 bytes"), "{error}");
        }
        assert_eq!(put(&blobs, name, kind, &none, &content), Uploaded::Done { notes: Vec::new() });
        let blob = one(&blobs, name);
        assert!(get(&blobs, &blob).unwrap() == content && blob.properties.metadata.is_empty(), "{name}");
    }
}
