//! Reports what an account cannot restore before anything is changed.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::{Restore, present::Present, select::Selection};
use crate::{
    error::{Error, Result},
    source::postgres::{
        Role,
        archive::{Section, TocEntry},
        connect::ConnectParams,
        hints::READ_ONLY,
        lacks::LacksGlobals,
        psql::{Psql, quote_literal},
    },
};

/// The target server, and the account's privileges there.
#[derive(Debug, Clone, Deserialize)]
pub(in super::super) struct TargetServer {
    version_num: u32,
    pub(super) account: String,
    pub(super) superuser: bool,
    pub(super) create_role: bool,
    standby: bool,
    read_only: bool,
    /// Whether its `wal_level` is `minimal`.
    pub(super) minimal_wal: bool,
    /// May it disable event triggers?
    #[serde(skip)]
    no_event_triggers: bool,
    #[serde(skip)]
    pub(super) major: u32,
    #[serde(skip)]
    trusted_extensions: BTreeSet<String>,
    #[serde(skip)]
    trusted_languages: BTreeSet<String>,
}

#[derive(Debug, Deserialize)]
struct Name {
    name: String,
}

/// Asks the server.
pub(super) fn ask(session: &mut Psql) -> Result<TargetServer> {
    let mut server: TargetServer = session.query_one(
        "SELECT current_setting('server_version_num')::int AS version_num, current_user AS account, \
                rolsuper AS superuser, rolcreaterole AS create_role, pg_is_in_recovery() AS standby, \
                current_setting('transaction_read_only') = 'on' AS read_only, \
                current_setting('wal_level') = 'minimal' AS minimal_wal \
         FROM pg_catalog.pg_roles WHERE rolname = current_user",
    )?;
    server.major = server.version_num / 10_000;
    if server.major >= 13 && !server.superuser {
        let names = |session: &mut Psql, sql| -> Result<BTreeSet<String>> {
            Ok(session.query::<Name>(sql)?.into_iter().map(|row| row.name).collect())
        };
        server.trusted_extensions = names(
            session,
            "SELECT DISTINCT name FROM pg_catalog.pg_available_extension_versions WHERE trusted OR NOT superuser",
        )?;
        server.trusted_languages =
            names(session, "SELECT lanname AS name FROM pg_catalog.pg_language WHERE lanpltrusted")?;
    }
    if server.major >= 17 {
        #[derive(Deserialize)]
        struct May {
            may: bool,
        }
        let may: May =
            session.query_one("SELECT pg_catalog.has_parameter_privilege('event_triggers', 'SET') AS may")?;
        server.no_event_triggers = may.may;
    }
    Ok(server)
}

impl TargetServer {
    /// The connection settings: event triggers of the target or of the dump must neither change restored data nor block the
    /// session. They could not be disabled before version 17.
    pub(super) fn params(&self, params: &ConnectParams) -> ConnectParams {
        let options = self.no_event_triggers.then(|| "-c event_triggers=off".to_owned());
        ConnectParams { options, ..params.clone() }
    }
}

/// Fails if the server accepts no changes.
pub(super) fn require_writable(server: &TargetServer) -> Result<()> {
    let what = match (server.standby, server.read_only) {
        (true, _) => "the target server is a standby",
        (_, true) => "the sessions of this account on the target are read-only",
        _ => return Ok(()),
    };
    Err(Error::failed(format!("{what}: nothing can be restored into it")).hint(READ_ONLY))
}

/// A few words on an entry.
pub(super) fn describe(entry: &TocEntry) -> String {
    match entry.namespace.as_deref() {
        Some(schema) if !schema.is_empty() && schema != "-" => {
            format!("{} {schema}.{}", entry.desc, entry.tag)
        }
        _ => format!("{} {}", entry.desc, entry.tag),
    }
}

