//! The messages about problems in the text.

use super::*;

#[test]
fn unknown_keys_are_named_with_line_path_and_the_nearest_key() {
    one_problem(
        source("pasword_file = \"/x\"\n"),
        "6: sources.pg.pasword_file: unknown key; did you mean \"password_file\"?",
    );
    one_problem(
        with("[retention]\nkeep-daily = 3\n"),
        "5: retention.keep-daily: unknown key; did you mean \"keep_daily\"?",
    );
    one_problem(
        with("compresion = 3\n"),
        "4: repository.compresion: unknown key; did you mean \"compression\"?",
    );
    one_problem(
        with("[source.pg]\nkind = \"postgres\"\n"),
        "4: source: unknown key; did you mean \"sources\"?",
    );
    one_problem(with("[[alert]]\nkind = \"webhook\"\n"), "4: alert: unknown key; did you mean \"alerts\"?");
    one_problem(
        source("retention = { keep_wekly = 1 }\n"),
        "6: sources.pg.retention.keep_wekly: unknown key; did you mean \"keep_weekly\"?",
    );
    one_problem(
        with("\"st ate\" = 1\n"),
        "4: repository.\"st ate\": unknown key; the valid keys are location, location_file, password_file, mount, host, compression, verify_writes, min_free, lock_wait, retry_for, cache, pack_size, options, options_files",
    );
}

#[test]
fn a_secret_in_the_configuration_is_refused_and_never_repeated() {
    let advice = "a secret must not be in the configuration: put it into a file and name that file in \"password_file\"";
    for key in ["password", "Password", "passwd", "pass", "passphrase"] {
        for value in ["\"hunter2\"", "[\"hunter2\"]", "{ hunter2 = 1 }"] {
            one_problem(source(&format!("{key} = {value}\n")), &format!("6: sources.pg.{key}: {advice}"));
        }
    }
    one_problem(with("password = \"hunter2\"\n"), &format!("4: repository.password: {advice}"));
    let texts = [
        source("password = hunter2\n"),
        source("password = \"hunter2\n"),
        source("password_file = [\"hunter2\"]\n"),
        source("password_file = \"hunter2\\n\"\n"),
        source("secret_token = \"hunter2\"\n"),
        source("host = \"postgres://u:hunter2@h/db\"\n"),
        with("options = { token = \"hunter2\" }\n"),
        with("options = { key = [\"hunter2\"] }\n"),
        with("options_files = { token = [\"hunter2\"] }\n"),
        with("options_files = { token = \"credential:hunter2/x\" }\n"),
        parse("[repository]\nlocation = \"rest:https://u:hunter2@h/\"\npassword_file = \"/pw\"\n"),
        parse("[repository]\nlocation = \"https://u:hunter2@h/\"\npassword_file = \"/pw\"\n"),
    ];
    for (number, config) in texts.into_iter().enumerate() {
        let text = problems(config).join("\n");
        assert!(!text.contains("hunter2"), "{number}: {text}");
    }
    one_problem(
        with("[repository.options]\nbucket = \"b\"\nsecret_access_key = \"hunter2\"\n"),
        "6: repository.options.secret_access_key: a secret must not be in the configuration: \
         put it into a file and name that file under this key in [repository.options_files]",
    );
}

#[test]
fn a_location_with_a_password_is_refused_and_debug_shows_none() {
    one_problem(
        parse("[repository]\nlocation = \"rest:https://user:hunter2@host\"\npassword_file = \"/pw\"\n"),
        "2: repository.location: the URL holds a password: give that in options_files, \
         or put the whole URL into a file and name it in location_file",
    );
    let config = parse("[repository]\nlocation_file = \"loc\"\npassword_file = \"/pw\"\n").unwrap();
    assert_eq!(config.repository.location.to_string(), "the location in /etc/tik/loc");
    let user =
        parse("[repository]\nlocation = \"rest:https://user@host/r\"\npassword_file = \"/pw\"\n").unwrap();
    assert_eq!(user.repository.location.to_string(), "rest:https://***@host/r");
}

