//! Valid configurations: defaults, merging, paths.

use super::*;
use std::{num::NonZero, thread::available_parallelism};

#[test]
fn the_example_is_valid() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/example-config.toml");
    let config = Config::load(Some(&path)).unwrap();
    let names: Vec<_> = config.sources.iter().map(|source| source.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "azure-postgres",
            "discourse",
            "shop",
            "azure-mysql",
            "mongodb",
            "azure-storage",
            "azure-servers",
            "discourse-files"
        ]
    );
    assert_eq!(config.path, path);
    assert_eq!(config.repository.min_free, 20 << 30);
    let azure = config.source("azure-postgres").unwrap();
    assert_eq!(azure.retention, Retention { keep_daily: 14, ..config.retention.clone() });
    assert_eq!(config.retention.keep_monthly, 12);
}

#[test]
fn the_commented_keys_of_the_example_are_valid_too() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/example-config.toml");
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().map(|line| match line.strip_prefix("# ") {
        Some(key) if (key.contains(" = ") || key.starts_with('[')) && !key.starts_with("location_file") => {
            key
        }
        _ => line,
    });
    let text: Vec<_> = lines.collect();
    let config = parse(&text.join("\n")).unwrap();
    assert_eq!(config.repository.options["bucket"], "backups");
    assert_eq!(
        config.repository.options_files["secret_access_key"].key(),
        "repository.options_files.secret_access_key"
    );
}

#[test]
fn defaults() {
    let config = source("").unwrap();
    assert_eq!(config.state_dir, Path::new("/var/lib/tik-backup"));
    assert_eq!(config.jobs, available_parallelism().map_or(1, NonZero::get).min(64));
    let repository = &config.repository;
    assert_eq!(repository.location, RepositoryLocation::Given("/r".into()));
    assert_eq!(repository.password_file, SecretFile::at("repository.password_file", "/pw"));
    assert_eq!((repository.compression, repository.verify_writes), (1, false));
    assert_eq!((repository.min_free, repository.pack_size), (1 << 30, 16 << 20));
    assert_eq!(repository.host, rustix::system::uname().nodename().to_string_lossy());
    assert!(
        repository.mount.is_none() && repository.options.is_empty() && repository.options_files.is_empty()
    );
    let source = &config.sources[0];
    assert_eq!((source.schedule.as_ref(), source.jobs), (None, None));
    assert_eq!(source.idle_timeout, Duration::from_secs(900));
    assert_eq!(source.kind.as_str(), "postgres");
    assert_eq!((config.retention.keep_daily, config.retention.keep_weekly), (7, 4));
    let rest = Retention { keep_daily: 0, keep_weekly: 0, ..config.retention.clone() };
    assert!(rest.is_empty() && !config.retention.is_empty());
    let postgres = postgres("");
    assert_eq!(postgres.server.host, Host::Socket("/run/postgresql".into()));
    assert_eq!((postgres.server.port, postgres.maintenance_db.as_str()), (5432, "postgres"));
    assert_eq!(
        (postgres.server.user, postgres.server.sslmode, postgres.server.sslrootcert),
        (None, None, None)
    );
    assert_eq!(postgres.server.databases.matched("any/thing"), Some("*"));
    assert!(postgres.server.exclude.is_empty() && postgres.server.client_dirs.is_empty());
    assert!(postgres.server.globals && !postgres.include_system);
    assert_eq!(postgres.role_passwords, RolePasswords::Auto);
}

#[test]
fn paths_start_from_the_folder_of_the_file() {
    let config = parse(
        "state_dir = \"state\"\n[repository]\nlocation = \"repo\"\npassword_file = \"pw\"\n\
         options_files = { token = \"t\" }\n\
         [sources.pg]\nkind = \"postgres\"\nsslcert = \"c\"\nsslkey = \"/k\"\nclient_dirs = [\"bin\"]\n",
    )
    .unwrap();
    assert_eq!(config.state_dir, Path::new("/etc/tik/state"));
    assert_eq!(config.repository.location.load().unwrap().path(), Some(Path::new("/etc/tik/repo")));
    assert_eq!(config.repository.password_file.to_string(), "/etc/tik/pw");
    assert_eq!(config.repository.options_files["token"].to_string(), "/etc/tik/t");
    let postgres = PostgresConfig::of(&*config.sources[0].kind).unwrap();
    assert_eq!(postgres.server.sslcert.as_deref(), Some(Path::new("/etc/tik/c")));
    assert_eq!(postgres.server.sslkey.as_deref(), Some(Path::new("/k")));
    assert_eq!(postgres.server.client_dirs, [Path::new("/etc/tik/bin")]);
}

