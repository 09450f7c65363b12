//! From the token to the snapshot: what is found, what is taken, what a second run reads.

use serde_json::Value;
use testkit::{Cmd, Restic, Tool, azure::FakeAzure, azurite::Azurite, reports::assert_proven, skip_unless};

use super::{
    client::all_of,
    support::{add_blob_account, blobs, delete_container, put, storage},
};

fn item<'a>(run: &'a Value, name: &str) -> &'a Value {
    let items = run["items"].as_array().unwrap();
    items.iter().find(|item| item["item"] == name).unwrap_or_else(|| panic!("no {name} in {run:#}"))
}

#[test]
fn every_container_and_share_of_every_account_is_backed_up() {
    skip_unless!(Tool::Azurite, Tool::ResticNew);
    let azurite = Azurite::start(&["tikprod", "tikprodterraform", "tiknew"]);
    let azure = FakeAzure::start();
    let (one, two) = (azure.add_subscription("Production"), azure.add_subscription("Test"));
    add_blob_account(&azure, &one, &azurite, "tikprod");
    add_blob_account(&azure, &two, &azurite, "tikprodterraform");
    let mut files = azure.new_account("tikfiles", &two);
    files.blob_endpoint = None;
    azure.add_account(files);
    azure.add_share("tikfiles", "docs");
    azure.put_file("tikfiles", "docs", "folder/plan.txt", "the plan");
    let service = blobs(&azurite, "tikprod");
    put(&service, "photos", "2026/may/one.jpg", b"one");
    put(&service, "photos", "two.jpg", &vec![7; 300_000]);
    put(&service, "logs-tmp", "x", b"x");
    put(&blobs(&azurite, "tikprodterraform"), "state", "terraform.tfstate", b"{}");

    let config =
        storage(&azure, "exclude_accounts = [\"tikprodterraform\"]\nexclude_containers = [\"*-tmp\"]\n");
    let first = Cmd::with(&config).args(["--json", "backup"]).run().ok().json();
    assert_eq!(first["items"].as_array().unwrap().len(), 2, "{first:#}");
    assert_proven(&config);
    assert_eq!(item(&first, "tikprod/photos")["outcome"], "ok");
    assert_eq!(item(&first, "tikfiles/share:docs")["outcome"], "ok");
    assert!(azure.live_share_deletes().is_empty());
    let found = Cmd::with(&config).args(["--json", "discover"]).run().ok().json();
    let text = found.to_string();
    assert!(text.contains("exclude_accounts = \\\"tikprodterraform\\\""), "{found:#}");
    assert!(text.contains("tikprod/logs-tmp"), "{found:#}");

    // A new account, a new container and a container that is gone.
    add_blob_account(&azure, &one, &azurite, "tiknew");
    put(&blobs(&azurite, "tiknew"), "fresh", "a", b"a");
    let second = Cmd::with(&config).args(["--json", "backup"]).run().ok().json();
    assert_eq!(item(&second, "tiknew/fresh")["outcome"], "ok");
    let photos = item(&second, "tikprod/photos");
    assert!(photos["bytes_read"].as_u64().unwrap() < 10_000, "unchanged blobs are not read: {photos:#}");

    let restic = Restic::new_().unwrap();
    let listing = restic.ok(
        &config.repo(),
        &config.password_file(),
        &["ls", "latest", "--path", "/storage/tikprod%2Fphotos"],
    );
    let listing = String::from_utf8(listing).unwrap();
    assert!(listing.contains("/blobs/2026/may/one.jpg") && listing.contains("/blobs.jsonl"), "{listing}");
    restic.check(&config.repo(), &config.password_file(), true);

    // What is deleted keeps its snapshots.
    delete_container(&azurite, "tikprod", "photos");
    let third = Cmd::with(&config).args(["--json", "backup"]).run().ok().json();
    assert_eq!(third["dropped"][0]["item"], "tikprod/photos", "{third:#}");
    assert!(!third["items"].to_string().contains("photos"), "{third:#}");
    let kept = Cmd::with(&config).args(["--json", "snapshots", "storage/tikprod/photos"]).run().ok().json();
    assert!(!kept["snapshots"].as_array().unwrap().is_empty(), "{kept:#}");
    Cmd::with(&config).args(["restore", "storage/tikprod/photos", "--into", "tikprod/photos"]).run().ok();
    let back = all_of(&service, "photos", None);
    assert_eq!(
        back.iter().map(|blob| blob.name.as_str()).collect::<Vec<_>>(),
        ["2026/may/one.jpg", "two.jpg"]
    );
}
