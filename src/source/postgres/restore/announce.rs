//! Announces what a restored database needs besides its content, before anything is changed.

use serde::Deserialize;

use super::{Restore, select::Selection};
use crate::{error::Result, source::postgres::psql::Psql};

/// The extension that runs jobs. A server has it in one database only.
const PG_CRON: &str = "pg_cron";

#[derive(Deserialize)]
struct Setting {
    setting: String,
}

impl Restore<'_> {
    /// Announces what the selected subscriptions and jobs need.
    pub(super) fn announce(&self, session: &mut Psql, selection: &Selection) -> Result<()> {
        if self.options.definitions {
            return Ok(());
        }
        for entry in selection.entries.iter().filter(|entry| entry.desc == "SUBSCRIPTION") {
            (self.notice)(&format!(
                "the subscription {0} comes back disabled: it needs the publisher, a connection string with a valid \
                 password (ALTER SUBSCRIPTION … CONNECTION) and a replication slot there; then ALTER SUBSCRIPTION … \
                 ENABLE. While the original still runs, both must not use the same slot",
                entry.tag
            ));
        }
        if selection.entries.iter().any(|entry| entry.desc == "EXTENSION" && entry.tag == PG_CRON) {
            let database: Option<Setting> = session
                .query("SELECT setting FROM pg_catalog.pg_settings WHERE name = 'cron.database_name'")?
                .pop();
            let there = match database {
                Some(database) if database.setting == self.target.database => return Ok(()),
                Some(database) => format!("here that is {}", database.setting),
                None => "this server has not loaded it".to_owned(),
            };
            (self.notice)(&format!(
                "the extension pg_cron must be in shared_preload_libraries, and exists only in the database that \
                 cron.database_name names: {there}. Its jobs run on this server once they are restored"
            ));
        }
        Ok(())
    }
}
