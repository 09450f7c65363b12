//! The item `@globals`: roles, memberships, settings of roles, tablespaces.

use super::{Detail, GLOBALS, GLOBALS_SQL, Postgres, Role, discover::Server, hints, psql::Psql};
use crate::{
    error::{Error, Result},
    source::manifest::{Consistency, Digested, File, Manifest, Tool},
    source::postgres::config::RolePasswords,
    stream::{
        cancel::Cancel,
        child::{Command, run_capture},
        sink::Sink,
    },
};

/// The query for the roles. Memberships have options since version 16.
fn roles_query(server: &Server) -> String {
    let options =
        if server.major >= 16 { "m.inherit_option, 'set', m.set_option" } else { "NULL, 'set', NULL" };
    format!(
        "SELECT r.rolname AS name, r.rolcanlogin AS login, r.rolsuper AS superuser, \
            r.rolcreatedb AS create_db, r.rolcreaterole AS create_role, r.rolinherit AS inherit, \
            r.rolreplication AS replication, r.rolbypassrls AS bypass_rls, \
            ARRAY(SELECT g.rolname::text FROM pg_catalog.pg_auth_members m \
                  JOIN pg_catalog.pg_roles g ON g.oid = m.roleid WHERE m.member = r.oid ORDER BY 1) AS member_of, \
            coalesce((SELECT jsonb_agg(jsonb_build_object('role', g.rolname, 'admin', m.admin_option, \
                        'inherit', {options}, 'grantor', a.rolname) ORDER BY g.rolname, a.rolname) \
                FROM pg_catalog.pg_auth_members m JOIN pg_catalog.pg_roles g ON g.oid = m.roleid \
                LEFT JOIN pg_catalog.pg_roles a ON a.oid = m.grantor WHERE m.member = r.oid), '[]'::jsonb) AS memberships \
         FROM pg_catalog.pg_roles r WHERE r.rolname !~ '^pg_' ORDER BY r.rolname"
    )
}

/// Maximum length of the script of a server's roles.
const LONGEST: usize = 1 << 30;
/// Maximum number of attempts if the roles change while they are read.
const TRIES: u32 = 5;

/// The OID of the role that `initdb` creates, in every cluster.
const FIRST_ROLE: &str = "SELECT rolname AS name FROM pg_catalog.pg_roles WHERE oid = 10";

#[derive(serde::Deserialize)]
struct First {
    name: String,
}

/// Streams the roles into `sink`.
pub(super) fn dump(source: &Postgres, server: &Server, sink: &dyn Sink, cancel: &Cancel) -> Result<Manifest> {
    let (client, connection) = source.tools(server)?;
    let mut manifest = Manifest::begin(&source.name, GLOBALS, "postgres");
    let mut session = source.session(&source.config.maintenance_db, cancel)?;
    let first: Option<First> = session.query(FIRST_ROLE)?.pop();
    let server_settings = source.settings(&mut session)?;

    let passwords = server.reads_passwords && source.config.role_passwords == RolePasswords::Auto;
    let command = || -> Result<Command> {
        let command = connection
            .command(client.tool("pg_dumpall"))
            .args(["--globals-only", "--no-password", "--dbname"])
            .arg(connection.conninfo(&source.config.maintenance_db)?)
            .arg(format!("--database={}", source.config.maintenance_db))
            .item(source.item_name(GLOBALS))
            .idle_timeout(source.idle_timeout)
            .cancel(cancel);
        Ok(if passwords { command } else { command.arg("--no-role-passwords") })
    };
    if !passwords {
        let note = match source.config.role_passwords {
            RolePasswords::Never => "the roles' passwords are not included: role_passwords = \"never\"",
            RolePasswords::Auto => "the roles' passwords are not included: this account may not read them",
        };
        manifest.notes.push(note.to_owned());
        if source.config.role_passwords == RolePasswords::Auto {
            manifest.left_out.push(note.to_owned());
        }
    }
    let (script, roles) = read(&mut session, &roles_query(server), &mut manifest.notes, &command)?;
    drop(session);
    let count = script.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"CREATE ROLE ")).count();
    let stored = sink.store(GLOBALS_SQL, &mut script.as_slice())?;
    if count == 0 {
        return Err(Error::failed("pg_dumpall wrote no roles").hint(
            "every server has roles: check the output of `pg_dumpall --globals-only` for the backup role",
        ));
    }
    manifest.ended = jiff::Zoned::now();
    manifest.consistency = Consistency::None;
    manifest.server_version.clone_from(&server.version);
    manifest.tools.push(Tool { name: "pg_dumpall".to_owned(), version: client.version_text.clone() });
    manifest.files.push(File { path: GLOBALS_SQL.to_owned(), bytes: stored.bytes });
    manifest.digested = Digested::Yes;
    manifest.set_detail(Detail {
        roles,
        first_role: first.map(|role| role.name),
        role_passwords: Some(passwords),
        server_settings,
        ..Detail::default()
    });
    Ok(manifest)
}

/// The script, and the roles that are in it.
///
/// `pg_dumpall` queries roles and memberships one after the other: a role created in between would be granted but not
/// created. So the script is accepted only if the roles are the same before and after.
fn read(
    session: &mut Psql,
    query: &str,
    notes: &mut Vec<String>,
    command: &dyn Fn() -> Result<Command>,
) -> Result<(Vec<u8>, Vec<Role>)> {
    let mut before: Vec<Role> = session.query(query)?;
    for _ in 1..TRIES {
        let script = run_capture(command()?, LONGEST).map_err(hints::explain)?;
        let after: Vec<Role> = session.query(query)?;
        if after == before {
            return Ok((script, after));
        }
        before = after;
    }
    notes.push(format!(
        "the roles changed during each of {TRIES} attempts to read them: the script may grant a role that it does not create"
    ));
    let script = run_capture(command()?, LONGEST).map_err(hints::explain)?;
    Ok((script, session.query(query)?))
}
