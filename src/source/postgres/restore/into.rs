//! A database as a restore target, with the client tools to access it.

use super::{Target, parse_url, read_back, restore, target::roles};
use crate::{
    azure::Engine,
    error::Result,
    settings::Secret,
    source::{
        KindConfig, azure,
        postgres::{PostgresConfig, clients::Clients, params},
        restore::Restored,
        target::{Done, RestoreJob, RestoreTarget},
    },
    stream::cancel::Cancel,
};

/// A database, with the client tools to access it.
struct Into {
    target: Target,
    clients: Clients,
}

impl RestoreTarget for Into {
    fn kind(&self) -> &'static str {
        "postgres"
    }

    fn set_password(&mut self, password: Secret) -> Result<()> {
        self.target.params.password = Some(password.into());
        Ok(())
    }

    fn without_globals(&self) -> Option<&'static str> {
        Some("there is no snapshot of @globals: missing roles cannot be created")
    }

    fn restore(&self, job: &RestoreJob<'_>) -> Result<Done> {
        let RestoreJob { manifest, files, options, notice, cancel, .. } = *job;
        let (target, clients) = (&self.target, &self.clients);
        let done = restore(manifest, files, roles(job), target, clients, options, cancel, notice)?;
        Ok(Done::Database(Box::new(done)))
    }

    fn read_back(
        &self,
        job: &RestoreJob<'_>,
        done: &Restored,
        notes: &mut Vec<String>,
    ) -> Result<Vec<String>> {
        read_back::differences(&self.target, &self.clients, job, done, notes)
    }
}

/// Parses the URL of a target. The directories of client tools are taken from the source if it is of this kind.
///
/// # Errors
/// The URL is not valid for a database.
pub(in crate::source) fn by_url(
    url: &str,
    configured: Option<&(dyn KindConfig + 'static)>,
) -> Result<Box<dyn RestoreTarget>> {
    let postgres = configured.and_then(PostgresConfig::of);
    let dirs = postgres.map_or(&[][..], |postgres| &postgres.server.client_dirs);
    Ok(Box::new(Into { target: parse_url(url)?, clients: Clients::find(dirs) }))
}

/// A database on the server of a source, of which `item` is or was an item.
///
/// # Errors
/// The server cannot be found, or its configuration names files that cannot be read.
pub(in crate::source) fn on_own_server(
    configured: &PostgresConfig,
    item: &str,
    database: &str,
    cancel: &Cancel,
) -> Result<Box<dyn RestoreTarget>> {
    let server = azure::found(&configured.server, Engine::Postgres, item, cancel)?;
    let clients = Clients::find(&configured.server.client_dirs);
    let target = Target {
        params: params(&PostgresConfig { server, ..configured.clone() })?,
        database: database.to_owned(),
        maintenance_db: configured.maintenance_db.clone(),
    };
    Ok(Box::new(Into { target, clients }))
}
