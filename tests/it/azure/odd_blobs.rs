//! An unreadable blob does not fail the item, and stored content is never dropped.

use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use reqwest::Method;
use serde_json::Value;
use testkit::{Cmd, Config, Restic, Tool, azurite::Azurite, skip_unless};
use tik_backup::azure::blob::{Blob, BlobType, Properties};

use super::{
    client::{all_of, noise},
    relay::relayed,
    support::{ask, blobs, put, put_with, storage},
};

fn backup(config: &Config, code: i32) -> Value {
    let run = Cmd::with(config).args(["--json", "backup"]).run().expect_code(code).json();
    run["items"][0].clone()
}

fn backup_only(config: &Config, item: &str, code: i32) -> Value {
    let run = Cmd::with(config).args(["--json", "backup", item]).run().expect_code(code).json();
    run["items"][0].clone()
}

fn manifest(config: &Config) -> Value {
    let restic = Restic::new_().unwrap();
    let folder = "/storage/acct%2Fbox";
    let path = format!("{folder}/manifest.json");
    let json =
        restic.ok(&config.repo(), &config.password_file(), &["dump", "--path", folder, "latest", &path]);
    serde_json::from_slice(&json).unwrap()
}

/// What the newest snapshot holds of the blob.
fn stored(config: &Config, blob: &str) -> Option<Vec<u8>> {
    let target = tempfile::tempdir().unwrap();
    Cmd::with(config).args(["restore", "storage/acct/box", "--to"]).arg(target.path()).run().ok();
    fs::read(target.path().join("blobs").join(blob)).ok()
}

/// Names and reasons of what the newest snapshot lacks.
fn omitted(config: &Config) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let list = manifest(config)["omitted"].as_array().cloned().unwrap_or_default();
    list.iter().map(|omitted| (text(&omitted["name"]), text(&omitted["reason"]))).collect()
}

fn set_tier(azurite: &Azurite, blob: &str, tier: &str) {
    let headers = [("x-ms-access-tier", tier)];
    ask(azurite, "acct", Method::PUT, &["box", blob], ("comp", "tier"), &headers, b"");
}

/// Sets a flag at the end of its scope, also of one that a failed assertion ends: a thread that waits for the flag always ends.
struct SetAtEnd<'a>(&'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A page of a list, as the service writes it.
fn page(blobs: &[Blob], odd: &[&str], next: &str) -> String {
    let mut text = String::from("<?xml version=\"1.0\"?><EnumerationResults><Blobs>");
    for name in odd {
        text.push_str(&format!(
            "<Blob><Name>{name}</Name><Properties><Etag>0x1</Etag><Content-Length>3</Content-Length>\
             <BlobType>BlockBlob</BlobType></Properties></Blob>"
        ));
    }
    for blob in blobs {
        let Blob { name, etag, bytes, kind, .. } = blob;
        text.push_str(&format!(
            "<Blob><Name>{name}</Name><Properties><Etag>{etag}</Etag><Content-Length>{bytes}</Content-Length>\
             <BlobType>{kind}</BlobType></Properties></Blob>"
        ));
    }
    text.push_str(&format!("</Blobs><NextMarker>{next}</NextMarker></EnumerationResults>"));
    text
}

#[test]
fn what_was_stored_stays_stored_in_every_tier() {
    skip_unless!(Tool::Azurite, Tool::ResticNew);
    let (azurite, relay, azure) = relayed();
    let service = blobs(&azurite, "acct");
    for name in ["archived", "cool", "cold", "later"] {
        put(&service, "box", name, format!("content of {name}").as_bytes());
    }
    let archived = Properties { tier: Some("Archive".to_owned()), ..Properties::default() };
    put_with(&service, "box", "never-read", b"never read", BlobType::Block, &archived);
    let config = storage(&azure, "retention = { keep_last = 1, keep_within = \"0s\" }\n");
    let item = backup(&config, 3);
    assert_eq!(item["outcome"], "partial", "{item:#}");
    let notes = item["notes"].to_string();
    assert!(notes.contains("NOT PROTECTED: 1 blob") && notes.contains("never-read"), "{notes}");

    for (name, tier) in [("archived", "Archive"), ("cool", "Cool"), ("cold", "Cold"), ("later", "Archive")] {
        set_tier(&azurite, name, tier);
    }
    let reads = relay.count("GET /acct/box/");
    for _ in 0..2 {
        backup(&config, 3);
        assert_eq!(stored(&config, "archived").as_deref(), Some(&b"content of archived"[..]));
        assert_eq!(stored(&config, "later").as_deref(), Some(&b"content of later"[..]));
        let lacking: Vec<String> = omitted(&config).into_iter().map(|(name, _)| name).collect();
        assert_eq!(lacking, ["never-read"]);
        assert_eq!(relay.count("GET /acct/box/archived") + relay.count("GET /acct/box/later"), 2);
    }
    assert!(relay.count("GET /acct/box/") <= reads + 2);
    set_tier(&azurite, "never-read", "Hot");
    let item = backup(&config, 0);
    assert_eq!(item["outcome"], "ok", "{item:#}");
    assert_eq!(stored(&config, "never-read").as_deref(), Some(&b"never read"[..]));
}

