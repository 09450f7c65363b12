//! Mistakes of people who know another program, or little TOML: each message says what to write instead.

use super::*;

#[test]
fn kinds_by_other_names_are_answered_with_ours() {
    for (kind, right) in [
        ("mariadb", "write \"mysql\""),
        ("pg", "write \"postgres\""),
        ("postgresql", "did you mean \"postgres\"?"),
        ("mongo", "did you mean \"mongodb\"?"),
        ("azure", "write \"azure-storage\""),
        ("folder", "write \"directory\""),
        ("files", "write \"directory\""),
        ("sqlite", "\"directory\""),
    ] {
        let found = problems(with(&format!("[sources.m]\nkind = \"{kind}\"\n")));
        assert!(found.len() == 1 && found[0].contains(right), "{kind}: {found:?}");
    }
    for (kind, right) in [
        ("slack", "kind = \"webhook\" and its name as `format`"),
        ("discord", "kind = \"webhook\""),
        ("teams", "kind = \"webhook\""),
        ("telegram", "kind = \"webhook\""),
        ("mail", "did you mean \"email\"?"),
        ("smtp", "kind = \"email\""),
        ("healthchecks", "kind = \"heartbeat\""),
        ("pushover", "\"webhook\""),
    ] {
        let found = problems(with(&format!("[[alerts]]\nkind = \"{kind}\"\n")));
        assert!(found.len() == 1 && found[0].contains(right), "{kind}: {found:?}");
    }
}

#[test]
fn keys_by_other_names_are_answered_with_ours() {
    for (keys, right) in [
        ("hostname = \"h\"", "did you mean \"host\"?"),
        ("username = \"u\"", "did you mean \"user\"?"),
        ("dbname = \"d\"", "did you mean \"databases\"?"),
        ("ssl = true", "did you mean \"sslmode\"?"),
        ("cron = \"0 2 * * *\"", "did you mean \"schedule\"?"),
        ("retention = { daily = 7 }", "did you mean \"keep_daily\"?"),
        ("state_dir = \"/x\"", "it belongs above the first section"),
    ] {
        let found = problems(source(&format!("{keys}\n")));
        assert!(found.iter().any(|problem| problem.contains(right)), "{keys}: {found:?}");
    }
    one_problem(
        with("[main]\nkind = \"directory\"\npaths = [\"/srv\"]\n"),
        "4: main: unknown key here: a source needs a section [sources.main]",
    );
    one_problem(
        with("[drill]\nschedule = \"Sat 06:00\"\n"),
        "5: drill.schedule: unknown key here: the schedule is `drill` in the section [systemd]",
    );
}

#[test]
fn what_only_a_shell_understands_is_refused() {
    let tilde = "must be a complete path: only shells expand ~";
    one_problem(source("password_file = \"~/pw\"\n"), &format!("6: sources.pg.password_file: {tilde}"));
    one_problem(
        with("[sources.d]\nkind = \"directory\"\npaths = [\"/srv\", \"~/x\"]\n"),
        &format!("6: sources.d.paths: {tilde}"),
    );
    let text = "[repository]\nlocation = \"$HOME/repo\"\npassword_file = \"/pw\"\n";
    one_problem(parse(text), "2: repository.location: must be a complete path: only shells expand variables");
}

#[test]
fn a_value_of_the_wrong_type_is_one_problem() {
    one_problem(
        with("[sources.d]\nkind = \"directory\"\npaths = \"/srv\"\n"),
        "6: sources.d.paths: must be a list of strings, such as [\"…\"], not a string",
    );
    let mail = "[[alerts]]\nkind = \"email\"\nsmtp_host = \"m\"\nfrom = \"a@b.c\"\nto = \"d@e.f\"\n";
    one_problem(with(mail), "8: alerts[1].to: must be a list of strings, such as [\"…\"], not a string");
}

#[test]
fn a_byte_order_mark_is_no_part_of_a_secret() {
    use std::os::unix::fs::PermissionsExt;
    let room = tempfile::tempdir().unwrap();
    let path = room.path().join("pw");
    fs::write(&path, "\u{feff}hunter2\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let text = SecretFile::at("sources.pg.password_file", &path).load().unwrap_err().to_string();
    assert!(text.contains("byte order mark") && !text.contains("hunter2"), "{text}");
    // In the password of an existing repository it is part of the password.
    assert!(SecretFile::at("repository.password_file", &path).load().is_ok());
}
