//! Checks that need root or systemd: files and their permissions, units and timers.

use std::{path::Path, process::Command};

use jiff::Zoned;

use super::{Finding, State, service::SYSTEMD};
use crate::{
    config::{AlertConfig, Config, SystemdConfig},
    error::Kind,
    fs::owner::Account,
    output,
    settings::{Location, RepositoryLocation},
    systemd::{
        self,
        units::{self, Change, TARGET},
    },
};

/// Directory of the administrator's units.
const UNITS: &str = "/etc/systemd/system";

/// The checks made before those in the services.
pub(super) fn findings(config: &Config) -> Vec<Finding> {
    let mut findings = files(config);
    findings.extend(alerts(config));
    findings
}

/// Whether the services' user may read the files that it reads itself, judged by owners and modes.
pub(crate) fn files(config: &Config) -> Vec<Finding> {
    let about = "configuration";
    let path = &config.path;
    let sources = crate::output::count(config.sources.len(), "source");
    let mut findings = vec![Finding::ok(about, format!("{} is valid, {sources}", path.display()))];
    if config.sources.is_empty() {
        let text = "it has no sources: nothing is backed up";
        findings.push(Finding::problem(about, text).kind(Kind::Usage).hint("add a section [sources.NAME]"));
    }
    let account = Account::find(&config.systemd.user, &config.systemd.group);
    if account.is_none() {
        findings.extend(no_account(config));
    }
    let stopped = |path: &Path| account.as_ref().and_then(|account| account.stopped_at(path));
    let user = &config.systemd.user;
    if let Some(at) = stopped(path) {
        let text = format!("{user} cannot read {}: {} is closed to that user", path.display(), at.display());
        findings.push(Finding::warning(about, text).hint(format!(
            "the services get it from systemd and run; for commands by hand as {user}: chmod 0644 {} (it holds no secrets)",
            path.display()
        )));
    }
    for (key, path) in config.certificates() {
        if let Some(at) = stopped(path) {
            let text = format!(
                "{key}: {user} cannot read {}: {} is closed to that user",
                path.display(),
                at.display()
            );
            findings.push(
                Finding::problem("certificates", text)
                    .kind(Kind::Usage)
                    .hint(format!("let {user} read it: the services read certificates and keys directly")),
            );
        }
    }
    findings.extend(account.iter().flat_map(|account| unwritable_directories(config, account)));
    findings.extend(unmatched(config));
    findings.extend(credentials(config));
    findings
}

/// Reports that the services' user does not exist. Without systemd, the default user does not matter.
fn no_account(config: &Config) -> Option<Finding> {
    let systemd = &config.systemd;
    let (user, group, defaults) = (&systemd.user, &systemd.group, SystemdConfig::default());
    let runs = Path::new(SYSTEMD).exists();
    if !runs && (user, group) == (&defaults.user, &defaults.group) {
        return None;
    }
    let text =
        format!("the services run as {user} with the group {group}, and this machine lacks one of them");
    let finding = if runs { Finding::problem("user", text) } else { Finding::warning("user", text) };
    Some(finding.hint(format!(
        "as root: useradd --system --user-group --home-dir {} --shell /usr/sbin/nologin {user}; or name an existing user and \
         its group in the section [systemd]",
        config.state_dir.display()
    )))
}

/// Directories that the services cannot write to, judged by owners and modes.
fn unwritable_directories(config: &Config, account: &Account) -> Vec<Finding> {
    let location = match &config.repository.location {
        RepositoryLocation::File { file, .. } if file.is_elsewhere() => None,
        location => location.load().ok(),
    };
    // systemd gives directories below /var/lib to the services' user when it starts a service.
    let state = Some(config.state_dir.as_path()).filter(|path| !path.starts_with("/var/lib"));
    let repository = location.as_ref().and_then(Location::path);
    let folders = [("state folder", state), ("repository", repository)];
    let closed = |(about, path): (&str, Option<&Path>)| {
        let path = path.filter(|path| path.exists())?;
        let at = account.stopped_from_writing(path)?;
        let (user, group) = (&account.name, &config.systemd.group);
        let text =
            format!("{user} cannot write to {}: {} is closed to that user", path.display(), at.display());
        let hint = if at == path {
            format!("as root: chown -R {user}:{group} {}", path.display())
        } else {
            format!("let {user} enter {}, or choose another place", at.display())
        };
        Some(Finding::warning(about, text).hint(hint))
    };
    folders.into_iter().filter_map(closed).collect()
}

