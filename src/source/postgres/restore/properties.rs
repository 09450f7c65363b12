//! Properties of a database that are not in its dump: settings, comment, privileges, connection limit.

use super::{Restore, preflight::TargetServer};
use crate::{
    error::Result,
    source::postgres::{
        Setting,
        code::SqlState,
        psql::{Psql, quote_ident, quote_literal},
    },
};

/// Errors about an unknown setting or a privilege that cannot be granted: the other properties are restored all the same.
const UNKNOWN_HERE: [(SqlState, &str); 4] = [
    (SqlState::UNDEFINED_OBJECT, "the target does not know it"),
    (SqlState::INVALID_VALUE, "the target does not accept the value"),
    (SqlState::INSUFFICIENT_PRIVILEGE, "this account may not do that"),
    (SqlState::CANT_CHANGE_PARAMETER, "it cannot be set for a database"),
];

impl Restore<'_> {
    /// Restores them. The database may have another name than in the dump.
    pub(super) fn database_properties(
        &self,
        session: &mut Psql,
        server: &TargetServer,
        notes: &mut Vec<String>,
    ) -> Result<()> {
        for statement in self.statements(notes)? {
            let Err(error) = session.execute(&statement) else { continue };
            // Neither the whole statement nor the server's message: a setting may contain a secret.
            let what = statement.split(" = ").next().unwrap_or_default();
            let state = SqlState::of(&error);
            let lenient = statement.contains(" SET ") || state == Some(SqlState::INSUFFICIENT_PRIVILEGE);
            let known = UNKNOWN_HERE.iter().find(|(known, _)| lenient && Some(*known) == state);
            let state = state.map(|state| state.to_string()).unwrap_or_default();
            match known {
                Some((_, why)) => notes.push(format!("not restored: {what} ({why}, SQLSTATE {state})")),
                // A superuser restores everything; for other accounts the rest is reported.
                None if !session.is_alive() || (server.superuser && !self.options.keep_going) => {
                    return Err(error.context("cannot restore the database's properties"));
                }
                None => notes.push(format!("not restored: {what} (SQLSTATE {state})")),
            }
        }
        Ok(())
    }

    fn statements(&self, notes: &mut Vec<String>) -> Result<Vec<String>> {
        let original = self.original()?;
        let name = quote_ident(&self.target.database);
        let mut statements = Vec::new();
        if let Some(comment) = &original.comment {
            statements.push(format!("COMMENT ON DATABASE {name} IS {}", quote_literal(comment)));
        }
        if original.connection_limit >= 0 {
            statements.push(format!("ALTER DATABASE {name} CONNECTION LIMIT {}", original.connection_limit));
        }
        for setting in &original.settings {
            match setting_statement(&name, setting) {
                Some(statement) => statements.push(statement),
                None => notes.push(format!(
                    "not restored: the setting {}, whose value is no list of names",
                    setting.name
                )),
            }
        }
        if !self.options.no_privileges && !original.default_grants {
            statements.push(format!("REVOKE ALL ON DATABASE {name} FROM PUBLIC"));
            if !self.options.no_owner {
                // The owner may have revoked own privileges.
                statements
                    .push(format!("REVOKE ALL ON DATABASE {name} FROM {}", quote_ident(&original.owner)));
            }
            for grant in &original.grants {
                let to = grant.grantee.as_deref().map_or("PUBLIC".to_owned(), quote_ident);
                let option = if grant.grantable { " WITH GRANT OPTION" } else { "" };
                statements.push(format!("GRANT {} ON DATABASE {name} TO {to}{option}", grant.privilege));
            }
        }
        Ok(statements)
    }
}

/// The statement that restores a setting. `None` if a list cannot be parsed as the server would: the value may have been set
/// by any role that can log in, and must not be executed as SQL.
fn setting_statement(database: &str, setting: &Setting) -> Option<String> {
    /// Parameters whose value is a list, which must not be quoted as a whole.
    const LISTS: [&str; 6] = [
        "search_path",
        "temp_tablespaces",
        "session_preload_libraries",
        "local_preload_libraries",
        "shared_preload_libraries",
        "unix_socket_directories",
    ];
    let value = if LISTS.contains(&setting.name.as_str()) {
        let names = split_list(&setting.value)?;
        if names.is_empty() {
            "''".to_owned()
        } else {
            names.iter().map(|n| quote_literal(n)).collect::<Vec<_>>().join(", ")
        }
    } else {
        quote_literal(&setting.value)
    };
    let name: Vec<_> = setting.name.split('.').map(quote_ident).collect();
    let set = format!("SET {} = {value}", name.join("."));
    Some(match &setting.role {
        Some(role) => format!("ALTER ROLE {} IN DATABASE {database} {set}", quote_ident(role)),
        None => format!("ALTER DATABASE {database} {set}"),
    })
}

/// Parses a list such as `public, "odd name"`.
fn split_list(value: &str) -> Option<Vec<String>> {
    let mut names = Vec::new();
    let mut rest = value.trim();
    while !rest.is_empty() {
        let after = if let Some(mut quoted) = rest.strip_prefix('"') {
            let mut name = String::new();
            loop {
                let end = quoted.find('"')?;
                name.push_str(&quoted[..end]);
                quoted = &quoted[end + 1..];
                match quoted.strip_prefix('"') {
                    Some(more) => {
                        name.push('"');
                        quoted = more;
                    }
                    None => break,
                }
            }
            names.push(name);
            quoted.trim_start()
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            let name = rest[..end].trim_end();
            if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c == '"') {
                return None;
            }
            names.push(name.to_owned());
            &rest[end..]
        };
        rest = match after.strip_prefix(',') {
            Some(more) if !more.trim().is_empty() => more.trim_start(),
            None if after.is_empty() => after,
            _ => return None,
        };
    }
    Some(names)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn settings_cannot_smuggle_sql() {
        let setting = |value: &str| {
            let setting = Setting { role: None, name: "search_path".to_owned(), value: value.to_owned() };
            setting_statement("\"d\"", &setting)
        };
        let set = "ALTER DATABASE \"d\" SET \"search_path\" = ";
        assert_eq!(setting("\"$user\", public").unwrap(), format!("{set}'$user', 'public'"));
        assert_eq!(setting("\"o\"\"dd, name\",x").unwrap(), format!("{set}'o\"dd, name', 'x'"));
        assert_eq!(setting("").unwrap(), format!("{set}''"));
        assert_eq!(
            setting("public;create/**/role/**/evil").unwrap(),
            format!("{set}'public;create/**/role/**/evil'")
        );
        assert_eq!(setting("public; create role evil"), None);
        assert_eq!(setting("\"open"), None);
        assert_eq!(setting("a,"), None);
    }
}
