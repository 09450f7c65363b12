//! Checks everything that the services need. Checks that need root or systemd run here; the others run in this program
//! once more, started as the services are: with the same user, the same sandbox, and the secrets from systemd.

mod inside;
mod outside;
mod service;

pub(crate) use service::SYSTEMD;

use serde::{Deserialize, Serialize};

use crate::{
    config::Config,
    error::{Error, Kind},
    stream::cancel::Cancel,
};

pub(crate) use inside::Part;
pub(crate) use outside::{files, over};

/// Severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum State {
    /// No problem.
    Ok,
    /// Nothing fails because of it, but an operator should know.
    Warning,
    /// Backups or alerts will fail.
    Problem,
}

impl State {
    /// The word that is shown.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Warning => "WARNING",
            Self::Problem => "PROBLEM",
        }
    }
}

/// The result of one check.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Finding {
    /// The subject of the check.
    pub(crate) about: String,
    /// The severity.
    pub(crate) state: State,
    /// The finding.
    pub(crate) text: String,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) hint: Option<String>,
    /// Its exit code, 0 unless it is a problem.
    #[serde(default)]
    pub(crate) code: u8,
}

impl Finding {
    fn new(state: State, about: impl Into<String>, text: impl Into<String>) -> Self {
        let code = if state == State::Problem { 1 } else { 0 };
        Self { about: about.into(), state, text: text.into(), hint: None, code }
    }

    /// A finding without a problem.
    pub(crate) fn ok(about: impl Into<String>, text: impl Into<String>) -> Self {
        Self::new(State::Ok, about, text)
    }

    /// A warning.
    pub(crate) fn warning(about: impl Into<String>, text: impl Into<String>) -> Self {
        Self::new(State::Warning, about, text)
    }

    /// A problem.
    pub(crate) fn problem(about: impl Into<String>, text: impl Into<String>) -> Self {
        Self::new(State::Problem, about, text)
    }

    /// A problem from an error.
    pub(crate) fn error(about: impl Into<String>, error: &Error) -> Self {
        let mut finding = Self::problem(about, error.summary());
        finding.hint = error.hint_text().map(str::to_owned);
        finding.code = error.code();
        finding
    }

    /// Adds a hint.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Sets the exit code.
    pub(crate) fn kind(mut self, kind: Kind) -> Self {
        self.code = Error::new(kind, "").code();
        self
    }
}

/// The exit code for all findings: that of a configuration problem if there is one, because others follow from it; then
/// that of the repository; then any other.
pub(crate) fn code(findings: &[Finding]) -> u8 {
    [2, 4, 1].into_iter().find(|code| findings.iter().any(|finding| finding.code == *code)).unwrap_or(0)
}

/// Problems of the files named in the configuration and of their content, without contacting a server.
pub(crate) fn unusable_files(config: &Config) -> Vec<Error> {
    let mut problems = config.unusable_files();
    problems.extend(config.sources.iter().flat_map(|source| source.kind.unusable_content()));
    problems
}

/// Runs all checks.
pub(crate) fn examine(config: &Config, cancel: &Cancel) -> Vec<Finding> {
    let mut findings = outside::findings(config);
    findings.extend(service::findings(config, cancel));
    findings.extend(outside::schedule(config));
    findings
}

/// Runs some of the checks as the user of this process.
pub(crate) fn examine_inside(config: &Config, part: Part, cancel: &Cancel) -> Vec<Finding> {
    if part != Part::All {
        crate::fs::owner::advise_root();
    }
    inside::findings(config, part, cancel)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_is_that_of_what_comes_first() {
        let failed = Finding::problem("sources.a", "x");
        let refused = Finding::problem("repository", "x").kind(Kind::Repository);
        let wrong = Finding::error("secrets", &Error::usage("x"));
        let fine = [Finding::ok("state", "x"), Finding::warning("alerts", "x")];
        assert_eq!(code(&fine), 0);
        assert_eq!(code(&[failed.clone(), fine[0].clone()]), 1);
        assert_eq!(code(&[failed.clone(), refused.clone()]), 4);
        assert_eq!(code(&[failed, refused, wrong]), 2);
    }
}
