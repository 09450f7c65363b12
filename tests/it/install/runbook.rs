//! The runbook: it describes this installation, and its commands, run unchanged with stock tools on new servers, restore
//! everything.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::Path,
    process::{Command, Stdio},
};

use mongodb::bson::doc;
use testkit::{
    Cmd, ConfigBuilder, MongoServer, MyFlavour, MyServer, PgServer, PgVersion, Tool, fixture, mysql,
    mysql_world, postgres::assert_same_dump, program::quoted, skip_unless,
};

const ODD: &str = "it's \"odd\"/ü %$HOME `x`";
const SECRET: &str = "the repository's password, which only the escrow has";

/// The runbook of the example configuration is among the documents.
#[test]
fn the_document_is_what_the_program_writes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let written = Cmd::new()
        .arg("--config")
        .arg(root.join("docs/example-config.toml"))
        .args(["runbook", "--offline"])
        .run()
        .ok();
    let document = fs::read_to_string(root.join("docs/recovery-runbook.md")).unwrap();
    assert!(
        written.stdout == document,
        "out of date: tik-backup --config docs/example-config.toml runbook --offline --output docs/recovery-runbook.md"
    );
}

/// All blocks to be run unchanged, in order.
fn blocks(runbook: &str) -> String {
    let mut script = String::new();
    let mut fence = None;
    for line in runbook.lines() {
        match &fence {
            None if line.starts_with("```") && line.trim_start_matches('`') == "sh" => {
                fence = Some(line.trim_end_matches("sh").to_owned());
            }
            Some(end) if line == end => fence = None,
            Some(_) => script.push_str(&format!("{line}\n")),
            None => {}
        }
    }
    script
}

fn files(folder: &Path) {
    fs::create_dir_all(folder.join("sub dir/deeper")).unwrap();
    fs::write(folder.join("sub dir/ä file"), vec![7; 300_000]).unwrap();
    fs::write(folder.join("sub dir/deeper/private"), "x").unwrap();
    fs::set_permissions(folder.join("sub dir/deeper/private"), fs::Permissions::from_mode(0o640)).unwrap();
    symlink("../nowhere", folder.join("link")).unwrap();
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(folder.join("sub dir"), Some(4711), Some(4712)).unwrap();
    }
}

fn listing(folder: &Path, into: &mut Vec<String>) {
    let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let meta = path.symlink_metadata().unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let content = if meta.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
        into.push(format!(
            "{name} {:o} {}:{} {} {content:?}",
            meta.mode(),
            meta.uid(),
            meta.gid(),
            meta.mtime()
        ));
        if meta.is_dir() {
            listing(&path, into);
        }
    }
}

struct Origin {
    pg: PgServer,
    my: MyServer,
    mongo: Option<MongoServer>,
}

fn origin() -> Origin {
    let pg = PgServer::start(PgVersion::V15);
    pg.create_varied("shop");
    pg.create_database(ODD);
    pg.psql(ODD, "CREATE TABLE \"a $b 'c'\" AS SELECT generate_series(1, 10) n");
    pg.psql(
        "postgres",
        "ALTER DATABASE shop OWNER TO tik_owner; ALTER DATABASE shop CONNECTION LIMIT 42;
         ALTER DATABASE shop SET work_mem = '5MB'",
    );
    let my = mysql_world::server(MyFlavour::Mariadb1011);
    my.sql(None, "CREATE USER 'maker of things'@'%'; GRANT ALL ON *.* TO 'maker of things'@'%'");
    for database in ["wiki", ODD] {
        my.sql(None, &format!("CREATE DATABASE {} CHARACTER SET latin1", mysql::quote(database)));
    }
    for script in ["mysql-common.sql", "mysql-mariadb1011.sql"] {
        my.load("wiki", &fs::read(fixture(script)).unwrap());
    }
    my.sql(Some(ODD), "CREATE TABLE t (n INT); INSERT INTO t VALUES (1), (2)");
    let mongo = Tool::MongoTools.or_skip().then(MongoServer::start);
    if let Some(mongo) = &mongo {
        mongo.insert("chat", "posts", (0..100).map(|n| doc! {"_id": n, "text": "ä".repeat(20)}));
    }
    Origin { pg, my, mongo }
}

