//! File shares when something goes wrong: no share snapshot stays behind, and no backup lacks what it should have.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use rustix::process::Signal;
use testkit::{
    Cmd, Config, Tool,
    azure::{FakeAzure, Fault, ListKeys, Snapshot},
    reports::{
        assert_says, backup, discover, edit, error_of, ids_of, item, manifest_of, snapshot_of, try_backup,
        try_restore,
    },
    running::{Running, wait_until},
    skip_unless,
};

use super::shares::{ACCOUNT, FULL, ITEM, SHARE, Stored, bytes, nothing_is_left, start};

/// The metadata that marks our snapshots.
const MARK: &str = "tikbackup";

/// Adds a share snapshot of another program.
fn add_snapshot(azure: &FakeAzure, id: &str, metadata: &[(&str, &str)]) {
    azure.change_share(ACCOUNT, SHARE, |share| {
        let metadata = metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let root = Arc::new(share.root.clone());
        share.snapshots.push(Snapshot { id: id.to_owned(), metadata, root });
    });
}

fn snapshots(azure: &FakeAzure) -> Vec<String> {
    azure.share(ACCOUNT, SHARE).unwrap().snapshots.into_iter().map(|snapshot| snapshot.id).collect()
}

#[test]
fn what_cannot_be_read_leaves_nothing_behind() {
    skip_unless!(Tool::ResticNew);
    let (azure, config) = start("");
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for at in 0..7 {
        files.insert(format!("{at}.txt"), format!("file {at}").into_bytes());
    }
    files.iter().for_each(|(path, content)| azure.put_file(ACCOUNT, SHARE, path, content.clone()));
    backup(&config);
    let before = ids_of(&config, FULL);

    azure.put_file(ACCOUNT, SHARE, "broken.bin", bytes(100_000, 1));
    files.insert("broken.bin".to_owned(), bytes(100_000, 1));
    for (fault, says) in [
        (Fault::answer("GET", "broken.bin", 403, "AuthorizationFailure"), ["broken.bin", "firewall"]),
        // The second page of the list: what was listed before it must not pass for the whole share.
        (
            Fault::answer("GET", "restype=directory", 403, "AuthorizationFailure").after(1),
            ["cannot list the directory", "firewall"],
        ),
        (
            Fault::answer("GET", "restype=directory", 404, "ResourceNotFound").after(2),
            ["cannot list the directory", "ResourceNotFound"],
        ),
        (
            Fault::answer("PUT", "comp=snapshot", 403, "AuthorizationFailure"),
            ["cannot take a snapshot", "firewall"],
        ),
    ] {
        azure.fault(fault);
        let ran = try_backup(&config, &[]).expect_code(1);
        assert_says(error_of(&ran.json(), ITEM), &says);
        nothing_is_left(&azure);
        assert_eq!(ids_of(&config, FULL), before);
    }
    // A failure of one file affects only this file.
    azure.fault(Fault::answer("GET", "broken.bin", 404, "ResourceNotFound").times(3));
    let report = try_backup(&config, &[]).expect_code(3).json();
    assert_eq!(item(&report, ITEM)["outcome"], "partial", "{report:#}");
    let omitted = &item(&report, ITEM)["omitted"][0];
    assert_says(&omitted.to_string(), &["broken.bin", "404"]);
    let mut without = files.clone();
    without.remove("broken.bin");
    assert_eq!(Stored::of(&config, snapshot_of(&report, ITEM)).files(), without);
    nothing_is_left(&azure);
    let report = backup(&config);
    assert_eq!(Stored::of(&config, snapshot_of(&report, ITEM)).files(), files);
    nothing_is_left(&azure);

    // A restore says where it broke off.
    azure.fault(Fault::answer("PUT", "restored/3.txt?comp=range", 403, "AuthorizationFailure"));
    let ran = try_restore(&config, FULL, &["--into", "tikfiles/share:restored"]).expect_code(1);
    assert_says(&ran.stderr, &["3.txt", "firewall"]);
}

