//! What a run does about blobs that change, vanish, are archived or cannot be read, and what the next run reads.

use std::fs;

use serde_json::Value;
use testkit::{Cmd, Config, Restic, Tool, azure::ListKeys, skip_unless};
use tik_backup::azure::blob::{BlobType, Properties};

use super::{
    client::noise,
    relay::relayed,
    support::{blobs, put, put_with, storage},
};

fn backup(config: &Config, code: i32) -> Value {
    Cmd::with(config).args(["--json", "backup"]).run().expect_code(code).json()
}

fn manifest(config: &Config, item: &str) -> Value {
    let path = format!("/storage/{}/manifest.json", item.replace('/', "%2F"));
    let folder = path.trim_end_matches("/manifest.json");
    let restic = Restic::new_().unwrap();
    let json =
        restic.ok(&config.repo(), &config.password_file(), &["dump", "--path", folder, "latest", &path]);
    serde_json::from_slice(&json).unwrap()
}

#[test]
fn only_what_changed_is_downloaded() {
    skip_unless!(Tool::Azurite, Tool::ResticNew);
    let (azurite, relay, azure) = relayed();
    let service = blobs(&azurite, "acct");
    for number in 0..20 {
        put(&service, "box", &format!("blob{number}"), &vec![number; 10_000]);
    }
    let config = storage(&azure, "retention = { keep_last = 10 }\n");
    backup(&config, 0);
    assert_eq!(relay.count("GET /acct/box/blob"), 20);
    assert_eq!(manifest(&config, "acct/box")["azure"]["stored"], 20);

    // Nothing has changed: nothing but lists is asked for.
    backup(&config, 0);
    assert_eq!(relay.count("GET /acct/box/blob"), 20, "unchanged blobs are not downloaded");
    assert_eq!(manifest(&config, "acct/box")["azure"]["unchanged"], 20);

    put(&service, "box", "blob3", b"another content");
    let metadata =
        Properties { metadata: [("a".to_owned(), "b".to_owned())].into(), ..Properties::default() };
    put_with(&service, "box", "blob4", &[4; 10_000], BlobType::Block, &metadata);
    put(&service, "box", "new", b"new");
    let before = Cmd::with(&config).args(["--json", "snapshots"]).run().ok().json();
    backup(&config, 0);
    assert_eq!(relay.count("GET /acct/box/blob"), 22);
    assert_eq!(relay.count("GET /acct/box/new"), 1);
    let old = before["snapshots"].as_array().unwrap().last().unwrap()["id"].as_str().unwrap().to_owned();
    for (at, expected) in [("latest", &b"another content"[..]), (old.as_str(), &[3; 10_000])] {
        let target = tempfile::tempdir().unwrap();
        Cmd::with(&config)
            .args(["restore", "storage/acct/box", "--at", at, "--to"])
            .arg(target.path())
            .run()
            .ok();
        assert_eq!(fs::read(target.path().join("blobs/blob3")).unwrap(), expected, "{at}");
    }

    // A pack that is lost: what it held is downloaded again, though it is unchanged.
    for pack in walk(&config.repo().join("data")) {
        fs::remove_file(pack).unwrap();
    }
    // That nothing at all is there looks like a storage that is not mounted.
    Cmd::with(&config).arg("backup").run().expect_code(4);
    Cmd::with(&config).args(["repair", "index", "--force"]).run().expect_code(1);
    backup(&config, 0);
    assert_eq!(relay.count("GET /acct/box/blob"), 42, "what the repository lost is downloaded again");
    let restic = Restic::new_().unwrap();
    let target = tempfile::tempdir().unwrap();
    restic.restore_verify(&config.repo(), &config.password_file(), "latest", target.path());
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[test]
fn what_happens_while_a_container_is_read_is_told() {
    skip_unless!(Tool::Azurite, Tool::ResticNew);
    let (azurite, relay, azure) = relayed();
    let service = blobs(&azurite, "acct");
    let large = noise(20_000_000);
    put(&service, "box", "large", &large);
    put(&service, "box", "moving", b"moving");
    let archived = Properties { tier: Some("Archive".to_owned()), ..Properties::default() };
    put_with(&service, "box", "frozen", b"frozen content", BlobType::Block, &archived);
    let wrong =
        Properties { content_md5: Some("AAAAAAAAAAAAAAAAAAAAAA==".to_owned()), ..Properties::default() };
    put_with(&service, "box", "odd-md5", b"not that", BlobType::Block, &wrong);
    let config = storage(&azure, "");
    relay.cut("GET /acct/box/large", 2, 3_000_000);
    relay.answer("GET /acct/box/moving", 1, "412 Precondition Failed");
    relay.answer("comp=list", 1, "503 Server Busy\r\nRetry-After: 1");
    let run = backup(&config, 3);
    let item = &run["items"][0];
    assert_eq!(item["outcome"], "partial", "{run:#}");
    assert_eq!(item["omitted"][0]["name"], "frozen", "{run:#}");
    let notes = item["notes"].to_string();
    assert!(notes.contains("NOT PROTECTED") && notes.contains("frozen"), "{run:#}");
    let detail = &manifest(&config, "acct/box")["azure"];
    assert_eq!(detail["archived"]["count"], 1, "{detail:#}");
    assert_eq!(detail["changed"]["first"][0], "moving", "{detail:#}");
    assert_eq!((&detail["listed"], &detail["stored"]), (&4.into(), &3.into()), "{detail:#}");
    let target = tempfile::tempdir().unwrap();
    Cmd::with(&config).args(["restore", "storage/acct/box", "--to"]).arg(target.path()).run().ok();
    assert!(fs::read(target.path().join("blobs/large")).unwrap() == large, "resumed, and the same bytes");
    assert!(!target.path().join("blobs/frozen").exists());
    let ran = Cmd::with(&config).args(["restore", "storage/acct/box", "--into", "acct/again"]).run().ok();
    assert!(ran.stdout.contains("archive tier"), "{}", ran.stdout);

    // A blob that changes on every read does not fail the item.
    put(&service, "box", "moving", b"moving on");
    relay.answer("GET /acct/box/moving", 100, "412 Precondition Failed");
    let run = backup(&config, 3);
    let of = |name: &str| run["items"].as_array().unwrap().iter().find(|item| item["item"] == name).unwrap();
    assert_eq!(of("acct/again")["outcome"], "ok", "{run:#}");
    let omitted = &of("acct/box")["omitted"];
    assert_eq!((&omitted[0]["name"], &omitted[1]["name"]), (&"frozen".into(), &"moving".into()), "{run:#}");
    assert!(omitted[1]["reason"].to_string().contains("changed each of the 5 times"), "{run:#}");
    assert_eq!(manifest(&config, "acct/box")["azure"]["stored"], 2);
}

#[test]
fn what_may_not_be_read_is_a_failure_that_names_the_remedy() {
    skip_unless!(Tool::Azurite);
    let (azurite, relay, azure) = relayed();
    put(&blobs(&azurite, "acct"), "box", "a", b"a");
    let config = storage(&azure, "");
    let refusal = |code: &str| format!("403 Forbidden\r\nx-ms-error-code: {code}");

    // The firewall blocks access to the container.
    relay.answer("GET /acct/box?", 100, &refusal("AuthorizationFailure"));
    let text = backup(&config, 1)["items"].to_string();
    assert!(text.contains("firewall") || text.contains("network"), "{text}");

    // No keys, and a token without the role.
    azure.change_account("acct", |account| account.list_keys = ListKeys::Forbidden);
    relay.answer("comp=list", 100, &refusal("AuthorizationPermissionMismatch"));
    let text = backup(&config, 1)["items"].to_string();
    assert!(text.contains("Storage Blob Data Reader"), "{text}");

    // An account that is not seen any more leaves its snapshots alone, and an empty tenant is no success.
    azure.remove_account("acct");
    let run = backup(&config, 1);
    assert!(run["items"].to_string().contains("sees no storage account"), "{run:#}");
}
