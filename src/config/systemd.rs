//! `[systemd]`: settings of the units beyond those of the other sections.

use std::{path::PathBuf, time::Duration};

use crate::{calendar::Calendar, settings::reader::Reader};

/// Timers are spread over this time, so that hosts do not all access the storage at the same second.
const RANDOMIZED_DELAY: Duration = Duration::from_secs(10 * 60);

/// Settings of the systemd units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemdConfig {
    /// The user that the services run as.
    pub user: String,
    /// The group; by default the user's name.
    pub group: String,
    /// Schedule of drills; absent for never.
    pub drill: Option<Calendar>,
    /// Schedule of checks; absent for never.
    pub check: Option<Calendar>,
    /// The part of the packs that a check reads: a value of `check --read-data-subset`.
    pub check_subset: Option<String>,
    /// Schedule of prune; absent for never.
    pub prune: Option<Calendar>,
    /// Schedule of `watch`; absent for never.
    pub watch: Option<Calendar>,
    /// The longest delay of a timer. Each host has a fixed delay between 0 and this.
    pub randomized_delay: Duration,
    /// The most memory that a service may take, as in systemd's `MemoryMax=`.
    pub memory_max: String,
    /// File with environment variables of the services, as in systemd's `EnvironmentFile=`; an absolute path.
    pub environment_file: Option<PathBuf>,
}

impl Default for SystemdConfig {
    fn default() -> Self {
        let calendar = |text: &str| text.parse().ok();
        Self {
            user: "tik-backup".to_owned(),
            group: "tik-backup".to_owned(),
            drill: calendar("Sat 06:00"),
            check: calendar("Sun 10:00"),
            check_subset: Some("5%".to_owned()),
            prune: calendar("Sun 14:00"),
            watch: calendar("hourly"),
            randomized_delay: RANDOMIZED_DELAY,
            memory_max: "50%".to_owned(),
            environment_file: None,
        }
    }
}

/// Reads the section.
pub(super) fn read(mut reader: Reader<'_>) -> SystemdConfig {
    let defaults = SystemdConfig::default();
    let user = account(&mut reader, "user");
    let group = account(&mut reader, "group").or_else(|| user.clone()).unwrap_or(defaults.group);
    let config = SystemdConfig {
        user: user.unwrap_or(defaults.user),
        group,
        drill: calendar(&mut reader, "drill", defaults.drill),
        check: calendar(&mut reader, "check", defaults.check),
        check_subset: subset(&mut reader, defaults.check_subset),
        prune: calendar(&mut reader, "prune", defaults.prune),
        watch: calendar(&mut reader, "watch", defaults.watch),
        randomized_delay: reader
            .duration("randomized_delay", Duration::ZERO..=Duration::from_secs(86_400))
            .unwrap_or(defaults.randomized_delay),
        memory_max: memory(&mut reader).unwrap_or(defaults.memory_max),
        environment_file: reader.path("environment_file"),
    };
    reader.finish();
    config
}

fn account(reader: &mut Reader<'_>, key: &'static str) -> Option<String> {
    let name = reader.string(key)?;
    let valid = name.len() <= 31
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c));
    if !valid {
        reader.problem(key, "must be the name of a user or group of this machine");
        return None;
    }
    Some(name)
}

/// A calendar expression, or "never".
fn calendar(reader: &mut Reader<'_>, key: &'static str, default: Option<Calendar>) -> Option<Calendar> {
    if !reader.has(key) {
        // Read, so that the key is not reported as unknown.
        reader.string(key);
        return default;
    }
    let text = reader.string(key)?;
    if text == "never" {
        return None;
    }
    text.parse().map_err(|fault: String| reader.problem(key, &fault)).ok()
}

fn subset(reader: &mut Reader<'_>, default: Option<String>) -> Option<String> {
    let Some(text) = reader.string("check_subset") else { return default };
    if text == "none" {
        return None;
    }
    let valid = text
        .strip_suffix('%')
        .and_then(|number| number.parse::<f64>().ok())
        .is_some_and(|n| n > 0.0 && n <= 100.0);
    if !valid {
        reader.problem("check_subset", "must be a part of the packs such as \"5%\", or \"none\"");
    }
    Some(text)
}

fn memory(reader: &mut Reader<'_>) -> Option<String> {
    let text = reader.string("memory_max")?;
    let digits = text.trim_end_matches(['%', 'K', 'M', 'G', 'T']);
    let valid = text == "infinity"
        || (text.len() - digits.len() <= 1 && digits.parse::<u64>().is_ok_and(|number| number > 0));
    if !valid {
        reader.problem("memory_max", "must be a size for systemd such as \"2G\" or \"50%\", or \"infinity\"");
        return None;
    }
    Some(text)
}