/// The entries that need a superuser on this server, and those that depend on one of these.
pub(super) fn superuser_only<'a>(
    toc: &'a [TocEntry],
    server: &TargetServer,
    present: &Present,
) -> (Vec<&'a TocEntry>, Vec<&'a TocEntry>) {
    let is_blocked = |entry: &&TocEntry| needs_superuser(entry, server) || present.is_closed(entry);
    let blocked: Vec<&TocEntry> = toc.iter().filter(is_blocked).collect();
    let mut out: BTreeSet<i32> = blocked.iter().map(|entry| entry.dump_id).collect();
    let mut dependent: Vec<&TocEntry> = Vec::new();
    // Rows of an extension's table depend only on that table, which is not an entry; the extension is not known.
    let there: BTreeSet<i32> = toc.iter().map(|entry| entry.dump_id).collect();
    let extension_lacks = blocked.iter().any(|entry| entry.desc == "EXTENSION");
    let of_extension = |entry: &TocEntry| {
        matches!(entry.desc.as_str(), "TABLE DATA" | "SEQUENCE SET")
            && !present.is_content_of_extension(entry)
            && !entry.dependencies.iter().any(|id| there.contains(id))
    };
    // In the archive nearly all entries come after their dependencies: a second pass is rare.
    loop {
        let before = dependent.len();
        for entry in toc {
            let on_left_out = || {
                // The archive does not say on which server a user mapping depends, but its name does.
                let servers = blocked.iter().chain(&dependent).filter(|other| other.desc == "SERVER");
                servers.map(|server| format!(" SERVER {}", server.tag)).any(|end| entry.tag.ends_with(&end))
            };
            let depends = entry.dependencies.iter().any(|id| out.contains(id))
                || (entry.desc == "USER MAPPING" && on_left_out())
                || (extension_lacks && of_extension(entry));
            if depends && out.insert(entry.dump_id) {
                dependent.push(entry);
            }
        }
        if dependent.len() == before {
            return (blocked, dependent);
        }
    }
}

fn needs_superuser(entry: &TocEntry, server: &TargetServer) -> bool {
    // The body of a function is not part of its definition.
    let head = ["\n    AS ", "\nBEGIN ATOMIC"]
        .iter()
        .fold(entry.defn.as_str(), |head, body| head.split_once(body).map_or(head, |(head, _)| head));
    let defines = |text: &str| head.contains(text);
    match entry.desc.as_str() {
        "EVENT TRIGGER"
        | "FOREIGN DATA WRAPPER"
        | "ACCESS METHOD"
        | "OPERATOR CLASS"
        | "OPERATOR FAMILY"
        | "TEXT SEARCH TEMPLATE"
        | "TEXT SEARCH PARSER"
        | "SHELL TYPE"
        | "PUBLICATION TABLES IN SCHEMA" => true,
        "TYPE" => defines("\n    INPUT = "),
        "CAST" => defines(") WITHOUT FUNCTION"),
        "EXTENSION" => !server.trusted_extensions.contains(&entry.tag),
        "COMMENT" => entry.tag.starts_with("EVENT TRIGGER "),
        "FUNCTION" | "PROCEDURE" | "AGGREGATE" => {
            ["LANGUAGE c\n", "LANGUAGE c ", "LANGUAGE internal", " LEAKPROOF"]
                .iter()
                .any(|text| defines(text))
                || untrusted_language(head).is_some_and(|l| !server.trusted_languages.contains(l))
        }
        "PUBLICATION" => defines("FOR ALL TABLES"),
        "SUBSCRIPTION" => true,
        "PROCEDURAL LANGUAGE" => defines("HANDLER"),
        _ => false,
    }
}

/// A trusted extension and its comment belong to the bootstrap superuser, regardless of who creates it.
pub(super) fn is_extension_comment(entry: &TocEntry) -> bool {
    entry.desc == "COMMENT" && entry.tag.starts_with("EXTENSION ")
}

/// The language of a function if its name says that it is untrusted: those end in `u`.
fn untrusted_language(definition: &str) -> Option<&str> {
    let rest = &definition[definition.find("\n    LANGUAGE ")? + "\n    LANGUAGE ".len()..];
    let language = rest.split_whitespace().next()?;
    language.ends_with('u').then_some(language)
}

