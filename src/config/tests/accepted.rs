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
    let named: Vec<_> = config.certificates().into_iter().map(|(_, path)| path).collect();
    assert_eq!(named, [Path::new("/etc/tik/c"), Path::new("/k")]);
    assert_eq!(config.sources[0].kind.client_dirs(), [Path::new("/etc/tik/bin")]);
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
