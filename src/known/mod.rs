//! Names of sources and items: looks them up in configuration, history and repository, and builds the errors for
//! unknown names and for names of which only other hosts have snapshots.

use crate::{
    config::Config,
    error::{Error, Kind, Result},
    history::{Check, History},
    output::{self, shell::word},
    repository::{At, HostShare, Snapshot, foreign_hint, host_option, shares},
    settings::nearest,
};

/// A source or item, as named on the command line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Name<'a> {
    pub(crate) source: &'a str,
    /// Absent for the whole source.
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

/// Sources and items in the history; none if there is no readable history.
pub(crate) fn in_history(config: &Config) -> Vec<(String, String)> {
    // A restore needs no history and does not create one.
    if !History::exists(&config.state_dir) {
        return Vec::new();
    }
    History::open(config, Check::Quick).and_then(|history| history.names()).unwrap_or_default()
}

/// The user's request, to be repeated in hints.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    /// The command and its arguments before the name.
    pub(crate) command: &'a str,
    /// The requested snapshot.
    pub(crate) at: &'a At,
    /// Whether the snapshots are to be removed, not used.
    pub(crate) removes: bool,
}

impl<'a> Asked<'a> {
    /// A command that uses the newest snapshot or all of them.
    pub(crate) fn latest(command: &'a str) -> Self {
        Self { command, at: &At::Latest, removes: false }
    }

    /// The command with the name and the requested snapshot.
    fn with(self, name: Name<'_>) -> String {
        let at = match self.at {
            At::Latest => String::new(),
            At::Id(id) => format!(" --at {id}"),
            At::Time(time) => format!(" --at {}", time.timestamp()),
        };
        format!("{} {}{at}", self.command, quoted(&name.text()))
    }
}

/// The error if the selected host has no snapshot under this name. `own` are the snapshots of the configured host or of
/// `--host`, `others` those of all other hosts.
pub(crate) fn absent(
    config: &Config,
    asked: Asked<'_>,
    name: Name<'_>,
    own: &[Snapshot],
    others: &[Snapshot],
) -> Error {
    if let Err(error) = require_host(config, own, others) {
        return error;
    }
    let host = output::name(&config.repository.host);
    let theirs: Vec<HostShare> = shares(others.iter().filter(|s| name.matches(&s.source, &s.item)));
    if !theirs.is_empty() {
        let host = if config.own_host.is_some() {
            format!("the host {host}")
        } else {
            format!("this host, {host},")
        };
        return Error::failed(format!(
            "{host} has no snapshot of {}; there are snapshots of it of {}",
            name.text(),
            HostShare::list(&theirs)
        ))
        .hint(foreign_hint(
            config,
            &asked.with(name),
            &theirs,
            asked.removes || !own.is_empty(),
            asked.removes,
        ));
    }
    if let Some(error) = of_ledger(asked, name, own, others) {
        return error;
    }
    let seen = in_history(config);
    let text = format!("the repository has no snapshot of {}", name.text());
    let stored = || own.iter().chain(others).map(|s| (s.source.as_str(), s.item.as_str()));
    let all = seen.iter().map(|(source, item)| (source.as_str(), item.as_str())).chain(stored());
    if is_known(config, name, all) {
        return Error::failed(text).hint(
            "`tik-backup status` shows whether it was ever backed up, `tik-backup snapshots` what is stored",
        );
    }
    // Suggest only names that have snapshots.
    unknown(config, text, name, stored(), "`tik-backup snapshots` lists what is stored")
}

/// A host that only watches distinguishes equal source names of two hosts as `files@host2`. Such names exist in its
/// ledger, not in snapshots.
fn of_ledger(asked: Asked<'_>, name: Name<'_>, own: &[Snapshot], others: &[Snapshot]) -> Option<Error> {
    let all = || own.iter().chain(others);
    let host = name.source.match_indices('@').find_map(|(at, _)| {
        let source = &name.source[..at];
        let host = unescaped(&name.source[at + 1..]);
        let meant = Name { source, item: name.item };
        all().any(|s| s.host == host && meant.matches(&s.source, &s.item)).then_some((meant, host))
    });
    let (meant, host) = host?;
    Some(
        Error::usage(format!(
            "{} is the name of {} of the host {} in a ledger of several hosts",
            name.text(),
            meant.text(),
            output::name(&host)
        ))
        .hint(format!("`tik-backup {} {}`", asked.with(meant), host_option(&host))),
    )
}

