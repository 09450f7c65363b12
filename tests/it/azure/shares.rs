//! File shares through the built program: what is stored, what a second run reads, what is restored.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use testkit::{
    Cmd, Config, Restic, Tool,
    azure::{Directory, FakeAzure, Fault, ListKeys, Node},
    reports::{
        assert_proven, assert_says, backup, files_below, item, manifest_of, snapshot_of, try_backup,
        try_restore,
    },
    running::{Running, wait_until},
    skip_unless,
};

use super::support::storage;

pub const ACCOUNT: &str = "tikfiles";
pub const SHARE: &str = "docs";
/// The item of the share, and its full name.
pub const ITEM: &str = "tikfiles/share:docs";
pub const FULL: &str = "storage/tikfiles/share:docs";

/// Names that a path, a URL or a file system could spoil.
const ODD: [&str; 11] = [
    " leading space.txt",
    "größe & maß/日本語.txt",
    "trailing dots..",
    "folder.../inside.",
    "100% sure",
    "%41%2f",
    "a+b",
    "a#b",
    "semi;colon,comma='equals'",
    "UPPER/lower.TXT",
    "deep/er/and/deeper/empty",
];

/// A tenant whose one account has one empty share, and a configuration that backs it up.
pub fn start(keys: &str) -> (FakeAzure, Config) {
    let azure = FakeAzure::start();
    let subscription = azure.add_subscription("Production");
    azure.add_account(azure.new_account(ACCOUNT, &subscription));
    azure.add_share(ACCOUNT, SHARE);
    let config = storage(&azure, keys);
    (azure, config)
}

/// Bytes that neither repeat nor compress, the same for the same seed.
pub fn bytes(count: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    (0..count).map(|_| next()).collect()
}

/// Changes what lies at a path of the live share.
fn change(azure: &FakeAzure, path: &str, how: impl FnOnce(&mut Node)) {
    let parts: Vec<_> = path.split('/').map(str::to_owned).collect();
    azure.change_share(ACCOUNT, SHARE, |share| how(share.root.node_mut(&parts).unwrap()));
}

/// The share's snapshots have gone with the runs that took them, and nothing else was deleted.
#[track_caller]
pub fn nothing_is_left(azure: &FakeAzure) {
    assert_eq!(azure.count("SnapshotShare"), azure.count("DeleteShareSnapshot"));
    assert!(azure.share(ACCOUNT, SHARE).unwrap().snapshots.is_empty());
    assert!(azure.live_share_deletes().is_empty(), "{:?}", azure.live_share_deletes());
}

/// Fills the share with everything difficult and gives back the content of all files.
fn fill(azure: &FakeAzure) -> BTreeMap<String, Vec<u8>> {
    let size = |at: usize| at * at * at * 20 + at;
    let sized = (0..30).map(|at| (format!("many/size {at:02}.bin"), bytes(size(at), at as u64)));
    let mut files: BTreeMap<_, _> = sized.collect();
    files.insert("large.bin".to_owned(), bytes(5 << 20, 99));
    files.extend(ODD.map(|name| (name.to_owned(), name.as_bytes().to_vec())));
    files.insert("deep/er/and/deeper/empty".to_owned(), Vec::new());
    for (path, content) in &files {
        azure.put_file(ACCOUNT, SHARE, path, content.clone());
    }
    azure.put_directory(ACCOUNT, SHARE, "nothing here/nor here");
    change(azure, "a+b", |node| {
        let Node::File(file) = node else { panic!("a file") };
        file.facts.attributes = vec!["ReadOnly".to_owned(), "Hidden".to_owned()];
        file.facts.created = "1999-12-31T23:59:59.1234567Z".parse().unwrap();
        file.facts.written = "2001-02-03T04:05:06.7654321Z".parse().unwrap();
        file.facts.changed = "2002-02-03T04:05:06.5Z".parse().unwrap();
        file.facts.metadata = vec![("owner".to_owned(), "me & you".to_owned())];
        file.headers.insert("Content-Type".to_owned(), "text/plain; charset=utf-8".to_owned());
        file.headers.insert("Cache-Control".to_owned(), "no-store".to_owned());
    });
    change(azure, "nothing here/nor here", |node| {
        let facts = node.facts_mut();
        facts.attributes = vec!["Hidden".to_owned()];
        facts.written = "2003-02-03T04:05:06.7654321Z".parse().unwrap();
    });
    azure.set_page_size(7);
    files
}

/// What stock restic gives back of a snapshot.
pub struct Stored {
    _folder: TempDir,
    top: PathBuf,
    /// The list beside the content, by name.
    pub lines: BTreeMap<String, Value>,
}

