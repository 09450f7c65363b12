//! The client of the File service against the fake: what is listed, read and written, and how it fails.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use testkit::azure::{Fault, Node, PERMISSION, PERMISSION_KEY};
use tik_backup::{
    azure::{
        auth::Credential,
        files::{Entry, FileProperties, Protocol, ShareSnapshot, SmbProperties, Uploaded},
        retry::Policy,
    },
    error::{Error, Result},
    settings::Secret,
    stream::cancel::Cancel,
};

use super::files_support::{MARK, files_as, pattern, quick, read, snapshot, start, with_key, with_token};

const ODD: [&str; 9] = [
    "plain.txt",
    " leading space",
    "Größe & Maß.txt",
    "100%25 + more.txt",
    "a#b",
    "trailing..",
    "semi;colon,comma=equals",
    "日本語",
    "control\u{1}\u{fffe}",
];

#[test]
fn shares_come_with_their_snapshots_over_several_pages() {
    let azure = start();
    for share in ["alpha", "beta", "gone", "zeta"] {
        azure.add_share("acct", share);
    }
    azure.change_share("acct", "beta", |share| {
        share.protocol = "NFS".to_owned();
        share.metadata = vec![("owner".to_owned(), "<me> & you".to_owned())];
    });
    azure.change_share("acct", "gone", |share| share.deleted = true);
    let files = with_key(&azure);
    let taken = [snapshot(&files), snapshot(&files)];
    let shares = files.shares(&Cancel::new()).unwrap();
    let names: Vec<_> = shares.iter().map(|share| share.name.as_str()).collect();
    assert_eq!(names, ["alpha", "beta", "docs", "zeta"]);
    assert_eq!((shares[1].protocol, shares[0].protocol), (Protocol::Nfs, Protocol::Smb));
    assert_eq!(shares[1].metadata["owner"], "<me> & you");
    assert_eq!(shares[0].quota, 100);
    assert_eq!(shares[0].snapshots, []);
    let ids: Vec<_> = shares[2].snapshots.iter().map(|snapshot| &snapshot.id).collect();
    assert_eq!(ids, taken.iter().map(ShareSnapshot::id).collect::<Vec<_>>());
    assert_eq!(shares[2].snapshots[0].metadata, BTreeMap::from([("tik_backup".into(), "run1".into())]));
    assert_eq!(azure.count("ListShares"), 3, "six entries, two a page");
}

#[test]
fn a_snapshot_stays_as_it_was_and_goes_alone() {
    let azure = start();
    azure.put_file("acct", "docs", "a/b.txt", "before");
    let files = with_key(&azure);
    let cancel = Cancel::new();
    let taken = snapshot(&files);
    azure.put_file("acct", "docs", "a/b.txt", "after!!");
    azure.put_file("acct", "docs", "a/new.txt", "new");
    let entries = files.list(&taken, "a", &cancel).unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!(read(&files, &taken, "a/b.txt", 6).unwrap().1, b"before");

    files.remove_snapshot(taken, &cancel).unwrap();
    let share = azure.share("acct", "docs").unwrap();
    assert_eq!((share.snapshots.len(), share.deleted), (0, false));
    assert_eq!(azure.live_share_deletes(), Vec::<String>::new());
    let deletes = azure.requests().into_iter().filter(|request| request.method == "DELETE");
    assert!(deletes.clone().all(|request| request.target.contains("sharesnapshot=2")), "{deletes:?}");
    assert_eq!(deletes.count(), 1);
}

#[test]
fn only_snapshots_with_our_mark_are_orphans_and_removal_can_be_repeated() {
    let azure = start();
    let files = with_key(&azure);
    let cancel = Cancel::new();
    drop(snapshot(&files));
    drop(files.take_snapshot("docs", &[("tik_backup", "another")], &cancel).unwrap());
    drop(files.take_snapshot("docs", &[], &cancel).unwrap());
    let share = files.shares(&cancel).unwrap().remove(0);
    let orphans = || share.snapshots.iter().filter_map(|found| files.orphan("docs", found, MARK));
    assert_eq!(orphans().count(), 1);
    for orphan in orphans().chain(orphans()) {
        files.remove_snapshot(orphan, &cancel).unwrap();
    }
    assert_eq!(azure.share("acct", "docs").unwrap().snapshots.len(), 2);
    assert_eq!(azure.count("DeleteShareSnapshot"), 2, "the second finds nothing and is content");
}

