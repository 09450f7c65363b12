//! The systemd units that run the program: a service and a timer for each source, and those for drill, check, prune, watch,
//! alerts and the dashboard. On NixOS, `nix/modules/backup/units.nix` makes the same units from the same data,
//! `src/systemd/units.json`.

mod directory;
mod service;

use std::path::{Path, PathBuf};

pub use directory::{Change, Changes, compare, write};
use serde::{Serialize, Serializer, ser::SerializeMap};
use service::Service;

use crate::{
    calendar::Calendar,
    config::{CREDENTIAL, Config, DashboardConfig, Listen, SourceConfig},
    settings::{RepositoryLocation, SecretFile},
    systemd::Planned,
};

/// The prefix of every unit's name.
pub const PREFIX: &str = "tik-backup-";
/// The target that all timers belong to.
pub const TARGET: &str = "tik-backup.target";
/// The first line of the files that this module writes. Only files with it are replaced or removed.
const MARK: &str =
    "# Written by `tik-backup systemd`; changes belong into the configuration, or into `systemctl edit`.";

/// Settings in order; a setting with several values has several lines.
pub type Settings = Vec<(String, Vec<String>)>;

/// A unit file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Name of the file.
    pub name: String,
    /// The sections in order.
    pub sections: Vec<(&'static str, Settings)>,
}

impl Unit {
    /// The file's text.
    pub fn text(&self) -> String {
        let mut text = format!("{MARK}\n");
        for (section, settings) in &self.sections {
            text.push_str(&format!("\n[{section}]\n"));
            for (key, values) in settings {
                for value in values {
                    text.push_str(&format!("{key}={value}\n"));
                }
            }
        }
        text
    }
}

/// As `{"name": …, "sections": {"Unit": {"Description": "…"}}}`; a setting with several values is a list.
impl Serialize for Unit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Section<'a>(&'a Settings);
        impl Serialize for Section<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut map = serializer.serialize_map(Some(self.0.len()))?;
                for (key, values) in self.0 {
                    match values.as_slice() {
                        [value] => map.serialize_entry(key, value)?,
                        values => map.serialize_entry(key, values)?,
                    }
                }
                map.end()
            }
        }
        struct Sections<'a>(&'a Unit);
        impl Serialize for Sections<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer
                    .collect_map(self.0.sections.iter().map(|(name, settings)| (name, Section(settings))))
            }
        }
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("name", &self.name)?;
        map.serialize_entry("sections", &Sections(self))?;
        map.end()
    }
}

/// All units for a configuration. `executable` is the program's own file.
pub fn units(config: &Config, executable: &Path) -> Vec<Unit> {
    let maker = Maker { config, executable };
    let mut units = Vec::new();
    for source in &config.sources {
        let name = format!("source-{}", source.name);
        units.push(maker.source(&name, source));
        if let Some(schedule) = &source.schedule {
            units.push(maker.timer(&name, &format!("Timer of the backup of {}", source.name), schedule));
        }
    }
    let jobs = [
        ("drill", "Drill: restores backups and compares their content", &config.systemd.drill),
        ("check", "Check of the backup repository", &config.systemd.check),
        ("prune", "Removal of unused data from the backup repository", &config.systemd.prune),
        ("watch", "Check for late or unproven backups", &config.systemd.watch),
    ];
    for (name, description, schedule) in jobs {
        units.push(maker.job(name, description));
        if let Some(schedule) = schedule {
            units.push(maker.timer(name, description, schedule));
        }
    }
    if let Some(dashboard) = &config.dashboard {
        units.push(maker.dashboard(dashboard));
    }
    units.push(maker.job("init", "Creation of the backup repository"));
    units.push(maker.job("alert@", "Alert that %i failed"));
    let dashboard = format!("{PREFIX}serve.service");
    let wanted = units.iter().filter(|unit| unit.name.ends_with(".timer") || unit.name == dashboard);
    let target = target(wanted.map(|unit| unit.name.clone()).collect());
    units.push(target);
    units
}

