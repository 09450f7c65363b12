//! The self-test subject: a PostgreSQL server with known content.

use std::{io::Write, path::Path};

use super::{
    DUMP, Postgres,
    clients::Clients,
    config::{PostgresConfig, RolePasswords},
    scratch::{PostgresServer, SUPERUSER, newest_server},
    verify::installations,
};
use crate::{
    error::Result,
    scratch::Rules,
    settings::{DrillConfig, Host},
    source::{
        Source,
        subject::{Subject, Target},
        verify::{scratch_server, scratch_source},
    },
    stream::{cancel::Cancel, child::into_error},
};

const DATABASE: &str = "self test";

const ROLES: &str = "
CREATE ROLE keeper LOGIN PASSWORD 'of a self-test';
CREATE ROLE reader NOLOGIN;
GRANT reader TO keeper;
CREATE DATABASE \"self test\" OWNER keeper;
";

/// Rows, and one object of each kind that a drill compares. A server writes the check on `state` differently after a reload.
const CONTENT: &str = "
CREATE TABLE accounts (
    id serial PRIMARY KEY,
    name text NOT NULL,
    amount numeric NOT NULL,
    state varchar(10) NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'closed', 'lost'))
);
INSERT INTO accounts (name, amount) SELECT 'account ' || md5(n::text), n FROM generate_series(1, 2000) n;
CREATE INDEX accounts_name ON accounts (name);
-- The smaller table is read by a process of its own.
CREATE TABLE entries (account int NOT NULL, amount numeric NOT NULL, UNIQUE (account, amount));
INSERT INTO entries SELECT n, n FROM generate_series(1, 500) n;
CREATE VIEW rich AS SELECT * FROM accounts WHERE amount > 1500;
CREATE FUNCTION twice(n numeric) RETURNS numeric LANGUAGE sql AS 'SELECT n * 2';
ALTER TABLE accounts OWNER TO keeper;
GRANT SELECT ON accounts TO reader;
ALTER DEFAULT PRIVILEGES FOR ROLE keeper GRANT SELECT ON TABLES TO reader;
SELECT lo_from_bytea(7000, decode(repeat('00ff', 3000), 'hex'));
";

const CHANGE: &str = "
UPDATE accounts SET amount = amount + 1 WHERE id % 3 = 0;
INSERT INTO accounts (name, amount) SELECT 'new ' || md5((n * 7)::text), n FROM generate_series(1, 500) n;
";

const DAMAGES: &[(Target, &str, &str)] = &[
    (Target::Item, "one changed cell", "UPDATE public.accounts SET amount = amount + 0.01 WHERE id = 7"),
    (Target::Item, "one deleted row", "DELETE FROM public.accounts WHERE id = 7"),
    (Target::Item, "one added row", "INSERT INTO public.accounts (id, name, amount) VALUES (9999, 'x', 1)"),
    (
        Target::Item,
        "two values swapped between rows",
        "UPDATE public.accounts a SET name = b.name FROM public.accounts b WHERE a.id IN (1, 2) AND b.id = 3 - a.id",
    ),
    (
        Target::Item,
        "one changed cell of a second table",
        "UPDATE public.entries SET amount = amount + 0.01 WHERE account = 7",
    ),
    (Target::Item, "one deleted row of a second table", "DELETE FROM public.entries WHERE account = 7"),
    (
        Target::Item,
        "one added row of a second table",
        "INSERT INTO public.entries (account, amount) VALUES (7, 1)",
    ),
    (Target::Item, "a dropped index", "DROP INDEX public.accounts_name"),
    (Target::Item, "a revoked grant", "REVOKE SELECT ON public.accounts FROM reader"),
    (Target::Item, "a changed sequence", "SELECT pg_catalog.setval('public.accounts_id_seq', 5000)"),
    (Target::Item, "another owner", "ALTER TABLE public.accounts OWNER TO reader"),
    (
        Target::Item,
        "a loosened check",
        "ALTER TABLE public.accounts DROP CONSTRAINT accounts_state_check, \
         ADD CONSTRAINT accounts_state_check CHECK (state IN ('open', 'closed', 'lost', 'found'))",
    ),
    (
        Target::Item,
        "a changed view",
        "CREATE OR REPLACE VIEW public.rich AS SELECT * FROM public.accounts WHERE amount > 1",
    ),
    (
        Target::Item,
        "a changed function",
        "CREATE OR REPLACE FUNCTION public.twice(n numeric) RETURNS numeric LANGUAGE sql AS 'SELECT n * 3'",
    ),
    (Target::Item, "a changed large object", "SELECT pg_catalog.lo_put(7000, 5, 'x')"),
    (
        Target::Item,
        "a revoked default privilege",
        "ALTER DEFAULT PRIVILEGES FOR ROLE keeper REVOKE SELECT ON TABLES FROM reader",
    ),
    (Target::Globals, "a missing role", "DROP ROLE reader"),
    (Target::Globals, "a revoked membership", "REVOKE reader FROM keeper"),
    (Target::Globals, "a role that may do more", "ALTER ROLE reader SUPERUSER"),
    (Target::Globals, "another password", "ALTER ROLE keeper PASSWORD 'another'"),
];

