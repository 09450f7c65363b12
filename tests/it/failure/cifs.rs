//! A repository on a CIFS mount, by the kernel's own client: a user-mode Linux kernel runs a Samba server and the program.
//! See `cifs/boot`.

use std::{
    collections::HashMap,
    fs,
    path::Path,
    process::Command,
    sync::{Arc, atomic::AtomicU64},
};

use tempfile::TempDir;
use testkit::{
    Tool, bin,
    postgres_world::cmd_with,
    process::run_ok,
    skip, skip_unless,
    tools::{in_ci, stress_or_skip},
};
use tik_backup::{backup, config::Config, outcome::ItemReport, stream::cancel::Cancel};

/// Runs a script of `cifs/` in the guest; it must come to its end.
fn in_guest(script: &str, seconds: u32) {
    skip_unless!(Tool::Uml, Tool::Samba, Tool::CifsUtils, Tool::Kmod);
    run_in_guest(&tempfile::tempdir().unwrap(), script, seconds);
}

/// As [`in_guest`], with files of the test in `folder`. Returns what the script has printed; `None` if the test was skipped.
fn run_in_guest(folder: &TempDir, script: &str, seconds: u32) -> Option<String> {
    let here = testkit::project().join("tests/it/failure/cifs");
    let mut boot = Command::new("bash");
    boot.arg(here.join("boot")).arg(folder.path()).arg(bin()).arg(here.join(script)).arg(seconds.to_string());
    let output = boot.output().unwrap();
    let read = |name: &str| {
        String::from_utf8_lossy(&fs::read(folder.path().join(name)).unwrap_or_default()).into_owned()
    };
    let printed = read("printed");
    if !printed.contains("BOOTED") {
        let said = format!("{}{}", read("console"), String::from_utf8_lossy(&output.stderr));
        // The last lines are registers and addresses.
        let reason = said.lines().find(|line| line.contains("panic") || line.contains("failed, errno"));
        let reason = reason.or(said.lines().next_back()).unwrap_or("it says nothing").to_owned();
        assert!(!in_ci(), "CI must be able to start a user-mode kernel: {said}");
        skip(&format!("a machine on which a user-mode kernel starts ({})", reason.trim()));
        return None;
    }
    assert!(printed.lines().any(|line| line == "DONE"), "{printed}");
    Some(printed)
}

#[test]
fn a_cifs_server_that_is_away_for_half_a_minute_costs_nothing() {
    in_guest("away.sh", 240);
}

#[test]
fn a_cifs_server_that_hangs_for_minutes_costs_nothing() {
    if !stress_or_skip() {
        return;
    }
    in_guest("hang.sh", 560);
}

#[test]
fn a_cifs_share_that_is_taken_away_full_or_read_only_ends_the_backup_as_it_should() {
    if !stress_or_skip() {
        return;
    }
    in_guest("faults.sh", 560);
}

/// A command for which nothing is to do may send so many requests beside one listing of all packs.
const MOST_REQUESTS: u64 = 300;
/// The most requests of one listing: for each of 256 directories and the one above them, three to look whether it is still the
/// same, which a client leaves out if it knows, two to open and read it, one to learn that this was all, and one to close it.
const LISTING: u64 = 257 * 7;
/// Two sizes of repositories.
const PACKS: [u32; 2] = [300, 10_000];

#[test]
fn the_requests_of_commands_with_nothing_to_do_do_not_grow_with_the_packs_but_for_one_listing() {
    skip_unless!(Tool::Uml, Tool::Samba, Tool::CifsUtils, Tool::Kmod);
    let folder = tempfile::tempdir().unwrap();
    for packs in PACKS {
        repository_of(packs, folder.path());
    }
    let Some(printed) = run_in_guest(&folder, "requests.sh", 400) else { return };
    let counts: HashMap<(&str, u32), u64> = printed.lines().filter_map(count).collect();
    for packs in PACKS {
        for command in ["backup", "check", "prune"] {
            let all = counts[&(command, packs)];
            assert!(all <= LISTING + MOST_REQUESTS, "{command} with {packs} packs sent {all} requests");
        }
    }
}

/// Reads `COUNT KIND PACKS REQUESTS`.
fn count(line: &str) -> Option<((&str, u32), u64)> {
    let mut words = line.strip_prefix("COUNT ")?.split(' ');
    Some(((words.next()?, words.next()?.parse().ok()?), words.next()?.parse().ok()?))
}

struct Silent;

impl backup::Observer for Silent {
    fn notice(&self, _: &str) {}
    fn started(&self, _: &str, _: Option<u64>, _: Arc<AtomicU64>) {}
    fn finished(&self, _: &ItemReport) {}
}

/// Makes a repository in which almost each of `packs` small files has a pack of its own, and packs it for the guest, where
/// one of the files is left. The repository is in memory if possible: each pack is synced.
fn repository_of(packs: u32, folder: &Path) {
    let memory = Path::new("/dev/shm");
    let place = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
    let data = folder.join("data");
    fs::create_dir_all(&data).unwrap();
    for number in 0..packs {
        fs::write(data.join(format!("{number}")), format!("the content of file {number}")).unwrap();
    }
    let config = |location: &Path, path: &Path| {
        let text = format!(
            "state_dir = \"{0}/state\"\n[repository]\nlocation = \"{2}\"\npassword_file = \"{1}/password\"\n\
             host = \"guest\"\nmin_free = \"0B\"\n[sources.files]\nkind = \"directory\"\npaths = [\"{1}/data\"]\n",
            place.path().display(),
            folder.display(),
            location.display()
        );
        fs::write(path, text).unwrap();
    };
    fs::write(folder.join("password"), "a repository password\n").unwrap();
    fs::set_permissions(folder.join("password"), std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .unwrap();
    config(Path::new("/mnt/box/repo"), &folder.join("config.toml"));
    let here = place.path().join("config.toml");
    config(&place.path().join("repo"), &here);
    cmd_with(&here).arg("init").run().ok();
    let mut config = Config::load(Some(&here)).unwrap();
    // Smaller than the configuration allows: every chunk becomes a pack.
    config.repository.pack_size = 1;
    let report = backup::run(&config, &[], &Silent, &Cancel::new()).unwrap();
    assert!(report.error.is_none(), "{report:?}");
    fs::remove_dir_all(&data).unwrap();
    fs::create_dir(&data).unwrap();
    fs::write(data.join("0"), "the content of file 0").unwrap();
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(place.path()).arg("-cf").arg(folder.join(format!("repo-{packs}.tar"))).arg("repo");
    run_ok(&mut tar, b"");
}
