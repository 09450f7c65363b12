//! Snapshots as the rest of the program uses them, and the names of items in them.

use jiff::{SignedDuration, Timestamp, Zoned};
use rustic_core::repofile::SnapshotFile;
use serde::Serialize;

use crate::error::{Error, Result};

/// Tag of every snapshot of this program. Retention removes no others.
pub(crate) const OURS: &str = "tik-backup";

/// The tolerated difference between clocks of hosts that share a repository.
pub(crate) const AHEAD: SignedDuration = SignedDuration::from_hours(1);

/// A stored snapshot of an item.
#[derive(Debug, Clone, Serialize)]
pub struct Snapshot {
    /// Source name.
    pub source: String,
    /// Item name, unescaped.
    pub item: String,
    /// Kind of the source.
    pub kind: String,
    /// Id, 64 hex digits.
    pub id: String,
    /// The time of its data.
    #[serde(with = "crate::moment")]
    pub time: Zoned,
    /// Host that made it.
    pub host: String,
    /// Bytes of its files.
    pub bytes: u64,
    #[serde(skip)]
    pub(super) file: SnapshotFile,
}

impl Snapshot {
    /// Converts a snapshot file; `None` if it is not one of ours.
    pub(super) fn from_file(file: SnapshotFile) -> Option<Self> {
        if !file.tags.contains(OURS) {
            return None;
        }
        let only = (file.paths.iter().count() == 1).then(|| file.paths.iter().next()).flatten()?;
        let (source, item) = parse_path(only)?;
        let kind = file.tags.iter().find(|tag| *tag != OURS).cloned().unwrap_or_default();
        Some(Self {
            source,
            item,
            kind,
            id: file.id.to_hex().as_str().to_owned(),
            time: file.time.clone(),
            host: file.hostname.clone(),
            bytes: file.summary.as_ref().map_or(0, |summary| summary.total_bytes_processed),
            file,
        })
    }

    /// A snapshot that a run would make, to plan the retention. Its id is all zeros.
    pub(crate) fn planned(source: &str, item: &str, host: &str, time: Zoned) -> Self {
        let file = SnapshotFile { time: time.clone(), hostname: host.to_owned(), ..SnapshotFile::default() };
        Self {
            source: source.to_owned(),
            item: item.to_owned(),
            kind: String::new(),
            id: "0".repeat(64),
            time,
            host: host.to_owned(),
            bytes: 0,
            file,
        }
    }

    /// Whether [`Self::planned`] made it.
    pub(crate) fn is_planned(&self) -> bool {
        self.id.bytes().all(|digit| digit == b'0')
    }

    /// A snapshot that is in no repository; its id consists of this byte.
    #[cfg(test)]
    pub(crate) fn example(source: &str, item: &str, kind: &str, time: Zoned, id: u8) -> Self {
        Self {
            source: source.to_owned(),
            item: item.to_owned(),
            kind: kind.to_owned(),
            id: format!("{id:02x}").repeat(32),
            time,
            host: "db1".to_owned(),
            bytes: 0,
            file: SnapshotFile::default(),
        }
    }

    /// The same snapshot of another host.
    #[cfg(test)]
    pub(crate) fn of_host(self, host: &str) -> Self {
        Self { host: host.to_owned(), ..self }
    }

    /// Whether it is dated in the future by more than clocks differ. Then a clock was wrong when it was made, or is now.
    pub fn is_ahead(&self, now: Timestamp) -> bool {
        self.time.timestamp().duration_since(now) > AHEAD
    }

    /// `source/item`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.source, self.item)
    }

    /// The first eight digits of the id, as restic prints it.
    pub fn short_id(&self) -> &str {
        &self.id[..8]
    }
}

/// Path of an item in its snapshots: `/source/item`. In both names `/`, `%`, control characters and the names `.` and
/// `..` are percent-escaped, so that every item is one directory.
pub fn item_path(source: &str, item: &str) -> String {
    format!("/{}/{}", escape(source), escape(item))
}

fn parse_path(path: &str) -> Option<(String, String)> {
    let (source, item) = path.strip_prefix('/')?.split_once('/')?;
    (!item.contains('/')).then(|| (unescape(source), unescape(item)))
}

