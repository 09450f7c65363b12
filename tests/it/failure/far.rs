//! Storage that is far away: the number of requests, and the cache that saves some of them.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use testkit::{
    Cmd, Config, ConfigBuilder, Ran, Restic,
    postgres_world::cmd_with,
    process::run_ok,
    program::quoted,
    reports::{assert_proven, edit, ready},
    skip,
};

use super::sftp::{SSHD, start_sshd_with};

/// OpenSSH's SFTP server as a program, which logs every request.
const SERVER: &str = "/usr/lib/openssh/sftp-server";

/// A directory with some files, and a configuration with it as the source; with these lines of `[repository]`.
fn world(repository: &str) -> (tempfile::TempDir, ConfigBuilder) {
    let source = tempfile::tempdir().unwrap();
    for number in 0..20 {
        let folder = source.path().join(format!("folder {number}"));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("file"), format!("content {number}")).unwrap();
    }
    let paths = quoted(&source.path().display().to_string());
    let builder = ConfigBuilder::new()
        .repository(repository)
        .tables("[retention]\nkeep_last = 100")
        .source("disk", &format!("kind = \"directory\"\npaths = [{paths}]"));
    (source, builder)
}

fn backup(config: &Config) -> Ran {
    Cmd::with(config).arg("backup").run()
}

fn check(config: &Config) -> Ran {
    Cmd::with(config).arg("check").run()
}