#[test]
fn what_passes_is_waited_for() {
    skip_unless!(Tool::ResticNew);
    let (azure, config) = start("");
    let names = ["a/busy.bin", "a/cut.bin", "b/dead.bin", "b/fine.bin", "c/late.bin"];
    let files: BTreeMap<String, Vec<u8>> = names
        .iter()
        .enumerate()
        .map(|(at, name)| ((*name).to_owned(), bytes(1_000_000, at as u64)))
        .collect();
    files.iter().for_each(|(path, content)| azure.put_file(ACCOUNT, SHARE, path, content.clone()));
    azure.fault(Fault::answer("PUT", "comp=snapshot", 409, "ShareSnapshotInProgress").times(2));
    azure.fault(Fault::answer("GET", "dead.bin", 500, "InternalError").times(2));
    azure.fault(Fault::answer("GET", "busy.bin", 503, "ServerBusy").header("Retry-After", "1"));
    azure.fault(Fault::cut("GET", "cut.bin", 400_000));
    azure.fault(Fault::hangup("GET", "late.bin"));
    azure.fault(Fault::cut("GET", "restype=directory", 200).after(1));
    azure.fault(Fault::answer("DELETE", "sharesnapshot=", 500, "InternalError"));
    let report = backup(&config);
    assert_eq!(Stored::of(&config, snapshot_of(&report, ITEM)).files(), files);
    nothing_is_left(&azure);
    let of_cut = azure.requests().into_iter().filter(|request| request.target.contains("cut.bin"));
    let statuses: Vec<_> = of_cut.map(|request| request.status).collect();
    assert_eq!(statuses, [200, 206], "it goes on where it was cut");
}

/// Starts a run and waits until it reads the share's files. One of them does not come; it has this name, for a run may be
/// stopped before it asks for it, and then the next one must not wait in its place.
fn held(azure: &FakeAzure, config: &Config, slow: &str) -> Running {
    azure.put_file(ACCOUNT, SHARE, slow, bytes(10_000, 1));
    // What an earlier run has read it does not read again.
    azure.put_file(ACCOUNT, SHARE, "fast.txt", format!("before {slow}"));
    azure.fault(Fault::delay("GET", slow, Duration::from_secs(300)).always());
    azure.forget_requests();
    let run = Running::start(Cmd::with(config).arg("backup").into_command());
    wait_until("the first file is read", || azure.count("GetFile") == 1);
    assert_eq!(azure.count("SnapshotShare"), 1);
    run
}

#[test]
fn a_run_that_is_stopped_leaves_no_share_snapshot_for_long() {
    skip_unless!(Tool::ResticNew);
    let (azure, config) = start("");
    let run = held(&azure, &config, "slow1.bin");
    run.signal(Signal::TERM);
    let ended = run.finish().expect_code(1);
    assert_says(&ended.stderr, &[FULL, "SIGTERM"]);
    nothing_is_left(&azure);
    assert!(ids_of(&config, FULL).is_empty());
    azure.remove(ACCOUNT, SHARE, "slow1.bin");

    let run = held(&azure, &config, "slow2.bin");
    let killed = run.id().to_string();
    run.kill();
    azure.remove(ACCOUNT, SHARE, "slow2.bin");
    let left = azure.share(ACCOUNT, SHARE).unwrap().snapshots;
    let [orphan] = &left[..] else { panic!("one snapshot, not {}", left.len()) };
    let [(key, mark)] = &orphan.metadata[..] else { panic!("one mark: {:?}", orphan.metadata) };
    let parts: Vec<_> = mark.split(' ').collect();
    let [host, process, since] = parts[..] else { panic!("host, process and time: {mark}") };
    assert_eq!((key.as_str(), process), (MARK, killed.as_str()));

    // Those of others: by hand, by another program, by a run that lives here, by one on another machine.
    let now: i64 = since.parse().unwrap();
    let alive = format!("{host} {} {now}", std::process::id());
    let elsewhere = format!("elsewhere.{host} 1 {now}");
    let old = format!("elsewhere.{host} 1 {}", now - 3 * 86_400);
    add_snapshot(&azure, "2026-01-01T00:00:00.0000001Z", &[]);
    add_snapshot(&azure, "2026-01-01T00:00:00.0000002Z", &[("initiator", "AzureBackup")]);
    add_snapshot(&azure, "2026-01-01T00:00:00.0000003Z", &[(MARK, "something else")]);
    add_snapshot(&azure, "2026-01-01T00:00:00.0000004Z", &[(MARK, &alive)]);
    add_snapshot(&azure, "2026-01-01T00:00:00.0000005Z", &[(MARK, &elsewhere)]);
    add_snapshot(&azure, "2026-01-01T00:00:00.0000006Z", &[("other", mark)]);
    let others = snapshots(&azure).split_off(1);
    // This one is of a run that must be over: the service writes names of metadata as they were given.
    add_snapshot(&azure, "2026-01-01T00:00:00.0000007Z", &[("TikBackup", &old)]);
    azure.forget_requests();
    let report = backup(&config);
    assert_eq!(snapshots(&azure), others);
    assert_eq!(azure.count("DeleteShareSnapshot"), 3, "what two runs left, and its own");
    assert!(azure.live_share_deletes().is_empty());
    let stored = Stored::of(&config, snapshot_of(&report, ITEM));
    assert_eq!(stored.files(), BTreeMap::from([("fast.txt".to_owned(), b"before slow2.bin".to_vec())]));
}

