//! What a container's snapshot keeps, and what is restored: any name, every property, into a container or a directory.

use std::{collections::BTreeMap, fs, path::Path};

use testkit::{Cmd, Restic, Tool, azure::FakeAzure, azurite::Azurite, skip_unless};
use tik_backup::azure::{
    BlobService,
    blob::{Blob, BlobType, Properties},
};

use super::{
    client::{all_of, get_from},
    support::{add_blob_account, blobs, put, put_with, storage},
};

fn names() -> Vec<(String, String)> {
    let long = "n".repeat(1024);
    let deep = vec!["part"; 200].join("/");
    let mut names: Vec<(String, String)> = [
        ("plain.txt", "plain.txt"),
        ("/lead", "%2F/lead"),
        ("a//b", "a/%2F/b"),
        ("dots/../up", "dots/%2E%2E/up"),
        ("dots/./here", "dots/%2E/here"),
        ("trail/", "trail/%2F"),
        ("dot.", "dot."),
        (" lead and trail ", " lead and trail "),
        ("50% off", "50% off"),
        ("%2F%41", "%252F%2541"),
        ("plus+&=?#;.txt", "plus+&=?#;.txt"),
        ("UPPER", "UPPER"),
        ("upper", "upper"),
        ("ünï/日本 🙂", "ünï/日本 🙂"),
        ("q'\"`$<>|*", "q'\"`$<>|*"),
        ("twin", "twin"),
        ("twin/below", "twin%2F/below"),
    ]
    .map(|(name, path)| (name.to_owned(), path.to_owned()))
    .into();
    names.push((deep.clone(), deep));
    names.push((long, String::new()));
    names
}

fn all(service: &BlobService, container: &str) -> BTreeMap<String, Blob> {
    let blobs = all_of(service, container, None);
    blobs.into_iter().map(|blob| (blob.name.clone(), blob)).collect()
}

/// What must be the same after a restore.
fn kept(blob: &Blob) -> (u64, BlobType, Properties) {
    let lower = |metadata: &BTreeMap<String, String>| {
        metadata.iter().map(|(name, value)| (name.to_lowercase(), value.clone())).collect()
    };
    let properties = Properties {
        last_modified: None,
        created: None,
        metadata: lower(&blob.properties.metadata),
        ..blob.properties.clone()
    };
    (blob.bytes, blob.kind, properties)
}

fn compare(service: &BlobService, one: &str, other: &str) {
    let (before, after) = (all(service, one), all(service, other));
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
    for (name, blob) in &before {
        assert_eq!(kept(blob), kept(&after[name]), "{name:?}");
        assert_eq!(get_from(service, one, blob), get_from(service, other, &after[name]), "{name:?}");
    }
}

#[test]
fn every_name_survives() {
    skip_unless!(Tool::Azurite, Tool::Restic, Tool::ResticNew);
    let azurite = Azurite::start(&["acct"]);
    let azure = FakeAzure::start();
    let subscription = azure.add_subscription("One");
    add_blob_account(&azure, &subscription, &azurite, "acct");
    let service = blobs(&azurite, "acct");
    for (name, _) in names() {
        put(&service, "odd", &name, format!("content of {name}").as_bytes());
    }
    let config = storage(&azure, "");
    Cmd::with(&config).args(["backup", "storage/acct/odd"]).run().ok();

    let check_tree = |top: &Path| {
        for (name, path) in names() {
            let content = format!("content of {name}");
            if path.is_empty() {
                let cut: Vec<_> = fs::read_dir(top)
                    .unwrap()
                    .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                    .filter(|found| found.starts_with("nnn") && found.contains("%~"))
                    .collect();
                assert_eq!(cut.len(), 1, "a name of 1,024 characters is cut: {cut:?}");
                assert_eq!(fs::read_to_string(top.join(&cut[0])).unwrap(), content);
            } else {
                let found = fs::read_to_string(top.join(&path));
                assert_eq!(found.unwrap_or_else(|e| panic!("{path:?}: {e}")), content);
            }
        }
    };
    for restic in [Restic::old().unwrap(), Restic::new_().unwrap()] {
        let target = tempfile::tempdir().unwrap();
        restic.restore_verify(&config.repo(), &config.password_file(), "latest", target.path());
        check_tree(&target.path().join("storage/acct%2Fodd/blobs"));
    }
    let target = tempfile::tempdir().unwrap();
    let ran = Cmd::with(&config)
        .args(["--json", "restore", "storage/acct/odd", "--to"])
        .arg(target.path())
        .run()
        .ok();
    check_tree(&target.path().join("blobs"));
    let report = ran.json();
    let escaped: Vec<_> = report["folder"]["escaped"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["stored"].as_str().unwrap())
        .collect();
    assert!(escaped.contains(&"/lead") && escaped.contains(&"twin/below"), "{report:#}");
    assert!(!escaped.contains(&"plain.txt"), "{report:#}");
    let list = fs::read_to_string(target.path().join("blobs.jsonl")).unwrap();
    assert_eq!(list.lines().count(), names().len());

    Cmd::with(&config).args(["restore", "storage/acct/odd", "--into", "acct/again"]).run().ok();
    compare(&service, "odd", "again");
}

