//! Roles that the restored objects need.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::preflight::TargetServer;
use crate::{
    error::{Error, Result},
    source::postgres::{
        Detail, Role,
        archive::TocEntry,
        psql::{Psql, quote_ident},
    },
};

#[derive(Debug, Deserialize)]
struct Name {
    name: String,
}

/// The roles that the entries mention, that `@globals` knows, and that the target lacks.
pub(super) fn missing<'a>(
    session: &mut Psql,
    roles: &'a [Role],
    entries: &[TocEntry],
    detail: &Detail,
    server: &TargetServer,
) -> Result<Vec<&'a Role>> {
    let there: BTreeSet<String> = session
        .query::<Name>("SELECT rolname AS name FROM pg_catalog.pg_roles")?
        .into_iter()
        .map(|row| row.name)
        .collect();
    let missing: Vec<&Role> = roles
        .iter()
        .filter(|role| !there.contains(&role.name) && mentioned(&role.name, entries, detail))
        .collect();
    if !missing.is_empty() && !server.superuser && !server.create_role {
        let names: Vec<_> = missing.iter().map(|role| role.name.as_str()).collect();
        return Err(Error::failed(format!(
            "roles are missing on the target, and the account {} may not create them: {}",
            server.account,
            names.join(", ")
        ))
        .hint("have them created, or use --no-owner and --no-privileges"));
    }
    Ok(missing)
}

/// Creates roles without the right to log in and without any other power. Memberships among them are restored.
pub(super) fn create(session: &mut Psql, missing: &[&Role], server: &TargetServer) -> Result<Vec<String>> {
    for role in missing {
        let inherit = if role.inherit { "INHERIT" } else { "NOINHERIT" };
        session.execute(&format!("CREATE ROLE {} NOLOGIN {inherit}", quote_ident(&role.name)))?;
        if !server.superuser {
            // From version 16 on a creator is no member of what it created; owning objects for it needs that.
            session.execute(&format!("GRANT {} TO CURRENT_USER", quote_ident(&role.name)))?;
        }
    }
    let names: BTreeSet<&str> = missing.iter().map(|role| role.name.as_str()).collect();
    for role in missing {
        for group in role.member_of.iter().filter(|group| names.contains(group.as_str())) {
            session.execute(&format!("GRANT {} TO {}", quote_ident(group), quote_ident(&role.name)))?;
        }
    }
    Ok(names.into_iter().map(str::to_owned).collect())
}

/// Do owners, grants or definitions name the role?
fn mentioned(role: &str, entries: &[TocEntry], detail: &Detail) -> bool {
    let quoted = quote_ident(role);
    let named = |text: &str| text.contains(&quoted) || word(text, role);
    let in_database = detail.database.as_ref().is_some_and(|database| {
        database.owner == role
            || database.grants.iter().any(|grant| grant.grantee.as_deref() == Some(role))
            || database.settings.iter().any(|setting| setting.role.as_deref() == Some(role))
    });
    let in_entry = |entry: &TocEntry| {
        entry.owner.as_deref() == Some(role)
            || (matches!(entry.desc.as_str(), "ACL" | "DEFAULT ACL" | "POLICY" | "USER MAPPING")
                && named(&entry.defn))
    };
    in_database || entries.iter().any(in_entry)
}

/// Does `text` contain `word` with nothing around it that could belong to a name?
fn word(text: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_' || c == '$' || c == '"';
    text.match_indices(word).any(|(at, _)| {
        !text[..at].chars().next_back().is_some_and(part)
            && !text[at + word.len()..].chars().next().is_some_and(part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_names_count() {
        assert!(word("GRANT SELECT ON TABLE x TO app;", "app"));
        assert!(!word("GRANT SELECT ON TABLE x TO app_reader;", "app"));
        assert!(!word("GRANT SELECT ON TABLE x TO myapp;", "app"));
        assert!(word("app", "app"));
    }
}
