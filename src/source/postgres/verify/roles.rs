//! `@globals` of PostgreSQL: the script is loaded into an empty server, and compared with the script of that server.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    scratch::sandbox::owner::Owner,
    source::postgres::{Role, psql::quote_ident},
};

/// The role that `initdb` created on the source. Memberships may name it as grantor, and only this role may grant without
/// having been granted anything.
pub(super) fn first_role(known: Option<&str>, roles: &[Role], script: &str) -> String {
    if let Some(name) = known {
        return name.to_owned();
    }
    let superusers: Vec<&str> =
        roles.iter().filter(|role| role.superuser).map(|role| role.name.as_str()).collect();
    let granted =
        |name: &&&str| written(name).iter().any(|name| script.contains(&format!(" GRANTED BY {name};")));
    superusers
        .iter()
        .find(|name| **name == "postgres")
        .or_else(|| superusers.iter().find(granted))
        .or_else(|| superusers.first())
        .map_or("postgres", |name| *name)
        .to_owned()
}

/// The forms of a name in a script: plain, or in quotes.
fn written(name: &str) -> [String; 2] {
    [name.to_owned(), quote_ident(name)]
}

/// Adapts the script to a new scratch server: without creating the existing role, and with other directories for the
/// tablespaces. Also returns these.
pub(super) fn for_scratch(script: &str, first_role: &str, folder: &Path) -> (String, Vec<PathBuf>) {
    let there = written(first_role).map(|name| format!("CREATE ROLE {name};"));
    let mut folders = Vec::new();
    let lines =
        script.split_inclusive('\n').filter(|line| !there.iter().any(|there| line.trim_end() == there));
    let text = lines
        .map(|line| match location(line) {
            Some(at) => {
                let path = folder.join(format!("tablespace-{}", folders.len() + 1));
                let place = path.to_string_lossy().replace('\'', "''");
                folders.push(path);
                format!("{} LOCATION '{place}';\n", &line[..at])
            }
            None => line.to_owned(),
        })
        .collect();
    (text, folders)
}

/// The offset of the location in a line with `CREATE TABLESPACE`.
fn location(line: &str) -> Option<usize> {
    line.starts_with("CREATE TABLESPACE ").then(|| line.rfind(" LOCATION '")).flatten()
}

/// The relevant lines, in a form that can be compared between two servers.
pub(super) fn lines(script: &str, ours: &str) -> Vec<String> {
    let by_us = written(ours).map(|name| format!(" GRANTED BY {name};"));
    let ours = written(ours).map(|name| [format!("CREATE ROLE {name};"), format!("ALTER ROLE {name} ")]);
    script
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with("--") && !line.starts_with('\\'))
        .filter(|line| !ours.iter().flatten().any(|start| line.starts_with(start)))
        // It belongs to the database from which the script was taken.
        .filter(|line| !line.starts_with("SET client_encoding = "))
        .map(|line| match location(line) {
            Some(at) => line[..at].to_owned(),
            // The grantor may have been dropped: then the restoring role becomes the grantor.
            None => by_us.iter().fold(line.to_owned(), |line, by| line.replace(by, ";")),
        })
        .collect()
}

/// Removes the options of a membership that servers before 16 do not store.
pub(super) fn plain_membership(line: &mut String) {
    if !line.starts_with("GRANT ") || line.contains(" ON ") {
        return;
    }
    if let Some(at) = line.rfind(" GRANTED BY ") {
        line.truncate(at);
        line.push(';');
    }
    for option in [", INHERIT TRUE", ", INHERIT FALSE", " WITH INHERIT TRUE", " WITH INHERIT FALSE"] {
        *line = line.replace(option, "");
    }
}

/// Creates directories for tablespaces that are writable for the server's user.
pub(super) fn make_folders(folders: &[PathBuf], owner: Option<Owner>) -> std::io::Result<()> {
    folders.iter().try_for_each(|folder| {
        fs::create_dir(folder)?;
        match owner {
            // Symbolic links are not followed: the parent directory belongs to the server.
            Some(owner) => std::os::unix::fs::lchown(folder, Some(owner.uid), Some(owner.gid)),
            None => Ok(()),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRIPT: &str = "--\n\\restrict abc\nCREATE ROLE postgres;\nALTER ROLE postgres WITH SUPERUSER;\n\
        CREATE ROLE \"Odd 'role\";\nCREATE TABLESPACE fast OWNER postgres LOCATION '/mnt/it''s';\n\
        GRANT a TO b GRANTED BY postgres;\n";

    #[test]
    fn what_is_there_already_is_not_created_and_places_are_ours() {
        let (text, folders) = for_scratch(SCRIPT, "postgres", Path::new("/scratch"));
        assert!(!text.contains("CREATE ROLE postgres"));
        assert!(text.contains("ALTER ROLE postgres") && text.contains("CREATE ROLE \"Odd 'role\""));
        assert!(text.contains("CREATE TABLESPACE fast OWNER postgres LOCATION '/scratch/tablespace-1';"));
        assert_eq!(folders, [PathBuf::from("/scratch/tablespace-1")]);
    }

    #[test]
    fn only_what_says_something_is_compared() {
        let lines = lines(SCRIPT, "postgres");
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(lines.iter().any(|line| line == "CREATE TABLESPACE fast OWNER postgres"));
    }

    #[test]
    fn memberships_of_older_servers_are_compared_without_what_they_do_not_keep() {
        let plain = |line: &str| {
            let mut line = line.to_owned();
            plain_membership(&mut line);
            line
        };
        assert_eq!(plain("GRANT a TO b WITH INHERIT TRUE GRANTED BY postgres;"), "GRANT a TO b;");
        assert_eq!(
            plain("GRANT a TO b WITH ADMIN OPTION, INHERIT FALSE GRANTED BY x;"),
            "GRANT a TO b WITH ADMIN OPTION;"
        );
        let of_tablespace = "GRANT ALL ON TABLESPACE t TO b GRANTED BY x;";
        assert_eq!(plain(of_tablespace), of_tablespace);
        assert_eq!(
            lines("GRANT a TO b GRANTED BY us;\nSET client_encoding = 'LATIN1';\n", "us"),
            ["GRANT a TO b;"]
        );
    }

    #[test]
    fn the_first_role_is_the_one_that_grants() {
        let role = |name: &str| Role {
            name: name.into(),
            login: true,
            superuser: true,
            create_db: true,
            create_role: true,
            inherit: true,
            replication: false,
            bypass_rls: false,
            member_of: Vec::new(),
            memberships: Vec::new(),
        };
        let roles = [role("admin"), role("azuresu")];
        assert_eq!(first_role(None, &roles, "GRANT a TO b GRANTED BY azuresu;"), "azuresu");
        assert_eq!(first_role(Some("x"), &roles, ""), "x");
        assert_eq!(first_role(None, &[role("a"), role("postgres")], ""), "postgres");
        assert_eq!(first_role(None, &[], ""), "postgres");
    }
}
