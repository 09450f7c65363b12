//! `tik-backup doctor`

use super::Context;
use crate::{
    doctor::{self, Finding, Part},
    error::Result,
    output::Screen,
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Run some of the checks, as the current user
    #[arg(long, hide = true, value_name = "PART")]
    inside: Option<Part>,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<u8> {
    let config = context.config()?;
    let findings = match args.inside {
        Some(part) => doctor::examine_inside(&config, part, &context.cancel),
        None => doctor::examine(&config, &context.cancel),
    };
    context.cancel.check()?;
    let document = serde_json::json!({"config": config.path, "findings": findings});
    context.printer.result(&document, || text(&Screen::of_stdout(), &findings))?;
    Ok(doctor::code(&findings))
}

/// The lines of a text, each wrapped to the terminal.
fn wrapped(screen: &Screen, text: &str, hang: usize) -> String {
    text.lines().map(|line| screen.wrapped(line, 0, hang) + "\n").collect()
}

/// A line for each check, with its hint below.
pub(super) fn text(screen: &Screen, findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let (state, about) = (finding.state.as_str(), crate::output::name(&finding.about));
        let line = format!("{state:<7}  {about}: {}", crate::output::printable(&finding.text));
        text.push_str(&wrapped(screen, &line, 9));
        if let Some(hint) = &finding.hint {
            text.push_str(&wrapped(screen, &format!("         → {}", crate::output::printable(hint)), 11));
        }
    }
    text
}