#[test]
fn a_snapshot_in_progress_is_waited_for_but_a_full_share_is_not() {
    let azure = start();
    let files = with_key(&azure);
    azure.fault(Fault::answer("PUT", "comp=snapshot", 409, "ShareSnapshotInProgress").times(2));
    let taken = snapshot(&files);
    assert_eq!(azure.requests().len(), 3);
    files.remove_snapshot(taken, &Cancel::new()).unwrap();

    azure.change_account("acct", |account| account.snapshot_limit = 0);
    azure.forget_requests();
    let error = files.take_snapshot("docs", &[MARK], &Cancel::new()).unwrap_err();
    assert!(error.summary().contains("ShareSnapshotCountExceeded"), "{error}");
    assert!(error.hint_text().unwrap().contains("200"), "{error}");
    assert_eq!(azure.requests().len(), 1);

    azure.fault(Fault::answer("PUT", "comp=snapshot", 409, "ShareSnapshotInProgress").always());
    let error = files.take_snapshot("docs", &[MARK], &Cancel::new()).unwrap_err();
    assert!(error.summary().contains("ShareSnapshotInProgress"), "{error}");
}

#[test]
fn without_an_id_there_is_no_snapshot_and_nothing_is_deleted() {
    let azure = start();
    let files = with_key(&azure);
    for id in ["", "  "] {
        azure.fault(Fault::answer("PUT", "comp=snapshot", 201, "").header("x-ms-snapshot", id));
        let error = files.take_snapshot("docs", &[MARK], &Cancel::new()).unwrap_err();
        assert!(error.summary().contains("as the id of a share snapshot"), "{error}");
    }
    assert!(azure.requests().iter().all(|request| request.method != "DELETE"));
}

#[test]
fn odd_names_are_listed_read_and_written() {
    let azure = start();
    for (at, name) in ODD.iter().enumerate() {
        azure.put_file("acct", "docs", &format!("dir {name}/{name}"), format!("content {at}"));
    }
    let files = with_key(&azure);
    let cancel = Cancel::new();
    let taken = snapshot(&files);
    let directories = files.list(&taken, "", &cancel).unwrap();
    assert_eq!(directories.len(), ODD.len());
    azure.add_share("acct", "target");
    for directory in directories {
        assert!(directory.directory);
        let entries: Vec<Entry> = files.list(&taken, &directory.name, &cancel).unwrap();
        let [file] = &entries[..] else { panic!("{entries:?}") };
        assert_eq!(format!("dir {}", file.name), directory.name);
        let path = format!("{}/{}", directory.name, file.name);
        let (properties, content) = read(&files, &taken, &path, file.bytes).unwrap();
        let made = files.create_directory(
            "target",
            &directory.name,
            &BTreeMap::new(),
            &directory.smb,
            false,
            &cancel,
        );
        assert_eq!(made.unwrap(), Uploaded::Done);
        let mut from = &content[..];
        files.upload("target", &path, file.bytes, &properties, &file.smb, &mut from, false, &cancel).unwrap();
        let Some(Node::File(written)) = azure.node("acct", "target", &path) else {
            panic!("{path:?} is not there")
        };
        assert_eq!(*written.content, content);
    }
}

#[test]
fn a_large_directory_is_listed_whole_with_what_tells_changes() {
    let azure = start();
    azure.set_page_size(100);
    for at in 0..1050 {
        azure.put_file("acct", "docs", &format!("many/{at:05}"), vec![1; at % 7]);
    }
    let files = with_key(&azure);
    let entries = files.list(&snapshot(&files), "many", &Cancel::new()).unwrap();
    assert_eq!(entries.len(), 1050);
    assert_eq!(azure.count("ListFiles"), 11);
    for (at, entry) in entries.iter().enumerate() {
        assert_eq!((entry.name.as_str(), entry.bytes), (format!("{at:05}").as_str(), at as u64 % 7));
        assert!(!entry.etag.is_empty() && entry.id.is_some() && !entry.directory);
        assert!(entry.smb.written.is_some() && entry.smb.changed.is_some() && entry.smb.created.is_some());
        assert_eq!(entry.smb.attributes, "Archive");
        assert_eq!(entry.smb.permission_key.as_deref(), Some(PERMISSION_KEY));
    }
}

#[test]
fn a_download_goes_on_where_the_connection_dropped() {
    let azure = start();
    let content = pattern(3_000_000);
    azure.put_file("acct", "docs", "big", content.clone());
    let files = with_key(&azure);
    let taken = snapshot(&files);
    azure.fault(Fault::cut("GET", "/docs/big", 1_000_000).times(2));
    azure.fault(Fault::answer("GET", "/docs/big", 503, "ServerBusy"));
    let (_, read) = read(&files, &taken, "big", content.len() as u64).unwrap();
    assert!(read == content, "the content differs");
    assert_eq!(azure.count("GetFile"), 3);
    assert!(azure.content_sent() < 6_100_000, "{} bytes were sent", azure.content_sent());
}

