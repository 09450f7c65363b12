//! The demo: on throwaway servers, databases are found, backed up, proven, lost, alerted, restored and checked, with the
//! commands that an operator would type.

mod data;
mod environment;
#[cfg(feature = "mongodb")]
mod mongodb;
#[cfg(not(feature = "mongodb"))]
#[path = "without_mongodb.rs"]
mod mongodb;
mod mysql;
mod receiver;
mod steps;

use std::{path::PathBuf, time::Instant};

use serde::Serialize;

use self::environment::{Environment, Ran};
use crate::{
    error::{Error, Kind, Result},
    stream::cancel::Cancel,
};

/// How to run the demo.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Keep the directory with the stopped server, the configuration and the repository.
    pub keep: bool,
    /// Parent of that directory; by default the directory for temporary files.
    pub dir: Option<PathBuf>,
}

/// Receives the output of the demo.
pub trait Observer {
    /// A step begins.
    fn step(&self, number: usize, title: &str);
    /// A text about the step.
    fn explain(&self, text: &str);
    /// A command was run; `line` is the command line, `output` everything that it printed.
    fn ran(&self, line: &str, output: &str);
}

/// The outcome of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StepOutcome {
    /// It succeeded.
    Ok,
    /// It could not be shown here.
    Skipped,
    /// It failed, and the demo ended.
    Failed,
}

/// A command of a step.
#[derive(Debug, Serialize)]
pub struct CommandReport {
    /// The command line.
    pub command: String,
    /// Its output.
    pub output: String,
}

/// A step of the demo. The field names are stable.
#[derive(Debug, Serialize)]
pub struct StepReport {
    /// Its title.
    pub title: String,
    /// Its outcome.
    pub outcome: StepOutcome,
    /// Its duration.
    pub seconds: f64,
    /// Why it was skipped or failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The commands that were run.
    pub commands: Vec<CommandReport>,
}

/// A finished demo. The field names are stable.
#[derive(Debug, Serialize)]
pub struct Report {
    /// `ok`, or `failed` if a step failed.
    pub outcome: StepOutcome,
    /// Its duration.
    pub seconds: f64,
    /// The directory, if it was kept.
    pub folder: Option<PathBuf>,
    /// Its steps.
    pub steps: Vec<StepReport>,
    /// The error that ended it.
    #[serde(skip)]
    pub error: Option<Error>,
}

/// Runs the demo. A step that fails ends it; the report then has the error. Server and directory are removed afterwards
/// in any case, unless the directory is to be kept.
pub fn run(options: &Options, observer: &dyn Observer, cancel: &Cancel) -> Report {
    let begin = Instant::now();
    let mut runner = Runner { observer, steps: Vec::new() };
    let done = steps::run(options, &mut runner, cancel);
    let (folder, error) = match done {
        Ok(folder) => (folder, None),
        // The exit code of the failed command does not matter: the demo has failed.
        Err(error) if runner.steps.len() > 1 => (None, Some(error.with_kind(Kind::Failed))),
        Err(error) => (None, Some(error)),
    };
    let outcome = if error.is_none() { StepOutcome::Ok } else { StepOutcome::Failed };
    Report { outcome, seconds: seconds(begin), folder, steps: runner.steps, error }
}

fn seconds(begin: Instant) -> f64 {
    (begin.elapsed().as_secs_f64() * 1000.0).round() / 1000.0
}

/// Runs steps and records their outcomes.
struct Runner<'a> {
    observer: &'a dyn Observer,
    steps: Vec<StepReport>,
}

impl Runner<'_> {
    /// One step: `show` runs its commands.
    fn step<T>(&mut self, title: &str, show: impl FnOnce(&mut Step<'_>) -> Result<T>) -> Result<T> {
        self.observer.step(self.steps.len() + 1, title);
        let begin = Instant::now();
        let mut step = Step { observer: self.observer, commands: Vec::new(), skipped: None };
        let shown = show(&mut step);
        let (outcome, reason) = match (&shown, step.skipped) {
            (Err(error), _) => (StepOutcome::Failed, Some(error.to_string())),
            (Ok(_), Some(why)) => (StepOutcome::Skipped, Some(why)),
            (Ok(_), None) => (StepOutcome::Ok, None),
        };
        let (title, commands) = (title.to_owned(), step.commands);
        self.steps.push(StepReport { title, outcome, seconds: seconds(begin), reason, commands });
        shown
    }
}

/// A running step.
struct Step<'a> {
    observer: &'a dyn Observer,
    commands: Vec<CommandReport>,
    skipped: Option<String>,
}

impl Step<'_> {
    fn explain(&self, text: &str) {
        self.observer.explain(text);
    }

    /// Shows a command that was run, and returns its output.
    fn ran(&mut self, ran: Ran) -> String {
        self.observer.ran(&ran.line, &ran.output);
        self.commands.push(CommandReport { command: ran.line, output: ran.output.clone() });
        ran.output
    }

    fn skip(&mut self, why: &str) {
        self.observer.explain(&format!("SKIPPED: {why}"));
        self.skipped = Some(why.to_owned());
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    struct Silent;

    impl Observer for Silent {
        fn step(&self, _: usize, _: &str) {}
        fn explain(&self, _: &str) {}
        fn ran(&self, _: &str, _: &str) {}
    }

    #[test]
    fn steps_remember_what_came_of_them() {
        let mut runner = Runner { observer: &Silent, steps: Vec::new() };
        let output = runner.step("one", |step| Ok(step.ran(Ran { line: "a b".into(), output: "c".into() })));
        assert_eq!(output.unwrap(), "c");
        runner
            .step("two", |step| {
                step.skip("not here");
                Ok(())
            })
            .unwrap();
        runner.step("three", |_| Err::<(), _>(Error::failed("broken"))).unwrap_err();
        let outcomes: Vec<_> =
            runner.steps.iter().map(|step| (step.outcome, step.reason.as_deref())).collect();
        let expected = [
            (StepOutcome::Ok, None),
            (StepOutcome::Skipped, Some("not here")),
            (StepOutcome::Failed, Some("broken")),
        ];
        assert_eq!(outcomes, expected);
        assert_eq!(runner.steps[0].commands[0].command, "a b");
    }

    #[test]
    fn a_demo_without_a_place_is_a_failed_one() {
        let options = Options { keep: false, dir: Some("/nonexistent/folder".into()) };
        let report = run(&options, &Silent, &Cancel::new());
        assert_eq!((report.outcome, report.steps.len()), (StepOutcome::Failed, 1));
        assert!(report.error.is_some() && report.folder.is_none());
    }
}
