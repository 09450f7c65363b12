//! Names of sources and items: which are known to configuration, history or repository, and what to say of one that is not,
//! or of which only other hosts have snapshots.

use crate::{
    config::{Config, nearest},
    error::{Error, Result},
    history::{History, Look},
    output,
    report::runbook::shell::word,
    repository::{HostShare, Snapshot, shares},
};

/// A source, or an item of it, as somebody named it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Name<'a> {
    pub(crate) source: &'a str,
    /// All of the source if absent.
    pub(crate) item: Option<&'a str>,
}

impl Name<'_> {
    /// `source/item`, or the source, for messages.
    pub(crate) fn text(self) -> String {
        output::name(&match self.item {
            Some(item) => format!("{}/{item}", self.source),
            None => self.source.to_owned(),
        })
    }

    pub(crate) fn matches(self, source: &str, item: &str) -> bool {
        self.source == source && self.item.is_none_or(|name| name == item)
    }
}

/// Sources and items that the history has; none if there is no history that can be read.
pub(crate) fn in_history(config: &Config) -> Vec<(String, String)> {
    // Who only restores need not have one, and is not given one.
    if !History::exists(&config.state_dir) {
        return Vec::new();
    }
    History::open(config, Look::Brief).and_then(|history| history.names()).unwrap_or_default()
}

/// Why the configured host has no snapshot under this name. `command` is what was asked to work on it, `own` and `others` are
/// the snapshots of the configured host and of all others.
pub(crate) fn absent(
    config: &Config,
    command: &str,
    name: Name<'_>,
    own: &[Snapshot],
    others: &[Snapshot],
) -> Error {
    let host = &config.repository.host;
    let theirs: Vec<HostShare> = shares(others.iter().filter(|s| name.matches(&s.source, &s.item)));
    if let Some(first) = theirs.first() {
        return Error::failed(format!(
            "this host, {}, has no snapshot of {}; there are snapshots of it of {}",
            output::name(host),
            name.text(),
            HostShare::list(&theirs)
        ))
        .hint(foreign_hint(&format!("{command} '{}'", name.text()), &first.host));
    }
    let seen = in_history(config);
    let text = format!("the repository has no snapshot of {}", name.text());
    let stored: Vec<(&str, &str)> =
        own.iter().chain(others).map(|s| (s.source.as_str(), s.item.as_str())).collect();
    let all =
        || seen.iter().map(|(source, item)| (source.as_str(), item.as_str())).chain(stored.iter().copied());
    if is_known(config, name, all()) {
        return Error::failed(text).hint(
            "`tik-backup status` shows whether it was ever backed up, `tik-backup snapshots` what is stored",
        );
    }
    unknown(config, text, name, all(), "`tik-backup snapshots` lists what is stored")
}

/// What to do where only another host has what was asked for.
pub(crate) fn foreign_hint(command: &str, host: &str) -> String {
    format!(
        "`tik-backup {command} --host {}` uses them; if this machine replaces that one, `host = {:?}` in the section [repository] \
         of the configuration continues what it began",
        word(&output::name(host)),
        output::name(host)
    )
}

/// Whether the configuration or the history knows of this name.
pub(crate) fn is_known<'n>(
    config: &Config,
    name: Name<'_>,
    mut seen: impl Iterator<Item = (&'n str, &'n str)>,
) -> bool {
    (name.item.is_none() && config.source(name.source).is_some())
        || seen.any(|(source, item)| name.matches(source, item))
}

/// The error for a name that nobody knows, with the nearest one that is known.
pub(crate) fn unknown<'n>(
    config: &'n Config,
    text: impl Into<String>,
    name: Name<'_>,
    seen: impl Iterator<Item = (&'n str, &'n str)>,
    look: &str,
) -> Error {
    let seen: Vec<(&str, &str)> = seen.filter(|(_, item)| !item.is_empty()).collect();
    Error::usage(text).hint(match suggested(config, name, &seen) {
        Some(nearest) => format!("did you mean {}? {look}", output::name(&nearest)),
        None => look.to_owned(),
    })
}

