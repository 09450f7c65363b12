//! A repository on a CIFS mount, by the kernel's own client: a user-mode Linux kernel runs a Samba server and the program.
//! See `cifs/boot`.

use std::{fs, process::Command};

use testkit::{
    Tool, bin, skip, skip_unless,
    tools::{in_ci, stress_or_skip},
};

/// Runs a script of `cifs/` in the guest; it must come to its end.
fn in_guest(script: &str, seconds: u32) {
    skip_unless!(Tool::Uml, Tool::Samba, Tool::CifsUtils, Tool::Kmod);
    let here = testkit::project().join("tests/it/failure/cifs");
    let folder = tempfile::tempdir().unwrap();
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
        return skip(&format!("a machine on which a user-mode kernel starts ({})", reason.trim()));
    }
    assert!(printed.lines().any(|line| line == "DONE"), "{printed}");
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