/// `sources` patterns of alerts that match no source.
fn unmatched(config: &Config) -> Vec<Finding> {
    let names: Vec<_> = config.sources.iter().map(|source| source.name.as_str()).collect();
    if names.is_empty() {
        return Vec::new();
    }
    let finding = |alert: &AlertConfig, pattern: &str| {
        let text = format!("{}: no source has a name like {pattern:?} in its `sources`", alert.name);
        Finding::warning("alerts", text)
            .hint(format!("correct the pattern; the sources are {}", names.join(", ")))
    };
    let alerts = config.alerts.iter();
    alerts
        .flat_map(|alert| alert.unmatched(&names).into_iter().map(move |pattern| (alert, pattern)))
        .map(|(alert, pattern)| finding(alert, pattern))
        .collect()
}

/// Secrets that are available only in a unit (`credential:`).
fn credentials(config: &Config) -> Option<Finding> {
    let sources = config.sources.iter().flat_map(|source| source.secret_files());
    let alerts = config.alerts.iter().flat_map(|alert| alert.secret_files());
    let token = config.dashboard.iter().filter_map(|dashboard| dashboard.token_file.as_ref());
    let all = config.repository.secret_files().into_iter().chain(sources).chain(alerts).chain(token);
    let keys: Vec<_> = all.filter(|file| file.path().is_none()).map(|file| file.key()).collect();
    if keys.is_empty() {
        return None;
    }
    let text = format!("{} can be read only in a unit with that LoadCredential=", keys.join(", "));
    Some(
        Finding::warning("secrets", text).hint(
            "nothing is wrong if a drop-in of the units has it; a path instead of credential: needs none",
        ),
    )
}

/// The alerts whose files can be used; the check of the secrets reports the others.
fn alerts(config: &Config) -> Option<Finding> {
    let about = "alerts";
    if config.alerts.is_empty() {
        let none = Finding::warning(about, "no alerts are sent: the configuration has no [[alerts]]");
        return Some(none.hint("add a section [[alerts]]; docs/alerts.md describes it"));
    }
    let usable = config.alerts.iter().filter(|alert| alert.unusable_files().is_empty());
    let names: Vec<_> = usable.map(|alert| format!("{} ({})", alert.name, alert.kind.as_str())).collect();
    if names.is_empty() {
        return None;
    }
    Some(Finding::ok(about, format!("{}; `tik-backup alert test` sends one through each", names.join(", "))))
}

/// Schedules that will never be due again.
pub(crate) fn over(config: &Config) -> Vec<Finding> {
    let planned = systemd::planned(config, &Zoned::now());
    let over = planned.into_iter().filter(|plan| plan.next.is_empty());
    over.map(|plan| {
        let text = format!("never due again: the last time of {:?} is over", plan.schedule);
        Finding::warning(plan.title(), text)
            .hint("correct the schedule; `tik-backup config check` shows the next times")
    })
    .collect()
}

/// The next three times of each schedule.
fn next_times(config: &Config) -> Vec<(String, String)> {
    let line = |plan: systemd::Planned| {
        let times: Vec<_> = plan.next.iter().map(output::time).collect();
        (plan.title(), times.join(", "))
    };
    let planned = systemd::planned(config, &Zoned::now());
    planned.into_iter().filter(|plan| !plan.next.is_empty()).map(line).collect()
}

