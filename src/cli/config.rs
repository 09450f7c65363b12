//! `tik-backup config`

use super::{Context, SUCCESS};
use jiff::Zoned;

use crate::{
    config::Config,
    doctor::{self, Finding, State},
    error::Result,
    output::{Screen, count, table, width},
    systemd::{self, Planned},
};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Check the configuration and the secret files it names, and print the next times of all schedules
    Check {
        /// Check the configuration alone and not the files it names, for machines that do not have them, such as a build host
        #[arg(long)]
        offline: bool,
    },
}

pub(super) fn run(context: &Context, Command::Check { offline }: &Command) -> Result<u8> {
    let config = context.config()?;
    let mut findings = Vec::new();
    if !offline {
        Config::one_error(doctor::unusable_files(&config))?;
        config.validate_folders()?;
        findings = doctor::files(&config);
        findings.retain(|finding| finding.state != State::Ok);
    }
    let planned = systemd::planned(&config, &Zoned::now());
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
        context.printer.notice("next: `tik-backup doctor` checks everything as the services will find it");
    }
    Ok(SUCCESS)
}

/// Prints the findings on stderr.
pub(super) fn warn(context: &Context, findings: &[Finding]) {
    for finding in findings.iter().filter(|finding| finding.state != State::Ok) {
        let hint = finding.hint.as_ref().map(|hint| format!("\n  → {hint}")).unwrap_or_default();
        context.printer.notice(&format!("warning: {}: {}{hint}", finding.about, finding.text));
    }
}

/// The next times of each schedule.
fn times(config: &Config, planned: &[Planned]) -> String {
    let screen = Screen::of_stdout();
    let mut text =
        if planned.is_empty() { String::new() } else { format!("\n{}", schedules(&screen, planned)) };
    for source in config.sources.iter().filter(|source| source.schedule.is_none()) {
        let line = format!("backup of {}: no schedule; it runs only when it is started by hand", source.name);
        text.push_str(&format!("{}\n", screen.wrapped(&line, 0, 2)));
    }
    text
}

/// One line for each schedule, or one for each time if the terminal is too narrow.
fn schedules(screen: &Screen, planned: &[Planned]) -> String {
    let headings = ["STARTS", "SCHEDULE", "!NEXT"];
    let together: Vec<Vec<String>> =
        planned.iter().map(|plan| vec![plan.title(), plan.schedule.clone(), next_times(plan)]).collect();
    let text = table(&Screen::PLAIN, &headings, &together);
    if screen.columns.is_none_or(|columns| text.lines().all(|line| width(line) <= columns)) {
        return text;
    }
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut notes = String::new();
    for plan in planned {
        let title = plan.title();
        if plan.next.is_empty() {
            notes.push_str(&screen.wrapped(&format!("{title}: {}", next_times(plan)), 0, 2));
            notes.push('\n');
            rows.push(vec![title, plan.schedule.clone(), "none".to_owned()]);
            continue;
        }
        for (number, time) in plan.next.iter().enumerate() {
            // The name is only beside the first of its times.
            let (title, schedule) =
                if number == 0 { (title.clone(), plan.schedule.clone()) } else { Default::default() };
            rows.push(vec![title, schedule, shown(time)]);
        }
    }
    table(screen, &headings, &rows) + &notes
}

fn shown(time: &Zoned) -> String {
    time.strftime("%a %Y-%m-%d %H:%M:%S").to_string()
}

fn next_times(plan: &Planned) -> String {
    if plan.next.is_empty() {
        return match plan.source {
            Some(_) => {
                "none: its last time has passed. Its items become late as if the source had no schedule"
                    .to_owned()
            }
            None => "none: its last time has passed".to_owned(),
        };
    }
    let mut text = plan.next.iter().map(shown).collect::<Vec<_>>().join(", ");
    if plan.late_by_default {
        text.push_str(
            " (its next time is too far away: its items become late as if the source had no schedule)",
        );
    }
    text
}
