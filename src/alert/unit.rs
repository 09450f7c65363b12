//! Alerts about a failed systemd unit (`OnFailure=`), for runs that could not send an alert themselves.

use std::process::{Command, Stdio};

use jiff::Zoned;

use crate::{
    error::Result,
    history::{History, message::Line},
};

/// Number of journal lines in the alert.
const JOURNAL_LINES: &str = "15";

/// The environment that systemd gives to units started by `OnFailure=`: systemd.exec(5), since version 251.
#[derive(Debug, Clone, Default)]
pub struct Monitor {
    /// `$MONITOR_INVOCATION_ID`.
    pub invocation: Option<String>,
    /// `$MONITOR_SERVICE_RESULT`.
    pub result: Option<String>,
    /// `$MONITOR_EXIT_CODE` and `$MONITOR_EXIT_STATUS`.
    pub exit: Option<String>,
}

impl Monitor {
    /// Reads the environment.
    pub fn from_environment() -> Self {
        let get = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let exit = match (get("MONITOR_EXIT_CODE"), get("MONITOR_EXIT_STATUS")) {
            (Some(code), Some(status)) => Some(format!("{code} {status}")),
            (code, _) => code,
        };
        Self { invocation: get("MONITOR_INVOCATION_ID"), result: get("MONITOR_SERVICE_RESULT"), exit }
    }
}

/// The alert about a failed unit; `None` if the unit's own run has already sent one.
///
/// # Errors
/// The history cannot be read.
pub fn unit_failed(history: &History, unit: &str, monitor: &Monitor) -> Result<Option<Line>> {
    if let Some(invocation) = &monitor.invocation
        && history.was_notified(invocation)?
    {
        return Ok(None);
    }
    let mut text = "the systemd unit failed".to_owned();
    for (what, value) in [("result", &monitor.result), ("exit", &monitor.exit)] {
        if let Some(value) = value {
            text.push_str(&format!(", {what} {value}"));
        }
    }
    if let Some(journal) = journal(unit, monitor.invocation.as_deref()) {
        text.push_str(&format!("; its last lines:\n{journal}"));
    }
    Ok(Some(Line {
        subject: unit.to_owned(),
        kind: "unit".to_owned(),
        text,
        since: Some(Zoned::now()),
        hint: Some(format!("`journalctl -u '{unit}'` shows its log; then start it again")),
        ..Line::default()
    }))
}

/// The last lines of a unit's journal, if it can be read.
fn journal(unit: &str, invocation: Option<&str>) -> Option<String> {
    let mut command = Command::new("journalctl");
    command.args(["--no-pager", "--output=cat", "--lines", JOURNAL_LINES]);
    match invocation {
        Some(invocation) => command.arg(format!("_SYSTEMD_INVOCATION_ID={invocation}")),
        None => command.arg(format!("--unit={unit}")),
    };
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (output.status.success() && !text.is_empty() && !text.starts_with("-- No entries")).then_some(text)
}