fn suggested(config: &Config, name: Name<'_>, seen: &[(&str, &str)]) -> Option<String> {
    let sources = || {
        let configured = config.sources.iter().map(|source| source.name.as_str());
        configured.chain(seen.iter().map(|(source, _)| *source))
    };
    let near = if sources().any(|source| source == name.source) {
        name.source
    } else {
        nearest(name.source, sources())?
    };
    let Some(item) = name.item else { return Some(near.to_owned()) };
    let items = || seen.iter().filter(|(source, _)| *source == near).map(|(_, item)| *item);
    let exact = items().find(|known| *known == item);
    exact.or_else(|| nearest(item, items())).map(|item| format!("{near}/{item}"))
}

/// Fails if one of these names is known neither to the configuration nor to the history.
///
/// # Errors
/// Exit code 2, with the nearest name that is known.
pub(crate) fn require<'a>(
    config: &Config,
    names: impl IntoIterator<Item = Name<'a>>,
    seen: &[(String, String)],
    look: &str,
) -> Result<()> {
    let all = || seen.iter().map(|(source, item)| (source.as_str(), item.as_str()));
    for name in names {
        if !is_known(config, name, all()) {
            let what = if name.item.is_some() { "item" } else { "source" };
            let text = format!("there is no {what} `{}` in the configuration or the history", name.text());
            return Err(unknown(config, text, name, all(), look));
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use jiff::Zoned;

    use super::*;
    use crate::error::Kind;

    fn config() -> Config {
        let text = "state_dir = \"/nonexistent\"\n[repository]\nlocation = \"/r\"\npassword_file = \"/pw\"\nhost = \"new\"\n\
                    [sources.files]\nkind = \"directory\"\npaths = [\"/srv/small\"]\n";
        Config::parse(text, Path::new("/etc/c.toml")).unwrap()
    }

    fn snapshot(source: &str, item: &str, host: &str) -> Snapshot {
        let time: Zoned = "2026-11-22T02:00:00+00:00[UTC]".parse().unwrap();
        Snapshot::example(source, item, "directory", time, 7).of_host(host)
    }

    fn told(name: (&str, Option<&str>), own: &[Snapshot], others: &[Snapshot]) -> (Kind, String) {
        let name = Name { source: name.0, item: name.1 };
        let error = absent(&config(), "restore", name, own, others);
        (error.kind(), error.to_string())
    }

    #[test]
    fn a_slip_is_answered_with_the_nearest_name_and_what_was_removed_from_the_configuration_counts() {
        let own = [snapshot("files", "small", "new"), snapshot("former", "shop", "new")];
        let (kind, text) = told(("files", Some("smal")), &own, &[]);
        assert!(kind == Kind::Usage && text.contains("did you mean files/small?"), "{text}");
        let (kind, text) = told(("file", Some("small")), &own, &[]);
        assert!(kind == Kind::Usage && text.contains("did you mean files/small?"), "{text}");
        let (kind, text) = told(("formr", None), &own, &[]);
        assert!(kind == Kind::Usage && text.contains("did you mean former?"), "{text}");
        let (kind, text) = told(("files", Some("elephant")), &own, &[]);
        assert!(kind == Kind::Usage && !text.contains("did you mean"), "{text}");
        // A source that is configured and was not backed up yet is no slip.
        assert_eq!(told(("files", None), &[], &[]).0, Kind::Failed);
    }

    #[test]
    fn where_only_other_hosts_have_snapshots_they_are_named_with_the_command() {
        let others = [snapshot("files", "small", "old"), snapshot("files", "small", "it's\u{1b}[2J")];
        let (kind, text) = told(("files", Some("small")), &[], &others);
        assert_eq!(kind, Kind::Failed);
        for part in
            ["this host, new, has no snapshot of files/small", "old (1 snapshot, the newest of", "--host"]
        {
            assert!(text.contains(part), "{text}");
        }
        assert!(!text.contains('\u{1b}'), "{text}");
    }
}