#[test]
fn a_download_of_another_length_is_an_error() {
    let azure = start();
    azure.put_file("acct", "docs", "file", pattern(1000));
    azure.put_file("acct", "docs", "empty", "");
    let files = with_key(&azure);
    let taken = snapshot(&files);
    for bytes in [999, 1001, 0] {
        let error = read(&files, &taken, "file", bytes).unwrap_err();
        assert!(error.summary().contains("1000"), "{error}");
    }
    assert_eq!(read(&files, &taken, "empty", 0).unwrap().1, b"");
    let error = read(&files, &taken, "nowhere/file", 1).unwrap_err();
    assert!(error.summary().contains("nowhere/file"), "{error}");
    let error = files.list(&taken, "nowhere", &Cancel::new()).unwrap_err();
    assert!(error.summary().contains("nowhere"), "what is missing is no empty list: {error}");
}

#[test]
fn what_was_written_comes_back_with_all_its_properties() {
    let azure = start();
    let files = with_key(&azure);
    let cancel = Cancel::new();
    let key = files.store_permission("docs", "O:BAG:BAD:(A;;FA;;;BA)", &cancel).unwrap();
    assert_eq!(files.permission("docs", &key, &cancel).unwrap(), "O:BAG:BAD:(A;;FA;;;BA)");
    assert_eq!(files.permission("docs", PERMISSION_KEY, &cancel).unwrap(), PERMISSION);
    let properties = FileProperties {
        content_type: Some("text/plain; charset=utf-8".into()),
        content_encoding: Some("gzip".into()),
        content_language: Some("de".into()),
        content_disposition: Some("attachment; filename=\"x y\"".into()),
        cache_control: Some("no-cache".into()),
        content_md5: Some("CY9rzUYh03PK3k6DJie09g==".into()),
        metadata: BTreeMap::from([("a_b".into(), "1".into()), ("a1".into(), "2".into())]),
    };
    let smb = SmbProperties {
        attributes: "ReadOnly|Hidden".into(),
        created: Some("2001-02-03T04:05:06.1234567Z".parse().unwrap()),
        written: Some("2002-02-03T04:05:06.0000001Z".parse().unwrap()),
        changed: Some("2003-02-03T04:05:06Z".parse().unwrap()),
        permission_key: Some(key),
    };
    // Two parts that hold something, and one between them that is all zero.
    let mut content = pattern(4 << 20);
    content.extend(vec![0; 4 << 20]);
    content.extend(b"the end");
    let upload = |replace| {
        let (mut from, bytes) = (&content[..], content.len() as u64);
        files.upload("docs", "a.bin", bytes, &properties, &smb, &mut from, replace, &cancel).unwrap()
    };
    assert_eq!(upload(false), Uploaded::Done);
    assert_eq!(azure.content_received(), (4 << 20) + 7, "zeros are not sent");
    assert_eq!(upload(false), Uploaded::Exists);
    assert_eq!(azure.count("CreateFile"), 1);
    assert_eq!(upload(true), Uploaded::Done, "a file that is read-only is replaced too");

    let taken = snapshot(&files);
    let entries = files.list(&taken, "", &cancel).unwrap();
    assert_eq!(entries[0].smb, smb);
    let (told, back) = read(&files, &taken, "a.bin", entries[0].bytes).unwrap();
    assert_eq!(told, properties);
    assert!(back == content, "the content differs");
}

#[test]
fn directories_and_shares_are_made_once() {
    let azure = start();
    let files = with_key(&azure);
    let cancel = Cancel::new();
    let metadata = BTreeMap::from([("who".to_owned(), "me".to_owned())]);
    assert!(files.create_share("made", 7, &metadata, &cancel).unwrap());
    assert!(!files.create_share("made", 7, &metadata, &cancel).unwrap());
    let smb = SmbProperties {
        attributes: "Hidden".into(),
        written: Some("2002-02-03T04:05:06.0000001Z".parse().unwrap()),
        ..SmbProperties::default()
    };
    let make = |path, replace| {
        files.create_directory("made", path, &metadata, &smb, replace, &cancel).map_err(|e| e.to_string())
    };
    assert_eq!(make("a", false), Ok(Uploaded::Done));
    assert_eq!(make("a", false), Ok(Uploaded::Exists));
    assert!(make("b/c", false).unwrap_err().contains("ParentNotFound"));
    azure.put_file("acct", "made", "a/file", "moves the times of the directory");
    assert_eq!(make("a", true), Ok(Uploaded::Done));
    assert_eq!(make("", true), Ok(Uploaded::Done));
    let taken = files.take_snapshot("made", &[MARK], &cancel).unwrap();
    let entries = files.list(&taken, "", &cancel).unwrap();
    assert_eq!((entries[0].smb.written, &*entries[0].smb.attributes), (smb.written, "Hidden"));
    for path in ["", "a"] {
        let (told, properties) = files.directory(&taken, path, &cancel).unwrap();
        assert_eq!((told, properties.written), (metadata.clone(), smb.written));
    }
    let share = azure.share("acct", "made").unwrap();
    assert_eq!((share.quota, share.metadata), (7, vec![("who".into(), "me".into())]));
}