fn escape(name: &str) -> String {
    if matches!(name, "." | "..") {
        return name.replace('.', "%2E");
    }
    let mut escaped = String::with_capacity(name.len());
    for c in name.chars() {
        if c == '/' || c == '%' || c.is_control() {
            let mut utf8 = [0; 4];
            escaped.extend(c.encode_utf8(&mut utf8).bytes().map(|byte| format!("%{byte:02X}")));
        } else {
            escaped.push(c);
        }
    }
    escaped
}

fn unescape(name: &str) -> String {
    percent_encoding::percent_decode_str(name).decode_utf8_lossy().into_owned()
}

/// Reads a snapshot id of 64 hex digits.
pub(crate) fn id_bytes(hex: &str) -> Option<[u8; 32]> {
    let mut id = [0; 32];
    if hex.len() != 64 || !hex.is_ascii() {
        return None;
    }
    for (byte, at) in id.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(&hex[at..at + 2], 16).ok()?;
    }
    Some(id)
}

/// Selects a snapshot of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum At {
    /// The newest that is not dated in the future, if there is one.
    Latest,
    /// The snapshot with this id prefix.
    Id(String),
    /// The newest taken at or before this time.
    Time(Zoned),
}

impl At {
    /// Reads `latest`, a snapshot id (at least four hex digits), or a date or time in this machine's time zone.
    pub fn parse(text: &str) -> Result<Self> {
        if text == "latest" {
            return Ok(Self::Latest);
        }
        if (4..=64).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_hexdigit())
            && !looks_like_year(text)
        {
            return Ok(Self::Id(text.to_ascii_lowercase()));
        }
        parse_time(text).map(Self::Time).ok_or_else(|| {
            Error::usage(format!("`{text}` is neither `latest` nor a snapshot id nor a time")).hint(
                "write a time as 2026-11-22, \"2026-11-22 03:00\" or 2026-11-22T03:00:00Z; `tik-backup snapshots` \
                 lists the ids",
            )
        })
    }

    /// The selected snapshot among those of one item.
    pub fn choose<'a>(&self, name: &str, snapshots: &'a [Snapshot]) -> Result<&'a Snapshot> {
        let now = Timestamp::now();
        // A snapshot dated in the future is chosen only if there is no other: its real age is unknown.
        let newest = |wanted: &dyn Fn(&Snapshot) -> bool| {
            let rank = |s: &&Snapshot| (!s.is_ahead(now), s.time.timestamp());
            snapshots.iter().filter(|s| wanted(s)).max_by_key(rank)
        };
        let none = |what: String| Error::failed(format!("{name} has no snapshot{what}"));
        match self {
            Self::Latest => newest(&|_| true).ok_or_else(|| none(String::new())),
            Self::Time(time) => newest(&|s| s.time <= *time)
                .ok_or_else(|| none(format!(" from {} or earlier", time.strftime("%Y-%m-%d %H:%M:%S")))),
            Self::Id(prefix) => {
                let mut found = snapshots.iter().filter(|s| s.id.starts_with(prefix));
                match (found.next(), found.next()) {
                    (Some(only), None) => Ok(only),
                    (Some(_), Some(_)) => Err(Error::usage(format!(
                        "{name} has several snapshots whose ids begin with {prefix}"
                    ))),
                    _ => Err(none(format!(" whose id begins with {prefix}"))),
                }
            }
        }
        .map_err(|e| e.hint(format!("`tik-backup snapshots '{name}'` lists its snapshots")))
    }
}