#[test]
fn what_is_missing_is_named() {
    one_problem(parse(""), "repository: missing: a section [repository] with location and password_file");
    assert_eq!(
        problems(parse("jobs = 1\n[repository]\n")),
        [
            "2: repository.location: missing: a path or URL, or location_file with the path of a file that holds it",
            "2: repository.password_file: missing: the path of a file that holds the repository's password",
        ]
    );
    one_problem(
        parse("[repository]\nlocation = \"/r\"\nlocation_file = \"/l\"\npassword_file = \"/pw\"\n"),
        "3: repository.location_file: give either location or location_file, not both",
    );
    one_problem(
        with("[sources.pg]\n"),
        "4: sources.pg.kind: missing: the kind of source, one of: postgres, mysql, mongodb, azure-storage, directory",
    );
    one_problem(
        source("host = \"h\"\n"),
        "4: sources.pg.user: missing: a connection over TCP needs the name of a role",
    );
    one_problem(
        source("sslcert = \"c\"\n"),
        "4: sources.pg.sslkey: missing: sslcert is of use only together with sslkey",
    );
    one_problem(
        source("sslkey = \"c\"\n"),
        "4: sources.pg.sslcert: missing: sslkey is of use only together with sslcert",
    );
}

#[test]
fn kinds_that_are_not_known_are_answered_with_those_that_are() {
    let known = "the kinds are: postgres, mysql, mongodb, azure-storage, \
                 directory";
    one_problem(
        with("[sources.m]\nkind = \"oracle\"\nanything = 1\n"),
        &format!("5: sources.m.kind: unknown source kind \"oracle\"; {known}"),
    );
    one_problem(
        with("[sources.m]\nkind = \"postgress\"\n"),
        &format!("5: sources.m.kind: unknown source kind \"postgress\"; {known}; did you mean \"postgres\"?"),
    );
    one_problem(
        with("[sources.db.example]\nkind = \"postgres\"\n"),
        "4: sources.db: a name with a dot needs quotes: [sources.\"db.example\"]",
    );
    one_problem(with("[sources.m]\nkind = 1\n"), "5: sources.m.kind: must be a string, not an integer");
}

#[test]
fn wrong_types_are_named() {
    for (keys, expected) in [
        ("port = \"5432\"", "port: must be an integer, without quotes, not a string"),
        ("port = 1.5", "port: must be an integer, not a fraction"),
        ("host = 1", "host: must be a string, not an integer"),
        ("user = 2024-01-01", "user: must be a string, not a date or time"),
        ("globals = \"yes\"", "globals: must be true or false, not a string"),
        ("exclude = \"x\"", "exclude: must be a list of strings, such as [\"…\"], not a string"),
        ("exclude = [\n1]", "exclude: must be a list of strings, but has an integer in it"),
        ("exclude = [\"\"]", "exclude: an entry of the list must not be empty"),
        ("client_dirs = true", "client_dirs: must be a list of strings, not true or false"),
        ("password_file = 1", "password_file: must be a string with a path, not an integer"),
        ("idle_timeout = 15", "idle_timeout: must be a duration in quotes, such as \"15m\", not an integer"),
        ("retention = 7", "retention: must be a table ([sources.pg.retention]), not an integer"),
        ("schedule = []", "schedule: must be a string, not a list"),
        ("user = {}", "user: must be a string, not a table"),
    ] {
        let line = if keys.contains('\n') { 7 } else { 6 };
        one_problem(source(&format!("{keys}\n")), &format!("{line}: sources.pg.{expected}"));
    }
    one_problem(
        with("pack_size = 1\n"),
        "4: repository.pack_size: must be a size in quotes, such as \"16MiB\", not an integer",
    );
    one_problem(
        with("options = { retry = 1 }\n"),
        "4: repository.options.retry: must be a string, not an integer",
    );
    one_problem(parse("repository = 1\n"), "1: repository: must be a table ([repository]), not an integer");
    one_problem(with("[[sources]]\n"), "4: sources: must be a table ([sources.NAME]), not a list");
    one_problem(
        parse(&format!("sources.pg = 1\n{REPOSITORY}")),
        "1: sources.pg: must be a table ([sources.pg]), not an integer",
    );
}

