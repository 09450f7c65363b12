//! A database as a target of restores.

use super::{Target, parse_url, read_back, restore};
use crate::{
    error::Result,
    settings::Secret,
    source::{
        mongodb::{MongodbConfig, connect::Params},
        restore::Restored,
        target::{Done, RestoreJob, RestoreTarget},
    },
};

impl RestoreTarget for Target {
    fn kind(&self) -> &'static str {
        "mongodb"
    }

    fn set_password(&mut self, password: Secret) -> Result<()> {
        self.params.set_password(password)
    }

    fn restore(&self, job: &RestoreJob<'_>) -> Result<Done> {
        let RestoreJob { manifest, files, options, notice, cancel, .. } = *job;
        Ok(Done::Database(Box::new(restore(manifest, files, self, options, cancel, notice)?)))
    }

    fn read_back(
        &self,
        job: &RestoreJob<'_>,
        done: &Restored,
        notes: &mut Vec<String>,
    ) -> Result<Vec<String>> {
        read_back::differences(self, job, done, notes)
    }
}

/// The target that a URL names.
///
/// # Errors
/// The URL is none of a database.
pub(in crate::source) fn by_url(url: &str) -> Result<Box<dyn RestoreTarget>> {
    Ok(Box::new(parse_url(url)?))
}

/// A database of the deployment of a source.
///
/// # Errors
/// The file with its URI cannot be read, or the database belongs to the servers.
pub(in crate::source) fn on_own_server(
    configured: &MongodbConfig,
    database: &str,
) -> Result<Box<dyn RestoreTarget>> {
    Ok(Box::new(Target::new(Params::load(&configured.uri_file)?, database)?))
}
