//! Stand-ins for other databases that a database refers to: their tables without rows, routines and views.

use std::{collections::BTreeSet, io::Write};

use super::{Creation, DUMP, Rewrite, outside, target, views::client};
use crate::{
    error::{Error, Result},
    source::{
        manifest::Manifest,
        mysql::{
            Detail,
            connect::Connection,
            script::{Phases, Views},
            session::Session,
        },
    },
    stream::{cancel::Cancel, child::into_error, files::Files},
};

/// A database that has the definitions of a snapshot, with stand-ins instead of its views until
/// [`Companion::create_views`].
pub struct Companion {
    database: String,
    item: String,
    views: Views,
}

impl Companion {
    /// Creates the database. Objects that cannot be created are left out: an object that needs them fails with an error.
    pub fn define(
        manifest: &Manifest,
        files: &dyn Files,
        database: &str,
        connection: &Connection,
        cancel: &Cancel,
    ) -> Result<Self> {
        let detail = manifest.detail::<Detail>().and_then(|detail| detail.database.as_ref());
        let detail = detail.ok_or_else(|| Error::failed("the snapshot contains no MySQL database"))?;
        target::create(&Session::new(connection, cancel), database, detail, false)?;
        let item = format!("{}/{}", manifest.source, manifest.item);
        // With --force the client continues after errors, and reports at the end that there were some.
        let mut input = client(connection, database, &item, cancel).arg("--force").spawn_input()?;
        let mut rewrite = Rewrite::new(database, false, Phases::definitions(&mut input))
            .without_places(true)
            .with_stand_ins(true);
        let copied = files.copy(DUMP, &mut rewrite);
        let parted = rewrite.finish().and_then(Phases::finish);
        copied?;
        let (out, views) = parted.map_err(into_error)?;
        out.flush().map_err(into_error)?;
        input.end()?;
        Ok(Self { database: database.to_owned(), item, views })
    }

    /// The databases that it refers to itself.
    pub fn outside(&self) -> BTreeSet<String> {
        let tables = self.views.tables_need().iter().map(|(database, _)| database.clone());
        outside(&self.views, &self.database).into_iter().chain(tables).collect()
    }

    /// Creates its views, now that the objects that they read exist. Views that cannot be created are left out: a view that
    /// reads them fails with an error.
    pub fn create_views(&self, connection: &Connection, cancel: &Cancel) -> Result<()> {
        let Self { database, item, views } = self;
        Creation { connection, cancel, database, item, views }.create().map(drop)
    }
}