#[test]
fn impossible_values_are_named() {
    for (keys, expected) in [
        ("port = 0", "port: must be from 1 to 65535, not 0"),
        ("port = 70000", "port: must be from 1 to 65535, not 70000"),
        ("jobs = 65", "jobs: must be from 1 to 64, not 65"),
        ("jobs = 0x41", "jobs: must be from 1 to 64, not 0x41"),
        ("jobs = 99999999999999999999", "jobs: must be from 1 to 64, not 99999999999999999999"),
        ("user = \" \"", "user: must not be empty"),
        ("schedule = \"\"", "schedule: must not be empty"),
        ("user = \"a\\nb\"", "user: must not hold a newline or another control character"),
        ("password_file = \"\"", "password_file: must not be empty"),
        (
            "password_file = \"credential:\"",
            "password_file: after \"credential:\" comes the name of a systemd credential, without a /",
        ),
        (
            "sslkey = \"credential:k\"\nsslcert = \"c\"",
            "sslkey: a systemd credential can only stand for a key that ends in _file; give a path",
        ),
        (
            "idle_timeout = \"15\"",
            "idle_timeout: must be whole numbers with s, m, h or d, such as \"15m\" or \"1h30m\", not \"15\"",
        ),
        ("idle_timeout = \"0s\"", "idle_timeout: must be from 1s to 7d, not \"0s\""),
        ("idle_timeout = \"8d\"", "idle_timeout: must be from 1s to 7d, not \"8d\""),
        ("role_passwords = \"yes\"", "role_passwords: must be one of \"auto\", \"never\""),
        (
            "sslmode = \"on\"",
            "sslmode: must be one of \"disable\", \"allow\", \"prefer\", \"require\", \"verify-ca\", \"verify-full\", not \"on\"",
        ),
        (
            "sslmode = \"require\"",
            "sslmode: there is no TLS on a Unix socket; leave the key out, or give a host name as host",
        ),
        (
            "databases = []",
            "databases: an empty list would back up nothing; leave the key out for all databases",
        ),
        (
            "exclude = [\"a[b\"]",
            "exclude: \"a[b\" is not a valid pattern: unclosed character class; missing ']'",
        ),
        (
            "host = \"postgres://h\"",
            "host: must be a host name, an address or the directory of a socket, not a URL",
        ),
        ("host = \"[::1]\"", "host: an IPv6 address is written without brackets"),
        ("host = \"a,b\"", "host: must be one host: give each server a source of its own"),
        ("host = \"h:5432\"", "host: must be the host alone: the port is a key of its own, port"),
        (
            "host = \"a b\"",
            "host: is neither a host name, nor an address, nor an absolute path (the directory of a socket)",
        ),
        ("retention = { keep_daily = -1 }", "retention.keep_daily: must be from 0 to 1000000, not -1"),
        (
            "retention = { keep_daily = 0, keep_weekly = 0 }",
            "retention: all values are 0, so that every snapshot would be removed; keep at least one",
        ),
        (
            "retention = { keep_daily = 0, keep_weekly = 0, keep_within = \"0s\" }",
            "retention: all values are 0, so that every snapshot would be removed; keep at least one",
        ),
        (
            "retention = { keep_within = \"two days\" }",
            "retention.keep_within: must be whole numbers with s, m, h or d, such as \"15m\" or \"1h30m\", not \"two days\"",
        ),
    ] {
        one_problem(source(&format!("{keys}\n")), &format!("6: sources.pg.{expected}"));
    }
}

