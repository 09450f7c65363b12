//! Checks made as the services' user.

use std::{path::Path, time::Duration};

use super::{Finding, State};
use crate::{
    backup,
    config::{Config, RepositoryConfig, SourceConfig},
    error::Problem,
    history::{Check, History},
    output::size,
    repository::{LockOptions, Repository, is_trimmed_by_restic},
    stream::cancel::Cancel,
    survey,
};

/// Timeout for the check of all sources.
const PATIENCE: Duration = Duration::from_secs(240);

/// Text for checks that are not possible here.
const NEEDS_UNIT: &str = "not checked: it needs a secret that only its own unit has (credential:)";

/// Which services' environment the checks run in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Part {
    /// All of them, in one process without systemd.
    All,
    /// The services that back up servers, and everything that all services need.
    Servers,
    /// The services that back up directories, which may read more files.
    Directories,
}

/// Runs all checks that are made as the services' user.
pub(super) fn findings(config: &Config, part: Part, cancel: &Cancel) -> Vec<Finding> {
    let mut findings = Vec::new();
    if part != Part::Directories {
        findings.extend(secrets(config));
        findings.push(state(config));
        findings.extend(repository(config, cancel));
    }
    findings.extend(sources(config, part, cancel));
    once(&mut findings);
    findings
}

/// Reports each cause once: an unreadable secret is a problem of its file and of every check that needs it.
fn once(findings: &mut [Finding]) {
    for number in 1..findings.len() {
        let (earlier, rest) = findings.split_at_mut(number);
        let finding = &mut rest[0];
        let first = earlier.iter().find(|first| first.state == State::Problem && first.text == finding.text);
        if let Some(first) = first {
            finding.text = format!("for the same reason as {}", first.about);
            finding.hint = None;
        }
    }
}

fn secrets(config: &Config) -> Vec<Finding> {
    let about = "secrets";
    let problems = super::unusable_files(config);
    let mut findings: Vec<_> = problems.iter().map(|error| Finding::error(about, error)).collect();
    if findings.is_empty() {
        findings.push(Finding::ok(about, "all files with secrets can be used"));
    }
    let password = config.repository.password_file.load();
    if password.is_ok_and(|password| is_trimmed_by_restic(&password)) {
        let key = config.repository.password_file.key();
        let text = format!("{key}: the password begins or ends with white space or a byte order mark");
        findings.push(Finding::warning(about, text).hint(
            "restic strips these when it reads the same file: give it the password in $RESTIC_PASSWORD",
        ));
    }
    if let Err(error) = config.validate_folders() {
        findings.push(Finding::error("folders", &error));
    }
    findings
}

fn state(config: &Config) -> Finding {
    let about = "state folder";
    match History::open(config, Check::Quick) {
        Ok(_) => Finding::ok(about, format!("{} can be written", config.state_dir.display())),
        Err(error) => Finding::error(about, &error),
    }
}

fn repository(config: &Config, cancel: &Cancel) -> Vec<Finding> {
    let about = "repository";
    let settings = &config.repository;
    let mut findings = Vec::new();
    if settings.secret_files().iter().any(|file| file.is_elsewhere()) {
        findings.push(Finding::warning(about, NEEDS_UNIT));
        return findings;
    }
    if settings.mount.is_none()
        && settings.location.load().is_ok_and(|location| location.path().is_some_and(is_below_mounts))
    {
        let text =
            "nothing checks that the storage is mounted: without it a backup would fill the disk underneath";
        findings.push(
            Finding::warning("mount", text)
                .hint("name the mount point as `mount` in the section [repository]"),
        );
    }
    let flag = cancel.clone();
    let open = move |settings: &RepositoryConfig| {
        let repository = Repository::open(settings)?;
        repository.require_free_space()?;
        let notice = |_: &str| {};
        let options = LockOptions { exclusive: false, wait: Duration::ZERO, cancel: &flag, notice: &notice };
        // Writes a file and removes it.
        repository.lock(&options).map(drop)?;
        Ok(repository)
    };
    let opened = survey::open_within(config, survey::PATIENCE, open, cancel);
    findings.push(match opened {
        Ok(repository) => {
            let free = match repository.free_space() {
                Some(free) => format!(", {} free", size(free)),
                None => String::new(),
            };
            Finding::ok(about, format!("{} opens and can be written{free}", settings.location))
        }
        Err(error) => Finding::error(about, &error),
    });
    findings
}

/// Usual places of mount points.
fn is_below_mounts(path: &Path) -> bool {
    ["/mnt", "/media"].iter().any(|folder| path.starts_with(folder))
}

fn sources(config: &Config, part: Part, cancel: &Cancel) -> Vec<Finding> {
    let wanted = |source: &&SourceConfig| match part {
        Part::All => true,
        Part::Servers => source.kind.folders().is_none(),
        Part::Directories => source.kind.folders().is_some(),
    };
    let mut findings = Vec::new();
    let mut selectors = Vec::new();
    for source in config.sources.iter().filter(wanted) {
        let name = source.name.as_str();
        if source.secret_files().iter().any(|file| file.is_elsewhere()) {
            findings.push(Finding::warning(format!("sources.{name}"), NEEDS_UNIT));
        } else {
            selectors.push(backup::Selector { source: name.to_owned(), item: None });
        }
    }
    if selectors.is_empty() {
        return findings;
    }
    let patience = crate::alert::within(PATIENCE);
    let plan = match backup::discover(config, &selectors, &patience) {
        Ok(plan) => plan.complete(&patience),
        Err(error) => return vec![Finding::error("sources", &error)],
    };
    if let Err(error) = cancel.check() {
        return vec![Finding::error("sources", &error)];
    }
    for listing in plan.listings() {
        let about = format!("sources.{}", listing.source);
        let (items, excluded) = (listing.found.items.len(), listing.found.excluded.len());
        findings.push(match items {
            0 => Finding::warning(about, "answers, but has no items to back up")
                .hint("`tik-backup discover` shows the excluded items and the rules"),
            _ => {
                let items = crate::output::count(items, "item");
                Finding::ok(about, format!("answers, {items} to back up, {excluded} excluded"))
            }
        });
    }
    for failed in &plan.failed {
        findings.push(problem_of(&failed.name(), failed.error.clone().unwrap_or_default()));
    }
    findings
}

fn problem_of(name: &str, problem: Problem) -> Finding {
    let finding = Finding::problem(format!("sources.{name}"), problem.text);
    match problem.hint {
        Some(hint) => finding.hint(hint),
        None => finding,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_is_said_once() {
        let mut findings = [
            Finding::problem("secrets", "the file is missing").hint("create it"),
            Finding::problem("repository", "the file is missing").hint("create it"),
            Finding::problem("sources.a", "another reason"),
            Finding::ok("sources.b", "fine"),
            Finding::ok("sources.c", "fine"),
        ];
        once(&mut findings);
        let said: Vec<_> =
            findings.iter().map(|finding| (finding.text.as_str(), finding.hint.is_some())).collect();
        assert_eq!(
            said,
            [
                ("the file is missing", true),
                ("for the same reason as secrets", false),
                ("another reason", false),
                ("fine", false),
                ("fine", false),
            ]
        );
    }
}