/// The files of a kind in the only cache.
fn copies(config: &Config, kind: &str) -> Vec<PathBuf> {
    let cache = config.state_dir().join("cache");
    let Some(of_repository) = fs::read_dir(cache).ok().and_then(|mut caches| caches.next()) else {
        return Vec::new();
    };
    let folder = of_repository.unwrap().path().join(kind);
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn in_repository(config: &Config, kind: &str) -> Vec<PathBuf> {
    fs::read_dir(config.repo().join(kind)).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn flip(path: &Path) {
    let mut content = fs::read(path).unwrap();
    let middle = content.len() / 2;
    content[middle] ^= 1;
    fs::write(path, content).unwrap();
}

#[test]
fn a_damaged_or_lost_cache_changes_nothing() {
    let (source, builder) = world("cache = true");
    let config = ready(builder);
    backup(&config).ok();
    assert_eq!(["index", "snapshots", "trees"].map(|kind| copies(&config, kind).len()), [1, 1, 1]);
    for kind in ["index", "snapshots", "trees"] {
        copies(&config, kind).iter().for_each(|copy| flip(copy));
    }
    fs::write(source.path().join("new"), "new").unwrap();
    backup(&config).ok();
    check(&config).ok();
    // What was read from the storage is intact again.
    let index: BTreeMap<_, _> = in_repository(&config, "index")
        .into_iter()
        .map(|path| (path.file_name().unwrap().to_owned(), fs::read(path).unwrap()))
        .collect();
    for copy in copies(&config, "index") {
        assert_eq!(index.get(copy.file_name().unwrap()), Some(&fs::read(&copy).unwrap()));
    }
    // A file in place of the directory.
    let cache = config.state_dir().join("cache");
    fs::remove_dir_all(&cache).unwrap();
    fs::write(&cache, "").unwrap();
    backup(&config).ok();
    fs::remove_file(&cache).unwrap();
    backup(&config).ok();
    assert!(!copies(&config, "index").is_empty());
    assert_proven(&config);
}

#[test]
fn what_the_storage_has_lost_is_noticed_although_there_are_copies() {
    let (source, builder) = world("cache = true");
    let config = ready(builder);
    backup(&config).ok();
    let packs: Vec<PathBuf> = testkit::reports::files_below(&config.repo().join("data"));
    for pack in &packs {
        flip(pack);
        fs::OpenOptions::new().append(true).open(pack).unwrap().set_len(20).unwrap();
    }
    fs::write(source.path().join("new"), "new").unwrap();
    // Exit code 3: the data that the source still has was stored again.
    let text = backup(&config).expect_code(3);
    assert!(text.stderr.contains("have another size than they should"), "{}", text.stderr);
}

#[test]
fn damage_in_the_storage_is_found_by_those_that_look_for_it() {
    for kind in ["index", "snapshots"] {
        let (_source, builder) = world("cache = true");
        let config = ready(builder);
        backup(&config).ok();
        assert_eq!(copies(&config, kind).len(), 1);
        in_repository(&config, kind).iter().for_each(|file| flip(file));
        let text = check(&config).expect_code(1);
        assert!(text.stdout.contains("DAMAGED"), "{kind}: {}", text.stdout);
        let proven = Cmd::with(&config).args(["--json", "drill", "--all"]).run();
        assert_ne!(proven.code(), Some(0), "{kind}: {}", proven.stdout);
        let to = config.dir().join("restored");
        let restored = Cmd::with(&config).args(["restore", "disk"]).arg("--to").arg(&to).run();
        assert_ne!(restored.code(), Some(0), "{kind}: {}", restored.stdout);
    }
}

#[test]
fn copies_vanish_with_their_files() {
    let (source, builder) = world("cache = true");
    let config = ready(builder);
    for number in 0..3 {
        fs::write(source.path().join("new"), format!("{number}")).unwrap();
        backup(&config).ok();
    }
    assert_eq!(copies(&config, "snapshots").len(), 3);
    edit(&config, "keep_last = 100", "keep_within = \"0s\"\nkeep_daily = 0\nkeep_weekly = 0\nkeep_last = 1");
    backup(&config).ok();
    Cmd::with(&config).arg("prune").run().ok();
    backup(&config).ok();
    let names = |paths: Vec<PathBuf>| -> Vec<_> {
        let mut names: Vec<_> = paths.iter().map(|path| path.file_name().unwrap().to_owned()).collect();
        names.sort();
        names
    };
    for kind in ["index", "snapshots"] {
        let there = names(in_repository(&config, kind));
        let kept = names(copies(&config, kind));
        assert!(kept.iter().all(|name| there.contains(name)), "{kind}: {kept:?} of {there:?}");
    }
    check(&config).ok();
}

#[test]
fn a_local_disk_gets_no_cache_unless_it_is_configured() {
    let (_source, builder) = world("");
    let config = ready(builder);
    backup(&config).ok();
    check(&config).ok();
    assert!(!config.state_dir().join("cache").exists());
}

/// Requests that the log of the server has, by their names.
fn requests(log: &Path) -> BTreeMap<String, usize> {
    let mut requests = BTreeMap::new();
    for line in fs::read_to_string(log).unwrap().lines() {
        let Some((_, request)) = line.split_once("request ").and_then(|(_, rest)| rest.split_once(": "))
        else {
            continue;
        };
        let Some(name) = request.split_whitespace().next() else { continue };
        // Answers are logged too.
        if !["sent", "status", "handle"].contains(&name) {
            *requests.entry(name.trim_end_matches(':').to_owned()).or_insert(0) += 1;
        }
    }
    fs::write(log, "").unwrap();
    requests
}

#[test]
fn an_sftp_server_gets_few_requests_however_many_packs_there_are() {
    if !Path::new(SSHD).exists() || !Path::new(SERVER).exists() {
        return skip("an SSH server (apt-get install openssh-server)");
    }
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("requests");
    fs::write(&log, "").unwrap();
    let (_sshd, port) = start_sshd_with(dir.path(), &format!("{SERVER} -e -l DEBUG3 2>>{}", log.display()));
    let user = String::from_utf8(run_ok(Command::new("id").arg("-un"), b"")).unwrap();
    let (source, builder) = world("");
    let config = builder.build();
    let location = format!("sftp://{}@127.0.0.1:{port}{}", user.trim(), config.repo().display());
    let options = format!(
        "{}\noptions = {{ key = {}, known_hosts_strategy = \"accept\" }}",
        quoted(&location),
        quoted(&dir.path().join("user").display().to_string())
    );
    edit(&config, &quoted(&config.repo().display().to_string()), &options);
    let home = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| cmd_with(&config.path()).env("HOME", home.path()).args(args).run().ok();
    run(&["init"]);
    let backup = || {
        run(&["backup"]);
        requests(&log)
    };
    backup();
    backup();
    let few = backup();
    for number in 0..12 {
        fs::write(source.path().join("new"), format!("{number}")).unwrap();
        backup();
    }
    let many = backup();
    // Three times 256 directories are listed: at the beginning, before the commit and at the end.
    let listing = ["opendir", "readdir", "close"];
    let others = |of: &BTreeMap<String, usize>| -> usize {
        of.iter().filter(|(name, _)| !listing.contains(&name.as_str())).map(|(_, number)| number).sum()
    };
    assert!((1..100).contains(&others(&few)), "{few:?}");
    assert!(others(&many) <= others(&few) + 5, "{many:?} after {few:?}");
    assert!(many["opendir"] <= 4 * 256 + 20, "{many:?}");
    run(&["check", "--read-data"]);
    if let Some(restic) = Restic::new_() {
        restic.check(&config.repo(), &config.password_file(), true);
    }
}