impl Restore<'_> {
    /// Fails if an owner does not exist on the target, or the account may not act as it.
    pub(super) fn require_owners(
        &self,
        session: &mut Psql,
        selection: &Selection,
        created: &[&Role],
        server: &TargetServer,
    ) -> Result<()> {
        #[derive(Deserialize)]
        struct Owner {
            name: String,
            exists: bool,
            usable: bool,
        }
        if self.options.no_owner {
            return Ok(());
        }
        let mut owners = self.owners(selection)?;
        // The account becomes a member of the roles that it creates.
        owners.retain(|owner, _| !created.iter().any(|role| role.name == *owner));
        if owners.is_empty() {
            return Ok(());
        }
        let values: Vec<_> = owners.keys().map(|owner| format!("({})", quote_literal(owner))).collect();
        // From version 16 on a membership alone does not allow to act as the role.
        let right = if server.major >= 16 { "SET" } else { "MEMBER" };
        let rows: Vec<Owner> = session.query(&format!(
            "SELECT v.name, r.oid IS NOT NULL AS exists, \
                    coalesce(pg_has_role(current_user, r.oid, '{right}'), false) AS usable \
             FROM (VALUES {}) v(name) LEFT JOIN pg_catalog.pg_roles r ON r.rolname = v.name",
            values.join(", ")
        ))?;
        let owned = |row: &Owner| owners.get(row.name.as_str()).map_or("", String::as_str).to_owned();
        if let Some(row) = rows.iter().find(|row| !row.exists) {
            return Err(Error::failed(format!("the role {} does not exist on the target; it owns {}", row.name, owned(row)))
                .with(LacksGlobals)
                .hint("back up @globals as well, create the role by hand, or use --no-owner: then the connecting account owns everything"));
        }
        if let Some(row) = rows.iter().find(|row| !row.usable) {
            return Err(Error::failed(format!(
                "the account {} may not set the owner to the role {}, which owns {}",
                server.account,
                row.name,
                owned(row)
            ))
            .hint(format!(
                "GRANT {} TO {}, use a superuser, or use --no-owner",
                crate::source::postgres::psql::quote_ident(&row.name),
                crate::source::postgres::psql::quote_ident(&server.account)
            )));
        }
        Ok(())
    }

    /// The roles that own what is restored, each with one thing that it owns.
    fn owners<'a>(&'a self, selection: &'a Selection) -> Result<BTreeMap<&'a str, String>> {
        let mut owners: BTreeMap<&str, String> = BTreeMap::new();
        // Rows have no owner: their table has.
        let gives = |entry: &&TocEntry| match entry.desc.as_str() {
            "ACL" | "DEFAULT ACL" => !self.options.no_privileges,
            _ => entry.section != Section::Data,
        };
        for entry in selection.entries.iter().filter(gives) {
            if let Some(owner) = entry.owner.as_deref().filter(|owner| !owner.is_empty()) {
                owners.entry(owner).or_insert_with(|| describe(entry));
            }
        }
        if self.options.table.is_none() {
            owners.entry(&self.original()?.owner).or_insert_with(|| "the database".to_owned());
        }
        Ok(owners)
    }

    /// Fails if something lies in a tablespace that the target does not have.
    pub(super) fn require_tablespaces(&self, session: &mut Psql, selection: &Selection) -> Result<()> {
        if self.options.no_tablespaces {
            return Ok(());
        }
        let there: BTreeSet<String> = session
            .query::<Name>("SELECT spcname AS name FROM pg_catalog.pg_tablespace")?
            .into_iter()
            .map(|row| row.name)
            .collect();
        let missing = selection.entries.iter().find_map(|entry| {
            let space =
                entry.tablespace.as_deref().filter(|space| !space.is_empty() && !there.contains(*space))?;
            Some((space, describe(entry)))
        });
        match missing {
            None => Ok(()),
            Some((space, entry)) => Err(Error::failed(format!(
                "the tablespace {space} does not exist on the target; {entry} lies in it"
            ))
            .with(LacksGlobals)
            .hint("create it, or use --no-tablespaces: then everything goes to the default tablespace")),
        }
    }
}
