//! Tests of the dialogue with psql, with shell scripts in its place: answers, errors, silence and death.

#![allow(clippy::unwrap_used)]

use std::fs;

use serde::Deserialize;

use super::*;
use crate::source::postgres::connect::ConnectParams;

/// A session with a psql whose answer to each statement is what the shell lines `answer` make of `$sql`: they print rows
/// and set `state`.
fn session(answer: &str) -> Result<Psql> {
    let script = format!(
        r#"state=00000
while IFS= read -r line; do
  case "$line" in
    '\set '*) state=00000; sql= ;;
    '\echo '*) set -- $line; [ "$3" = 0 ] && state=0; echo "$2 $state" ;;
    '\warn '*) echo "${{line#* }}" >&2 ;;
    ';') {answer} ;;
    *) sql="$sql$line" ;;
  esac
done"#
    );
    connect_to(&script)
}

fn connect_to(script: &str) -> Result<Psql> {
    let dir = tempfile::tempdir().unwrap();
    let psql = dir.path().join("psql");
    let draft = dir.path().join("draft");
    fs::write(&draft, format!("#!/bin/sh\n{script}\n")).unwrap();
    // Copied by another process: a file we had open for writing may be "busy", as other tests fork meanwhile.
    let copied =
        std::process::Command::new("install").args(["-m", "755"]).args([&draft, &psql]).status().unwrap();
    assert!(copied.success());
    let client = Client { dir: dir.path().to_owned(), major: 15, version_text: "15.3".into() };
    let connection = ConnectParams { host: "db.example".into(), ..Default::default() }.prepare(15).unwrap();
    Psql::connect(&client, &connection, "shop", &Cancel::new())
}

#[derive(Debug, Deserialize, PartialEq)]
struct Row {
    n: u32,
    #[serde(default)]
    text: String,
}

#[test]
fn rows_are_read_up_to_the_mark() {
    let mut psql = session(r#"printf '{"n": 1, "text": "a\\nb"}\n{"n": 2, "text": "\377"}\n'"#).unwrap();
    let rows: Vec<Row> = psql.query("SELECT 1").unwrap();
    assert_eq!(rows, [Row { n: 1, text: "a\nb".into() }, Row { n: 2, text: "\u{fffd}".into() }]);
    assert_eq!(psql.query::<Row>("SELECT 1;").unwrap().len(), 2, "the session goes on");
    assert!(psql.query_one::<Row>("SELECT 1").unwrap_err().to_string().contains("2 rows instead of one"));
    assert!(psql.query::<u32>("SELECT 1").unwrap_err().to_string().contains("not as expected"));
}

#[test]
fn an_error_carries_the_servers_message_and_leaves_the_session_open() {
    let mut psql = session(
        r#"case "$sql" in *nope*) echo 'psql:<stdin>:7: ERROR:  permission denied for table nope' >&2; state=42501 ;;
           *good*) echo '{"n": 3}' ;; esac"#,
    )
    .unwrap();
    let error = psql.query::<Row>("SELECT nope").unwrap_err();
    assert_eq!(
        error.summary(),
        "a query in database \"shop\" on db.example:5432 failed: ERROR: permission denied for table nope (SQLSTATE 42501)"
    );
    assert!(error.hint_text().unwrap().contains("pg_read_all_data"));
    assert_eq!(SqlState::of(&error), Some(SqlState::INSUFFICIENT_PRIVILEGE));
    assert_eq!(psql.query_one::<Row>("SELECT good").unwrap().n, 3);
}

#[test]
fn a_refused_connection_is_explained() {
    let script =
        "echo 'psql: error: connection to server failed: FATAL:  password authentication failed' >&2; exit 2";
    let error = connect_to(script).err().unwrap();
    assert!(
        error.summary().starts_with("cannot connect to database \"shop\" on db.example:5432: connection to")
    );
    assert!(error.hint_text().unwrap().contains("password_file"), "{error}");
}

#[test]
fn a_session_that_died_says_so_ever_after() {
    let mut psql =
        session("case \"$sql\" in *die*) echo 'FATAL:  terminating connection' >&2; exit 2 ;; esac").unwrap();
    let error = psql.execute("die").unwrap_err();
    assert!(error.summary().contains("was lost: FATAL: terminating connection"), "{error}");
    assert!(!psql.is_alive());
    let error = psql.execute("again").unwrap_err();
    assert!(error.summary().contains("is closed") && error.summary().contains("terminating"), "{error}");
}

#[test]
fn a_query_that_takes_too_long_is_cancelled_and_never_hangs() {
    // The stand-in does not react to the interrupt, so the session is closed.
    let mut psql = session("case \"$sql\" in *slow*) exec sleep 100 ;; esac").unwrap();
    psql.set_timeout(Duration::from_millis(50));
    let began = Instant::now();
    let error = psql.execute("slow").unwrap_err();
    assert!(error.summary().contains("took longer than 50ms"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(10));
    assert!(!psql.is_alive());
}

#[test]
fn only_a_whole_last_line_is_the_mark() {
    assert_eq!(split_mark(b"{}\nabc 00000\n", "abc"), Some((3, "00000".into())));
    assert_eq!(split_mark(b"abc 42P01\n", "abc"), Some((0, "42P01".into())));
    for answer in [&b"{}\nabc 000"[..], b"{}\n", b"", b"x abc 00000\n"] {
        assert_eq!(split_mark(answer, "abc"), None, "{}", String::from_utf8_lossy(answer));
    }
}

#[test]
fn quoting_keeps_odd_characters() {
    assert_eq!(quote_literal("it's"), "'it''s'");
    assert_eq!(quote_literal(r"a\b'c"), r"E'a\\b''c'");
    assert_eq!(quote_ident("we\"ird"), "\"we\"\"ird\"");
}

#[test]
fn messages_are_freed_of_repetition_and_our_own_statement() {
    let said = "psql:<stdin>:7: ERROR:  column \"x\" does not exist\nLINE 1: SELECT x\n               ^\nHINT:  try y\n\
                invalid command \\warn\nTry \\? for help.\nabc";
    assert_eq!(tidy(said, "abc"), "ERROR: column \"x\" does not exist\nHINT: try y");
    let twice = "psql: error: connection failed: FATAL:  no\nconnection failed: FATAL:  no\n";
    assert_eq!(tidy(twice, ""), "connection failed: FATAL: no");
    assert_eq!(
        tidy("server closed the connection unexpectedly", ""),
        "the server closed the connection unexpectedly"
    );
}