#[test]
fn content_of_another_length_is_not_written_as_whole() {
    let azure = start();
    let files = with_key(&azure);
    let key = files.store_permission("docs", "O:BAG:BAD:(A;;FA;;;BA)", &Cancel::new()).unwrap();
    for (bytes, says) in [(11, "ends after 10 bytes of 11"), (9, "longer than 9 bytes")] {
        let properties = FileProperties::default();
        let smb = SmbProperties { permission_key: Some(key.clone()), ..SmbProperties::default() };
        let mut from = &b"0123456789"[..];
        let done = files.upload("docs", "f", bytes, &properties, &smb, &mut from, true, &Cancel::new());
        let error = done.unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
        // What is there of it is not open to more people than the whole would have been.
        let Some(Node::File(part)) = azure.node("acct", "docs", "f") else { panic!("it was not begun") };
        assert_eq!(part.facts.permission_key, key);
    }
}

#[test]
fn tokens_work_and_refusals_say_what_to_do() {
    let azure = start();
    azure.change_account("acct", |account| account.shared_key = Some(false));
    azure.put_file("acct", "docs", "file", "content");
    let cancel = Cancel::new();
    let files = with_token(&azure);
    let taken = snapshot(&files);
    assert_eq!(read(&files, &taken, "file", 7).unwrap().1, b"content");
    azure.forget_tokens();
    assert_eq!(read(&files, &taken, "file", 7).unwrap().1, b"content", "a token that expired is renewed");

    azure.change_account("acct", |account| account.role = false);
    let error = files.shares(&cancel).unwrap_err();
    assert!(error.summary().contains("AuthorizationPermissionMismatch"), "{error}");
    assert!(error.hint_text().unwrap().contains("Storage File Data Privileged"), "{error}");
    azure.change_account("acct", |account| account.firewall = true);
    let error = files.shares(&cancel).unwrap_err();
    assert!(error.hint_text().unwrap().to_lowercase().contains("firewall"), "{error}");

    let azure = start();
    let wrong = files_as(&azure, Credential::from_key(Secret::new("d3Jvbmcga2V5".into())), quick());
    let error = wrong.shares(&cancel).unwrap_err();
    assert!(error.summary().contains("AuthenticationFailed"), "{error}");
    assert!(!format!("{error} {wrong:?}").contains("d3Jvbmcga2V5"), "the key shows");
}

#[test]
fn cancelling_ends_waiting() {
    let azure = start();
    azure.put_file("acct", "docs", "file", pattern(1000));
    let key = Credential::from_key(Secret::new(azure.key("acct")));
    let files = files_as(&azure, key, Policy::default());
    let taken = snapshot(&files);
    azure.fault(Fault::delay("GET", "comp=list", Duration::from_secs(20)).always());
    azure.fault(Fault::delay("GET", "/docs/file", Duration::from_secs(20)).always());
    azure
        .fault(Fault::answer("PUT", "comp=snapshot", 503, "ServerBusy").header("Retry-After", "20").always());
    type Way<'a> = &'a dyn Fn(&Cancel) -> Result<()>;
    let ways: [Way<'_>; 4] = [
        &|cancel| files.shares(cancel).map(drop),
        &|cancel| files.list(&taken, "", cancel).map(drop),
        &|cancel| files.download(&taken, "file", 1000, cancel).map(drop).map_err(Error::from),
        &|cancel| files.take_snapshot("docs", &[MARK], cancel).map(drop),
    ];
    for way in ways {
        let cancel = Cancel::new();
        let begin = Instant::now();
        let other = cancel.clone();
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(200));
            other.cancel("enough");
        });
        let error = way(&cancel).unwrap_err();
        assert!(error.summary().contains("enough"), "{error}");
        assert!(begin.elapsed() < Duration::from_secs(3), "it took {:?}", begin.elapsed());
    }
}
