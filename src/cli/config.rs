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
        context.printer.notice("next: `tik-backup doctor` looks at what the services will find");
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
    let screen = Screen::of_stdout();
    let mut text =
        if planned.is_empty() { String::new() } else { format!("\n{}", schedules(&screen, planned)) };
    for source in config.sources.iter().filter(|source| source.schedule.is_none()) {
        let line = format!("backup of {}: no schedule, so that only a run by hand starts it", source.name);
        text.push_str(&format!("{}\n", screen.wrapped(&line, 0, 2)));
    }
    text
}

/// A line for each schedule, or one for each time where the terminal is too narrow for that.
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
            // The name stands beside the first of its times.
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
                "none: its time is over. Its items count as late as if there were no schedule".to_owned()
            }
            None => "none: its time is over".to_owned(),
        };
    }
    let mut text = plan.next.iter().map(shown).collect::<Vec<_>>().join(", ");
    if plan.late_by_default {
        text.push_str(
            " (until it has begun, or has come again, its items count as late as if there were no schedule)",
        );
    }
    text
}
