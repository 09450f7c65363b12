//! Names of hosts, sources and items as operators give them: odd, mistyped, of another host, empty.

use std::fs;

use testkit::{Tool, program::quoted, reports::assert_says, skip_unless};

use super::{hosts::Shared, support::text};

#[test]
fn a_name_that_nobody_knows_is_a_slip_that_leaves_nothing_behind() {
    let shared = Shared::new();
    let a = shared.host("a");
    a.run(&["backup"]).ok();
    let to = a.out("out");
    for command in [
        &["backup", "disk/dta"][..],
        &["backup", "--dry-run", "disk/dta"],
        &["snapshots", "disk/dta"],
        &["accept", "disk/dta"],
        &["drill", "disk/dta"],
        &["ls", "disk/dta"],
        &["forget", "disk/dta"],
        &["restore", "disk/dta", "--to", text(&to)],
        &["restore", "dsk/data", "--to", text(&to)],
    ] {
        assert_says(&a.run(command).expect_code(2).stderr, &["did you mean disk/data?"]);
    }
    for command in [
        &["backup", "dsk"][..],
        &["discover", "dsk"],
        &["snapshots", "dsk"],
        &["accept", "dsk"],
        &["drill", "dsk"],
    ] {
        assert_says(&a.run(command).expect_code(2).stderr, &["did you mean disk?"]);
    }
    let ledger = a.json(&["status", "--all"]);
    assert_eq!(ledger["items"].as_array().unwrap().len(), 1, "{ledger:#}");
    a.run(&["status", "--check"]).ok();

    // What is new is found by its name; what was there once and is not any more is a failure.
    let (more, config) = (a.folder.join("more"), fs::read_to_string(&a.config).unwrap());
    fs::create_dir(&more).unwrap();
    fs::write(more.join("file"), "x").unwrap();
    let line = config.lines().find(|line| line.starts_with("paths")).unwrap();
    a.edit(line, &line.replace(']', &format!(", {}]", quoted(text(&more)))));
    a.run(&["backup", "disk/more"]).ok();
    a.edit(&format!(", {}]", quoted(text(&more))), "]");
    a.run(&["backup", "disk/more"]).expect_code(1);
    a.run(&["restore", "disk/more", "--to", text(&to)]).ok();
}

#[test]
fn a_machine_does_not_take_over_the_name_of_a_host_that_lives() {
    skip_unless!(Tool::Faketime);
    let shared = Shared::new();
    let (dead, new) = (shared.host("host1"), shared.host("newbox"));
    dead.at("2026-10-05 00:00:00", &["backup"]).ok();
    let to = new.out("out");
    let restore = ["restore", "disk/data", "--to", text(&to)];
    let now = "2026-10-15 02:00:00";
    let ran = new.at(now, &restore).expect_code(1);
    assert_says(&ran.stderr, &["--host host1` uses them", "host = \"host1\""]);
    // With another live one, it is undefined which of the two it replaces.
    shared.host("host2").at("2026-10-14 04:55:00", &["backup"]).ok();
    for command in [&restore[..], &["ls", "disk/data"], &["drill", "disk/data"], &["drill"]] {
        let ran = new.at(now, command).expect_code(1);
        let parts =
            ["--host HOST`", "(host2: newest 21 h ago, host1: newest 10 days ago)", "host = \"HOST\""];
        assert_says(&ran.stderr, &parts);
        assert!(!ran.stderr.contains("--host host2"), "{}", ran.stderr);
    }
    let status = new.at(now, &["status"]).ok().stdout;
    assert!(!status.contains("--host host2") && !status.contains("host = \"host2\""), "{status}");

    // After its own first backup the past of the others is named where it is asked for.
    new.at(now, &["backup"]).ok();
    let at = ["--at", "2026-10-06"];
    let ran = new.at(now, &[&restore[..], &at].concat()).expect_code(1);
    assert_says(
        &ran.stderr,
        &["or earlier; other hosts have: host1 (1 snapshot", " --at 2026-10-0", "--host host1`"],
    );
    assert!(!ran.stderr.contains("host2") && !ran.stderr.contains("host = "), "{}", ran.stderr);
    let theirs = new.json(&["snapshots", "--host", "host1"]);
    let id = theirs["snapshots"][0]["id"].as_str().unwrap();
    for command in
        [&["drill", "disk/data", "--at", &id[..8]][..], &[&restore[..], &["--at", &id[..8]]].concat()]
    {
        let ran = new.at(now, command).expect_code(1);
        assert_says(&ran.stderr, &[&format!("'disk/data' --at {} --host host1`", &id[..8])]);
    }
    // What is gone for long may be removed; what lives is not among what is to be removed.
    let status = new.at(now, &["status"]).ok().stdout;
    assert_says(&status, &["of a host that is gone `tik-backup forget`"]);
    let orphans = new.at(now, &["--json", "forget"]).ok().json();
    let recent: Vec<_> =
        orphans["orphans"].as_array().unwrap().iter().map(|o| (&o["host"], &o["recent"])).collect();
    assert_eq!(recent, [(&"host1".into(), &false.into()), (&"host2".into(), &true.into())]);
}

