//! The messages about what is wrong with sources of each kind, services and drills.

use super::*;

#[test]
fn keys_of_another_kind_are_unknown_to_mysql() {
    let unknown = problems(with("[sources.my]\nkind = \"mysql\"\nmaintenance_db = \"x\"\n"));
    assert!(unknown[0].starts_with("6: sources.my.maintenance_db: unknown key"), "{unknown:?}");
    one_problem(
        with("[sources.my]\nkind = \"mysql\"\nhost = \"db.example\"\n"),
        "4: sources.my.user: missing: a connection over TCP needs the name of an account",
    );
}

#[test]
fn a_pattern_of_tables_names_the_database() {
    one_problem(
        with("[sources.my]\nkind = \"mysql\"\nexclude_tables = [\"shop.tmp_*\", \"cache\"]\n"),
        "6: sources.my.exclude_tables: \"cache\" names no database: write \"DATABASE.TABLE\", for example \"shop.cache\", or \
         \"*.cache\" for every database",
    );
    one_problem(
        with("[sources.my]\nkind = \"mysql\"\nexclude_tables = [\"shop.\"]\n"),
        "6: sources.my.exclude_tables: \"shop.\" lacks the database or the table: write \"DATABASE.TABLE\", with * for all of them",
    );
    one_problem(
        with("[sources.my]\nkind = \"mysql\"\nexclude_tables = [\"`shop`.`x`\"]\n"),
        "6: sources.my.exclude_tables: \"`shop`.`x`\" has quotes, which are not part of the names: write the names as they are, \
         without quotes",
    );
}

#[test]
fn a_connection_string_stands_in_a_file() {
    one_problem(
        with("[sources.m]\nkind = \"mongodb\"\n"),
        "4: sources.m.uri_file: missing: the path of a file that holds the connection string, mongodb://… or \
         mongodb+srv://…",
    );
    let pasted = problems(with(
        "[sources.m]\nkind = \"mongodb\"\nuri = \"mongodb://u:hunter2@h\"\nuri_file = \"u\"\n",
    ));
    assert!(pasted[0].starts_with("6: sources.m.uri: ") && !pasted[0].contains("hunter2"), "{pasted:?}");
}

#[test]
fn exclusions_that_cannot_work_are_refused_before_anything_is_asked() {
    let folders = "[sources.d]\nkind = \"directory\"\npaths = [\"/srv\"]\n";
    let keys = "tenant_id_file = \"/t\"\nclient_id_file = \"/c\"\nclient_secret_file = \"/s\"\n";
    let azure = format!("[sources.d]\nkind = \"azure-storage\"\n{keys}");
    for (pattern, says, of_blobs) in [
        ("/", "matches nothing", true),
        ("!a", "would take something back in", true),
        ("a[b", "is not a valid pattern: unclosed character class", true),
        ("/..", "has a . or .. in it and can never match", false),
        ("../x", "has a . or .. in it and can never match", false),
        ("a//b", "can never match", false),
    ] {
        let exclude = format!("exclude = [\"*.tmp\", \"{pattern}\"]\n");
        let lines = problems(with(&format!("{folders}{exclude}")));
        let expected = format!("7: sources.d.exclude: {pattern:?} ");
        assert!(lines.len() == 1 && lines[0].starts_with(&expected) && lines[0].contains(says), "{lines:?}");
        let config = with(&format!("{azure}{exclude}"));
        if of_blobs {
            assert!(problems(config).join("\n").contains(says), "{pattern}");
        } else {
            assert!(config.is_ok(), "a blob may be called so: {pattern}");
        }
    }
}