/// Units, timers and their next times.
pub(super) fn schedule(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(over(config));
    if Path::new(SYSTEMD).exists() {
        let written = written(config);
        // Missing units are reported once, not again for each timer.
        let missing = written.as_ref().is_some_and(|finding| finding.state == State::Problem)
            && !Path::new(UNITS).join(TARGET).exists();
        findings.extend(written);
        if !missing {
            let over: Vec<_> = findings.iter().map(|finding| finding.about.clone()).collect();
            let timers = timers(config);
            findings.extend(timers.into_iter().filter(|finding| !over.contains(&finding.about)));
        }
    } else {
        let times = next_times(config);
        findings.extend(times.into_iter().map(|(what, times)| Finding::ok(what, format!("due {times}"))));
        findings.push(
            Finding::warning("timers", "systemd does not run here: something else has to start the commands")
                .hint("docs/install.md, \"Anywhere else\", lists them"),
        );
    }
    for source in units::without_timer(config) {
        let text = "no timer starts it: it has no `schedule`";
        findings.push(Finding::warning(format!("sources.{source}"), text).hint("add schedule = \"02:00\""));
    }
    if config.systemd.drill.is_none() {
        let text = "drills are switched off: no backup is proven by restoring";
        findings.push(
            Finding::warning("drills", text).hint("remove `drill = \"never\"` from the section [systemd]"),
        );
    }
    findings
}

/// Whether the units match the configuration.
fn written(config: &Config) -> Option<Finding> {
    let about = "units";
    let folder = Path::new(UNITS);
    let write = format!("tik-backup systemd --output {UNITS} && systemctl daemon-reload");
    if !folder.join(TARGET).exists() {
        let text = format!("there are none in {UNITS}: nothing runs by itself");
        let hint = format!("{write} && systemctl enable --now {TARGET}");
        return Some(Finding::problem(about, text).hint(hint));
    }
    if !units::is_written_here(folder) {
        // The NixOS configuration provides them.
        return None;
    }
    let executable = std::env::current_exe().ok()?;
    Some(match units::compare(folder, &units::units(config, &executable)) {
        Ok(changes) if changes.iter().all(|(_, change)| *change == Change::Unchanged) => {
            Finding::ok(about, format!("those in {UNITS} are up to date"))
        }
        Ok(_) => {
            Finding::problem(about, format!("those in {UNITS} do not match the configuration")).hint(write)
        }
        Err(error) => Finding::error(about, &error),
    })
}

/// Whether each timer is active.
fn timers(config: &Config) -> Vec<Finding> {
    let enable = format!("systemctl enable --now {TARGET}");
    let mut findings: Vec<Finding> = Vec::new();
    if !matches!(property(TARGET, "UnitFileState").as_str(), "enabled" | "linked" | "static" | "generated") {
        let text = format!("{TARGET} is not enabled: nothing runs by itself after a start of the machine");
        findings.push(Finding::problem("timers", text).hint(&enable));
    }
    for plan in systemd::planned(config, &Zoned::now()) {
        let (unit, what) = (units::timer(&plan), plan.title());
        let next = property(&unit, "NextElapseUSecRealtime");
        findings.push(match property(&unit, "ActiveState").as_str() {
            "active" if next.is_empty() => Finding::ok(what, format!("{unit} runs now")),
            "active" => Finding::ok(what, format!("next {next}")),
            _ => {
                let finding = Finding::problem(what, format!("{unit} is not active"));
                // Give the same advice only once.
                let is_said = findings.iter().any(|finding| finding.hint.as_ref() == Some(&enable));
                if is_said { finding } else { finding.hint(&enable) }
            }
        });
    }
    findings
}

/// A property of a unit; empty if unknown.
fn property(unit: &str, name: &str) -> String {
    let output = Command::new("systemctl").args(["show", "--value", "--property", name, "--", unit]).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}
