//! Creating the views, after all other objects. Views that read missing objects of another database are left out and reported;
//! the others are restored all the same.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
};

use crate::{
    error::{Error, Result},
    source::{
        mysql::{
            code::{self, Code},
            connect::Connection,
            hints,
            script::{View, Views},
            session::{Session, quote_ident, quote_literal},
        },
        restore::{Missing, Restored},
    },
    stream::{
        cancel::Cancel,
        child::{Command, into_error},
    },
};

/// Objects of databases: database and name.
pub(super) type Names = BTreeSet<(String, String)>;

/// Maximum number of objects in one query.
const TOGETHER: usize = 100;
/// Errors of a view whose tables exist but differ from those that it was created with: an unknown column (1054), a broken
/// view (1356), a view that is not updatable (1368).
const UNLIKE: [u32; 3] = [1054, 1356, 1368];
/// Errors of a view that reads another view whose definer does not exist (1449) or lacks a privilege (1356).
const OF_DEFINERS: [u32; 2] = [1449, 1356];

/// The client that loads a script into a database.
pub(super) fn client(connection: &Connection, database: &str, item: &str, cancel: &Cancel) -> Command {
    connection
        .sql()
        .args(["--batch", "--binary-mode", "--no-auto-rehash", "--max-allowed-packet=1G"])
        .args(["--default-character-set=utf8mb4", "--comments", "--database"])
        .arg(database)
        .item(item)
        .cancel(cancel)
}

/// Creates views.
pub(super) struct Creation<'a> {
    pub(super) connection: &'a Connection,
    pub(super) cancel: &'a Cancel,
    pub(super) database: &'a str,
    /// `source/item`, for messages.
    pub(super) item: &'a str,
    pub(super) views: &'a Views,
}

impl<'a> Creation<'a> {
    /// Creates all views, whatever their dependencies. Returns those that could not be created; they are not in the database.
    pub(super) fn create(&self) -> Result<Vec<(&'a View, Error)>> {
        let all = self.views.all();
        if all.is_empty() {
            return Ok(Vec::new());
        }
        let Err(error) = self.feed(&self.views.script(all)) else { return Ok(Vec::new()) };
        match Code::of(&error) {
            Some(code) if !code.is_of_the_client() => self.one_by_one(),
            _ => Err(error),
        }
    }

    fn one_by_one(&self) -> Result<Vec<(&'a View, Error)>> {
        let all = self.views.all();
        let mut failed: BTreeMap<usize, Error> = BTreeMap::new();
        let mut todo: Vec<usize> = (0..all.len()).collect();
        for _ in 0..=all.len() {
            let before: Vec<usize> = failed.keys().copied().collect();
            for at in &todo {
                self.cancel.check()?;
                match self.feed(&self.views.script([&all[*at]])) {
                    Ok(()) => drop(failed.remove(at)),
                    Err(error) => drop(failed.insert(*at, error)),
                }
            }
            if failed.keys().copied().eq(before.iter().copied()) {
                break;
            }
            // The objects that a failed view reads may exist by now; and views that read it were created on its stand-in.
            let names: BTreeSet<String> = failed.keys().map(|at| all[*at].name.clone()).collect();
            todo = (0..all.len())
                .filter(|at| failed.contains_key(at) || all[*at].reads_any(self.database, &names))
                .collect();
        }
        Ok(failed.into_iter().map(|(at, error)| (&all[at], error)).collect())
    }

    /// Runs a script in the database.
    pub(super) fn feed(&self, script: &[u8]) -> Result<()> {
        let mut input = client(self.connection, self.database, self.item, self.cancel).spawn_input()?;
        let fed = input.write_all(script).map_err(into_error);
        fed.and_then(|()| input.finish().map(drop)).map_err(hints::explain)
    }

    /// Creates all views, and records those that are missing because of other databases. Fails if a view cannot be created for
    /// another reason.
    pub(super) fn restore(&self, session: &Session<'_>, done: &mut Restored) -> Result<()> {
        let failed = self.create()?;
        if failed.is_empty() {
            return Ok(());
        }
        let reads: Names = failed.iter().flat_map(|(view, _)| outside(view, self.database)).collect();
        let absent = absent(session, &reads)?;
        let mut lost: BTreeSet<String> = BTreeSet::new();
        loop {
            let known = lost.len();
            for (view, error) in &failed {
                if self.lies_outside(view, error, &absent, &lost) {
                    lost.insert(view.name.clone());
                }
            }
            if lost.len() == known {
                break;
            }
        }
        if let Some((view, error)) = failed.iter().find(|(view, _)| !lost.contains(&view.name)) {
            return Err(error.clone().context(format!("the view {} cannot be created", view.name)));
        }
        done.missing = failed.iter().map(|(view, error)| missing(view, error)).collect();
        let named = if absent.is_empty() { reads } else { absent };
        if !named.is_empty() {
            done.notes.push(format!(
                "the missing views read objects of other databases that do not exist or differ: {}; restore those \
                 databases too, then load the file with the statements with the client",
                listed(&named)
            ));
        }
        if failed.iter().any(|(_, error)| code::is_any(error, &OF_DEFINERS)) {
            done.notes.push(
                "missing views read views whose definer does not exist or lacks a privilege: create the definers (globals.sql of \
                 @globals) and load the file with the statements with the client, or restore with --no-owner"
                    .to_owned(),
            );
        }
        done.statements = self.statements(failed.iter().map(|(view, _)| *view).collect());
        Ok(())
    }

