//! `tik-backup doctor`

use super::Context;
use crate::{
    doctor::{self, Finding, Part},
    error::Result,
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Look at a part, as the user that this runs as
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
    context.printer.result(&document, || text(&findings))?;
    Ok(doctor::code(&findings))
}

/// A line for each look, and below it what to do.
pub(super) fn text(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let (state, about) = (finding.state.as_str(), crate::output::name(&finding.about));
        text.push_str(&format!("{state:<7}  {about}: {}\n", crate::output::printable(&finding.text)));
        if let Some(hint) = &finding.hint {
            text.push_str(&format!("         → {}\n", crate::output::printable(hint)));
        }
    }
    text
}