#[test]
fn a_period_may_be_all_that_is_kept_where_somebody_chose_it() {
    let config = with(
        "[sources.z]\nkind = \"postgres\"\nretention = { keep_last = 0 }\n\
         [sources.a]\nkind = \"postgres\"\nretention = { keep_within = \"0s\", keep_last = 1 }\n\
         [retention]\nkeep_daily = 0\nkeep_weekly = 0\nkeep_within = \"30d\"\n",
    )
    .unwrap();
    let within = Duration::from_secs(30 * 86_400);
    assert_eq!((config.retention.keep_within, config.retention.is_empty()), (within, true));
    assert_eq!(config.source("z").unwrap().retention, config.retention);
    assert_eq!(config.source("a").unwrap().retention.keep_within, Duration::ZERO);
}

#[test]
fn sources_stay_in_file_order_and_merge_their_retention_key_by_key() {
    let config = with(
        "[sources.z]\nkind = \"postgres\"\nretention = { keep_weekly = 0, keep_last = 2 }\n\
         [sources.a]\nkind = \"postgres\"\njobs = 3\nidle_timeout = \"1h30m\"\nschedule = \"Sun 04:00\"\n\
         [sources.\"m.x\"]\nkind = \"postgres\"\n[retention]\nkeep_daily = 9\n",
    )
    .unwrap();
    let names: Vec<_> = config.sources.iter().map(|source| source.name.to_string()).collect();
    assert_eq!(names, ["z", "a", "m.x"]);
    let own = Retention { keep_last: 2, keep_daily: 9, keep_weekly: 0, ..Retention::default() };
    assert_eq!(config.source("z").unwrap().retention, own);
    assert_eq!(config.source("a").unwrap().retention, config.retention);
    assert_eq!(config.retention.keep_daily, 9);
    assert_eq!(config.retention.keep_within, Duration::from_secs(48 * 3600), "unless another is configured");
    let a = config.source("a").unwrap();
    assert_eq!(
        (a.jobs, a.idle_timeout, a.schedule.as_ref().map(ToString::to_string).as_deref()),
        (Some(3), Duration::from_secs(5400), Some("Sun 04:00"))
    );
    assert!(config.source("none").is_none());
}

#[test]
fn tls_defaults_follow_the_host() {
    for (host, mode, root) in [
        ("db.example.org", SslMode::VerifyFull, Some(RootCertificates::System)),
        ("10.0.0.1", SslMode::VerifyFull, Some(RootCertificates::System)),
        ("fe80::1%eth0", SslMode::VerifyFull, Some(RootCertificates::System)),
        ("localhost", SslMode::Prefer, None),
        ("127.0.3.1", SslMode::Prefer, None),
        ("::1", SslMode::Prefer, None),
    ] {
        let postgres = postgres(&format!("host = \"{host}\"\nuser = \"u\"\n"));
        assert_eq!((postgres.server.sslmode, postgres.server.sslrootcert), (Some(mode), root), "{host}");
        assert_eq!(postgres.server.host.as_path(), Path::new(host));
    }
    let file = postgres("host = \"h\"\nuser = \"u\"\nsslmode = \"verify-ca\"\nsslrootcert = \"ca.pem\"\n");
    assert_eq!(file.server.sslrootcert, Some(RootCertificates::File("/etc/tik/ca.pem".into())));
    assert_eq!(file.server.sslmode.unwrap().as_str(), "verify-ca");
    let weak = postgres("host = \"h\"\nuser = \"u\"\nsslmode = \"require\"\n");
    assert_eq!((weak.server.sslmode, weak.server.sslrootcert), (Some(SslMode::Require), None));
    let named_file = postgres("host = \"h\"\nuser = \"u\"\nsslrootcert = \"./system\"\n");
    assert_eq!(named_file.server.sslrootcert, Some(RootCertificates::File("/etc/tik/./system".into())));
    assert_eq!(postgres("sslmode = \"disable\"\n").server.sslmode, Some(SslMode::Disable));
}

