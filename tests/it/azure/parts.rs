//! Parts of containers and shares, and what the service refuses of a restore.

use std::fs;

use reqwest::Method;
use serde_json::Value;
use testkit::{
    Cmd, Config, Tool,
    azure::{FakeAzure, Fault},
    azurite::Azurite,
    reports::{assert_says, backup, files_below, try_restore},
    skip_unless,
};
use tik_backup::{azure::BlobService, stream::cancel::Cancel};

use super::{
    client::get_from,
    shares::{ACCOUNT, FULL, SHARE, start},
    support::{add_blob_account, ask, blobs, put, storage},
};

const ITEM: &str = "storage/acct/box";
const NAMES: [&str; 8] =
    ["/lead", "a*", "a//b", "ab", "docs/one.pdf", "docs/sub/two.pdf", "docs/three.txt", "lead"];

/// A container of these blobs, backed up.
fn container() -> (Azurite, FakeAzure, Config, BlobService) {
    let azurite = Azurite::start(&["acct"]);
    let azure = FakeAzure::start();
    let subscription = azure.add_subscription("One");
    add_blob_account(&azure, &subscription, &azurite, "acct");
    let service = blobs(&azurite, "acct");
    for name in NAMES {
        put(&service, "box", name, format!("content of {name}").as_bytes());
    }
    let config = storage(&azure, "");
    backup(&config);
    (azurite, azure, config, service)
}

fn names(service: &BlobService, container: &str) -> Vec<String> {
    let (mut listing, mut names) = (service.listing(container, None), Vec::new());
    while let Some(page) = listing.next(&Cancel::new()).unwrap() {
        names.extend(page.blobs.into_iter().map(|blob| blob.name));
    }
    names
}

fn content(service: &BlobService, container: &str, name: &str) -> Vec<u8> {
    let blob = service.find(container, name, &Cancel::new()).unwrap().unwrap();
    get_from(service, container, &blob)
}

/// Takes a lease on a blob that does not end.
fn lease(azurite: &Azurite, container: &str, name: &str) {
    let headers = [("x-ms-lease-action", "acquire"), ("x-ms-lease-duration", "-1")];
    ask(azurite, "acct", Method::PUT, &[container, name], ("comp", "lease"), &headers, b"");
}

#[test]
fn blobs_are_chosen_by_their_names() {
    skip_unless!(Tool::Azurite);
    let (_azurite, _azure, config, service) = container();
    for (number, (path, expected)) in [
        ("docs/one.pdf", &["docs/one.pdf"][..]),
        ("docs", &["docs/one.pdf", "docs/sub/two.pdf", "docs/three.txt"][..]),
        ("**/*.pdf", &["docs/one.pdf", "docs/sub/two.pdf"][..]),
        ("docs/*.pdf", &["docs/one.pdf"][..]),
        ("a*", &["a*"][..]),
        ("a//b", &["a//b"][..]),
        ("/lead", &["/lead"][..]),
        ("lead", &["lead"][..]),
        ("/docs/sub/", &["docs/sub/two.pdf"][..]),
    ]
    .into_iter()
    .enumerate()
    {
        let target = format!("part{number}");
        let into = format!("acct/{target}");
        let report = try_restore(&config, ITEM, &["--into", &into, "--path", path]).ok().json();
        assert_eq!(report["storage"]["files"], expected.len(), "{path}: {report:#}");
        let mut found = names(&service, &target);
        let mut wanted = expected.to_vec();
        found.sort();
        wanted.sort_unstable();
        assert_eq!(found, wanted, "{path}");
        for name in expected {
            assert_eq!(content(&service, &target, name), format!("content of {name}").into_bytes());
        }

        let folder = config.dir().join(&target);
        let to = folder.to_str().unwrap();
        let report = try_restore(&config, ITEM, &["--to", to, "--path", path]).ok().json();
        assert_eq!(report["folder"]["files"], expected.len(), "{path}: {report:#}");
        let mut contents: Vec<_> =
            files_below(&folder).iter().map(|file| fs::read_to_string(file).unwrap()).collect();
        contents.sort();
        let mut wanted: Vec<_> = expected.iter().map(|name| format!("content of {name}")).collect();
        wanted.sort();
        assert_eq!(contents, wanted, "{path}: neither more blobs nor the list");
    }
    assert_eq!(
        fs::read_to_string(config.dir().join("part5/blobs/a/%2F/b")).unwrap(),
        "content of a//b",
        "at its place in the whole tree"
    );

    let ran =
        try_restore(&config, ITEM, &["--into", "acct/none", "--path", "lead", "--path", "docs/one.pdg"]);
    assert_says(&ran.expect_code(1).stderr, &["did you mean 'docs/one.pdf'?", "tik-backup ls"]);
    let error = service.listing("none", None).next(&Cancel::new()).expect_err("no container was made");
    assert_says(&error.to_string(), &["ContainerNotFound"]);
}