#[test]
fn a_page_without_entries_is_not_the_end_of_a_list() {
    skip_unless!(Tool::Azurite, Tool::ResticNew);
    let (azurite, relay, azure) = relayed();
    let service = blobs(&azurite, "acct");
    put(&service, "box", "moving", b"moving");
    put(&service, "box", "still", b"still");
    let config = storage(&azure, "");
    relay.answer("GET /acct/box/moving", 1, "412 Precondition Failed");
    let all = all_of(&service, "box", None);
    relay.answer_with("prefix=moving", 1, "200 OK", &page(&[], &[], "next-page"));
    relay.answer_with("marker=next-page", 1, "200 OK", &page(&all[..1], &[], ""));
    let item = backup(&config, 0);
    let detail = &manifest(&config)["azure"];
    assert_eq!((&detail["stored"], &detail["vanished"]["count"]), (&2.into(), &0.into()), "{detail:#}");
    assert!(!item["notes"].to_string().contains("deleted"), "{item:#}");

    // Nor is a container empty that a restore is to fill.
    relay.answer_with("comp=list", 1, "200 OK", &page(&[], &[], "next-page"));
    relay.answer_with("marker=next-page", 1, "200 OK", &page(&all, &[], ""));
    let into = ["restore", "storage/acct/box", "--into", "acct/box"];
    let text = Cmd::with(&config).args(into).run().expect_code(1).stderr;
    assert!(text.contains("already has the blob moving"), "{text}");
}

#[test]
fn blobs_that_cannot_be_read_cost_only_themselves() {
    skip_unless!(Tool::Azurite, Tool::ResticNew);
    let (azurite, relay, azure) = relayed();
    let service = blobs(&azurite, "acct");
    for number in 0..20 {
        put(&service, "box", &format!("good{number:02}"), &vec![number; 5_000]);
    }
    for name in ["own-key", "unreadable"] {
        put(&service, "box", name, name.as_bytes());
    }
    put_with(&service, "box", "log.append", b"first\n", BlobType::Append, &Properties::default());
    let config = storage(&azure, "");
    let refused = "409 Conflict\r\nx-ms-error-code: BlobUsesCustomerSpecifiedEncryption";
    relay.answer("GET /acct/box/own-key", 1000, refused);
    relay.answer("GET /acct/box/unreadable", 1000, "404 Not Found\r\nx-ms-error-code: BlobNotFound");
    // The emulator can hold neither a name that no URL can carry nor a blob of an unknown type: a list made up here does.
    let cube = page(&[], &["cube"], "");
    let cube = &cube[cube.find("<Blob>").unwrap()..cube.find("</Blobs>").unwrap()];
    let list = page(&all_of(&service, "box", None), &["..", "cube", "gone"], "").replacen(
        cube,
        &cube.replace("BlockBlob", "CubeBlob"),
        1,
    );
    relay.answer_with("GET /acct/box?restype=container&comp=list", 1, "200 OK", &list);

    let over = AtomicBool::new(false);
    let item = thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                let (blob, query) = (["box", "log.append"], ("comp", "appendblock"));
                ask(&azurite, "acct", Method::PUT, &blob, query, &[], b"more\n");
                thread::sleep(Duration::from_millis(2));
            }
        });
        let _end = SetAtEnd(&over);
        backup(&config, 3)
    });
    assert_eq!(item["outcome"], "partial", "{item:#}");
    let lacking = omitted(&config);
    let names: Vec<&str> = lacking.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["..", "cube", "own-key", "unreadable"], "{lacking:#?}");
    for (name, why) in [
        ("..", "web address"),
        ("cube", "CubeBlob"),
        ("own-key", "customer-provided key"),
        ("unreadable", "404"),
    ] {
        let reason = &lacking.iter().find(|(omitted, _)| omitted == name).unwrap().1;
        assert!(reason.contains(why), "{name}: {reason}");
    }
    assert_eq!(manifest(&config)["azure"]["vanished"]["first"][0], "gone");
    for number in 0..20 {
        assert_eq!(stored(&config, &format!("good{number:02}")), Some(vec![number; 5_000]));
    }
    let log = stored(&config, "log.append").unwrap();
    assert!(log.starts_with(b"first\n") && log.ends_with(b"\n"), "{log:?}");

    // The ledger names them until they can be read.
    let status = Cmd::with(&config).args(["status", "--check"]).run().expect_code(5).stdout;
    assert!(status.contains("own-key") && status.contains("customer-provided key"), "{status}");
    let proven = Cmd::with(&config).args(["--json", "drill", "--all"]).run().ok().json();
    assert!(proven.to_string().contains("proven"), "{proven:#}");

    // What is excluded is lacking no more, and counted.
    let exclude = "exclude = [\"own-key\", \"/unreadable\", \"nothing/\"]\n";
    add_keys(&config, exclude);
    let item = backup(&config, 0);
    assert_eq!(item["outcome"], "ok", "{item:#}");
    let detail = &manifest(&config)["azure"];
    assert_eq!(detail["excluded"][0], serde_json::json!({"pattern": "own-key", "entries": 1}), "{detail:#}");
    assert_eq!(
        (&detail["excluded"][1]["entries"], &detail["excluded"][2]["entries"]),
        (&1.into(), &0.into())
    );
}