impl Stored {
    pub fn of(config: &Config, snapshot: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let restic = Restic::new_().unwrap();
        restic.restore_verify(&config.repo(), &config.password_file(), snapshot, folder.path());
        let list = files_below(folder.path()).into_iter().find(|file| file.ends_with("files.jsonl")).unwrap();
        let lines = lines(&list);
        Self { _folder: folder, top: list.parent().unwrap().to_owned(), lines }
    }

    /// All files with their content, which must be all there is.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let of_files =
            self.lines.iter().filter(|(_, line)| line["type"] == "file" && line.get("path").is_some());
        let read = |line: &Value| fs::read(self.top.join(line["path"].as_str().unwrap())).unwrap();
        let files: BTreeMap<_, _> = of_files.map(|(name, line)| (name.clone(), read(line))).collect();
        assert_eq!(files_below(&self.top.join("files")).len(), files.len());
        files
    }
}

fn lines(list: &Path) -> BTreeMap<String, Value> {
    let text = fs::read_to_string(list).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.map(|line| (line["name"].as_str().unwrap().to_owned(), line)).collect()
}

/// Fails with the names that differ rather than with megabytes of content.
#[track_caller]
fn assert_same<T: PartialEq>(found: &BTreeMap<String, T>, wanted: &BTreeMap<String, T>) {
    let missing: Vec<_> = wanted.keys().filter(|name| !found.contains_key(*name)).collect();
    let more: Vec<_> = found.keys().filter(|name| !wanted.contains_key(*name)).collect();
    let differ = wanted.iter().filter(|(name, one)| found.get(*name).is_some_and(|other| other != *one));
    let differ: Vec<_> = differ.map(|(name, _)| name).collect();
    assert!(
        missing.is_empty() && more.is_empty() && differ.is_empty(),
        "missing: {missing:?}\ntoo much: {more:?}\ndifferent: {differ:?}"
    );
}

#[test]
fn a_share_is_stored_as_it_is_and_only_changes_are_read_again() {
    skip_unless!(Tool::ResticNew);
    let (azure, config) = start("retention = { keep_last = 9 }\n");
    let mut files = fill(&azure);
    let first = backup(&config);
    let total: u64 = files.values().map(|content| content.len() as u64).sum();
    assert_eq!(azure.count("SnapshotShare"), 1);
    nothing_is_left(&azure);
    assert_proven(&config);
    assert_eq!(azure.content_sent(), total, "every byte travels once, and none for the proof");

    let first_id = snapshot_of(&first, ITEM).to_owned();
    let stored = Stored::of(&config, &first_id);
    assert_same(&stored.files(), &files);
    assert_eq!(stored.lines["100% sure"]["path"], "files/100% sure");
    assert_eq!(stored.lines["%41%2f"]["path"], "files/%2541%252f");
    let special = &stored.lines["a+b"];
    assert_eq!(special["smb"]["attributes"], "ReadOnly|Hidden");
    assert_eq!(special["smb"]["created"], "1999-12-31T23:59:59.1234567Z");
    assert_eq!(special["smb"]["written"], "2001-02-03T04:05:06.7654321Z");
    assert_eq!(special["properties"]["metadata"]["owner"], "me & you");
    assert_eq!(special["properties"]["content_type"], "text/plain; charset=utf-8");
    let modified = fs::metadata(stored.top.join("files/a+b")).unwrap().modified().unwrap();
    let modified = modified.duration_since(std::time::UNIX_EPOCH).unwrap();
    assert_eq!((modified.as_secs(), modified.subsec_nanos()), (981_173_106, 765_432_100));
    for empty in ["nothing here", "nothing here/nor here"] {
        assert_eq!(stored.lines[empty]["type"], "directory");
        assert!(stored.top.join("files").join(empty).is_dir());
    }
    assert_eq!(stored.lines["nothing here/nor here"]["smb"]["attributes"], "Hidden");
    let manifest = manifest_of(&config, FULL, &first_id);
    assert_eq!(manifest["consistency"], "snapshot");
    assert_eq!(manifest["azure"]["stored"], files.len());
    assert_eq!(manifest["azure"]["bytes"], total);
    assert_eq!(manifest["azure"]["directories"], stored.lines.len() - files.len());

    azure.forget_requests();
    let second = backup(&config);
    assert_eq!((azure.count("GetFile"), azure.content_sent()), (0, 0), "nothing has changed");
    assert_same(&Stored::of(&config, snapshot_of(&second, ITEM)).files(), &files);

    let mut put = |path: &str, content: Vec<u8>| {
        azure.put_file(ACCOUNT, SHARE, path, content.clone());
        files.insert(path.to_owned(), content);
    };
    put("many/size 07.bin", b"shorter".to_vec());
    put("100% sure", b"100% SURE".to_vec());
    put("many/new", b"new".to_vec());
    // Written by a mounted share: the mark of its state may stay, the time does not.
    change(&azure, "large.bin", |node| {
        let Node::File(file) = node else { panic!("a file") };
        Arc::make_mut(&mut file.content)[4_000_000] ^= 1;
        file.facts.written = "2030-01-01T00:00:00Z".parse().unwrap();
    });
    files.get_mut("large.bin").unwrap()[4_000_000] ^= 1;
    azure.remove(ACCOUNT, SHARE, "many/size 08.bin");
    let gone = files.remove("many/size 08.bin").unwrap();
    azure.forget_requests();
    let third = backup(&config);
    assert_eq!(azure.count("GetFile"), 4, "three that were written and one that is new");
    assert_eq!(azure.content_sent(), (5 << 20) + 7 + 9 + 3);
    let stored = Stored::of(&config, snapshot_of(&third, ITEM));
    assert_same(&stored.files(), &files);
    assert_eq!(Stored::of(&config, &first_id).files()["many/size 08.bin"], gone, "older states stay");
    nothing_is_left(&azure);
    let restic = Restic::new_().unwrap();
    restic.check(&config.repo(), &config.password_file(), true);
}

