//! Other databases, as far as one that refers to them needs them: their tables without rows, their routines and views.

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
    /// Makes the database. What cannot be created is left out: whoever needs it fails and says so.
    pub fn define(
        manifest: &Manifest,
        files: &dyn Files,
        database: &str,
        connection: &Connection,
        cancel: &Cancel,
    ) -> Result<Self> {
        let detail = manifest.detail::<Detail>().and_then(|detail| detail.database.as_ref());
        let detail = detail.ok_or_else(|| Error::failed("the snapshot holds no MySQL database"))?;
        target::create(&Session::new(connection, cancel), database, detail, false)?;
        let item = format!("{}/{}", manifest.source, manifest.item);
        // With --force the client goes on after errors, and says at its end that there were some.
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

    /// The other databases that it refers to in its turn.
    pub fn outside(&self) -> BTreeSet<String> {
        let tables = self.views.tables_need().iter().map(|(database, _)| database.clone());
        outside(&self.views, &self.database).into_iter().chain(tables).collect()
    }

    /// Creates its views, now that what they read is there. Those that cannot be created are not there: whoever reads them
    /// fails and says so.
    pub fn create_views(&self, connection: &Connection, cancel: &Cancel) -> Result<()> {
        let Self { database, item, views } = self;
        Creation { connection, cancel, database, item, views }.create().map(drop)
    }
}