#[test]
fn ls_lists_blobs_by_their_names() {
    skip_unless!(Tool::Azurite);
    let (_azurite, _azure, config, _service) = container();
    let ls = |arguments: &[&str]| Cmd::with(&config).args(["--json", "ls", ITEM]).args(arguments).run();
    let listed = |document: Value| -> Vec<String> {
        let entries = document["entries"].as_array().unwrap();
        entries.iter().map(|entry| entry["path"].as_str().unwrap().to_owned()).collect()
    };
    let all = ls(&[]).ok().json();
    assert_eq!((&all["entries"][0]["type"], &all["entries"][0]["bytes"]), (&"block".into(), &16.into()));
    assert!(all["entries"][0]["modified"].is_string(), "{all:#}");
    let mut found = listed(all);
    found.sort();
    let mut wanted = NAMES;
    wanted.sort_unstable();
    assert_eq!(found, wanted);
    assert_eq!(listed(ls(&["docs/sub"]).ok().json()), ["docs/sub/two.pdf"]);
    assert_eq!(listed(ls(&["a*"]).ok().json()), ["a*"]);
    ls(&["b*"]).expect_code(1);
    let lines = Cmd::with(&config).args(["ls", ITEM, "lead"]).run().ok().stdout;
    assert!(lines.ends_with("  lead\n") && lines.lines().count() == 1, "{lines}");
}

#[test]
fn a_leased_blob_costs_only_itself() {
    skip_unless!(Tool::Azurite);
    let (azurite, _azure, config, service) = container();
    put(&service, "target", "lead", b"in use");
    put(&service, "target", "docs/one.pdf", b"old");
    lease(&azurite, "target", "lead");
    let options = ["--into", "acct/target", "--overwrite"];
    let report = try_restore(&config, ITEM, &options).expect_code(3).json();
    let done = &report["storage"];
    assert_eq!((&done["files"], &done["failed_count"]), (&(NAMES.len() - 1).into(), &1.into()), "{report:#}");
    assert_eq!((&done["failed"][0]["type"], &done["failed"][0]["name"]), (&"blob".into(), &"lead".into()));
    assert!(!done["failed"][0]["reason"].as_str().unwrap().is_empty());
    assert_eq!(content(&service, "target", "lead"), b"in use");
    assert_eq!(content(&service, "target", "docs/one.pdf"), b"content of docs/one.pdf");

    let text = Cmd::with(&config).args(["restore", ITEM]).args(options).run().expect_code(3).stdout;
    assert_says(&text, &["NOT RESTORED: blob lead: "]);
    // Of nothing at all there is no part.
    let only = [&options[..], &["--path", "lead"]].concat();
    let report = try_restore(&config, ITEM, &only).expect_code(1).json();
    assert_eq!((&report["storage"]["files"], &report["storage"]["failed_count"]), (&0.into(), &1.into()));
}

#[test]
fn files_of_a_share_are_chosen_by_their_paths() {
    let (azure, config) = start("");
    for path in ["a/b/one.txt", "a/two.txt", "three.txt", "c/four.txt"] {
        azure.put_file(ACCOUNT, SHARE, path, path);
    }
    azure.put_directory(ACCOUNT, SHARE, "c/empty");
    backup(&config);
    let there = |share: &str, path: &str| azure.node(ACCOUNT, share, path).is_some();

    azure.forget_requests();
    let report = try_restore(&config, FULL, &["--into", "tikfiles/share:p1", "--path", "a/b"]).ok().json();
    assert_eq!((&report["storage"]["files"], &report["storage"]["directories"]), (&1.into(), &2.into()));
    assert_eq!(azure.count("CreateFile"), 1, "nothing else is sent");
    assert!(there("p1", "a/b/one.txt") && !there("p1", "a/two.txt") && !there("p1", "c"));

    let paths = ["--path", "c/", "--path", "*.txt"];
    let report = try_restore(&config, FULL, &[&["--into", "tikfiles/share:p2"][..], &paths].concat()).ok();
    assert_eq!(report.json()["storage"]["files"], 2);
    assert!(there("p2", "c/empty") && there("p2", "three.txt") && !there("p2", "a"));

    let folder = config.dir().join("out");
    try_restore(&config, FULL, &[&["--to", folder.to_str().unwrap()][..], &paths].concat()).ok();
    assert!(folder.join("files/c/empty").is_dir() && folder.join("files/three.txt").is_file());
    assert_eq!(files_below(&folder).len(), 2);

    let listed = Cmd::with(&config).args(["--json", "ls", FULL, "c"]).run().ok().json();
    let listed: Vec<_> = listed["entries"].as_array().unwrap().iter().map(|entry| &entry["path"]).collect();
    assert_eq!(listed.len(), 3, "{listed:?}");
    assert!(azure.live_share_deletes().is_empty());
}