#[test]
fn what_changes_meanwhile_is_not_in_the_backup() {
    skip_unless!(Tool::ResticNew);
    let (azure, config) = start("");
    let files: BTreeMap<_, _> =
        (0..20).map(|at| (format!("dir/{at}"), format!("before {at}").into_bytes())).collect();
    for (path, content) in &files {
        azure.put_file(ACCOUNT, SHARE, path, content.clone());
    }
    // Holds the first look into the share snapshot until the live share is another one.
    azure.fault(Fault::delay("GET", "sharesnapshot=", Duration::from_secs(3)));
    let run = Running::start(Cmd::with(&config).args(["--json", "backup"]).into_command());
    wait_until("the snapshot is taken", || azure.count("SnapshotShare") == 1);
    for at in 0..10 {
        azure.put_file(ACCOUNT, SHARE, &format!("dir/{at}"), "after it all");
    }
    (10..20).for_each(|at| azure.remove(ACCOUNT, SHARE, &format!("dir/{at}")));
    azure.put_file(ACCOUNT, SHARE, "new", "new");
    let ended = run.finish().expect_code(0);
    let report: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_same(&Stored::of(&config, snapshot_of(&report, ITEM)).files(), &files);
    nothing_is_left(&azure);
}

#[test]
fn accounts_that_keep_their_keys_are_read_with_a_token() {
    let azure = FakeAzure::start();
    let subscription = azure.add_subscription("Production");
    for (name, shared_key, list_keys) in [
        ("nokeys", Some(false), ListKeys::Allowed),
        ("forbidden", None, ListKeys::Forbidden),
        ("locked", None, ListKeys::Locked),
    ] {
        let mut account = azure.new_account(name, &subscription);
        (account.shared_key, account.list_keys) = (shared_key, list_keys);
        azure.add_account(account);
        azure.add_share(name, SHARE);
        azure.put_file(name, SHARE, "a/b.txt", name);
    }
    let config = storage(&azure, "");
    let report = backup(&config);
    assert_eq!(azure.count("ListKeys"), 2, "an account that forbids keys is not asked for them");
    for (name, why) in [
        ("nokeys", "the account forbids keys"),
        ("forbidden", "Storage Account Key Operator Service Role"),
        ("locked", "a ReadOnly lock"),
    ] {
        let share = format!("{name}/share:{SHARE}");
        assert_eq!(item(&report, &share)["outcome"], "ok");
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().to_str().unwrap();
        try_restore(&config, &format!("storage/{share}"), &["--to", to]).ok();
        assert_eq!(fs::read_to_string(folder.path().join("files/a/b.txt")).unwrap(), name);
        let manifest = fs::read_to_string(folder.path().join("manifest.json")).unwrap();
        let manifest: Value = serde_json::from_str(&manifest).unwrap();
        assert_says(&manifest["notes"].to_string(), &[why]);
    }
    assert!(azure.live_share_deletes().is_empty());
}

/// Everything below a directory: what is kept with it, and content.
pub type Tree = BTreeMap<String, (String, Vec<u8>)>;

