//! Proving the users, roles and grants of a MySQL or MariaDB server.

use std::{io::Write, time::Instant};

use super::{
    Scratch,
    accounts::{self, Stubs},
    detail,
};
use crate::{
    error::Error,
    source::{
        GLOBALS,
        mysql::{
            Account, Detail, GLOBALS_SQL,
            globals::UNREADABLE,
            session::{quote_ident, quote_text},
        },
        verify::{Fault, Globals, Proof, Proven, Setup, compare, inflict, sink::NullSink},
    },
    stream::child::into_error,
};

impl Scratch {
    /// Loads the accounts, and compares the result.
    pub(super) fn accounts(&self, setup: &Setup<'_>, globals: &Globals<'_>, damage: Option<&str>) -> Proven {
        let Globals { manifest, files } = *globals;
        let stored = detail(manifest)?;
        if stored.accounts.is_empty() {
            return Err(Fault::Cannot(
                Error::failed("the snapshot contains only the grants of the backup account")
                    .hint("let the backup account read the server's users: GRANT SELECT ON mysql.* TO …"),
            ));
        }
        let begin = Instant::now();
        let script = String::from_utf8_lossy(&files.read(GLOBALS_SQL)?).into_owned();
        let stubs = Stubs::of(&script);
        for statement in stubs.statements() {
            self.query(setup, &statement)?;
        }
        self.script(setup, &script)?;
        let restore = begin.elapsed();
        inflict(damage, |sql| self.query(setup, sql))?;
        let sink = NullSink::keeping(GLOBALS_SQL);
        let again = self.dump(setup, GLOBALS, &sink)?;
        // Grants remain after their objects are dropped: the databases are then created as on the source.
        for database in stubs.databases() {
            self.query(setup, &format!("DROP DATABASE {}", quote_ident(database)))?;
        }
        let found = String::from_utf8_lossy(&sink.kept()).into_owned();
        let (before, after) = (accounts::lines(&script, &self.ours), accounts::lines(&found, &self.ours));
        let mut differences = compare::lines(&before, &after);
        let restored = again.into_detail::<Detail>().map(|detail| detail.accounts).unwrap_or_default();
        for account in &stored.accounts {
            if named(&script, account) && !restored.contains(account) {
                differences.push(format!("the account {}@{} is missing", account.user, account.host));
            }
        }
        let lacking = manifest.notes.iter().find(|note| note.starts_with(UNREADABLE));
        if let (Some(note), true) = (lacking, differences.is_empty()) {
            return Err(Fault::Cannot(
                Error::failed("the snapshot lacks accounts")
                    .because_text(note.clone())
                    .hint("let the backup account read the server's users: GRANT SELECT ON mysql.* TO …"),
            ));
        }
        Proof {
            restore: Some(restore),
            objects: stored.accounts.len() as u64,
            bytes: script.len() as u64,
            ..Proof::default()
        }
        .unless(differences)
    }

    fn script(&self, setup: &Setup<'_>, sql: &str) -> Result<(), Fault> {
        let connection = self.params.prepare(&self.client)?;
        let mut input = connection
            .sql()
            .args(["--batch", "--binary-mode", "--no-auto-rehash", "--default-character-set=utf8mb4"])
            .item(GLOBALS)
            .cancel(setup.cancel)
            .spawn_input()?;
        let fed = input.write_all(sql.as_bytes()).map_err(into_error);
        // A syntax error repeats a part of the statement, which may contain a hash.
        fed.and_then(|()| input.finish().map(drop)).map_err(|error| {
            let text = error.summary();
            let text = text.split(" near '").next().unwrap_or_default();
            Fault::from(Error::failed(compare::without_secret(text)))
        })
    }
}

/// Whether a script creates or grants to an account. Those that may not be read are not in it.
fn named(script: &str, account: &Account) -> bool {
    let Account { user, host, role } = account;
    if *role {
        return script.contains(&format!("CREATE ROLE IF NOT EXISTS {};", quote_ident(user)));
    }
    let names = [
        format!("{}@{}", quote_ident(user), quote_ident(host)),
        format!("{}@{}", quote_text(user), quote_text(host)),
    ];
    names.iter().any(|name| script.contains(name.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_in_a_script_by_its_whole_name() {
        let script =
            "CREATE USER IF NOT EXISTS `app2`@`%` IDENTIFIED BY 'x';\nCREATE ROLE IF NOT EXISTS `readers`;\n";
        let account = |user: &str, host: &str, role| Account { user: user.into(), host: host.into(), role };
        assert!(named(script, &account("app2", "%", false)));
        assert!(named(script, &account("readers", "", true)));
        for other in
            [account("app", "%", false), account("", "%", false), account("app2", "localhost", false)]
        {
            assert!(!named(script, &other), "{other:?}");
        }
    }
}