#[test]
fn a_share_snapshot_that_could_not_be_removed_goes_with_the_next_run() {
    let (azure, config) = start("");
    azure.put_file(ACCOUNT, SHARE, "a.txt", "a");
    azure.fault(Fault::answer("DELETE", "sharesnapshot=", 403, "AuthorizationFailure"));
    let report = backup(&config);
    let left = snapshots(&azure);
    assert_eq!(left.len(), 1);
    let manifest = manifest_of(&config, FULL, snapshot_of(&report, ITEM));
    assert_says(&manifest["notes"].to_string(), &["could not be removed", &left[0], "the next run"]);

    // A request whose answer was lost is sent again: then there are two.
    azure.fault(Fault::lose_answer("PUT", "comp=snapshot"));
    backup(&config);
    assert!(!snapshots(&azure).contains(&left[0]));
    backup(&config);
    nothing_is_left(&azure);
}

#[test]
fn what_an_operator_has_to_do_is_said() {
    let (azure, config) = start("");
    azure.put_file(ACCOUNT, SHARE, "a.txt", "a");
    for share in ["scratch", "unix"] {
        azure.add_share(ACCOUNT, share);
        azure.put_file(ACCOUNT, share, "a.txt", "a");
    }
    azure.change_share(ACCOUNT, "unix", |share| share.protocol = "NFS".to_owned());
    let subscription = azure.add_subscription("Other");
    let mut closed = azure.new_account("closed", &subscription);
    (closed.list_keys, closed.role) = (ListKeys::Forbidden, false);
    azure.add_account(closed);
    azure.add_share("closed", "secret");
    add_snapshot(&azure, "2026-01-01T00:00:00.0000001Z", &[]);
    azure.change_account(ACCOUNT, |account| account.snapshot_limit = 1);

    let ran = try_backup(&config, &[]).expect_code(3);
    let report = ran.json();
    assert_says(error_of(&report, ITEM), &["ShareSnapshotCountExceeded", "200", "remove old ones"]);
    assert_says(error_of(&report, "tikfiles/share:unix"), &["NFS", "NOT protected", "exclude_shares"]);
    let role = "\"Storage File Data Privileged Reader\"";
    assert_says(error_of(&report, "closed/share:"), &["AuthorizationPermissionMismatch", role]);
    assert_eq!(item(&report, "tikfiles/share:scratch")["outcome"], "ok");
    assert_says(&ran.stderr, &["storage/tikfiles/share:unix", "NOT protected"]);
    assert_eq!(snapshots(&azure), ["2026-01-01T00:00:00.0000001Z"]);

    // Once the operator has done it, it is quiet.
    azure.change_account(ACCOUNT, |account| account.snapshot_limit = 200);
    azure.change_account("closed", |account| account.role = true);
    edit(&config, "kind = \"azure-storage\"", "kind = \"azure-storage\"\nexclude_shares = [\"un*\"]");
    let ran = try_backup(&config, &[]).ok();
    assert!(!ran.stderr.contains("unix") && !ran.stdout.contains("unix"), "{}", ran.stderr);
    assert_eq!(item(&ran.json(), "closed/share:secret")["outcome"], "ok");
    let found = discover(&config, 0);
    let rule = ("tikfiles/share:unix".to_owned(), "exclude_shares = \"un*\"".to_owned());
    assert!(found.excluded.contains(&rule), "{:?}", found.excluded);
    assert!(azure.live_share_deletes().is_empty());
}