#[test]
fn a_host_that_nobody_knows_is_refused_with_the_nearest_name() {
    let shared = Shared::new();
    let host = shared.host("vm-one");
    let empty = host.run(&["status", "--host", "x"]).expect_code(2);
    assert!(!empty.stderr.contains("it has snapshots of"), "{}", empty.stderr);
    host.run(&["backup"]).ok();
    let to = host.out("out");
    for command in [
        &["forget"][..],
        &["forget", "disk"],
        &["forget", "disk/data"],
        &["forget", "--id", "0123abcd"],
        &["snapshots"],
        &["snapshots", "disk"],
        &["status"],
        &["ls", "disk/data"],
        &["drill"],
        &["drill", "disk/data"],
        &["restore", "disk/data", "--to", text(&to)],
    ] {
        let ran = host.run(&[command, &["--host", "vm-onn"]].concat()).expect_code(2);
        assert_says(&ran.stderr, &["no snapshot of a host vm-onn", "did you mean vm-one?"]);
        assert!(!ran.stderr.contains("replaces") && !ran.stderr.contains("host = "), "{}", ran.stderr);
    }
    assert_says(&host.run(&["forget", "--host", "vm-one"]).ok().stdout, &["still backed up"]);
}

#[test]
fn an_empty_name_of_a_host_is_refused() {
    let shared = Shared::new();
    let ran = shared.host("a").run(&["snapshots", "--host", ""]).expect_code(2);
    assert_says(&ran.stderr, &["--host is empty", "--all-hosts"]);
}

#[test]
fn hosts_with_odd_names_are_named_as_they_can_be_given() {
    let shared = Shared::new();
    let new = shared.host("new");
    let odd = shared.host("dash");
    odd.edit("host = \"dash\"", "host = \"-rf\"");
    odd.run(&["backup"]).ok();
    assert_says(&new.run(&["ls", "disk/data"]).expect_code(1).stderr, &["ls 'disk/data' --host=-rf`"]);
    assert_says(&new.run(&["ls", "disk/data", "--host=-rf"]).ok().stdout, &["of-dash"]);
    assert_says(&new.run(&["forget", "disk/data", "--host=-rf"]).ok().stdout, &["--host=-rf --confirm"]);

    let shared = Shared::new();
    let (new, odd) = (shared.host("new"), shared.host("bell"));
    odd.edit("host = \"bell\"", "host = \"be\\u202ell\"");
    odd.run(&["backup"]).ok();
    let ran = new.run(&["ls", "disk/data"]).expect_code(1);
    assert_says(&ran.stderr, &["--host 'be\\u{202e}ll'`"]);
    assert_says(&new.run(&["ls", "disk/data", "--host", "be\\u{202e}ll"]).ok().stdout, &["of-bell"]);
}