#[test]
fn what_azure_and_folders_need_is_named() {
    let lines = problems(with("[sources.a]\nkind = \"azure-storage\"\n"));
    assert!(lines[0].starts_with("4: sources.a.tenant_id_file: missing: "), "{lines:?}");
    assert_eq!(lines.len(), 3, "{lines:?}");
    let keys = "tenant_id_file = \"t\"\nclient_id_file = \"c\"\nclient_secret_file = \"s\"\nuser = \"u\"\n";
    one_problem(
        source(&format!("azure = true\nhost = \"h\"\n{keys}")),
        "7: sources.pg.host: give either host or azure = true, which finds the hosts, not both",
    );
    one_problem(
        with(&format!(
            "[sources.a]\nkind = \"mysql\"\nazure = true\nauthority = \"http://login.example\"\n{keys}"
        )),
        "7: sources.a.authority: must be a URL that begins with https://",
    );
    let unknown = problems(source("exclude_servers = [\"x\"]\n"));
    assert!(unknown[0].starts_with("6: sources.pg.exclude_servers: unknown key"), "{unknown:?}");
    one_problem(
        with("[sources.d]\nkind = \"directory\"\n"),
        "4: sources.d.paths: missing: the directories to back up, as a list",
    );
    one_problem(
        with("[sources.d]\nkind = \"directory\"\npaths = [\"/a\", \"/a\"]\n"),
        "6: sources.d.paths: names /a twice",
    );
}

#[test]
fn folders_that_would_be_backed_up_into_themselves_and_patterns_of_any_depth_are_refused() {
    for (path, problem) in [
        ("/r", "/r is the repository, which is not backed up into itself; remove it"),
        ("/r//data/", "/r/data lies in the repository, which is not backed up into itself; remove it"),
        ("/r/*/x", "/r is the repository, which is not backed up into itself; remove it"),
        (
            "/var/lib/tik-backup/spool",
            "/var/lib/tik-backup/spool lies in the state directory, which is not backed up into itself; remove it",
        ),
        (
            "/srv/**/uploads",
            "/srv/**/uploads: ** is not possible here; write a * for each level, such as \"/srv/*/uploads\", and further \
             paths for further levels",
        ),
    ] {
        let config = with(&format!("[sources.d]\nkind = \"directory\"\npaths = [{path:?}]\n"));
        one_problem(config, &format!("6: sources.d.paths: {problem}"));
    }
    for path in ["/", "/rest", "/r/../srv", "/var/lib", "/srv/*", "/var/l*/x", "/srv/a\\\\*\\\\*b"] {
        with(&format!("[sources.d]\nkind = \"directory\"\npaths = [\"{path}\"]\n")).unwrap();
    }
}

#[test]
fn impossible_values_of_services_and_the_runbook_are_named() {
    for (text, problem) in [
        (
            "[systemd]\nuser = \"a b\"\n",
            "5: systemd.user: must be the name of a user or group of this machine",
        ),
        (
            "[systemd]\ncheck_subset = \"many\"\n",
            "5: systemd.check_subset: must be a part of the packs such as \"5%\", or \"none\"",
        ),
        (
            "[systemd]\nmemory_max = \"a lot\"\n",
            "5: systemd.memory_max: must be a size for systemd such as \"2G\" or \"50%\", or \"infinity\"",
        ),
        ("[runbook]\norder = [\"shop\"]\n", "5: runbook.order: there is no source \"shop\""),
        ("[[runbook.contacts]]\nreach = [\"1\"]\n", "4: runbook.contacts[1].name: missing: whom to call"),
    ] {
        one_problem(with(text), problem);
    }
    assert!(with("[systemd]\ndrill = \"sometimes\"\n").unwrap_err().to_string().contains("systemd.drill"));
}

#[test]
fn settings_by_which_drills_reach_their_servers_are_refused() {
    let settings = |text: &str| source(&format!("[drill.postgres]\nsettings = {{ {text} }}\n"));
    one_problem(
        settings("port = 1"),
        "7: drill.postgres.settings.port: port cannot be set: drills need it as it is",
    );
    one_problem(
        settings("\"a b\" = 1"),
        "7: drill.postgres.settings.\"a b\": is not the name of a parameter of PostgreSQL",
    );
    one_problem(
        settings("jit = [1]"),
        "7: drill.postgres.settings.jit: must be a string, a number, true or false, not a list",
    );
}
