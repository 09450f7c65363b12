//! File shares when something goes wrong: no share snapshot stays behind, and no backup lacks what it should have.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use rustix::process::Signal;

use crate::{
    common::{
        Cmd, Config, Tool,
        azure::{FakeAzure, Fault, ListKeys, Snapshot},
        skip_unless,
    },
    shares::{
        ACCOUNT, FULL, ITEM, SHARE, Stored, bytes, nothing_is_left,
        reports::{
            assert_says, backup, discover, edit, error_of, ids_of, item, manifest_of, snapshot_of,
            try_backup, try_restore,
        },
        running::{Running, wait_until},
        start,
    },
};

/// The metadata that marks our snapshots.
const MARK: &str = "tikbackup";

/// Adds a snapshot of the share that somebody took.
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
fn what_cannot_be_read_fails_the_share_and_leaves_nothing() {
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
        (Fault::answer("GET", "broken.bin", 404, "ResourceNotFound"), ["broken.bin", "ResourceNotFound"]),
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

/// Starts a run and waits until it reads the share's files; the last one does not come.
fn held(azure: &FakeAzure, config: &Config) -> Running {
    azure.forget_requests();
    azure.fault(Fault::delay("GET", "slow.bin", Duration::from_secs(300)));
    let run = Running::start(Cmd::with(config).arg("backup").into_command());
    wait_until("the first file is read", || azure.count("GetFile") == 1);
    assert_eq!(azure.count("SnapshotShare"), 1);
    run
}

#[test]
fn a_run_that_is_stopped_leaves_no_share_snapshot_for_long() {
    skip_unless!(Tool::ResticNew);
    eprintln!("1 {:?}", std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap());
    let (azure, config) = start("");
    eprintln!("2 {:?}", std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap());
    azure.put_file(ACCOUNT, SHARE, "fast.txt", "fast");
    eprintln!("3 {:?}", std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap());
    azure.put_file(ACCOUNT, SHARE, "slow.bin", bytes(10_000, 1));
    eprintln!("4 {:?}", std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap());

    let run = held(&azure, &config);
    eprintln!("6 {:?}", std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap());
    run.signal(Signal::TERM);
    eprintln!("7 {:?}", std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap());
    let ended = run.finish().expect_code(1);
    eprintln!("8 {:?}", std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap());
    assert_says(&ended.stderr, &[FULL, "SIGTERM"]);
    eprintln!("9 {:?}", std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap());
    nothing_is_left(&azure);
    eprintln!("10 {:?}", std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap());
    assert!(ids_of(&config, FULL).is_empty());
    eprintln!("11 {:?}", std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap());

    let run = held(&azure, &config);
    eprintln!("13 {:?}", std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap());
    let killed = run.id().to_string();
    eprintln!("14 {:?}", std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap());
    run.kill();
    eprintln!("15 {:?}", std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap());
    let left = azure.share(ACCOUNT, SHARE).unwrap().snapshots;
    eprintln!("16 {:?}", std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap());
    let [orphan] = &left[..] else { panic!("one snapshot, not {}", left.len()) };
    eprintln!("17 {:?}", std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap());
    let [(key, mark)] = &orphan.metadata[..] else { panic!("one mark: {:?}", orphan.metadata) };
    eprintln!("18 {:?}", std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap());
    let parts: Vec<_> = mark.split(' ').collect();
    eprintln!("19 {:?}", std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap());
    let [host, process, since] = parts[..] else { panic!("host, process and time: {mark}") };
    eprintln!("20 {:?}", std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap());
    assert_eq!((key.as_str(), process), (MARK, killed.as_str()));
    eprintln!("21 {:?}", std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap());

    // Those of others: by hand, by another program, by a run that lives here, by one on another machine.
    let now: i64 = since.parse().unwrap();
    eprintln!("24 {:?}", std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap());
    let alive = format!("{host} {} {now}", std::process::id());
    eprintln!("25 {:?}", std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap());
    let elsewhere = format!("elsewhere.{host} 1 {now}");
    eprintln!("26 {:?}", std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap());
    let old = format!("elsewhere.{host} 1 {}", now - 3 * 86_400);
    eprintln!("27 {:?}", std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap());
    add_snapshot(&azure, "2026-01-01T00:00:00.0000001Z", &[]);
    eprintln!("28 {:?}", std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap());
    add_snapshot(&azure, "2026-01-01T00:00:00.0000002Z", &[("initiator", "AzureBackup")]);
    eprintln!("29 {:?}", std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap());
    add_snapshot(&azure, "2026-01-01T00:00:00.0000003Z", &[(MARK, "something else")]);
    eprintln!("30 {:?}", std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap());
    add_snapshot(&azure, "2026-01-01T00:00:00.0000004Z", &[(MARK, &alive)]);
    eprintln!("31 {:?}", std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap());
    add_snapshot(&azure, "2026-01-01T00:00:00.0000005Z", &[(MARK, &elsewhere)]);
    eprintln!("32 {:?}", std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap());
    add_snapshot(&azure, "2026-01-01T00:00:00.0000006Z", &[("other", mark)]);
    eprintln!("33 {:?}", std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap());
    let others = snapshots(&azure).split_off(1);
    eprintln!("34 {:?}", std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap());
    // This one is of a run that must be over: the service writes names of metadata as they were given.
    add_snapshot(&azure, "2026-01-01T00:00:00.0000007Z", &[("TikBackup", &old)]);
    eprintln!("36 {:?}", std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap());
    azure.forget_requests();
    eprintln!("37 {:?}", std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap());
    let report = backup(&config);
    eprintln!("38 {:?}", std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap());
    assert_eq!(snapshots(&azure), others);
    eprintln!("39 {:?}", std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap());
    assert_eq!(azure.count("DeleteShareSnapshot"), 3, "what two runs left, and its own");
    eprintln!("40 {:?}", std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap());
    assert!(azure.live_share_deletes().is_empty());
    eprintln!("41 {:?}", std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap());
    let stored = Stored::of(&config, snapshot_of(&report, ITEM));
    eprintln!("42 {:?}", std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap());
    assert_eq!(stored.files().len(), 2);
    eprintln!("43 {:?}", std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap());
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
