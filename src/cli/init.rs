//! `tik-backup init`

use super::{Context, SUCCESS};
use crate::{
    config::Config,
    error::Result,
    fs::owner::Account,
    history::History,
    repository::{Initialised, Repository},
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The repository has moved from here to the configured location: continue its history (proofs, acceptances)
    #[arg(long, value_name = "LOCATION")]
    moved_from: Option<String>,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<u8> {
    let config = context.config()?;
    if let Some(old) = &args.moved_from {
        return moved(context, &config, old);
    }
    // The user of the services: a directory that root creates below a directory of root's would be closed to them.
    let service = Account::find(&config.systemd.user, &config.systemd.group)
        .filter(|_| rustix::process::geteuid().is_root());
    let done = Repository::init_for(&config.repository, service.as_ref())?;
    let location = config.repository.location.to_string();
    let created = done == Initialised::Created;
    let document = serde_json::json!({"location": location, "created": created});
    context.printer.result(&document, || match done {
        Initialised::Created => format!(
            "created a repository at {location}\nKeep a copy of its password elsewhere: without it nothing can be restored."
        ),
        Initialised::Present => format!("the repository at {location} already exists, and the password opens it"),
    })?;
    if let Some(service) = service {
        warn_of_closed(context, &config, &service)?;
    }
    Ok(SUCCESS)
}

/// Warns if owners and modes keep the services from using the repository.
fn warn_of_closed(context: &Context, config: &Config, service: &Account) -> Result<()> {
    let location = config.repository.location.load()?;
    let stopped = location.path().and_then(|path| Some((path, service.stopped_at(&path.join("keys"))?)));
    if let Some((path, at)) = stopped {
        context.printer.notice(&format!(
            "warning: the services run as {name} and cannot use it: {at} is closed to them\n  → chown -R {name}: {path}, and let \
             {name} enter the folders above; `tik-backup doctor` looks once more",
            name = service.name,
            at = at.display(),
            path = path.display()
        ));
    }
    Ok(())
}

/// Creates nothing: a repository that was moved exists.
fn moved(context: &Context, config: &Config, old: &str) -> Result<u8> {
    let repository = Repository::open(&config.repository)?;
    let done = History::moved_from(config, &repository, old)?;
    let document = serde_json::json!({"location": repository.location(), "created": false, "moved": done});
    context.printer.result(&document, || done.clone())?;
    Ok(SUCCESS)
}
