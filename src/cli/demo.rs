//! `tik-backup demo`

use std::{
    cell::Cell,
    io::{self, ErrorKind, IsTerminal, Write},
    path::PathBuf,
};

use super::{Context, SUCCESS};
use crate::{
    demo::{self, Observer, Options, Report, StepOutcome},
    error::{Kind, Result},
    output::{duration, printable},
    stream::cancel::Cancel,
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Keep the directory with the stopped server, the configuration and the repository
    #[arg(long)]
    keep: bool,
    /// Create that directory in here instead of the directory for temporary files
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<u8> {
    let options = Options { keep: args.keep, dir: args.dir.clone() };
    let screen = Screen {
        silent: context.printer.is_json(),
        bold: io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        closed: Cell::new(false),
        cancel: context.cancel.clone(),
    };
    let report = demo::run(&options, &screen, &context.cancel);
    if screen.closed.get() {
        return Ok(SUCCESS);
    }
    context.printer.result(&report, || text(&report))?;
    match &report.error {
        None => Ok(SUCCESS),
        Some(error) => {
            context.printer.error(error);
            Ok(if error.kind() == Kind::Usage { 2 } else { 1 })
        }
    }
}

fn text(report: &Report) -> String {
    let of = |outcome| report.steps.iter().filter(|step| step.outcome == outcome).count();
    let steps = report.steps.len();
    if report.outcome == StepOutcome::Failed {
        return format!("\nThe demo FAILED at step {steps}, after {}", duration(report.seconds));
    }
    let mut text = format!("\nThe demo succeeded: {steps} steps in {}", duration(report.seconds));
    if of(StepOutcome::Skipped) > 0 {
        text.push_str(&format!(", {} of them SKIPPED", of(StepOutcome::Skipped)));
    }
    for step in &report.steps {
        let mark = if step.outcome == StepOutcome::Ok { "✓" } else { "-" };
        text.push_str(&format!("\n  {mark} {}", step.title));
    }
    text
}

/// Prints the demo while it runs.
struct Screen {
    silent: bool,
    bold: bool,
    closed: Cell<bool>,
    cancel: Cancel,
}

impl Screen {
    fn print(&self, text: &str) {
        let mut stdout = io::stdout().lock();
        let written =
            if self.silent { Ok(()) } else { writeln!(stdout, "{text}").and_then(|()| stdout.flush()) };
        if written.is_err_and(|error| error.kind() == ErrorKind::BrokenPipe) {
            self.closed.set(true);
            self.cancel.cancel("the output was closed");
        }
    }

    fn strong(&self, text: &str) -> String {
        let text = printable(text);
        if self.bold { format!("\u{1b}[1m{text}\u{1b}[0m") } else { text }
    }
}

impl Observer for Screen {
    fn step(&self, number: usize, title: &str) {
        self.print(&format!("\n{}\n", self.strong(&format!("{number}. {title}"))));
    }

    fn explain(&self, text: &str) {
        self.print(&printable(text));
    }

    fn ran(&self, line: &str, output: &str) {
        self.print(&self.strong(&format!("$ {line}")));
        self.print(&format!("{}\n", printable(output)));
    }
}