const ATTACKS: &[(&str, &str)] = &[
    ("a program writes a file (COPY TO PROGRAM)", "COPY (SELECT 1) TO PROGRAM 'cat >''{marker}'''"),
    (
        "a program reads a file (COPY FROM PROGRAM)",
        "DO $a$ BEGIN CREATE TEMP TABLE loot (line text); COPY loot FROM PROGRAM 'cat ''{canary}'''; \
         RAISE EXCEPTION 'loot: %', (SELECT pg_catalog.string_agg(line, '') FROM loot); END $a$",
    ),
    (
        "the server reads a file (pg_read_file)",
        "DO $a$ BEGIN RAISE EXCEPTION 'loot: %', pg_catalog.pg_read_file('{canary}'); END $a$",
    ),
    ("the server writes a file (lo_export)", "SELECT pg_catalog.lo_export(7000, '{marker}')"),
    (
        "a program reads another process (/proc)",
        "DO $a$ BEGIN CREATE TEMP TABLE loot (line text); \
         COPY loot FROM PROGRAM 'tr ''\\000'' '' '' </proc/{process}/environ'; \
         RAISE EXCEPTION 'loot: %', (SELECT pg_catalog.string_agg(line, '') FROM loot); END $a$",
    ),
    ("a program ends another process", "COPY (SELECT 1) TO PROGRAM 'kill -KILL {process}'"),
    (
        "a program connects to a port",
        "COPY (SELECT 1) TO PROGRAM 'bash -c \"exec 3<>/dev/tcp/127.0.0.1/{port}\"'",
    ),
];

struct Server {
    source: Postgres,
    server: PostgresServer,
    cancel: Cancel,
}

/// A server of the newest installed version.
pub(super) fn subject(drill: &DrillConfig, dir: &Path, cancel: &Cancel) -> Result<Box<dyn Subject>> {
    let mut all = installations(&drill.server_dirs);
    all.sort_by_key(|client| std::cmp::Reverse(client.major));
    let client = match all.into_iter().next() {
        Some(client) => client,
        // Fails with the message about the missing server.
        None => newest_server(&Clients::find(&[]))?.clone(),
    };
    let server = PostgresServer::start(&client, dir, &Rules::of(drill), cancel)?;
    let mut config = PostgresConfig {
        server: scratch_server(
            Host::Socket(server.socket_dir()),
            server.port(),
            SUPERUSER,
            vec![client.dir.clone()],
        ),
        maintenance_db: "postgres".to_owned(),
        include_system: false,
        role_passwords: RolePasswords::Auto,
    };
    config.server.databases = crate::settings::Patterns::all();
    let source = Postgres::new(&scratch_source(), &config)?;
    let server = Server { source, server, cancel: cancel.clone() };
    server.script("postgres", ROLES)?;
    server.script(DATABASE, CONTENT)?;
    Ok(Box::new(server))
}

impl Server {
    fn script(&self, database: &str, sql: &str) -> Result<()> {
        let client = self.server.client();
        let connection = self.server.params().prepare(client.major)?;
        let mut input = connection
            .command(client.tool("psql"))
            .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-o", "/dev/null", "-f", "-", "--dbname"])
            .arg(connection.conninfo(database)?)
            .cancel(&self.cancel)
            .spawn_input()?;
        input.write_all(sql.as_bytes()).map_err(into_error)?;
        input.finish().map(drop)
    }
}

impl Subject for Server {
    fn name(&self) -> String {
        format!("postgres {}", self.server.client().major)
    }

    fn source(&self) -> &dyn Source {
        &self.source
    }

    fn change(&self) -> Result<()> {
        self.script(DATABASE, CHANGE)
    }

    fn damages(&self) -> &'static [(Target, &'static str, &'static str)] {
        DAMAGES
    }

    fn file(&self) -> &'static str {
        DUMP
    }

    fn attacks(&self) -> &'static [(&'static str, &'static str)] {
        ATTACKS
    }
}
