//! What the dump tools say on the way: notes, failures in spite of exit code 0, and what passes by itself.

use testkit::{
    ConfigBuilder, FakeClients, MyFlavour,
    mysql_world::{SOURCE, full, server},
    reports::{assert_says, backup, error_of, ids_of, item, ready, try_backup},
};

on_both!(a_complaint_is_a_failure_whatever_the_exit_code, a_lost_connection_is_tried_again);

fn tool(flavour: MyFlavour) -> &'static str {
    match flavour {
        MyFlavour::Mysql97 => "mysqldump",
        MyFlavour::Mariadb1011 => "mariadb-dump",
    }
}

fn a_complaint_is_a_failure_whatever_the_exit_code(flavour: MyFlavour) {
    let (server, tool) = (server(flavour), tool(flavour));
    let clients = FakeClients::of_mysql(flavour);
    for database in ["errno", "early", "warned"] {
        server.create_database(database);
        server.sql(Some(database), "CREATE TABLE t (a int); INSERT INTO t VALUES (1)");
    }
    clients.script("errno", &format!("dump \"$@\"; echo '{tool}: Got errno 32 on write' >&2; exit 0"));
    // However much is said after it.
    clients.script(
        "early",
        &format!(
            "echo '{tool}: Got errno 28 on write' >&2; dump \"$@\"; n=0; \
             while [ $n -lt 100 ]; do echo '{tool}: [Warning] again' >&2; n=$((n + 1)); done; exit 0"
        ),
    );
    clients.script(
        "warned",
        &format!("dump \"$@\"; echo '{tool}: [Warning] mind this' >&2; echo 'Warning: and this' >&2; exit 0"),
    );
    let source = clients.instead(flavour, &server.config_toml());
    let config = ready(ConfigBuilder::new().source(SOURCE, &source));
    let report = try_backup(&config, &[]).expect_code(3).json();
    assert_says(
        error_of(&report, "errno"),
        &["exited successfully but reported an error", "Got errno 32 on write"],
    );
    assert_says(error_of(&report, "early"), &["Got errno 28 on write"]);
    assert!(ids_of(&config, &full("errno")).is_empty());
    let warned = item(&report, "warned");
    assert_eq!(warned["outcome"], "ok");
    assert_says(&warned["notes"].to_string(), &["mind this", "and this"]);
}

fn a_lost_connection_is_tried_again(flavour: MyFlavour) {
    let (server, tool) = (server(flavour), tool(flavour));
    let clients = FakeClients::of_mysql(flavour);
    for database in ["once", "limited"] {
        server.create_database(database);
        server.sql(Some(database), "CREATE TABLE t (a int); INSERT INTO t VALUES (1)");
    }
    let mark = clients.path().join("mark");
    clients.script(
        "once",
        &format!(
            "if [ -e '{mark}' ]; then dump \"$@\"; exit; fi; : > '{mark}'; dump \"$@\" 2>/dev/null | head -c 900; \
             echo '{tool}: Error 2013: Lost connection to server during query when dumping table `t` at row: 5' >&2; exit 3",
            mark = mark.display()
        ),
    );
    clients.script(
        "limited",
        &format!(
            "echo '{tool}: Error 1969: Query execution was interrupted (max_statement_time exceeded) when dumping table `t`' >&2; \
             exit 3"
        ),
    );
    let source = clients.instead(flavour, &server.config_toml());
    let config = ready(ConfigBuilder::new().source(SOURCE, &source));
    let ran = try_backup(&config, &[]).expect_code(3);
    let report = ran.json();
    assert_eq!(item(&report, "once")["outcome"], "ok", "{report:#}");
    assert_says(&ran.stderr, &["Lost connection", "it is tried again in 1 s"]);
    assert_says(error_of(&report, "limited"), &["max_statement_time", "remove the limit"]);
    std::fs::remove_file(clients.path().join("limited.sh")).unwrap();
    backup(&config);
}