#[test]
fn its_commands_bring_everything_back_without_this_program() {
    skip_unless!(Tool::Pg15, Tool::Mariadb, Tool::Mongo, Tool::Restic);
    let mut origin = origin();
    let folder = tempfile::tempdir().unwrap();
    let originals = folder.path().join("uploads");
    files(&originals);
    let mut builder = ConfigBuilder::new()
        .password(SECRET)
        .postgres("main", &origin.pg, "")
        .mysql("wiki", &origin.my, "")
        .source(
            "files",
            &format!("kind = \"directory\"\npaths = [{}]", quoted(&originals.display().to_string())),
        )
        .tables(
            "[runbook]\nescrow = \"the safe\"\norder = [\"wiki\", \"main\"]\n[drill]\nmin_free = \"1MiB\"",
        );
    if let Some(mongo) = &origin.mongo {
        builder = builder.mongodb("cluster", mongo, "");
    }
    let config = builder.build();
    Cmd::with(&config).arg("init").run().ok();
    Cmd::with(&config).arg("backup").run().ok();
    Cmd::with(&config).args(["drill", "files"]).run().ok();
    let runbook = Cmd::with(&config).arg("runbook").run().ok().stdout;
    what_it_says(&runbook);

    // The content to restore, before it is lost.
    let mut databases = Vec::new();
    for name in ["shop", ODD] {
        databases.push((name, origin.pg.dump_text_with(name, &["--create"]), origin.my_dump(name)));
    }
    let roles = origin.pg.globals_text();
    let chat = origin.mongo.as_ref().map(|mongo| mongo.documents("chat", "posts"));
    origin.pg.stop();
    origin.my.stop();

    // The disaster: configuration and program are lost, and the password comes from the escrow.
    let escrow = folder.path().join("from the escrow");
    fs::write(&escrow, SECRET).unwrap();
    fs::remove_file(config.path()).unwrap();
    fs::remove_file(config.password_file()).unwrap();
    let pg = PgServer::start(PgVersion::V15);
    let my = MyServer::start(MyFlavour::Mariadb1011);
    let mongo = origin.mongo.take().map(|_| MongoServer::start());
    let scratch = folder.path().join("scratch space");
    run_blocks(&runbook, folder.path(), &scratch, &escrow, (&pg, &my, mongo.as_ref()));

    pasting_it_again_harms_nothing(&runbook, folder.path(), &my);
    for (name, original, wiki) in databases {
        assert_same_dump(&original, &pg.dump_text_with(name, &["--create"]));
        let name = if name == "shop" { "wiki" } else { name };
        assert_same_dump(&wiki, &my.dump_text(name));
    }
    assert_same_dump(&roles, &pg.globals_text());
    let (mut before, mut after) = (Vec::new(), Vec::new());
    listing(&originals, &mut before);
    listing(&scratch.join("files/uploads/files"), &mut after);
    assert_eq!(before, after);
    if let (Some(chat), Some(mongo)) = (chat, mongo) {
        assert_eq!(mongo.documents("chat", "posts"), chat);
    }
}

impl Origin {
    fn my_dump(&self, name: &str) -> String {
        self.my.dump_text(if name == "shop" { "wiki" } else { name })
    }
}

fn what_it_says(runbook: &str) {
    assert!(
        !runbook.contains(SECRET)
            && !runbook.contains(PgServer::PASSWORD)
            && !runbook.contains(MyServer::PASSWORD)
    );
    let (wiki, main) = (runbook.find("### wiki").unwrap(), runbook.find("### main").unwrap());
    assert!(wiki < main, "the order of recovery");
    assert!(runbook.contains("the safe"), "the escrow");
    assert!(runbook.contains("All of it, one after the other: about"), "expected times");
    assert!(runbook.contains("**never**"), "what was never proven");
    for part in ["## Contacts", "## The worst day", "**Every month**", "**Every quarter**"] {
        assert!(runbook.contains(part), "{part}");
    }
}

/// In a shell that goes on after an error, as one that is typed into, what is there is not replaced by what was backed up.
fn pasting_it_again_harms_nothing(runbook: &str, folder: &Path, my: &MyServer) {
    my.sql(Some(ODD), "INSERT INTO t VALUES (3)");
    let script: String = blocks(runbook);
    let begin = script.find("export WIKI_CLIENT").unwrap();
    let end = script[begin..].find("export MAIN_HOST").unwrap();
    let output = Command::new("bash")
        .args(["--noprofile", "--norc", "-c", &script[begin..begin + end]])
        .env("WIKI_OPTIONS", folder.join("my options.cnf"))
        .env("RESTIC_REPOSITORY", "/nowhere")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("database exists"), "{stderr}");
    assert_eq!(my.sql(Some(ODD), "SELECT COUNT(*) FROM t"), "3");
    my.sql(Some(ODD), "DELETE FROM t WHERE n = 3");
}

/// Runs every block of the runbook in one shell that has stock tools only.
fn run_blocks(
    runbook: &str,
    folder: &Path,
    scratch: &Path,
    escrow: &Path,
    (pg, my, mongo): (&PgServer, &MyServer, Option<&MongoServer>),
) {
    let options = folder.join("my options.cnf");
    fs::write(&options, format!("[client]\nuser=root\nsocket={}\n", my.socket().display())).unwrap();
    let mongo_config = folder.join("mongorestore.yaml");
    fs::write(&mongo_config, format!("uri: {}\n", mongo.map(MongoServer::uri).unwrap_or_default())).unwrap();
    let tools = Tool::MongoTools.path().filter(|_| mongo.is_some());
    let path = [PgVersion::V15.bin_dir(), "/usr/bin".into(), "/bin".into()].into_iter().chain(tools);
    let script = format!(
        "! command -v tik-backup || exit 99\nset -e\n{}\necho 'the last line was reached'\n",
        blocks(runbook)
    );
    let output = Command::new("bash")
        .args(["--noprofile", "--norc", "-c", &script])
        .current_dir(folder)
        .env_clear()
        .env("PATH", std::env::join_paths(path).unwrap())
        .env("HOME", folder)
        .env("LC_ALL", "C.UTF-8")
        .env("RESTIC_PASSWORD_FILE", escrow)
        .env("RESTIC_CACHE_DIR", folder.join("cache"))
        .env("SCRATCH", scratch)
        .env("MAIN_HOST", pg.socket_dir())
        .env("MAIN_PORT", pg.port().to_string())
        .env("WIKI_OPTIONS", &options)
        .env("CLUSTER_CONFIG", &mongo_config)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(
        output.status.success() && stdout.contains("the last line was reached"),
        "{}\n--- script\n{script}\n--- stdout\n{stdout}\n--- stderr\n{stderr}",
        output.status
    );
    // There are no errors except those that the text announces.
    let unexpected: Vec<_> =
        stderr.lines().filter(|line| line.contains("ERROR") && !line.contains("already exists")).collect();
    assert!(unexpected.is_empty(), "{unexpected:#?}");
}
