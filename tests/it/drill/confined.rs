//! A backup brings code that runs when it is restored. A drill restores it all the same, and nothing outside of the scratch
//! server's directory notices.

use std::{fs, os::unix::process::CommandExt, path::Path, process::Command, time::Duration};

use serde_json::Value;
use testkit::{
    Cmd, Config, ConfigBuilder, PgServer, PgVersion, Tool,
    process::{as_unprivileged, run, run_ok, unprivileged},
    reports::{backup, edit, item, ready},
    skip, skip_unless,
    tools::{in_ci, root_or_skip},
};

use super::{drill_table, proven};

/// A constraint that any owner of a table may have. It reads a secret and writes a file, silently, when a superuser loads the table.
/// `$1` is a secret, `$2` a directory.
const TRAP: &str = r#"
CREATE ROLE trapper;
CREATE TABLE prices (n int);
CREATE FUNCTION public.spring(n int) RETURNS boolean LANGUAGE plpgsql AS $f$
BEGIN
    COPY (SELECT 1) TO PROGRAM 'cat ''$1'' >''$2/stolen''; touch ''$2/marker''; true';
    RETURN true;
EXCEPTION WHEN OTHERS THEN
    RETURN true;
END $f$;
ALTER TABLE prices ADD CHECK (public.spring(n));
ALTER TABLE prices OWNER TO trapper;
SET ROLE trapper;
INSERT INTO prices SELECT generate_series(1, 100);
"#;

struct Trap {
    // Kept until the end: the source is not asked, but its sockets are accessible to processes that are not confined.
    server: PgServer,
    config: Config,
    outside: tempfile::TempDir,
}

impl Trap {
    fn set() -> Self {
        let server = PgServer::start(PgVersion::V15);
        let outside = tempfile::Builder::new().prefix("tik-outside-").tempdir_in("/tmp").unwrap();
        let mode = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o777);
        fs::set_permissions(outside.path(), mode).unwrap();
        let config = ready(ConfigBuilder::new().postgres("pg", &server, "").tables(&drill_table("")));
        let trap = TRAP.replace("$1", &config.password_file().display().to_string());
        server.create_database("shop");
        server.psql("shop", &trap.replace("$2", &outside.path().display().to_string()));
        backup(&config);
        Self { server, config, outside }
    }

    fn sprung(&self) -> bool {
        ["marker", "stolen"].iter().any(|name| self.outside.path().join(name).exists())
    }

    /// Whether it works where a server is not confined.
    fn works(&self) {
        assert!(!self.sprung(), "only a superuser springs it");
        self.server.psql("shop", "SELECT public.spring(1)");
        assert!(self.sprung());
        for name in ["marker", "stolen"] {
            fs::remove_file(self.outside.path().join(name)).unwrap();
        }
    }

    /// Gives all of the configuration to the ordinary user of the tests.
    fn give_away(&self) {
        let (uid, gid) = unprivileged().unwrap();
        let mut give = Command::new("chown");
        run_ok(give.args(["-R", &format!("{uid}:{gid}")]).arg(self.config.dir()), b"");
    }

    /// A drill by that user, who may not make these system calls.
    fn drill_without(&self, denied: &[libc::c_long]) -> Value {
        let mut command = Cmd::with(&self.config).args(["--json", "drill"]).into_command();
        as_unprivileged(&mut command);
        deny(&mut command, denied);
        let output = run(&mut command, b"", Duration::from_secs(120));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"))
    }
}

/// Makes system calls fail as they do where a container or a unit forbids them.
fn deny(command: &mut Command, calls: &[libc::c_long]) {
    if calls.is_empty() {
        return;
    }
    let step = |code: u16, jf: u8, k: u32| libc::sock_filter { code, jt: 0, jf, k };
    let mut filter = vec![step(0x20, 0, 0)];
    for call in calls {
        filter.push(step(0x15, 1, u32::try_from(*call).unwrap()));
        filter.push(step(0x06, 0, 0x0005_0000 | libc::EPERM as u32));
    }
    filter.push(step(0x06, 0, 0x7fff_0000));
    let install = move || {
        let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
        // SAFETY: the program is read while the call lasts.
        let done = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1_usize, 0_usize, 0_usize, 0_usize) == 0
                && libc::prctl(libc::PR_SET_SECCOMP, 2_usize, &raw const program, 0_usize, 0_usize) == 0
        };
        if done { Ok(()) } else { Err(std::io::Error::last_os_error()) }
    };
    // SAFETY: only system calls are made between fork and exec.
    unsafe { command.pre_exec(install) };
}

/// Whether an ordinary user can have namespaces here; if not, says that the test is skipped.
fn has_namespaces() -> bool {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-current-user", "--mount", "--pid", "--net", "--ipc", "--fork", "true"]);
    let has = as_unprivileged(&mut command).status().is_ok_and(|status| status.success());
    if !has {
        assert!(!in_ci(), "CI must allow user namespaces");
        skip("user namespaces");
    }
    has
}