#[test]
fn properties_and_kinds_come_back_and_nothing_is_overwritten_unasked() {
    skip_unless!(Tool::Azurite);
    let azurite = Azurite::start(&["acct", "other"]);
    let azure = FakeAzure::start();
    let subscription = azure.add_subscription("One");
    add_blob_account(&azure, &subscription, &azurite, "acct");
    add_blob_account(&azure, &subscription, &azurite, "other");
    let (service, other) = (blobs(&azurite, "acct"), blobs(&azurite, "other"));
    let text = |text: &str| Some(text.to_owned());
    let rich = Properties {
        content_type: text("image/jpeg"),
        content_encoding: text("gzip"),
        content_language: text("fi"),
        content_disposition: text("attachment; filename=\"x\""),
        cache_control: text("max-age=60"),
        tier: text("Cool"),
        metadata: BTreeMap::from([
            ("owner".to_owned(), "guild of 日本".replace("日本", "j")),
            ("n".to_owned(), "1".to_owned()),
        ]),
        tags: BTreeMap::from([("project".to_owned(), "tik 1".to_owned())]),
        ..Properties::default()
    };
    put_with(&service, "all", "rich", b"rich", BlobType::Block, &rich);
    put_with(&service, "all", "log", &vec![b'l'; 5_000_000], BlobType::Append, &Properties::default());
    let mut page = vec![0; 512 * 2048];
    page[512..1024].fill(7);
    put_with(&service, "all", "disk", &page, BlobType::Page, &Properties::default());
    put(&service, "all", "large", &(0..12_000_000_u32).map(|n| (n / 1000) as u8).collect::<Vec<_>>());
    put(&service, "all", "empty", b"");
    let config = storage(&azure, "");
    Cmd::with(&config).args(["backup", "storage/acct/all"]).run().ok();

    // Into another account, which is made a new container for it.
    let done = Cmd::with(&config)
        .args(["--json", "restore", "storage/acct/all", "--into", "other/copy"])
        .run()
        .ok()
        .json();
    assert_eq!(
        (&done["storage"]["created"], &done["storage"]["files"]),
        (&true.into(), &5.into()),
        "{done:#}"
    );
    let (before, after) = (all(&service, "all"), all(&other, "copy"));
    for (name, blob) in &before {
        assert_eq!(kept(blob), kept(&after[name]), "{name}");
        assert_eq!(get_from(&service, "all", blob), get_from(&other, "copy", &after[name]), "{name}");
    }

    // What is there stays, unless it is asked for.
    put(&other, "copy", "rich", b"changed since");
    put(&other, "copy", "own", b"of its own");
    let ran =
        Cmd::with(&config).args(["restore", "storage/acct/all", "--into", "other/copy"]).run().expect_code(1);
    assert!(ran.stderr.contains("--overwrite"), "{}", ran.stderr);
    assert_eq!(get_from(&other, "copy", &all(&other, "copy")["rich"]), b"changed since");
    Cmd::with(&config)
        .args(["restore", "storage/acct/all", "--into", "other/copy", "--overwrite"])
        .run()
        .ok();
    let after = all(&other, "copy");
    assert_eq!(get_from(&other, "copy", &after["rich"]), b"rich");
    assert_eq!(get_from(&other, "copy", &after["own"]), b"of its own", "others stay");

    // Invalid targets are reported before anything is written.
    let ran = Cmd::with(&config).args(["restore", "storage/acct/all", "--into", "other/share:x"]).run();
    assert!(ran.expect_code(2).stderr.contains("ACCOUNT/CONTAINER"));
    let ran = Cmd::with(&config).args(["restore", "storage/acct/all", "--into", "nobody/x"]).run();
    assert!(ran.expect_code(1).stderr.contains("nobody"));

    // On another machine, where the source is not configured, with a key of the account.
    let bare = tempfile::tempdir().unwrap();
    let only_repository = bare.path().join("config.toml");
    let (location, password) = (config.repo(), config.password_file());
    let text = format!("[repository]\nlocation = {location:?}\npassword_file = {password:?}\n");
    fs::write(&only_repository, text).unwrap();
    let key = bare.path().join("key");
    fs::write(&key, azurite.key("other")).unwrap();
    fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let url = format!("{}elsewhere", azurite.endpoint("other"));
    let restore = || {
        Cmd::new()
            .arg("--config")
            .arg(&only_repository)
            .args(["restore", "storage/acct/all", "--into", &url, "--password-file"])
            .arg(&key)
    };
    restore().run().ok();
    assert_eq!(all(&other, "elsewhere").len(), 5);
    let wrong = "d3Jvbmcga2V5IHdyb25nIGtleSB3cm9uZyBrZXk=";
    fs::write(&key, wrong).unwrap();
    let ran = restore().arg("--overwrite").run();
    assert_eq!(ran.code(), Some(1), "{ran:?}");
    assert!(!ran.stderr.contains(wrong) && !ran.stdout.contains(wrong));
}