#[test]
fn a_mysql_source_has_the_same_words() {
    let socket = mysql("").unwrap();
    assert_eq!(socket.server.host, Host::Socket("/run/mysqld/mysqld.sock".into()));
    assert_eq!((socket.server.port, socket.server.sslmode, socket.server.globals), (3306, None, true));
    let remote = mysql("host = \"db.example\"\nuser = \"u\"\nexclude = [\"tmp_*\"]\n").unwrap();
    assert_eq!(remote.server.sslmode, Some(SslMode::VerifyFull), "a remote server is verified");
    assert_eq!(remote.server.exclude.matched("tmp_1"), Some("tmp_*"));
    assert!(socket.exclude_tables.is_empty());
    let some = mysql("exclude_tables = [\"shop.tmp_*\", \"*.cache\"]\n").unwrap().exclude_tables;
    assert_eq!(some.matched("shop.tmp_1"), Some("shop.tmp_*"));
    assert_eq!(some.matched("any.cache"), Some("*.cache"));
    assert_eq!(some.matched("shop.cached"), None);
    assert_eq!(mysql("host = \"127.0.0.1\"\nuser = \"u\"\n").unwrap().server.sslmode, Some(SslMode::Prefer));
}

#[test]
fn a_mongodb_source_needs_only_its_connection_string() {
    let config = with("[sources.m]\nkind = \"mongodb\"\nuri_file = \"u\"\n").unwrap();
    let mongodb = MongodbConfig::of(&*config.sources[0].kind).unwrap();
    assert_eq!(mongodb.uri_file.to_string(), "/etc/tik/u");
    assert_eq!((mongodb.parallel_collections, mongodb.include_system), (4, false));
    assert_eq!(mongodb.consistency, MongodbConsistency::Auto);
    assert!(mongodb.databases.matched("any thing").is_some());
}

#[test]
fn azure_is_asked_by_a_service_principal() {
    let keys = "tenant_id_file = \"t\"\nclient_id_file = \"c\"\nclient_secret_file = \"s\"\n";
    let config =
        with(&format!("[sources.a]\nkind = \"azure-storage\"\n{keys}exclude_accounts = [\"x*\"]\n")).unwrap();
    let azure = AzureStorageConfig::of(&*config.sources[0].kind).unwrap();
    assert_eq!(azure.principal.management_scope, "https://management.azure.com/.default");
    assert_eq!(azure.exclude_accounts.matched("xy"), Some("x*"));
    assert!(azure.accounts.matched("anything").is_some());
    let found = postgres(&format!("azure = true\nuser = \"u\"\n{keys}exclude_servers = [\"s\"]\n"));
    assert_eq!(found.server.sslmode, Some(SslMode::VerifyFull), "servers in Azure are remote");
    assert_eq!(found.server.azure.unwrap().exclude_servers.matched("s"), Some("s"));
    assert!(postgres("").server.azure.is_none());
}

#[test]
fn folders_are_absolute() {
    let config = with("[sources.d]\nkind = \"directory\"\npaths = [\"/srv\", \"below\"]\n").unwrap();
    let directory = DirectoryConfig::of(&*config.sources[0].kind).unwrap();
    assert_eq!(directory.paths, [Path::new("/srv"), Path::new("/etc/tik/below")]);
    assert!(directory.one_file_system && !directory.exclude_caches);
    let state = PathBuf::from("/var/lib/tik-backup");
    assert_eq!(
        directory.protected(),
        [("the repository", PathBuf::from("/r")), ("the state directory", state)]
    );
}

#[test]
fn what_a_path_means_lies_in_the_folder_before_its_first_pattern() {
    for (path, base) in [
        ("/srv/www", "/srv/www"),
        ("/srv/*/uploads", "/srv"),
        ("/*", "/"),
        ("/srv/a?/b*", "/srv"),
        ("/srv/[ab]", "/srv"),
        ("/srv/{a,b}", "/srv"),
        ("/srv/{a", "/srv/{a"),
    ] {
        assert_eq!(DirectoryConfig::base(Path::new(path)), Path::new(base));
        assert_eq!(DirectoryConfig::is_pattern(Path::new(path)), path != base, "{path}");
    }
}