    fn lies_outside(&self, view: &View, error: &Error, absent: &Names, lost: &BTreeSet<String>) -> bool {
        if code::is_any(error, &OF_DEFINERS) {
            return true;
        }
        let mut reads = outside(view, self.database).peekable();
        let unlike = reads.peek().is_some() && code::is_any(error, &UNLIKE);
        unlike || reads.any(|name| absent.contains(&name)) || view.reads_any(self.database, lost)
    }

    /// A script with the missing views, each after those that it reads, because the stand-ins are gone.
    fn statements(&self, mut left: Vec<&View>) -> Vec<u8> {
        let mut ordered = Vec::new();
        while !left.is_empty() {
            let names: BTreeSet<String> = left.iter().map(|view| view.name.clone()).collect();
            let (later, now): (Vec<&View>, Vec<&View>) =
                left.into_iter().partition(|view| view.reads_any(self.database, &names));
            if now.is_empty() {
                // Views have no circular dependencies; if the names suggest one, any order is as good.
                ordered.extend(later);
                break;
            }
            ordered.extend(now);
            left = later;
        }
        let mut text = format!(
            "-- Views missing in the database {} after a restore of {}, each behind those that it reads.\n\
             -- They come from the backup: read them before you run them.\n\n\
             USE {};\n",
            one_line(self.database),
            one_line(self.item),
            quote_ident(self.database)
        )
        .into_bytes();
        text.extend_from_slice(&self.views.script(ordered));
        text.push(b'\n');
        text
    }
}

/// What a view reads of other databases.
fn outside(view: &View, own: &str) -> impl Iterator<Item = (String, String)> {
    view.outside(own).map(|(database, name)| (database.to_owned(), name.to_owned()))
}

/// The tables, views and routines that the server does not have, or does not show to this account.
pub(super) fn absent(session: &Session<'_>, names: &Names) -> Result<Names> {
    let mut absent = names.clone();
    for some in names.iter().collect::<Vec<_>>().chunks(TOGETHER) {
        let is_one = |schema: &str, column: &str| {
            let pairs = some.iter().map(|(database, name)| {
                format!("({schema} = {} AND {column} = {})", quote_literal(database), quote_literal(name))
            });
            pairs.collect::<Vec<_>>().join(" OR ")
        };
        let found: Vec<[String; 2]> = session.rows(&format!(
            "SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES WHERE {} \
             UNION SELECT ROUTINE_SCHEMA, ROUTINE_NAME FROM information_schema.ROUTINES WHERE {}",
            is_one("TABLE_SCHEMA", "TABLE_NAME"),
            is_one("ROUTINE_SCHEMA", "ROUTINE_NAME")
        ))?;
        // Names of routines are compared without case, names of tables as the server is configured.
        let same = |a: &str, b: &str| a.to_lowercase() == b.to_lowercase();
        absent.retain(|(database, name)| {
            !found.iter().any(|[schema, found]| same(schema, database) && same(found, name))
        });
    }
    Ok(absent)
}

/// Objects in words, the first few of them.
pub(super) fn listed(names: &Names) -> String {
    const SHOWN: usize = 5;
    let all: Vec<String> = names.iter().map(|(database, name)| format!("{database}.{name}")).collect();
    match all.len().checked_sub(SHOWN) {
        None | Some(0) => all.join(", "),
        Some(more) => format!("{} and {more} more", all[..SHOWN].join(", ")),
    }
}

fn missing(view: &View, error: &Error) -> Missing {
    let said = code::client_line(error).map_or_else(|| error.summary(), str::to_owned);
    Missing {
        kind: "VIEW".to_owned(),
        schema: String::new(),
        name: view.name.clone(),
        reason: one_line(&said),
    }
}

/// A text for one comment line, without line breaks.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_of_a_missing_view_is_what_the_server_said() {
        let error = code::failure(
            "--------------\nCREATE VIEW `v` AS select 'ERROR 1 (x)'\n\
             --------------\n\nERROR 1146 (42S02) at line 3: Table 'xb.t' doesn't exist",
        );
        let reason = missing(&View::default(), &error).reason;
        assert_eq!(reason, "ERROR 1146 (42S02) at line 3: Table 'xb.t' doesn't exist");
    }
}