/// Fails if `--host` names a host that has no snapshot.
///
/// # Errors
/// Exit code 2, with the host whose name is closest.
pub(crate) fn require_host(config: &Config, own: &[Snapshot], others: &[Snapshot]) -> Result<()> {
    if config.own_host.is_none() || !own.is_empty() {
        return Ok(());
    }
    Err(no_such_host(&config.repository.host, &shares(others)))
}

/// The error for a host that has no snapshot in the repository.
pub(crate) fn no_such_host(host: &str, others: &[HostShare]) -> Error {
    let text = format!("the repository has no snapshot of a host {}", output::name(host));
    if others.is_empty() {
        return Error::usage(text).hint("it has no snapshots made by this program");
    }
    let meant = nearest(host, others.iter().map(|share| share.host.as_str()));
    let meant = meant.map(|meant| format!("did you mean {}? ", output::name(meant))).unwrap_or_default();
    Error::usage(text).hint(format!("{meant}it has snapshots of: {}", HostShare::list(others)))
}

/// The error if this host has snapshots of an item, but not the requested one; names other hosts that may have it.
pub(crate) fn elsewhere(
    config: &Config,
    asked: Asked<'_>,
    name: Name<'_>,
    others: &[Snapshot],
    error: Error,
) -> Error {
    let fits = |s: &&Snapshot| match asked.at {
        At::Latest => false,
        At::Id(prefix) => s.id.starts_with(prefix.as_str()),
        At::Time(time) => s.time <= *time,
    };
    let of_item = others.iter().filter(|s| name.matches(&s.source, &s.item));
    let theirs = shares(of_item.filter(fits));
    if theirs.is_empty() || error.kind() != Kind::Failed {
        return error;
    }
    Error::failed(format!("{}; other hosts have: {}", error.summary(), HostShare::list(&theirs)))
        .hint(foreign_hint(config, &asked.with(name), &theirs, true, asked.removes))
}

fn quoted(text: &str) -> String {
    let word = word(text);
    if word.starts_with('\'') { word } else { format!("'{word}'") }
}

/// Unescapes a host name: names with control characters are shown, and therefore given, with escapes.
pub(crate) fn unescaped(given: &str) -> String {
    let mut text = String::with_capacity(given.len());
    let mut rest = given;
    while let Some(c) = rest.chars().next() {
        let (meant, length) = escape(rest).unwrap_or((c, c.len_utf8()));
        text.push(meant);
        rest = &rest[length..];
    }
    // A backslash may also be part of the name.
    if output::name(&text) == given { text } else { given.to_owned() }
}

/// Decodes an escape at the start of a text; returns the character and the length of the escape.
fn escape(text: &str) -> Option<(char, usize)> {
    let body = text.strip_prefix('\\')?;
    for (letter, meant) in [('n', '\n'), ('r', '\r'), ('t', '\t')] {
        if body.starts_with(letter) {
            return Some((meant, 2));
        }
    }
    let (digits, _) = body.strip_prefix("u{")?.split_once('}')?;
    let meant = char::from_u32(u32::from_str_radix(digits, 16).ok()?)?;
    Some((meant, digits.len() + 4))
}

/// Whether the name is in the configuration or the history.
pub(crate) fn is_known<'n>(
    config: &Config,
    name: Name<'_>,
    mut seen: impl Iterator<Item = (&'n str, &'n str)>,
) -> bool {
    (name.item.is_none() && config.source(name.source).is_some())
        || seen.any(|(source, item)| name.matches(source, item))
}

/// The error for an unknown name, with the closest known one.
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

/// Fails if one of these names is neither in the configuration nor in the history.
///
/// # Errors
/// Exit code 2, with the closest known name.
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
mod tests;