#[test]
fn a_file_or_directory_that_is_refused_costs_only_itself() {
    let (azure, config) = start("");
    for path in ["a/one.txt", "open.txt", "plain.txt"] {
        azure.put_file(ACCOUNT, SHARE, path, path);
    }
    backup(&config);
    azure.fault(Fault::answer("PUT", "/target/open.txt", 409, "SharingViolation").always());
    let options = ["--into", "tikfiles/share:target", "--overwrite"];
    let report = try_restore(&config, FULL, &options).expect_code(3).json();
    let done = &report["storage"];
    assert_eq!((&done["files"], &done["failed_count"]), (&2.into(), &1.into()), "{report:#}");
    assert_eq!(
        (&done["failed"][0]["type"], &done["failed"][0]["name"]),
        (&"file".into(), &"open.txt".into())
    );

    // A directory that cannot be made is named once, and so is each file in it.
    azure.fault(Fault::answer("PUT", "/other/a?", 409, "ResourceTypeMismatch").always());
    let report = try_restore(&config, FULL, &["--into", "tikfiles/share:other"]).expect_code(3).json();
    let failed = report["storage"]["failed"].as_array().unwrap();
    let names: Vec<_> = failed.iter().map(|failed| failed["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["a", "a/one.txt"], "{report:#}");

    // What concerns the share as a whole ends it.
    azure.fault(Fault::answer("PUT", "/third/", 403, "AuthorizationFailure").always());
    let ran = try_restore(&config, FULL, &["--into", "tikfiles/share:third"]).expect_code(1);
    assert_says(&ran.stderr, &["firewall"]);
}

#[test]
fn directories_that_were_made_count_where_there_are_no_files() {
    let (azure, config) = start("");
    for path in ["a", "b"] {
        azure.put_directory(ACCOUNT, SHARE, path);
    }
    backup(&config);
    azure.fault(Fault::answer("PUT", "/target/a?", 409, "ResourceTypeMismatch").always());
    let report = try_restore(&config, FULL, &["--into", "tikfiles/share:target"]).expect_code(3).json();
    let done = &report["storage"];
    assert_eq!((&done["directories"], &done["failed_count"]), (&1.into(), &1.into()), "{report:#}");
}

#[test]
fn where_nothing_may_be_written_not_everything_is_tried() {
    let (azure, config) = start("");
    for number in 0..100 {
        azure.put_file(ACCOUNT, SHARE, &format!("{number}.txt"), "content");
    }
    backup(&config);
    azure.fault(Fault::answer("PUT", "/target/", 403, "AuthorizationPermissionMismatch").always());
    let ran = try_restore(&config, FULL, &["--into", "tikfiles/share:target"]).expect_code(1);
    assert_says(&ran.stderr, &["writing is not allowed", "Storage File Data Privileged Contributor"]);
}

#[test]
fn ls_says_that_the_folder_of_a_name_is_not_in_the_snapshot() {
    let (azure, config) = start("");
    for path in ["locked/one.txt", "plain.txt"] {
        azure.put_file(ACCOUNT, SHARE, path, path);
    }
    azure.fault(Fault::answer("GET", &format!("/{SHARE}/locked?"), 409, "SharingViolation").always());
    Cmd::with(&config).arg("backup").run().expect_code(3);
    let ls = |path: &str| Cmd::with(&config).args(["ls", FULL, path]).run();
    assert_says(&ls("locked/one.txt").expect_code(1).stderr, &["the snapshot lacks locked (", "--at"]);
    assert_says(&ls("locked").ok().stdout, &["locked/"]);
    assert_says(&ls("nothing").expect_code(1).stderr, &["nothing that matches"]);
}

#[test]
fn what_the_first_pages_of_a_directory_named_is_read_although_a_later_page_is_refused() {
    let (azure, config) = start("");
    for path in ["d/sub/in it.txt", "plain.txt"] {
        azure.put_file(ACCOUNT, SHARE, path, path);
    }
    let first = "<EnumerationResults><Entries><Directory><Name>sub</Name><Properties/></Directory></Entries>\
         <NextMarker>2</NextMarker></EnumerationResults>";
    let list = format!("/{SHARE}/d?");
    azure.fault(Fault::xml("GET", &list, first));
    azure.fault(Fault::answer("GET", &list, 409, "SharingViolation").always());
    let report = Cmd::with(&config).args(["--json", "backup"]).run().expect_code(3).json();
    let omitted = &report["items"][0]["omitted"];
    assert_eq!((&omitted[0]["name"], &omitted[1]), (&"d".into(), &Value::Null), "{report:#}");
    let listed = Cmd::with(&config).args(["ls", FULL, "d/sub"]).run().ok().stdout;
    assert_says(&listed, &["d/sub/in it.txt"]);
}
