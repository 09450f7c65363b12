//! `tik-backup config`

use super::{Context, SUCCESS};
use crate::{
    doctor::{self, Finding, State},
    error::Result,
};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Check the configuration, that every secret file it names can be read, and when what is due next
    Check {
        /// Look at the configuration alone, not at the files it names: for where they are not, such as a build
        #[arg(long)]
        offline: bool,
    },
}

pub(super) fn run(context: &Context, Command::Check { offline }: &Command) -> Result<u8> {
    let config = context.config()?;
    let mut findings = Vec::new();
    if !offline {
        config.validate_secrets()?;
        config.validate_folders()?;
        findings = doctor::files(&config);
        findings.retain(|finding| finding.state != State::Ok);
    }
    let times = doctor::next_times(&config);
    let next: Vec<_> =
        times.iter().map(|(what, times)| serde_json::json!({"what": what, "next": times})).collect();
    let document = serde_json::json!({
        "config": config.path, "sources": config.sources.len(), "next": next, "findings": findings
    });
    context.printer.result(&document, || {
        let sources = match config.sources.len() {
            1 => "1 source".to_owned(),
            count => format!("{count} sources"),
        };
        let mut text = format!("{}: valid, {sources}", config.path.display());
        for (what, times) in &times {
            text.push_str(&format!("\n{what}: due {times}"));
        }
        text
    })?;
    warn(context, &findings);
    if !offline {
        context
            .printer
            .notice("next: `tik-backup doctor` looks at storage, sources and timers as the services will");
    }
    Ok(SUCCESS)
}

/// Says what is not as it should be, on stderr.
pub(super) fn warn(context: &Context, findings: &[Finding]) {
    for finding in findings.iter().filter(|finding| finding.state != State::Ok) {
        let hint = finding.hint.as_ref().map(|hint| format!("\n  → {hint}")).unwrap_or_default();
        context.printer.notice(&format!("warning: {}: {}{hint}", finding.about, finding.text));
    }
}
