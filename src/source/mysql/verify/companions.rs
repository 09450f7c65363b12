//! Databases whose views read other databases: the other databases are replaced by stand-ins, created from the definitions in
//! their snapshots.

use std::collections::BTreeSet;

use super::{Scratch, Setup};
use crate::{
    error::Error,
    source::{
        mysql::{
            restore::{Companion, Unloaded},
            session::quote_ident,
        },
        restore::Missing,
        verify::{Fault, Siblings, of_restore},
    },
};

const BACK_UP: &str = "back up those databases with this source too, see that the definers exist and are in @globals, or drop \
                       what refers to them; everything else in this database was restored and is what was backed up";
/// At most this many missing views are named.
const NAMED: usize = 5;

/// Other databases of the same server.
#[derive(Clone, Copy)]
pub(super) struct Others<'a> {
    /// Their snapshots, if they can be searched.
    pub(super) siblings: Option<&'a dyn Siblings>,
    /// The required databases. None if the server is shared: then no others can be created.
    pub(super) needed: Option<&'a BTreeSet<String>>,
}

impl Others<'_> {
    /// Those of these databases that have a snapshot.
    fn known(&self, databases: impl IntoIterator<Item = String>) -> BTreeSet<String> {
        let stored = |name: &String| self.siblings.is_some_and(|siblings| siblings.has(name));
        databases.into_iter().filter(stored).collect()
    }

    /// Fails if databases would have to be created on a shared server.
    pub(super) fn require_alone(&self, databases: BTreeSet<String>) -> Result<(), Fault> {
        let known = self.known(databases);
        if self.needed.is_some() || known.is_empty() { Ok(()) } else { Err(Fault::Alone(known)) }
    }

    /// Why a database could not be loaded.
    pub(super) fn unloaded(&self, unloaded: Unloaded) -> Fault {
        if unloaded.outside.is_empty() {
            return of_restore(unloaded.error);
        }
        let databases = unloaded.outside.iter().map(|(database, _)| database.clone()).collect();
        if let Err(alone) = self.require_alone(databases) {
            return alone;
        }
        let names: Vec<String> = unloaded
            .outside
            .iter()
            .take(NAMED)
            .map(|(database, name)| format!("{database}.{name}"))
            .collect();
        Fault::Cannot(
            Error::failed(format!(
                "its tables take values from other databases that the scratch server lacks: {}",
                names.join(", ")
            ))
            .because_text(unloaded.error.summary())
            .hint("back up those databases with this source too, or drop what refers to them"),
        )
    }
}

/// The stand-ins for other databases.
#[derive(Default)]
pub(super) struct Companions {
    /// Every database that was begun.
    pub(super) names: BTreeSet<String>,
    made: Vec<Companion>,
}

impl Scratch {
    /// Creates the databases that have a snapshot, and those that they refer to.
    pub(super) fn define(
        &self,
        setup: &Setup<'_>,
        others: &Others<'_>,
        own: &str,
        databases: BTreeSet<String>,
        companions: &mut Companions,
    ) -> Result<(), Fault> {
        let (Some(siblings), Some(_)) = (others.siblings, others.needed) else { return Ok(()) };
        let connection = self.params.prepare(&self.client)?;
        let mut todo: Vec<String> = others.known(databases).into_iter().collect();
        while let Some(database) = todo.pop() {
            if database == own || companions.names.contains(&database) {
                continue;
            }
            setup.cancel.check().map_err(Fault::Cannot)?;
            (setup.notice)(&format!("{}: definitions of {database} are loaded for it", siblings.of()));
            companions.names.insert(database.clone());
            // A damaged snapshot of another database says nothing about this one.
            let made = siblings.open(&database).and_then(|(manifest, files)| {
                Companion::define(&manifest, &*files, &database, &connection, setup.cancel)
            });
            let made =
                made.map_err(|error| Fault::Cannot(error.context(format!("definitions of {database}"))))?;
            todo.extend(others.known(made.outside()));
            companions.made.push(made);
        }
        Ok(())
    }

    /// Creates the views of those databases, now that all tables are there.
    pub(super) fn finish(&self, setup: &Setup<'_>, companions: &Companions) -> Result<(), Fault> {
        let connection = self.params.prepare(&self.client)?;
        for companion in &companions.made {
            companion.create_views(&connection, setup.cancel).map_err(Fault::Cannot)?;
        }
        Ok(())
    }

    /// Drops databases. A database that cannot be dropped is removed with the server.
    pub(super) fn drop_all<'n>(&self, setup: &Setup<'_>, names: impl Iterator<Item = &'n str>) {
        for name in names {
            // Tables of other databases may refer to it.
            let sql = format!("SET FOREIGN_KEY_CHECKS = 0; DROP DATABASE IF EXISTS {}", quote_ident(name));
            let _: Result<(), Error> = self.query(setup, &sql);
        }
    }
}

impl Companions {
    /// The note for a proof that used them.
    pub(super) fn note(&self) -> Option<String> {
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        (!names.is_empty()).then(|| {
            format!(
                "its views read other databases: they were created with the definitions, without rows, of {}",
                names.join(", ")
            )
        })
    }
}

/// The error for missing views whose tables are in other databases, which says nothing about this backup.
pub(super) fn missing(missing: &[Missing]) -> Fault {
    let mut named: Vec<String> =
        missing.iter().take(NAMED).map(|view| format!("{} ({})", view.name, view.reason)).collect();
    let more = missing.len().saturating_sub(NAMED);
    named.extend((more > 0).then(|| format!("and {more} more")));
    Fault::Cannot(
        Error::failed(format!(
            "views cannot be created, because they read other databases without a snapshot, or views whose definer does not \
             exist or lacks a privilege: {}",
            named.join(", ")
        ))
        .hint(BACK_UP),
    )
}