#[test]
fn drills_have_defaults_and_proofs_may_be_without_limit() {
    let config = source("").unwrap();
    assert_eq!(config.max_proof_age, Some(Duration::from_secs(15 * 86_400)));
    assert_eq!(config.sources[0].max_proof_age, config.max_proof_age);
    assert_eq!(config.drill.max_duration, Duration::from_secs(6 * 3600));
    assert_eq!((config.drill.dir.as_ref(), config.drill.sample), (None, 100));
    assert_eq!(config.drill.sandbox, SandboxRule::Required);

    let config = with(
        "[sources.a]\nkind = \"postgres\"\nmax_proof_age = \"never\"\n[sources.b]\nkind = \"postgres\"\nmax_proof_age = \"3d\"\n\
         [drill]\ndir = \"scratch\"\nmax_duration = \"90m\"\njobs = 3\nmin_free = \"2GiB\"\nserver_dirs = [\"/a\", \"b\"]\n\
         mongod = \"/m\"\nserver_files = [\"/c\"]\nsandbox = \"best-effort\"\nsample = 10\nsample_over = \"1TiB\"\n",
    )
    .unwrap();
    assert_eq!(config.sources[0].max_proof_age, None);
    assert_eq!(config.sources[1].max_proof_age, Some(Duration::from_secs(3 * 86_400)));
    let drill = &config.drill;
    assert_eq!(drill.dir.as_deref(), Some(Path::new("/etc/tik/scratch")));
    assert_eq!(drill.server_dirs, [Path::new("/a"), Path::new("/etc/tik/b")]);
    assert_eq!(
        (drill.server_files.as_slice(), drill.sandbox),
        ([PathBuf::from("/c")].as_slice(), SandboxRule::BestEffort)
    );
    assert_eq!((drill.jobs, drill.min_free, drill.sample, drill.sample_over), (3, 2 << 30, 10, 1 << 40));
    assert!(drill.postgres_settings.is_empty());
}

#[test]
fn scratch_servers_of_postgresql_can_be_given_settings() {
    let config = source(
        "[drill.postgres]\nsettings = { Shared_Preload_Libraries = \"\", \"cron.database_name\" = \"a b\", pgaudit.log = \"none\", \
         max_locks_per_transaction = 1000, jit = false }\n",
    )
    .unwrap();
    let settings: Vec<_> =
        config.drill.postgres_settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(
        settings,
        [
            ("cron.database_name", "a b"),
            ("jit", "off"),
            ("max_locks_per_transaction", "1000"),
            ("pgaudit.log", "none"),
            ("shared_preload_libraries", ""),
        ]
    );
}

#[test]
fn services_have_defaults_and_jobs_may_be_left_out() {
    let config = source("").unwrap();
    assert_eq!(config.systemd, SystemdConfig::default());
    assert_eq!(config.systemd.drill.as_ref().unwrap().to_string(), "Sat 06:00");
    assert_eq!(config.runbook, RunbookConfig::default());
    let text = "[systemd]\nuser = \"backups\"\ndrill = \"never\"\ncheck_subset = \"none\"\nrandomized_delay = \"0s\"\n
                [runbook]\norder = [\"s\"]\n[[runbook.contacts]]\nname = \"A\"\nreach = [\"1\", \"2\"]\n";
    let config = with(&format!("[sources.s]\nkind = \"directory\"\npaths = [\"/x\"]\n{text}")).unwrap();
    assert_eq!((config.systemd.user.as_str(), config.systemd.group.as_str()), ("backups", "backups"));
    assert!(config.systemd.drill.is_none() && config.systemd.check.is_some());
    assert_eq!(
        (config.systemd.check_subset.as_deref(), config.systemd.randomized_delay),
        (None, Duration::ZERO)
    );
    assert_eq!(config.runbook.contacts[0].reach, ["1", "2"]);
}
