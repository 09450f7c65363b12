//! `tik-backup systemd`

use std::path::{Path, PathBuf};

use super::{Context, FOUND, SUCCESS};
use crate::{
    config::{Config, SystemdConfig},
    doctor,
    error::{Error, Result},
    settings::RepositoryLocation,
    systemd::units::{self, Change, Changes, TARGET},
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Bring this directory up to date, for example /etc/systemd/system; without it the units are printed
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Change nothing; exit with code 5 if the directory is not up to date
    #[arg(long, requires = "output")]
    check: bool,
    /// The program that the units start [default: this one]
    #[arg(long, value_name = "FILE")]
    executable: Option<PathBuf>,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<u8> {
    let config = context.config()?;
    let executable = match &args.executable {
        Some(path) => path.clone(),
        None => std::env::current_exe().map_err(|e| {
            Error::failed("cannot find the path of this program")
                .because(&e)
                .hint("give it with --executable")
        })?,
    };
    let units = units::units(&config, &executable);
    let Some(folder) = &args.output else {
        let text = || units.iter().map(|unit| format!("# {}\n{}\n", unit.name, unit.text())).collect();
        context.printer.result(&serde_json::json!({"units": units}), text)?;
        return Ok(SUCCESS);
    };
    let changes = if args.check { units::compare(folder, &units)? } else { units::write(folder, &units)? };
    let document: Vec<_> =
        changes.iter().map(|(name, change)| serde_json::json!({"name": name, "change": change})).collect();
    context
        .printer
        .result(&serde_json::json!({"folder": folder, "units": document}), || listing(&changes))?;
    notices(context, &config);
    let differs = changes.iter().any(|(_, change)| *change != Change::Unchanged);
    if args.check {
        return Ok(if differs { FOUND } else { SUCCESS });
    }
    if differs {
        context.printer.notice(&format!(
            "next: systemctl daemon-reload && systemctl enable --now {TARGET} && systemctl restart {TARGET}, then `tik-backup doctor`"
        ));
        if is_new(&config) {
            context.printer.notice(&format!(
                "next: systemctl start {}init, once: it creates the repository",
                units::PREFIX
            ));
        }
    }
    Ok(SUCCESS)
}

/// Whether the location is a directory on this machine without a repository in it.
fn is_new(config: &Config) -> bool {
    let location = match &config.repository.location {
        RepositoryLocation::File { file, .. } if file.is_elsewhere() => None,
        location => location.load().ok(),
    };
    let path = location.as_ref().and_then(|location| location.path());
    path.is_some_and(|path| matches!(path.join("config").try_exists(), Ok(false)))
}

fn listing(changes: &Changes) -> String {
    changes.iter().map(|(name, change)| format!("{:<9} {name}\n", change.as_str())).collect()
}

/// Prints the steps that the units do not do themselves.
fn notices(context: &Context, config: &Config) {
    for source in units::without_timer(config) {
        context
            .printer
            .notice(&format!("warning: no timer starts {source}: it has no `schedule` in the configuration"));
    }
    if config.alerts.is_empty() {
        context.printer.notice("warning: no alerts are sent: the configuration has no [[alerts]]");
    }
    let user = &config.systemd.user;
    // As the services' user sees it: files that it reads itself, and credentials from systemd.
    super::config::warn(context, &doctor::files(config));
    super::config::warn(context, &doctor::over(config));
    for error in doctor::unusable_files(config) {
        context.printer.notice(&format!("warning: {error}"));
    }
    let state = &config.state_dir;
    if !state.starts_with("/var/lib") && !state.exists() {
        let state = state.display();
        context
            .printer
            .notice(&format!("next: install -d -o {user} -g {} -m 0700 {state}", config.systemd.group));
    }
    if !Path::new(doctor::SYSTEMD).exists() && user_is_missing(user) && *user == SystemdConfig::default().user
    {
        context.printer.notice(&format!(
            "warning: there is no user {user}; as root: useradd --system --user-group --home-dir {} --shell /usr/sbin/nologin {user}",
            config.state_dir.display()
        ));
    }
}

/// Whether no user of this name is known. `getent` asks all databases that logins use; if it fails, the answer is no.
fn user_is_missing(user: &str) -> bool {
    let output = std::process::Command::new("getent").args(["passwd", "--", user]).output();
    output.is_ok_and(|output| output.status.code() == Some(2))
}