/// The settings of a service that checks the requirements of all services, as `KEY=VALUE` for `systemd-run --property`: user,
/// confinement and secrets of all of them. With `directories` it may read all files, as the services that back up
/// directories may.
pub(crate) fn probe(config: &Config, executable: &Path, directories: bool) -> Vec<String> {
    let maker = Maker { config, executable };
    let mut service = Service::new(&[if directories { "directory" } else { "backup" }]);
    let mut secrets = Vec::new();
    let (mut folders, mut seen) = (Vec::new(), Vec::new());
    for source in &config.sources {
        folders.extend(source.kind.folders().into_iter().flatten());
        seen.extend(source.kind.needed());
        secrets.extend(source.secret_files());
    }
    if directories {
        service.reveal_all(&folders);
    }
    service.reveal(&seen);
    secrets.extend(config.dashboard.iter().filter_map(|dashboard| dashboard.token_file.as_ref()));
    let unit = maker.finish("doctor", "Check of the services' requirements", service, &[], &secrets);
    let settings = unit.sections.into_iter().find(|(section, _)| *section == "Service");
    let settings = settings.into_iter().flat_map(|(_, settings)| settings);
    settings
        .filter(|(key, _)| !["Type", "ExecStart", "Restart", "RestartSec"].contains(&key.as_str()))
        .flat_map(|(key, values)| values.into_iter().map(move |value| format!("{key}={value}")))
        .collect()
}

/// Whether [`write`] wrote the target in this directory: on NixOS the system provides it.
pub(crate) fn is_written_here(folder: &Path) -> bool {
    std::fs::read_to_string(folder.join(TARGET)).is_ok_and(|text| text.lines().next() == Some(MARK))
}

/// The name of the timer of a schedule.
pub(crate) fn timer(plan: &Planned) -> String {
    match &plan.source {
        Some(source) => format!("{PREFIX}source-{source}.timer"),
        None => format!("{PREFIX}{}.timer", plan.what),
    }
}

/// The sources without a timer.
pub fn without_timer(config: &Config) -> Vec<&str> {
    config
        .sources
        .iter()
        .filter(|source| source.schedule.is_none())
        .map(|source| source.name.as_str())
        .collect()
}

fn target(wanted: Vec<String>) -> Unit {
    let mut unit = vec![("Description".to_owned(), vec!["All timers of tik-backup".to_owned()])];
    if !wanted.is_empty() {
        unit.push(("Wants".to_owned(), wanted));
    }
    let install = vec![("WantedBy".to_owned(), vec!["timers.target".to_owned()])];
    Unit { name: TARGET.to_owned(), sections: vec![("Unit", unit), ("Install", install)] }
}

struct Maker<'a> {
    config: &'a Config,
    executable: &'a Path,
}

