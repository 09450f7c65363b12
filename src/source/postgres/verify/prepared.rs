//! Checks that a scratch server is prepared as the source was.

use super::Scratch;
use crate::{
    error::Error,
    source::{
        manifest::Manifest,
        postgres::{
            Detail,
            psql::{Psql, quote_literal},
        },
        verify::Fault,
    },
};

#[derive(serde::Deserialize)]
struct Available {
    name: String,
    version: Option<String>,
}

#[derive(serde::Deserialize)]
struct Unknown {
    name: String,
}

impl Scratch {
    /// Fails if extensions of the database are not installed here. Returns what to do if a restore fails although they are: some
    /// may be of another version than the source has.
    pub(super) fn require_extensions(
        &self,
        session: &mut Psql,
        manifest: &Manifest,
    ) -> Result<Option<String>, Fault> {
        let wanted =
            manifest.detail::<Detail>().map(|detail| detail.extensions.as_slice()).unwrap_or_default();
        let there: Vec<Available> = session
            .query("SELECT name, default_version AS version FROM pg_catalog.pg_available_extensions")?;
        let find = |name: &str| there.iter().find(|there| there.name == name);
        let major = self.server.client().major;
        let lacking: Vec<&str> = wanted
            .iter()
            .map(|extension| extension.name.as_str())
            .filter(|name| find(name).is_none())
            .collect();
        if !lacking.is_empty() {
            return Err(Fault::Cannot(
                Error::failed(format!("the scratch server lacks these extensions: {}", lacking.join(", ")))
                    .hint(format!("install their packages for PostgreSQL {major} on this machine")),
            ));
        }
        let other: Vec<String> = wanted
            .iter()
            .filter_map(|extension| {
                let here = find(&extension.name)?.version.as_deref()?;
                (here != extension.version)
                    .then(|| format!("{} {} (here it is {here})", extension.name, extension.version))
            })
            .collect();
        Ok((!other.is_empty()).then(|| {
            format!(
                "the source has other versions of extensions, which may be the reason: install {} for PostgreSQL {major}",
                other.join(", ")
            )
        }))
    }
}

/// Fails if the server does not know parameters that are set for the database. Those of extensions, whose names have a dot,
/// can be set whatever is installed.
pub(super) fn require_parameters(session: &mut Psql, manifest: &Manifest) -> Result<(), Fault> {
    let database = manifest.detail::<Detail>().and_then(|detail| detail.database.as_ref());
    let names: Vec<String> = database
        .iter()
        .flat_map(|database| &database.settings)
        .filter(|setting| !setting.name.contains('.'))
        .map(|setting| format!("({})", quote_literal(&setting.name)))
        .collect();
    if names.is_empty() {
        return Ok(());
    }
    let unknown: Vec<Unknown> = session.query(&format!(
        "SELECT DISTINCT v.name FROM (VALUES {}) v(name) \
         WHERE pg_catalog.current_setting(v.name, true) IS NULL ORDER BY v.name",
        names.join(", ")
    ))?;
    if unknown.is_empty() {
        return Ok(());
    }
    let list: Vec<String> = unknown.into_iter().map(|unknown| unknown.name).collect();
    Err(Fault::Cannot(
        Error::failed(format!(
            "the scratch server does not know parameters that are set for the database: {}",
            list.join(", ")
        ))
        .hint("install a build of PostgreSQL like the source's on this machine, and name its directory in `drill.server_dirs`"),
    ))
}

/// The error for tables that cannot be compared, because an earlier version recorded them in another way.
pub(super) fn unclear(tables: &[String]) -> Fault {
    Fault::Cannot(
        Error::failed(format!(
            "all else is equal, but the content of these tables cannot be compared, only their rows counted, for their \
             partitions have columns in different orders and an earlier version recorded them: {}",
            tables.join(", ")
        ))
        .hint("take a new backup: its content can be compared"),
    )
}
