//! Starting this program as the services are started.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use super::{Finding, Part, inside};
use crate::{
    config::{Config, SourceKind},
    owner::Account,
    schedule::units,
    stream::cancel::Cancel,
};

/// There if systemd runs.
pub(super) const SYSTEMD: &str = "/run/systemd/system";

/// What the services will find; or what this process finds, where it cannot stand in for them.
pub(super) fn findings(config: &Config, cancel: &Cancel) -> Vec<Finding> {
    let user = &config.systemd.user;
    let root = rustix::process::geteuid().is_root();
    let about = "user";
    let account = Account::find(user, &config.systemd.group);
    let itself = account.as_ref().is_some_and(|account| account.uid == rustix::process::geteuid().as_raw());
    let mut findings = Vec::new();
    match (root, Path::new(SYSTEMD).exists(), &account) {
        (true, true, Some(_)) => return as_services(config),
        (_, true, None) => {
            let group = &config.systemd.group;
            let text = format!(
                "the services run as {user} with the group {group}, and this machine lacks one of them"
            );
            findings.push(Finding::problem(about, text).hint(format!(
                "as root: useradd --system --user-group --home-dir {} --shell /usr/sbin/nologin {user}",
                config.state_dir.display()
            )));
        }
        (_, false, _) => {
            findings.push(Finding::ok(
                about,
                "systemd does not run here: looked at as the user that this was started by",
            ));
        }
        (false, true, Some(_)) if itself => {
            let text =
                format!("looked at as {user}; secrets that systemd hands to the services are not here");
            findings
                .push(Finding::warning(about, text).hint("run it as root to see what the services will see"));
        }
        (false, true, Some(_)) => {
            let text = format!("this is not root: looked at as you, and the services run as {user}");
            findings
                .push(Finding::warning(about, text).hint("run it as root to see what the services will see"));
        }
    }
    findings.extend(inside::findings(config, Part::All, cancel));
    findings
}

fn as_services(config: &Config) -> Vec<Finding> {
    let user = &config.systemd.user;
    let mut findings =
        vec![Finding::ok("user", format!("looked at as {user}, confined as the services are"))];
    let is_folder = |kind: &SourceKind| matches!(kind, SourceKind::Directory(_));
    findings.extend(ask(config, Part::Servers));
    if config.sources.iter().any(|source| is_folder(&source.kind)) {
        findings.extend(ask(config, Part::Directories));
    }
    findings
}

/// Asks one process with the settings of the services.
fn ask(config: &Config, part: Part) -> Vec<Finding> {
    let failed = |text: String| {
        let hint = "what systemd says of it: journalctl -n 20; `systemd-run` must be able to start services";
        vec![Finding::problem("services", format!("none could be started to look: {text}")).hint(hint)]
    };
    let executable = match std::env::current_exe() {
        Ok(path) => path,
        Err(error) => return failed(error.to_string()),
    };
    let directories = part == Part::Directories;
    let mut command = Command::new("systemd-run");
    command.args(["--quiet", "--wait", "--pipe", "--collect", "--service-type=exec"]);
    for property in units::probe(config, &executable, directories) {
        command.arg("--property").arg(property);
    }
    if let Some(path) = search_path(config) {
        command.arg(format!("--setenv=PATH={path}"));
    }
    command
        .arg("--")
        .arg(&executable)
        .arg("--config")
        .arg(&config.path)
        .args(["--json", "doctor", "--inside"]);
    command.arg(if directories { "directories" } else { "servers" });
    let output = match command.stdin(Stdio::null()).output() {
        Ok(output) => output,
        Err(error) => return failed(format!("systemd-run: {error}")),
    };
    let told: Option<Vec<Finding>> = serde_json::from_slice::<serde_json::Value>(&output.stdout)
        .ok()
        .and_then(|mut document| serde_json::from_value(document["findings"].take()).ok());
    told.unwrap_or_else(|| {
        let said = String::from_utf8_lossy(&output.stderr);
        failed(format!("{}: {}", output.status, said.trim()))
    })
}

/// Where the services look for clients, if their unit says so: on NixOS it does.
fn search_path(config: &Config) -> Option<String> {
    let source = config.sources.first()?;
    let unit = format!("{}source-{}.service", units::PREFIX, source.name);
    let output =
        Command::new("systemctl").args(["show", "--property=Environment", "--value", &unit]).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_whitespace().find_map(|word| word.trim_matches('"').strip_prefix("PATH=").map(str::to_owned))
}