/// Everything below the root of a share of [`ACCOUNT`].
pub fn tree(azure: &FakeAzure, share: &str) -> Tree {
    fn add(directory: &Directory, at: &str, tree: &mut Tree) {
        for (name, node) in directory.entries.values() {
            let (path, facts) = (format!("{at}{name}"), node.facts());
            // The service keeps seven decimals.
            let times = [facts.created, facts.written, facts.changed].map(|time| time.as_nanosecond() / 100);
            let mut text = format!("{:?} {times:?} {:?}", facts.attributes, facts.metadata);
            match node {
                Node::File(file) => {
                    text += &format!(" {:?}", file.headers);
                    tree.insert(path, (text, file.content.to_vec()));
                }
                Node::Directory(inner) => {
                    add(inner, &format!("{path}/"), tree);
                    tree.insert(path, (text, Vec::new()));
                }
            }
        }
    }
    let mut all = Tree::new();
    add(&azure.share(ACCOUNT, share).unwrap().root, "", &mut all);
    all
}

#[test]
fn a_share_comes_back_with_all_that_is_kept_with_it() {
    let (azure, config) = start("");
    let files = fill(&azure);
    backup(&config);
    let original = tree(&azure, SHARE);

    let into = "tikfiles/share:restored";
    let report = try_restore(&config, FULL, &["--into", into]).ok().json();
    let done = &report["storage"];
    assert_eq!((&done["created"], &done["into"]), (&true.into(), &into.into()), "{report:#}");
    assert_eq!(
        (&done["files"], &done["directories"]),
        (&files.len().into(), &(original.len() - files.len()).into())
    );
    assert_same(&tree(&azure, "restored"), &original);

    azure.forget_requests();
    azure.put_file(ACCOUNT, "restored", "many/size 03.bin", "changed since");
    azure.put_file(ACCOUNT, "restored", "mine.txt", "not in the backup");
    let ran = try_restore(&config, FULL, &["--into", into]).expect_code(1);
    assert_says(&ran.stderr, &["tikfiles/share:restored already has files", "--overwrite"]);
    assert_eq!((azure.count("CreateFile"), azure.count("PutRange")), (0, 0), "nothing was touched");

    let report = try_restore(&config, FULL, &["--into", into, "--overwrite"]).ok().json();
    assert_eq!(report["storage"]["created"], false);
    let mut restored = tree(&azure, "restored");
    assert_eq!(restored.remove("mine.txt").unwrap().1, b"not in the backup", "others stay");
    assert_same(&restored, &original);

    // By its address, with a key from a file instead of the service principal.
    let key = config.dir().join("account-key");
    fs::write(&key, azure.key(ACCOUNT)).unwrap();
    let mode = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o600);
    fs::set_permissions(&key, mode).unwrap();
    let url = format!("{}/{ACCOUNT}/by-url", azure.url());
    azure.forget_requests();
    try_restore(&config, FULL, &["--into", &url, "--password-file", key.to_str().unwrap()]).ok();
    assert_eq!(azure.count("ListKeys"), 0);
    assert_same(&tree(&azure, "by-url"), &original);

    let folder = config.dir().join("tree");
    try_restore(&config, FULL, &["--to", folder.to_str().unwrap()]).ok();
    let listed = lines(&folder.join("files.jsonl"));
    assert_eq!(listed.len(), original.len());
    for (name, content) in &files {
        let path = listed[name]["path"].as_str().unwrap();
        assert!(fs::read(folder.join(path)).unwrap() == *content, "{name}");
    }
    assert!(folder.join("files/nothing here/nor here").is_dir());

    for (into, code, says) in [
        ("tikfiles/restored", 2, "ACCOUNT/share:NAME"),
        ("nowhere/share:restored", 1, "no storage account nowhere"),
    ] {
        let ran = try_restore(&config, FULL, &["--into", into]).expect_code(code);
        assert_says(&ran.stderr, &[says]);
    }
    let ran = try_backup(&config, &[]).ok();
    assert!(ran.stdout.contains("tikfiles/share:by-url"), "new shares are part of the next run");
    assert!(azure.live_share_deletes().is_empty());
}

#[test]
fn metadata_of_directories_comes_back() {
    let (azure, config) = start("");
    azure.put_directory(ACCOUNT, SHARE, "folder/below");
    change(&azure, "folder/below", |node| {
        node.facts_mut().metadata = vec![("owner".to_owned(), "me".to_owned())];
    });
    backup(&config);
    try_restore(&config, FULL, &["--into", "tikfiles/share:restored"]).ok();
    let restored = azure.node(ACCOUNT, "restored", "folder/below").unwrap();
    assert_eq!(restored.facts().metadata, [("owner".to_owned(), "me".to_owned())]);
}