/// Adds keys to the source of a configuration.
fn add_keys(config: &Config, keys: &str) {
    let text = fs::read_to_string(config.path()).unwrap();
    let kind = "kind = \"azure-storage\"\n";
    fs::write(config.path(), text.replace(kind, &format!("{kind}{keys}"))).unwrap();
}

#[test]
fn nothing_may_be_read_is_a_failure_and_not_a_list_of_names() {
    skip_unless!(Tool::Azurite);
    let (azurite, relay, azure) = relayed();
    let service = blobs(&azurite, "acct");
    for number in 0..3 {
        put(&service, "box", &format!("blob{number}"), b"x");
    }
    let config = storage(&azure, "");
    let refused = "403 Forbidden\r\nx-ms-error-code: AuthorizationPermissionMismatch";
    relay.answer("GET /acct/box/blob", 1000, refused);
    let item = backup(&config, 1);
    assert_eq!((&item["outcome"], &item["snapshot"]), (&"failed".into(), &Value::Null));
    assert!(item["error"].to_string().contains("Storage Blob Data Reader"), "{item:#}");
}

#[test]
fn what_a_failed_run_has_stored_is_not_read_again() {
    skip_unless!(Tool::Azurite, Tool::ResticNew);
    let (azurite, relay, azure) = relayed();
    let service = blobs(&azurite, "acct");
    let content = noise(3_000_000);
    for number in 0..6_usize {
        put(&service, "box", &format!("blob{number}"), &content[number * 400_000..]);
    }
    put(&service, "box", "last", b"last");
    put(&service, "other", "fine", b"fine");
    let config = storage(&azure, "parallel_downloads = 1\n");
    // The account is disabled while the container is read: all of it fails, whatever was stored already.
    let disabled = "403 Forbidden\r\nx-ms-error-code: AccountIsDisabled";
    relay.answer("GET /acct/box/last", 1, disabled);
    backup_only(&config, "storage/acct/other", 0);
    let item = backup_only(&config, "storage/acct/box", 1);
    assert_eq!(item["outcome"], "failed", "{item:#}");
    assert_eq!(relay.count("GET /acct/box/blob"), 6);
    let snapshots = Cmd::with(&config).args(["--json", "snapshots", "storage/acct/box"]).run().ok().json();
    assert_eq!(snapshots["snapshots"].as_array().unwrap().len(), 0, "nothing that looks like a backup");
    // Nor does prune take it away.
    Cmd::with(&config).arg("prune").run().ok();

    let item = backup(&config, 0);
    assert_eq!(relay.count("GET /acct/box/blob"), 6, "none is downloaded again");
    assert!(item["bytes_added"].as_u64().unwrap() < 100_000, "{item:#}");
    for number in 0..6_usize {
        assert!(stored(&config, &format!("blob{number}")).unwrap() == content[number * 400_000..]);
    }
    let restic = Restic::new_().unwrap();
    let target = tempfile::tempdir().unwrap();
    restic.restore_verify(&config.repo(), &config.password_file(), "latest", target.path());
    let left = fs::read_dir(config.state_dir().join("unfinished")).unwrap().count();
    assert_eq!(left, 0, "of no use any more");
}

#[test]
fn pages_of_zeros_are_not_downloaded() {
    skip_unless!(Tool::Azurite, Tool::ResticNew);
    let (azurite, relay, azure) = relayed();
    let service = blobs(&azurite, "acct");
    let mut disk = vec![0; 96 << 20];
    disk[10 << 20..][..5000].copy_from_slice(&noise(5000));
    disk[(96 << 20) - 1] = 1;
    put_with(&service, "box", "disk.vhd", &disk, BlobType::Page, &Properties::default());
    let config = storage(&azure, "");
    backup(&config, 0);
    // It was written in parts of 4 MiB.
    assert!(relay.returned() < 9 << 20, "{} bytes came back", relay.returned());
    assert!(stored(&config, "disk.vhd").unwrap() == disk);
    Cmd::with(&config).args(["drill", "--all"]).run().ok();
}
