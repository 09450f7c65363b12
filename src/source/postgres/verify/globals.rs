//! Proving the roles of a PostgreSQL server.

use std::{io::Write, time::Instant};

use super::{MAINTENANCE, Scratch, roles};
use crate::{
    error::{Error, Result},
    source::{
        GLOBALS,
        manifest::Manifest,
        postgres::{Detail, GLOBALS_SQL, Role, clients::major_of, psql::quote_ident},
        verify::{Fault, Globals, Proof, Proven, Setup, compare, inflict, sink::NullSink},
    },
    stream::{child::into_error, files::Files},
};

impl Scratch {
    /// Loads the roles, and compares the result.
    pub(super) fn roles(&self, setup: &Setup<'_>, globals: &Globals<'_>, damage: Option<&str>) -> Proven {
        let Globals { manifest, files } = *globals;
        let begin = Instant::now();
        let script = text(files)?;
        let (mine, folders) = roles::for_scratch(&script, &self.first_role, &self.server.tablespaces());
        roles::make_folders(&folders, self.server.owner()).map_err(|error| {
            Fault::Cannot(Error::from_io("cannot create directories for tablespaces", error))
        })?;
        self.script(setup, &mine)?;
        let restore = begin.elapsed();
        inflict(damage, |sql| self.session(setup, MAINTENANCE)?.execute(sql).map(drop))?;
        let detail = manifest.detail::<Detail>();
        let passwords = detail.and_then(|detail| detail.role_passwords).unwrap_or(true);
        let sink = NullSink::keeping(GLOBALS_SQL);
        let again = self.dump(setup, GLOBALS, passwords, &sink)?;
        let found = String::from_utf8_lossy(&sink.kept()).into_owned();
        let (mut before, mut after) = (roles::lines(&script, &self.ours), roles::lines(&found, &self.ours));
        // Servers before 16 store fewer options of a membership than the newer scratch server.
        let keeps = |version: &str| major_of(version).is_some_and(|major| major >= 16);
        let crossing = !keeps(&manifest.server_version) && keeps(&again.server_version);
        if crossing {
            before.iter_mut().chain(&mut after).for_each(roles::plain_membership);
        }
        let mut differences = compare::lines(&before, &after);
        let (before, after) = (self.roles_of(manifest), self.roles_of(&again));
        let objects = before.len() as u64;
        differences.extend(differing(before, after, crossing));
        Proof {
            restore: Some(restore),
            objects,
            bytes: script.len() as u64,
            notes: manifest.left_out.clone(),
            ..Proof::default()
        }
        .unless(differences)
    }

    /// The roles of a manifest, without the drill's own.
    fn roles_of(&self, manifest: &Manifest) -> Vec<Role> {
        let roles = manifest.detail::<Detail>().map(|detail| detail.roles.clone()).unwrap_or_default();
        roles.into_iter().filter(|role| role.name != self.ours).collect()
    }

    /// Creates the roles and tablespaces of a script that failed, by name only, so that databases can be tried.
    pub(super) fn name_roles(&self, setup: &Setup<'_>, globals: &Globals<'_>) -> Result<(), Fault> {
        let Globals { manifest, files } = *globals;
        let mut session = self.session(setup, MAINTENANCE)?;
        let roles = manifest.detail::<Detail>().map(|detail| detail.roles.as_slice()).unwrap_or_default();
        for role in roles.iter().filter(|role| role.name != self.first_role) {
            session.execute(&format!("CREATE ROLE {} NOLOGIN", quote_ident(&role.name)))?;
        }
        let Ok(script) = text(files) else { return Ok(()) };
        let (mine, folders) = roles::for_scratch(&script, &self.first_role, &self.server.tablespaces());
        roles::make_folders(&folders, self.server.owner()).map_err(|error| {
            Fault::Cannot(Error::from_io("cannot create directories for tablespaces", error))
        })?;
        for line in mine.lines().filter(|line| line.starts_with("CREATE TABLESPACE ")) {
            session.execute(line.trim_end_matches(';'))?;
        }
        Ok(())
    }

    /// Runs a script; the first error ends it. The error is reported without the statement, which may contain a password.
    fn script(&self, setup: &Setup<'_>, sql: &str) -> Result<(), Fault> {
        let client = self.server.client();
        let connection = self.params.prepare(client.major)?;
        let mut input = connection
            .command(client.tool("psql"))
            .args([
                "-X",
                "-q",
                "-v",
                "ON_ERROR_STOP=1",
                "-v",
                "VERBOSITY=terse",
                "-o",
                "/dev/null",
                "-f",
                "-",
            ])
            .arg("--dbname")
            .arg(connection.conninfo(MAINTENANCE)?)
            .env("PGCLIENTENCODING", "UTF8")
            .item(GLOBALS)
            .cancel(setup.cancel)
            .spawn_input()?;
        let fed = input.write_all(sql.as_bytes()).map_err(into_error);
        fed.and_then(|()| input.finish().map(drop))?;
        Ok(())
    }
}

/// The differences between roles. `crossing` is set if the first are of a server before 16, which stores fewer options of
/// a membership.
fn differing(mut before: Vec<Role>, mut after: Vec<Role>, crossing: bool) -> Vec<String> {
    // Manifests of earlier versions contain only the names of groups.
    if before.iter().all(|role| role.memberships.is_empty()) {
        after.iter_mut().for_each(|role| role.memberships.clear());
    }
    if crossing {
        for membership in before.iter_mut().chain(&mut after).flat_map(|role| &mut role.memberships) {
            (membership.inherit, membership.set, membership.grantor) = (None, None, None);
        }
    }
    let mut differences = Vec::new();
    for role in &before {
        match after.iter().find(|found| found.name == role.name) {
            None => differences.push(format!("role {} is missing", role.name)),
            Some(found) if found != role => {
                differences.push(format!("role {} has other rights or memberships", role.name));
            }
            Some(_) => {}
        }
    }
    differences
}

/// The script of the roles.
pub(super) fn text(files: &dyn Files) -> Result<String, Fault> {
    let script = files.read(GLOBALS_SQL)?;
    String::from_utf8(script).map_err(|_| {
        Fault::Cannot(Error::failed(
            "the script of the roles is not valid UTF-8, so its names cannot be compared",
        ))
    })
}
