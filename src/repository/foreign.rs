//! Hints for requests that only other hosts' snapshots match.

use jiff::{SignedDuration, Timestamp};

use super::HostShare;
use crate::{
    config::Config,
    output::{self, shell::word},
};

/// A host whose newest snapshot is younger than this is considered active.
const ALIVE: SignedDuration = SignedDuration::from_hours(48);

/// The hint for a request that only other hosts (`theirs`, not empty) match. With `keeps_name`, it does not suggest that this host
/// uses the name of one of them; nor does it for a host that backs up nothing.
pub(crate) fn foreign_hint(
    config: &Config,
    command: &str,
    theirs: &[HostShare],
    keeps_name: bool,
    removes: bool,
) -> String {
    let own = config.own_host.as_deref();
    let keeps_name = keeps_name || own.is_some() || config.sources.is_empty();
    let [only] = theirs else {
        /// A repository can hold any number of hosts.
        const FEW: usize = 5;
        let does = if removes { "lists those of one of them" } else { "uses those of one of them" };
        let newest: Vec<String> = theirs
            .iter()
            .take(FEW)
            .map(|share| format!("{}: newest {}", output::name(&share.host), ago(share)))
            .collect();
        let replace = if keeps_name {
            ""
        } else {
            "; if this machine replaces one of them that is gone, `host = \"HOST\"` in the section [repository] of the \
             configuration continues what that one began: never the name of a host that still backs up"
        };
        return format!("`tik-backup {command} --host HOST` {does} ({}){replace}", newest.join(", "));
    };
    if own == Some(only.host.as_str()) {
        return format!(
            "`tik-backup {command}` without --host is for those of this host, {}",
            output::name(&only.host)
        );
    }
    let does = if removes { "lists them" } else { "uses them" };
    let command = format!("`tik-backup {command} {}` {does}", host_option(&only.host));
    if keeps_name {
        return command;
    }
    if is_alive(only) {
        return format!(
            "{command}; that host seems to be alive: its newest snapshot was made {}. Its name is not for this machine",
            ago(only)
        );
    }
    format!(
        "{command}; if this machine replaces that one, `host = {:?}` in the section [repository] of the configuration continues \
         what it began",
        output::name(&only.host)
    )
}

fn is_alive(share: &HostShare) -> bool {
    share.newest.as_ref().is_some_and(|newest| Timestamp::now().duration_since(newest.timestamp()) < ALIVE)
}

fn ago(share: &HostShare) -> String {
    let Some(newest) = &share.newest else { return "dated in the future".to_owned() };
    let minutes = Timestamp::now().duration_since(newest.timestamp()).as_mins().max(0);
    match minutes {
        0..120 => format!("{minutes} min ago"),
        120..2_880 => format!("{} h ago", minutes / 60),
        _ => format!("{} days ago", minutes / 1_440),
    }
}

/// The option that names a host, for a shell.
pub(crate) fn host_option(host: &str) -> String {
    let shown = word(&output::name(host));
    // A name with a leading dash would be parsed as an option.
    if host.starts_with('-') { format!("--host={shown}") } else { format!("--host {shown}") }
}
