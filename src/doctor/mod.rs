//! Looks at all that the first night needs, as the services will find it. What only root or systemd can tell is asked
//! here; all else by this program once more, started as the services are: the same user, the same confinement, the
//! secrets as systemd hands them over.

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

/// How a look ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum State {
    /// It is as it should be.
    Ok,
    /// Nothing fails for it, but somebody should know.
    Warning,
    /// Backups, or telling of their failure, will fail.
    Problem,
}

impl State {
    /// As it is shown.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Warning => "WARNING",
            Self::Problem => "PROBLEM",
        }
    }
}

/// What one look found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Finding {
    /// At what.
    pub(crate) about: String,
    /// How it is.
    pub(crate) state: State,
    /// What was found.
    pub(crate) text: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) hint: Option<String>,
    /// The exit code that it means, 0 unless it is a problem.
    #[serde(default)]
    pub(crate) code: u8,
}

impl Finding {
    fn new(state: State, about: impl Into<String>, text: impl Into<String>) -> Self {
        let code = if state == State::Problem { 1 } else { 0 };
        Self { about: about.into(), state, text: text.into(), hint: None, code }
    }

    /// All is well.
    pub(crate) fn ok(about: impl Into<String>, text: impl Into<String>) -> Self {
        Self::new(State::Ok, about, text)
    }

    /// Somebody should know.
    pub(crate) fn warning(about: impl Into<String>, text: impl Into<String>) -> Self {
        Self::new(State::Warning, about, text)
    }

    /// Something will fail.
    pub(crate) fn problem(about: impl Into<String>, text: impl Into<String>) -> Self {
        Self::new(State::Problem, about, text)
    }

    /// Something will fail, as this error says.
    pub(crate) fn error(about: impl Into<String>, error: &Error) -> Self {
        let mut finding = Self::problem(about, error.summary());
        finding.hint = error.hint_text().map(str::to_owned);
        finding.code = error.code();
        finding
    }

    /// Says what to do.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says what it means for the exit code.
    pub(crate) fn kind(mut self, kind: Kind) -> Self {
        self.code = Error::new(kind, "").code();
        self
    }
}

/// The exit code of all findings: that of the configuration if anything is wrong with it, for the rest follows from it; then
/// that of the repository; then that of anything else.
pub(crate) fn code(findings: &[Finding]) -> u8 {
    [2, 4, 1].into_iter().find(|code| findings.iter().any(|finding| finding.code == *code)).unwrap_or(0)
}

/// What is wrong with the files that the configuration names, and with what they hold, as far as that shows without asking
/// a server.
pub(crate) fn unusable_files(config: &Config) -> Vec<Error> {
    let mut problems = config.unusable_files();
    problems.extend(config.sources.iter().flat_map(|source| source.kind.unusable_content()));
    problems
}

/// Looks at everything.
pub(crate) fn examine(config: &Config, cancel: &Cancel) -> Vec<Finding> {
    let mut findings = outside::findings(config);
    findings.extend(service::findings(config, cancel));
    findings.extend(outside::schedule(config));
    findings
}

/// Looks at a part of it as the user that this process runs as.
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
