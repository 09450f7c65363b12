//! `tik-backup config`

use super::{Context, SUCCESS};
use jiff::Zoned;

use crate::{
    config::Config,
    doctor::{self, Finding, State},
    error::Result,
    output::{Screen, count, table},
    schedule::{self, Planned},
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
    let planned = schedule::planned(&config, &Zoned::now());
    let document = serde_json::json!({
        "config": config.path,
        "sources": config.sources.len(),
        "schedules": planned,
        "findings": findings,
    });
    context.printer.result(&document, || {
        let sources = count(config.sources.len(), "source");
        format!("{}: valid, {sources}\n{}", config.path.display(), times(&config, &planned))
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

/// The next times of each schedule.
fn times(config: &Config, planned: &[Planned]) -> String {
    let rows: Vec<Vec<String>> =
        planned.iter().map(|plan| vec![plan.title(), plan.schedule.clone(), next_times(plan)]).collect();
    let mut text = if rows.is_empty() {
        String::new()
    } else {
        format!("\n{}", table(&Screen::of_stdout(), &["STARTS", "SCHEDULE", "NEXT"], &rows))
    };
    for source in config.sources.iter().filter(|source| source.schedule.is_none()) {
        text.push_str(&format!(
            "backup of {}: no schedule, so that only a run by hand starts it\n",
            source.name
        ));
    }
    text
}

fn next_times(plan: &Planned) -> String {
    if plan.next.is_empty() {
        return match plan.source {
            Some(_) => {
                "none: its time is over. Its items count as late as if there were no schedule".to_owned()
            }
            None => "none: its time is over".to_owned(),
        };
    }
    let times: Vec<String> =
        plan.next.iter().map(|time| time.strftime("%a %Y-%m-%d %H:%M:%S").to_string()).collect();
    let mut text = times.join(", ");
    if plan.late_by_default {
        text.push_str(
            " (until it has begun, or has come again, its items count as late as if there were no schedule)",
        );
    }
    text
}
