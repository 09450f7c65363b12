//! Creating roles that the restored objects need.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::preflight::TargetServer;
use crate::{
    error::{Error, Result},
    source::postgres::{
        Detail, Membership, Role,
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

/// Creates roles without LOGIN or other attributes. Memberships among them are restored.
pub(super) fn create(
    session: &mut Psql,
    missing: &[&Role],
    server: &TargetServer,
    notes: &mut Vec<String>,
) -> Result<Vec<String>> {
    for role in missing {
        let inherit = if role.inherit { "INHERIT" } else { "NOINHERIT" };
        session.execute(&format!("CREATE ROLE {} NOLOGIN {inherit}", quote_ident(&role.name)))?;
        if !server.superuser {
            // Since version 16 the creator of a role is not a member of it, but setting it as owner requires membership.
            session.execute(&format!("GRANT {} TO CURRENT_USER", quote_ident(&role.name)))?;
        }
    }
    let names: BTreeSet<&str> = missing.iter().map(|role| role.name.as_str()).collect();
    for role in missing {
        for membership in memberships(role).iter().filter(|m| names.contains(m.role.as_str())) {
            session.execute(&grant(membership, &role.name, server.major))?;
            notes.extend(lost(membership, role, server.major));
        }
    }
    Ok(names.into_iter().map(str::to_owned).collect())
}

/// The memberships of a role, each once: several grants of the same role are combined. Older manifests contain only names.
fn memberships(role: &Role) -> Vec<Membership> {
    let any = |a: Option<bool>, b: Option<bool>| match (a, b) {
        (Some(a), Some(b)) => Some(a || b),
        (a, b) => a.or(b),
    };
    let mut all: BTreeMap<&str, Membership> = BTreeMap::new();
    for other in &role.memberships {
        let known = all.entry(&other.role).or_insert_with(|| other.clone());
        known.admin |= other.admin;
        known.inherit = any(known.inherit, other.inherit);
        known.set = any(known.set, other.set);
    }
    for name in &role.member_of {
        all.entry(name).or_insert_with(|| Membership {
            role: name.clone(),
            admin: false,
            inherit: None,
            set: None,
            grantor: None,
        });
    }
    all.into_values().collect()
}

/// The statement that grants the membership to `member`; unknown options are left to the server.
fn grant(membership: &Membership, member: &str, major: u32) -> String {
    let mut sql = format!("GRANT {} TO {}", quote_ident(&membership.role), quote_ident(member));
    if major < 16 {
        sql.push_str(if membership.admin { " WITH ADMIN OPTION" } else { "" });
        return sql;
    }
    let options =
        [("ADMIN", Some(membership.admin)), ("INHERIT", membership.inherit), ("SET", membership.set)];
    let options = options.iter().filter_map(|(name, value)| {
        value.map(|value| format!("{name} {}", if value { "TRUE" } else { "FALSE" }))
    });
    sql.push_str(" WITH ");
    sql.push_str(&options.collect::<Vec<_>>().join(", "));
    sql
}

/// Options of a membership that a server before version 16 cannot store.
fn lost(membership: &Membership, role: &Role, major: u32) -> Option<String> {
    let options = [
        membership
            .inherit
            .filter(|inherit| *inherit != role.inherit)
            .map(|inherit| format!("INHERIT {}", if inherit { "TRUE" } else { "FALSE" })),
        membership.set.filter(|set| !set).map(|_| "SET FALSE".to_owned()),
    ];
    let options: Vec<String> = options.into_iter().flatten().collect();
    (major < 16 && !options.is_empty()).then(|| {
        format!(
            "the role {} was a member of {} with {}: the target, older than version 16, cannot keep that",
            role.name,
            membership.role,
            options.join(", ")
        )
    })
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

/// Does `text` contain `word` as a whole name?
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

    fn member(memberships: Vec<Membership>, member_of: &[&str]) -> Role {
        Role {
            name: "app".to_owned(),
            login: true,
            superuser: false,
            create_db: false,
            create_role: false,
            inherit: true,
            replication: false,
            bypass_rls: false,
            member_of: member_of.iter().map(|name| (*name).to_owned()).collect(),
            memberships,
        }
    }

    #[test]
    fn memberships_come_back_with_what_they_allow() {
        let of = |admin, inherit, set| Membership {
            role: "staff".to_owned(),
            admin,
            inherit: Some(inherit),
            set: Some(set),
            grantor: Some("postgres".to_owned()),
        };
        let role = member(vec![of(false, false, false), of(true, false, false)], &["staff", "staff"]);
        let all = memberships(&role);
        assert_eq!(all.len(), 1, "{all:?}");
        assert_eq!(
            grant(&all[0], "app", 18),
            "GRANT \"staff\" TO \"app\" WITH ADMIN TRUE, INHERIT FALSE, SET FALSE"
        );
        assert_eq!(grant(&all[0], "app", 15), "GRANT \"staff\" TO \"app\" WITH ADMIN OPTION");
        assert!(lost(&all[0], &role, 15).is_some_and(|note| note.contains("with INHERIT FALSE, SET FALSE")));
        assert_eq!(lost(&all[0], &role, 16), None);
    }

    #[test]
    fn manifests_that_know_only_names_still_make_members() {
        let all = memberships(&member(Vec::new(), &["staff"]));
        assert_eq!(grant(&all[0], "app", 18), "GRANT \"staff\" TO \"app\" WITH ADMIN FALSE");
        assert_eq!(grant(&all[0], "app", 15), "GRANT \"staff\" TO \"app\"");
    }

    #[test]
    fn only_whole_names_count() {
        assert!(word("GRANT SELECT ON TABLE x TO app;", "app"));
        assert!(!word("GRANT SELECT ON TABLE x TO app_reader;", "app"));
        assert!(!word("GRANT SELECT ON TABLE x TO myapp;", "app"));
        assert!(word("app", "app"));
    }
}