#[test]
fn impossible_values_of_other_sections_are_named() {
    for (keys, expected) in [
        ("compression = 23", "compression: must be from -7 to 22, not 23"),
        ("compression = -8", "compression: must be from -7 to 22, not -8"),
        ("pack_size = \"1MiB\"", "pack_size: must be from 4MiB to 128MiB, not \"1MiB\""),
        ("pack_size = \"129MiB\"", "pack_size: must be from 4MiB to 128MiB, not \"129MiB\""),
        (
            "min_free = \"lots\"",
            "min_free: must be a whole number and B, KiB, MiB, GiB, TiB, KB, MB, GB or TB, not \"lots\"",
        ),
        ("mount = \"mnt\"", "mount: must be an absolute path"),
        (
            "mount = \"/\"",
            "mount: / is always mounted, so this protects nothing: name the mount point of the storage, or leave the key out",
        ),
        (
            "mount = \"/nowhere/x\"",
            "mount: `location` /r is not below /nowhere/x: name the mount point of the storage that holds the repository",
        ),
        (
            "options = { a = \"1\" }\noptions_files = { a = \"/f\" }",
            "options_files.a: is in [repository.options] too; keep one of them",
        ),
    ] {
        let line = 4 + keys.matches('\n').count();
        one_problem(with(&format!("{keys}\n")), &format!("{line}: repository.{expected}"));
    }
    let none = "all values are 0, so that every snapshot would be removed; keep at least one";
    // A source that inherits the table does not repeat the problem.
    one_problem(source("[retention]\nkeep_daily = 0\nkeep_weekly = 0\n"), &format!("6: retention: {none}"));
    let name = "the name of a source is 1 to 64 of A-Z a-z 0-9 . _ - and does not start with . or -";
    for bad in ["-x", ".x", "a b", "ü", "a/b", "", &"x".repeat(65)] {
        let config = with(&format!("[sources.\"{bad}\"]\nkind = \"postgres\"\n"));
        let text = problems(config).join("\n");
        assert!(text.starts_with("4: sources.") && text.ends_with(name), "{text}");
    }
    for good in ["a.b", "_x", "A-1", &"x".repeat(64)] {
        assert_eq!(good.parse::<SourceName>().unwrap().as_str(), good);
    }
}

#[test]
fn tls_settings_that_libpq_would_refuse_are_refused() {
    let keys = "host = \"h\"\nuser = \"u\"\n";
    one_problem(
        source(&format!("{keys}sslmode = \"verify-ca\"\n")),
        "4: sources.pg.sslrootcert: missing: \"verify-ca\" needs a certificate file; \
         only \"verify-full\" works with the system's certificates",
    );
    for mode in ["require", "verify-ca"] {
        one_problem(
            source(&format!("{keys}sslmode = \"{mode}\"\nsslrootcert = \"system\"\n")),
            "9: sources.pg.sslrootcert: \"system\" works only with sslmode = \"verify-full\"",
        );
    }
}

#[test]
fn all_problems_are_reported_at_once_in_the_order_of_the_file() {
    let config = parse(
        "jobs = 0\ncolour = 1\n[repository]\nlocation = \"/r\"\npack_size = \"x\"\n\
         [retention]\nkeep_daily = -1\n[sources.a]\nkind = \"postgres\"\nport = 0\nhots = \"x\"\n\
         [sources.b]\nkind = \"what\"\n",
    );
    let lines: Vec<_> = problems(config)
        .iter()
        .map(|line| line.splitn(3, ": ").take(2).collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(
        lines,
        [
            "1 jobs",
            "2 colour",
            "3 repository.password_file",
            "5 repository.pack_size",
            "7 retention.keep_daily",
            "10 sources.a.port",
            "11 sources.a.hots",
            "13 sources.b.kind",
        ]
    );
}

#[test]
fn syntax_errors_and_duplicate_keys_have_a_line() {
    one_problem(with("mount = \"/r\"\nmount = \"/b\"\n"), "5: duplicate key \"mount\"");
    one_problem(
        source("[sources.pg]\nport = 1\n"),
        "6: the section [sources.pg] appears twice; put its keys together",
    );
    one_problem(
        source("port = 1\n[sources.pg]\nkind = \"mysql\"\nport = 1\n"),
        "7: the section [sources.pg] appears twice; put its keys together",
    );
    assert_eq!(
        problems(with("mount = \"/r\"\nmount = \"/b\"\nhots = 1\n")),
        ["5: duplicate key \"mount\"", "6: repository.hots: unknown key; did you mean \"host\"?"]
    );
    for (text, line) in
        [("x = \n", 4), ("[sources.pg\n", 4), ("x = \"a\n\ny = 1\n", 4), ("\nx y\n", 5), ("x = 1 2\n", 4)]
    {
        let found = problems(with(text));
        assert!(found[0].starts_with(&format!("{line}: not valid TOML: ")), "{text:?}: {found:?}");
    }
    let found = problems(with("a = \nb = 1\nc = [\n"));
    assert!(found.len() >= 2, "every broken line is named: {found:?}");
}

#[test]
fn a_source_named_like_a_host_is_told_of_its_quotes() {
    let told = problems(with("[sources.db.example.org]\nkind = \"postgres\"\n"));
    assert!(
        told.iter().any(|line| line.contains("a name with a dot needs quotes: [sources.\"db.example.org\"]")),
        "{told:?}"
    );
}
