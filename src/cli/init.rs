//! `tik-backup init`

use super::{Context, SUCCESS};
use crate::{
    error::Result,
    repository::{Initialised, Repository},
};

pub(super) fn run(context: &Context) -> Result<u8> {
    let config = context.config()?;
    let done = Repository::init(&config.repository)?;
    let location = config.repository.location.to_string();
    let created = done == Initialised::Created;
    let document = serde_json::json!({"location": location, "created": created});
    context.printer.result(&document, || match done {
        Initialised::Created => format!(
            "created a repository at {location}\nKeep a copy of its password elsewhere: without it nothing can be restored."
        ),
        Initialised::Present => format!("there is a repository at {location}, and the password opens it"),
    })?;
    Ok(SUCCESS)
}