#[test]
fn what_a_backup_brings_reaches_nothing() {
    skip_unless!(Tool::Pg15);
    if !has_namespaces() {
        return;
    }
    let trap = Trap::set();
    trap.works();
    proven(&trap.config, &[]);
    assert!(!trap.sprung(), "by a server of the drill");
}

#[test]
fn nor_in_a_drill_by_the_user_whose_secrets_it_wants() {
    skip_unless!(Tool::Pg15);
    if root_or_skip().is_none() || !has_namespaces() {
        return;
    }
    let trap = Trap::set();
    trap.give_away();
    // The server of the tests runs as that user.
    trap.server.psql("shop", "SELECT public.spring(1)");
    let stolen = fs::read_to_string(trap.outside.path().join("stolen")).unwrap();
    assert_eq!(stolen, fs::read_to_string(trap.config.password_file()).unwrap());
    for name in ["marker", "stolen"] {
        fs::remove_file(trap.outside.path().join(name)).unwrap();
    }
    let report = trap.drill_without(&[]);
    assert_eq!(item(&report, "shop")["outcome"], "proven", "{report:#}");
    assert!(!trap.sprung());
    // One of the two is enough for it, but for sockets in directories.
    let report = trap.drill_without(&[libc::SYS_landlock_create_ruleset]);
    assert_eq!(item(&report, "shop")["outcome"], "proven", "{report:#}");
    assert!(!trap.sprung());
}

#[test]
fn where_nothing_confines_a_server_it_is_not_started_unless_that_is_allowed() {
    skip_unless!(Tool::Pg15);
    if root_or_skip().is_none() {
        return;
    }
    let trap = Trap::set();
    trap.give_away();
    let nothing = [libc::SYS_unshare, libc::SYS_landlock_create_ruleset];
    let report = trap.drill_without(&nothing);
    let shop = item(&report, "shop");
    assert_eq!(shop["outcome"], "unproven", "{report:#}");
    let error = shop["error"].as_str().unwrap();
    for text in ["cannot be confined", "files", "processes", "network", "drill.sandbox", "best-effort"] {
        assert!(error.contains(text), "{text}: {error}");
    }
    assert!(!trap.sprung());

    edit(&trap.config, "[drill]\n", "[drill]\nsandbox = \"best-effort\"\n");
    let report = trap.drill_without(&nothing);
    let shop = item(&report, "shop");
    assert_eq!(shop["outcome"], "proven", "{report:#}");
    let notes = shop["notes"].as_array().unwrap();
    assert!(notes.iter().any(|note| note.as_str().unwrap().contains("not confined")), "{report:#}");
    assert!(trap.sprung(), "the trap is one that works in a drill");
}

#[test]
fn servers_do_not_run_as_a_user_who_has_something() {
    skip_unless!(Tool::Pg15);
    if root_or_skip().is_none() || !has_namespaces() {
        return;
    }
    let server = PgServer::start(PgVersion::V15);
    server.create_database("shop");
    // The server reports its user itself.
    let ask = "CREATE FUNCTION public.who() RETURNS boolean LANGUAGE plpgsql AS $f$ BEGIN
            CREATE TEMP TABLE IF NOT EXISTS said (line text);
            COPY said FROM PROGRAM 'id -u; id -G; ls /run /root /home 2>/dev/null | wc -l';
            RAISE EXCEPTION 'who: % .', (SELECT string_agg(line, ' ') FROM said);
        EXCEPTION WHEN insufficient_privilege THEN RETURN true; END $f$;
        CREATE ROLE asker; CREATE TABLE asks (n int CHECK (public.who())); ALTER TABLE asks OWNER TO asker;
        SET ROLE asker; INSERT INTO asks VALUES (1)";
    server.psql("shop", ask);
    let config = ready(ConfigBuilder::new().postgres("pg", &server, "").tables(&drill_table("")));
    backup(&config);
    let report = Cmd::with(&config).args(["--json", "drill", "pg/shop"]).run().expect_code(1).json();
    let error = item(&report, "shop")["error"].as_str().unwrap().to_owned();
    let who = error.split("who: ").nth(1).unwrap_or_else(|| panic!("{error}"));
    let numbers: Vec<u32> = who.split_whitespace().map_while(|word| word.parse().ok()).collect();
    let [uid, gid, seen] = numbers[..] else { panic!("one user, one group: {error}") };
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    let name = passwd.lines().find(|line| line.split(':').nth(2) == Some(&uid.to_string()));
    assert!(name.is_none_or(|line| line.starts_with("tik-backup-drill:")), "{name:?}");
    assert!(uid != 0 && gid != 0 && seen == 0, "{error}");
    assert!(Path::new("/run").exists());
}
