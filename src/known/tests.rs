//! Errors for unknown names and hosts, and for names of which only other hosts have snapshots.

use std::path::Path;

use jiff::{SignedDuration, Zoned};

use super::*;

fn config() -> Config {
    let text = "state_dir = \"/nonexistent\"\n[repository]\nlocation = \"/r\"\npassword_file = \"/pw\"\nhost = \"new\"\n\
                [sources.files]\nkind = \"directory\"\npaths = [\"/srv/small\"]\n";
    Config::parse(text, Path::new("/etc/c.toml")).unwrap()
}

fn snapshot(source: &str, item: &str, host: &str) -> Snapshot {
    let time: Zoned = "2026-11-22T02:00:00+00:00[UTC]".parse().unwrap();
    Snapshot::example(source, item, "directory", time, 7).of_host(host)
}

fn told(name: (&str, Option<&str>), own: &[Snapshot], others: &[Snapshot]) -> (Kind, String) {
    let name = Name { source: name.0, item: name.1 };
    let error = absent(&config(), Asked::latest("restore"), name, own, others);
    (error.kind(), error.to_string())
}

#[test]
fn a_slip_is_answered_with_the_nearest_name_and_what_was_removed_from_the_configuration_counts() {
    let own = [snapshot("files", "small", "new"), snapshot("former", "shop", "new")];
    let (kind, text) = told(("files", Some("smal")), &own, &[]);
    assert!(kind == Kind::Usage && text.contains("did you mean files/small?"), "{text}");
    let (kind, text) = told(("file", Some("small")), &own, &[]);
    assert!(kind == Kind::Usage && text.contains("did you mean files/small?"), "{text}");
    let (kind, text) = told(("formr", None), &own, &[]);
    assert!(kind == Kind::Usage && text.contains("did you mean former?"), "{text}");
    let (kind, text) = told(("files", Some("elephant")), &own, &[]);
    assert!(kind == Kind::Usage && !text.contains("did you mean"), "{text}");
    // A configured source that was never backed up is not a typing error.
    assert_eq!(told(("files", None), &[], &[]).0, Kind::Failed);
}

#[test]
fn where_only_other_hosts_have_snapshots_they_are_named_with_the_command() {
    let others = [snapshot("files", "small", "old"), snapshot("files", "small", "it's\u{1b}[2J")];
    let (kind, text) = told(("files", Some("small")), &[], &others);
    assert_eq!(kind, Kind::Failed);
    for part in ["this host, new, has no snapshot of files/small", "old (1 snapshot, the newest of", "--host"]
    {
        assert!(text.contains(part), "{text}");
    }
    assert!(!text.contains('\u{1b}'), "{text}");
}

#[test]
fn the_name_of_a_host_is_taken_over_only_from_one_that_seems_dead() {
    let share = |host: &str, hours: i64| HostShare {
        host: host.to_owned(),
        snapshots: 1,
        newest: Some(Zoned::now().checked_sub(SignedDuration::from_hours(hours)).unwrap()),
    };
    let (dead, alive, odd) = (share("host1", 240), share("host2", 21), share("-rf", 240));
    let hint = |theirs: &[HostShare]| foreign_hint(&config(), "restore x", theirs, false, false);
    let text = hint(&[alive.clone(), dead.clone()]);
    assert!(text.contains("`tik-backup restore x --host HOST`"), "{text}");
    assert!(text.contains("(host2: newest 21 h ago, host1: newest 10 days ago)"), "{text}");
    assert!(text.contains("host = \"HOST\"") && !text.contains("--host host2"), "{text}");
    let text = hint(std::slice::from_ref(&alive));
    assert!(text.contains("--host host2") && text.contains("alive") && !text.contains("host ="), "{text}");
    let text = hint(std::slice::from_ref(&dead));
    assert!(text.contains("--host host1") && text.contains("host = \"host1\""), "{text}");
    assert!(hint(&[odd]).contains("restore x --host=-rf`"));
    let mut watcher = config();
    watcher.sources.clear();
    let text = foreign_hint(&watcher, "restore x", &[dead], false, false);
    assert_eq!(text, "`tik-backup restore x --host host1` uses them");
}

#[test]
fn a_host_is_taken_as_it_is_shown() {
    for host in ["plain", "a\u{1b}[2J\nb\tc", "back\\slash", "\u{200b}", "ä\r"] {
        assert_eq!(unescaped(&output::name(host)), host);
        assert_eq!(unescaped(host), host);
    }
    assert_eq!((unescaped("\\u{zz}"), unescaped("\\")), ("\\u{zz}".to_owned(), "\\".to_owned()));
}

#[test]
fn a_host_that_has_no_snapshot_and_a_name_of_a_ledger_are_told_with_what_was_meant() {
    let mut config = config();
    config.own_host = Some(std::mem::replace(&mut config.repository.host, "od".to_owned()));
    let others = [snapshot("files", "small", "old")];
    let name = Name { source: "files", item: Some("small") };
    let error = absent(&config, Asked::latest("restore"), name, &[], &others);
    assert!(error.kind() == Kind::Usage && error.to_string().contains("did you mean old?"), "{error}");
    assert!(require_host(&config, &others, &[]).is_ok());
    assert!(!no_such_host("x", &[]).to_string().contains("it has snapshots of"));
    let (kind, text) = told(("files@old", Some("small")), &[], &others);
    assert!(kind == Kind::Usage && text.contains("restore 'files/small' --host old"), "{text}");
}