/// The warning about an item's snapshots that are dated in the future; `chosen` is the one that is used.
pub fn future_warning(chosen: &Snapshot, of_item: &[Snapshot]) -> Option<String> {
    let now = Timestamp::now();
    let name = crate::output::name(&chosen.name());
    if chosen.is_ahead(now) {
        return Some(format!(
            "warning: {name}: snapshot {} is dated in the future ({}): a clock was wrong when it was made, or this \
             machine's clock is wrong now; its real age is unknown",
            chosen.short_id(),
            crate::output::time(&chosen.time)
        ));
    }
    let mut ahead = of_item.iter().filter(|snapshot| snapshot.is_ahead(now));
    let first = ahead.next()?;
    let more = match ahead.count() {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    Some(format!(
        "warning: {name}: snapshot {id} ({}){more} is ignored because it is dated in the future: a clock was wrong; \
         --at {id} uses it, and `tik-backup forget '{name}' --id {id}` removes it",
        crate::output::time(&first.time),
        id = first.short_id()
    ))
}

fn looks_like_year(text: &str) -> bool {
    text.len() == 4 && (text.starts_with("19") || text.starts_with("20"))
}

fn parse_time(text: &str) -> Option<Zoned> {
    let zone = jiff::tz::TimeZone::system();
    if let Ok(zoned) = text.parse::<Zoned>() {
        return Some(zoned);
    }
    if let Ok(timestamp) = text.parse::<jiff::Timestamp>() {
        return Some(timestamp.to_zoned(zone));
    }
    if let Ok(date) = text.parse::<jiff::civil::Date>()
        && !text.contains([':', 'T', ' '])
    {
        // A date includes the whole day.
        return date.at(23, 59, 59, 999_999_999).to_zoned(zone).ok();
    }
    text.parse::<jiff::civil::DateTime>().ok()?.to_zoned(zone).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_name_survives_the_path() {
        for name in
            ["shop", "UPPER", "with space", "a/b", "50%", "%2F", "..", ".", "ünï", "new\nline", "q'\"`$;,"]
        {
            let path = item_path("pg", name);
            assert_eq!(path.matches('/').count(), 2, "{path}");
            assert_eq!(parse_path(&path), Some(("pg".to_owned(), name.to_owned())));
        }
        assert_eq!(item_path("pg", "with space"), "/pg/with space");
        assert_eq!(item_path("pg", ".."), "/pg/%2E%2E");
    }

    #[test]
    fn ids_are_read_or_refused() {
        assert_eq!(id_bytes(&"0a".repeat(32)), Some([10; 32]));
        assert_eq!(id_bytes("0a"), None);
        assert_eq!(id_bytes(&"zz".repeat(32)), None);
        assert_eq!(id_bytes(&"ü".repeat(32)), None);
    }

    #[test]
    fn the_newest_is_the_newest_that_is_credible() {
        let of = |hours: i64, id| {
            let time = Zoned::now().checked_add(jiff::Span::new().hours(hours)).unwrap();
            Snapshot::example("files", "small", "directory", time, id)
        };
        let snapshots = [of(-48, 1), of(-24, 2), of(24 * 365, 3)];
        let chosen =
            |at: &str| At::parse(at).unwrap().choose("files/small", &snapshots).unwrap().id[..2].to_owned();
        assert_eq!(chosen("latest"), "02");
        assert_eq!(chosen("2999-01-01"), "02");
        assert_eq!(chosen("03030303"), "03");
        assert!(future_warning(&snapshots[1], &snapshots).unwrap().contains("--id 03030303"));
        assert!(future_warning(&snapshots[2], &snapshots).unwrap().contains("dated in the future"));
        assert_eq!(future_warning(&snapshots[1], &snapshots[..2]), None);
        // The clocks of two hosts are never quite the same.
        assert!(!Snapshot { time: Zoned::now(), ..of(0, 4) }.is_ahead(Timestamp::now()));
        let only = [of(48, 5), of(96, 6)];
        assert_eq!(At::Latest.choose("files/small", &only).unwrap().id[..2], *"06");
    }

    #[test]
    fn points_in_time_are_read() {
        assert_eq!(At::parse("latest").unwrap(), At::Latest);
        assert_eq!(At::parse("DEADbeef").unwrap(), At::Id("deadbeef".to_owned()));
        assert!(matches!(At::parse("2026-11-22").unwrap(), At::Time(t) if t.hour() == 23));
        assert!(matches!(At::parse("2026-11-22 03:00").unwrap(), At::Time(t) if t.hour() == 3));
        assert!(matches!(At::parse("2026-11-22T03:00:00Z").unwrap(), At::Time(_)));
        assert!(At::parse("yesterday-ish").unwrap_err().to_string().contains("neither"));
    }
}