impl Maker<'_> {
    fn source(&self, name: &str, source: &SourceConfig) -> Unit {
        let folders = source.kind.folders();
        let mut service = Service::new(&[if folders.is_some() { "directory" } else { "backup" }]);
        service.reveal_all(&folders.unwrap_or_default());
        service.reveal(&source.kind.needed());
        let words = ["backup", source.name.as_str()];
        self.finish(name, &format!("Backup of {}", source.name), service, &words, &source.secret_files())
    }

    fn job(&self, name: &str, description: &str) -> Unit {
        let mut service = Service::new(&[name.trim_end_matches('@')]);
        let subset = self.config.systemd.check_subset.as_deref();
        let words: Vec<&str> = match name {
            "check" => ["check"]
                .into_iter()
                .chain(subset.iter().flat_map(|part| ["--read-data-subset", part]))
                .collect(),
            "alert@" => vec!["alert", "unit-failed", "%i"],
            name => vec![name],
        };
        if name == "drill" {
            let drill = &self.config.drill;
            let programs = drill.server_dirs.iter().chain(&drill.mongod).chain(&drill.server_files).cloned();
            service.reveal(&programs.chain(drill.dir.clone()).collect::<Vec<_>>());
            if let Some(dir) = &drill.dir {
                service.write_to(dir);
            }
            if !service.has("PrivateTmp") {
                service.write_to(Path::new("/var/tmp"));
            }
        }
        self.finish(name, description, service, &words, &[])
    }

    /// The service of the dashboard.
    fn dashboard(&self, settings: &DashboardConfig) -> Unit {
        let mut service = Service::new(&["serve"]);
        if let Listen::Unix(path) = &settings.listen
            && let Some(folder) = path.parent()
        {
            service.socket_in(folder);
        }
        let secrets: Vec<_> = settings.token_file.iter().collect();
        self.finish("serve", "Dashboard with the state of the backups", service, &["serve"], &secrets)
    }

    fn finish(
        &self,
        name: &str,
        description: &str,
        mut service: Service,
        words: &[&str],
        secrets: &[&SecretFile],
    ) -> Unit {
        let config = self.config;
        service.set("ExecStart", service::command(self.executable, &config.path, words));
        service.set("User", config.systemd.user.clone());
        service.set("Group", config.systemd.group.clone());
        service.set("MemoryMax", config.systemd.memory_max.clone());
        let alerts = config.alerts.iter().flat_map(|alert| alert.secret_files());
        let of_repository = config.repository.secret_files();
        service.credential(CREDENTIAL, &config.path);
        for file in of_repository.into_iter().chain(secrets.iter().copied()).chain(alerts) {
            if let Some(path) = file.path() {
                service.credential(&file.credential(), path);
            }
        }
        // The alert service must not fail for the same reason as the others: it starts without a usable state directory.
        let is_alert = name == "alert@";
        if let Some(file) = &config.systemd.environment_file {
            service.environment_file(file, is_alert);
        }
        if is_alert {
            service.write_to(&config.state_dir);
        } else {
            service.state(&config.state_dir);
        }
        service.reveal(std::slice::from_ref(&config.state_dir));
        // A service that reports a missing storage must not need the storage to start.
        if let Some(path) = self.storage().filter(|_| !is_alert && name != "serve") {
            service.reveal(std::slice::from_ref(&path));
            service.write_to(&path);
            if let (None, "init", Some(parent)) = (&config.repository.mount, name, path.parent()) {
                service.write_to(parent);
            }
        }
        let mut unit = vec![
            ("Description".to_owned(), vec![description.to_owned()]),
            ("Documentation".to_owned(), vec!["man:tik-backup(1)".to_owned()]),
            ("Wants".to_owned(), vec!["network-online.target".to_owned()]),
            ("After".to_owned(), vec!["network-online.target".to_owned()]),
        ];
        if let Some(mount) = config.repository.mount.as_ref().filter(|_| !is_alert) {
            // Not RequiresMountsFor=: the program reports a missing storage better than a unit that never started.
            let mount = service::mount_unit(mount);
            unit[2].1.push(mount.clone());
            unit[3].1.push(mount);
        }
        if !is_alert {
            unit.push(("OnFailure".to_owned(), vec![format!("{PREFIX}alert@%n.service")]));
        }
        Unit {
            name: format!("{PREFIX}{name}.service"),
            sections: vec![("Unit", unit), ("Service", service.settings)],
        }
    }

    /// The directory on this machine that holds the repository's files, if it is known.
    fn storage(&self) -> Option<PathBuf> {
        let repository = &self.config.repository;
        repository.mount.clone().or_else(|| match &repository.location {
            RepositoryLocation::Given(text) => {
                let path = text.strip_prefix("local:").unwrap_or(text);
                path.starts_with('/').then(|| path.into())
            }
            RepositoryLocation::File { .. } => None,
        })
    }

    fn timer(&self, name: &str, description: &str, schedule: &Calendar) -> Unit {
        let one = |key: &str, value: String| (key.to_owned(), vec![value]);
        let delay = self.config.systemd.randomized_delay.as_secs();
        let unit = vec![one("Description", description.to_owned()), one("PartOf", TARGET.to_owned())];
        let timer = vec![
            one("OnCalendar", schedule.to_string()),
            one("Persistent", "true".to_owned()),
            one("RandomizedDelaySec", format!("{delay}s")),
            one("FixedRandomDelay", "true".to_owned()),
        ];
        Unit { name: format!("{PREFIX}{name}.timer"), sections: vec![("Unit", unit), ("Timer", timer)] }
    }
}
