//! What root and systemd can tell: the files as they lie, the units and their timers.

use std::{path::Path, process::Command};

use jiff::Zoned;

use super::{Finding, service::SYSTEMD};
use crate::{
    config::Config,
    error::Kind,
    output,
    owner::Account,
    schedule::{
        self,
        units::{self, Change, TARGET},
    },
};

/// Where units of this machine's administrator lie.
const UNITS: &str = "/etc/systemd/system";

/// What is looked at before the services are asked.
pub(super) fn findings(config: &Config) -> Vec<Finding> {
    let mut findings = files(config);
    findings.push(alerts(config));
    findings
}

/// Whether the services' user may read what it reads itself, as far as owners and modes tell.
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
                    .hint(format!("let {user} read it: certificates and their keys are read as they lie")),
            );
        }
    }
    findings.extend(credentials(config));
    findings
}

/// Secrets that only a unit has.
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

fn alerts(config: &Config) -> Finding {
    let about = "alerts";
    if config.alerts.is_empty() {
        return Finding::warning(about, "nobody is told of failures: the configuration has no [[alerts]]")
            .hint("add a section [[alerts]]; docs/alerts.md describes it");
    }
    let names: Vec<_> =
        config.alerts.iter().map(|alert| format!("{} ({})", alert.name, alert.kind.as_str())).collect();
    Finding::ok(about, format!("{}; `tik-backup alert test` sends one through each", names.join(", ")))
}

/// The next times of all that is due, three of each, for people.
fn next_times(config: &Config) -> Vec<(String, String)> {
    let line = |plan: schedule::Planned| {
        let times: Vec<_> = plan.next.iter().map(output::time).collect();
        (plan.title(), if times.is_empty() { "never".to_owned() } else { times.join(", ") })
    };
    schedule::planned(config, &Zoned::now()).into_iter().map(line).collect()
}

/// Units, timers and their next times.
pub(super) fn schedule(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    if Path::new(SYSTEMD).exists() {
        findings.extend(written(config));
        findings.extend(timers(config));
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
        let text = "none are made: nothing is proven by restoring";
        findings.push(
            Finding::warning("drills", text).hint("remove `drill = \"never\"` from the section [systemd]"),
        );
    }
    findings
}

/// Whether the units are those of the configuration.
fn written(config: &Config) -> Option<Finding> {
    let about = "units";
    let folder = Path::new(UNITS);
    let write = format!("tik-backup systemd --output {UNITS} && systemctl daemon-reload");
    if !folder.join(TARGET).exists() {
        return Some(Finding::problem(about, format!("there are none in {UNITS}")).hint(write));
    }
    if !units::is_written_here(folder) {
        // The system's own configuration brings them.
        return None;
    }
    let executable = std::env::current_exe().ok()?;
    Some(match units::compare(folder, &units::units(config, &executable)) {
        Ok(changes) if changes.iter().all(|(_, change)| *change == Change::Unchanged) => {
            Finding::ok(about, format!("those in {UNITS} are up to date"))
        }
        Ok(_) => Finding::problem(about, format!("those in {UNITS} are not those of the configuration"))
            .hint(write),
        Err(error) => Finding::error(about, &error),
    })
}

/// Whether each timer waits for its next time.
fn timers(config: &Config) -> Vec<Finding> {
    let enable = format!("systemctl enable --now {TARGET}");
    let mut findings = Vec::new();
    if !matches!(property(TARGET, "UnitFileState").as_str(), "enabled" | "linked" | "static" | "generated") {
        let text = format!("{TARGET} is not enabled: nothing runs by itself after a start of the machine");
        findings.push(Finding::problem("timers", text).hint(&enable));
    }
    for (unit, what, _) in units::timers(config) {
        let next = property(&unit, "NextElapseUSecRealtime");
        findings.push(match property(&unit, "ActiveState").as_str() {
            "active" if next.is_empty() => Finding::ok(what, format!("{unit} runs now")),
            "active" => Finding::ok(what, format!("next {next}")),
            _ => Finding::problem(what, format!("{unit} does not wait for its time")).hint(&enable),
        });
    }
    findings
}

/// A property of a unit, empty if it is not known.
fn property(unit: &str, name: &str) -> String {
    let output = Command::new("systemctl").args(["show", "--value", "--property", name, "--", unit]).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}
