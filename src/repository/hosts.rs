//! Selects snapshots by host. Several hosts may share a repository; each uses its own snapshots and lists the other hosts.

use std::collections::BTreeMap;

use jiff::{Timestamp, Zoned};
use schemars::JsonSchema;
use serde::Serialize;

use super::Snapshot;

/// A selection of hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hosts {
    /// Those of the host that the configuration names with `repository.host`.
    Own,
    /// Those of all hosts.
    All,
}

impl Hosts {
    /// The watched hosts: a host without sources of its own watches all.
    pub fn watched(config: &crate::config::Config) -> Self {
        if config.sources.is_empty() { Self::All } else { Self::Own }
    }

    /// Whether `host` is selected; `own` is the host of the configuration.
    pub fn takes(self, own: &str, host: &str) -> bool {
        self == Self::All || own == host
    }
}

/// A host's share of the repository. The field names are stable.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct HostShare {
    /// Name of the host in its snapshots.
    pub host: String,
    /// Its snapshots.
    pub snapshots: u64,
    /// The time of the newest one that is not dated in the future, if there is one.
    #[serde(with = "crate::moment::option")]
    #[schemars(with = "Option<jiff::Timestamp>")]
    pub newest: Option<Zoned>,
}

impl HostShare {
    /// As text, such as `old (12 snapshots, the newest of 2026-11-22 02:00:00)`.
    pub fn text(&self) -> String {
        let count = crate::output::count(self.snapshots, "snapshot");
        let newest =
            self.newest.as_ref().map(|newest| format!(", the newest of {}", crate::output::time(newest)));
        format!("{} ({count}{})", crate::output::name(&self.host), newest.unwrap_or_default())
    }

    /// Several as text.
    pub fn list(shares: &[Self]) -> String {
        /// A repository can hold any number of names.
        const FEW: usize = 5;
        let mut texts: Vec<String> = shares.iter().take(FEW).map(Self::text).collect();
        if shares.len() > FEW {
            texts.push(crate::output::count(shares.len() - FEW, "other host"));
        }
        texts.join(", ")
    }
}

/// The share of each host in these snapshots, the host with the newest snapshot first.
pub fn shares<'s>(snapshots: impl IntoIterator<Item = &'s Snapshot>) -> Vec<HostShare> {
    let now = Timestamp::now();
    let mut by_host: BTreeMap<&str, (u64, Option<&Zoned>)> = BTreeMap::new();
    for snapshot in snapshots {
        let (count, newest) = by_host.entry(&snapshot.host).or_default();
        *count += 1;
        if !snapshot.is_ahead(now) && newest.is_none_or(|newest| *newest < snapshot.time) {
            *newest = Some(&snapshot.time);
        }
    }
    let share = |(host, (snapshots, newest)): (&str, (u64, Option<&Zoned>))| HostShare {
        host: host.to_owned(),
        snapshots,
        newest: newest.cloned(),
    };
    let mut shares: Vec<HostShare> = by_host.into_iter().map(share).collect();
    sort(&mut shares);
    shares
}

/// The one with the newest snapshot first.
pub(crate) fn sort(shares: &mut [HostShare]) {
    shares.sort_by(|a, b| {
        let newest = |share: &HostShare| share.newest.as_ref().map(Zoned::timestamp);
        newest(b).cmp(&newest(a)).then_with(|| a.host.cmp(&b.host))
    });
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use jiff::ToSpan;

    fn of(host: &str, days_ago: i64, id: u8) -> Snapshot {
        let time = Zoned::now().checked_sub(days_ago.days()).unwrap();
        Snapshot { host: host.to_owned(), ..Snapshot::example("files", "small", "directory", time, id) }
    }

    #[test]
    fn hosts_are_told_with_their_number_and_their_newest_credible_snapshot() {
        let snapshots = [of("a", 3, 1), of("b", 1, 2), of("b", 2, 3), of("a", -9, 4), of("c", -9, 5)];
        let shares = shares(&snapshots);
        let told: Vec<_> =
            shares.iter().map(|s| (s.host.as_str(), s.snapshots, s.newest.is_some())).collect();
        assert_eq!(told, [("b", 2, true), ("a", 2, true), ("c", 1, false)]);
        assert_eq!(shares[1].newest.as_ref(), Some(&snapshots[0].time));
        assert_eq!(shares[2].text(), "c (1 snapshot)");
        let odd = HostShare { host: "x\u{1b}[2J\n".to_owned(), snapshots: 2, newest: None };
        assert_eq!(odd.text(), "x\\u{1b}[2J\\n (2 snapshots)");
    }

    #[test]
    fn own_means_one_host() {
        assert!(Hosts::Own.takes("a", "a") && !Hosts::Own.takes("a", "b") && Hosts::All.takes("a", "b"));
    }
}
