//! Times for programs: RFC 3339 with a numeric offset, `2026-11-28T22:00:00+01:00`, and all fractional digits of the second.
//!
//! By default, `Zoned` is serialized with the name of its zone, `…+01:00[Europe/Berlin]`, which few parsers accept. A field uses
//! `#[serde(with = "crate::moment")]`, an optional field `#[serde(with = "crate::moment::option")]`. Both forms are read, because
//! earlier versions stored the other one. Manifests keep the form with the zone: earlier versions read no other.

use std::borrow::Cow;

use jiff::{
    Timestamp, Zoned,
    fmt::temporal::Pieces,
    tz::{Offset, TimeZone},
};
use serde::{Deserialize, Deserializer, Serializer, de::Error};

/// The time in RFC 3339, in its own offset, with all fractional digits: `--at` finds a snapshot by its printed time.
pub fn rfc3339(time: &Zoned) -> String {
    time.timestamp().display_with_offset(time.offset()).to_string()
}

/// Reads either form. A time without a zone name is in this machine's zone, if that zone had the same offset at that time.
///
/// # Errors
/// The text is not a time, or has no offset.
pub fn parse(text: &str) -> Result<Zoned, jiff::Error> {
    if let Ok(zoned) = text.parse::<Zoned>() {
        return Ok(zoned);
    }
    let timestamp: Timestamp = text.parse()?;
    let offset = Pieces::parse(text)?.to_numeric_offset().unwrap_or(Offset::UTC);
    let local = timestamp.to_zoned(TimeZone::system());
    Ok(if local.offset() == offset { local } else { timestamp.to_zoned(TimeZone::fixed(offset)) })
}

/// For `serde`: writes a time.
///
/// # Errors
/// Those of the serializer.
pub fn serialize<S: Serializer>(time: &Zoned, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339(time))
}

/// For `serde`: reads a time in either form.
///
/// # Errors
/// The text is not a time.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Zoned, D::Error> {
    let text = Cow::<str>::deserialize(deserializer)?;
    parse(&text).map_err(D::Error::custom)
}

/// The same for a time that may be absent; an absent field needs `default` beside it.
pub mod option {
    use super::{Cow, Deserialize, Deserializer, Error, Serializer, Zoned, parse, rfc3339};

    /// For `serde`: writes a time, or null.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(time: &Option<Zoned>, serializer: S) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => serializer.serialize_some(&rfc3339(time)),
            None => serializer.serialize_none(),
        }
    }

    /// For `serde`: reads a time in either form, or null.
    ///
    /// # Errors
    /// The text is not a time.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Zoned>, D::Error> {
        let text = Option::<Cow<str>>::deserialize(deserializer)?;
        text.map(|text| parse(&text)).transpose().map_err(D::Error::custom)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde::Serialize;

    use super::*;

    #[derive(Serialize, Deserialize)]
    struct Both {
        #[serde(with = "crate::moment")]
        at: Zoned,
        #[serde(default, with = "crate::moment::option")]
        since: Option<Zoned>,
    }

    #[test]
    fn times_are_written_with_their_offset_and_without_the_name_of_the_zone() {
        let at: Zoned = "2026-11-28T22:00:00.123456789+01:00[Europe/Berlin]".parse().unwrap();
        let json = serde_json::to_value(Both { at, since: None }).unwrap();
        assert_eq!(json["at"], "2026-11-28T22:00:00.123456789+01:00");
        assert!(json["since"].is_null());
        assert_eq!(rfc3339(&"2026-11-28T22:00:00+00:00[UTC]".parse().unwrap()), "2026-11-28T22:00:00+00:00");
    }

    #[test]
    fn both_forms_are_read_and_keep_their_offset() {
        for (text, written) in [
            ("2026-11-28T22:00:00+01:00[Europe/Berlin]", "2026-11-28T22:00:00+01:00"),
            ("2026-11-28T22:00:00+05:30", "2026-11-28T22:00:00+05:30"),
            ("2026-11-28T22:00:00.5-08:00", "2026-11-28T22:00:00.5-08:00"),
            ("2026-11-28T22:00:00Z", "2026-11-28T22:00:00+00:00"),
        ] {
            let read: Both = serde_json::from_value(serde_json::json!({"at": text, "since": text})).unwrap();
            assert_eq!(
                (rfc3339(&read.at), read.since.as_ref().map(rfc3339)),
                (written.into(), Some(written.into()))
            );
        }
        assert!(serde_json::from_str::<Both>(r#"{"at":"yesterday"}"#).is_err());
        assert!(
            serde_json::from_str::<Both>(r#"{"at":"2026-11-28T22:00:00"}"#).is_err(),
            "no offset, no moment"
        );
        assert!(serde_json::from_str::<Both>(r#"{"at":"2026-11-28T22:00:00Z"}"#).unwrap().since.is_none());
    }

    /// Every time that a program may get: a field that is forgotten is seen only in one document of many.
    #[test]
    fn no_document_has_a_time_in_another_form() {
        let mut folders = vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))];
        let mut times = 0;
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|end| end == "rs")
                    && !path.ends_with("source/manifest.rs")
                {
                    times += checked(&path);
                }
            }
        }
        assert!(times > 20, "{times} fields were found");
    }

    /// Looks at each field of a time in a struct that is written as JSON, and counts them.
    fn checked(path: &std::path::Path) -> u32 {
        let text = std::fs::read_to_string(path).unwrap();
        let (mut written, mut as_it_should, mut times) = (false, false, 0);
        for line in text.lines() {
            let field = line.trim_start().trim_start_matches("pub ");
            if line.starts_with("#[derive(") {
                written = line.contains("Serialize");
            } else if line == "}" {
                written = false;
            } else if field.starts_with("#[") {
                as_it_should |= field.contains("crate::moment");
            } else if line.starts_with("    ") && !field.starts_with("//") {
                let is_time = [": Zoned,", ": Option<Zoned>,", ": jiff::Zoned,", ": Option<jiff::Zoned>,"];
                if written && is_time.iter().any(|end| field.ends_with(end)) {
                    assert!(
                        as_it_should,
                        "{}: {field} needs #[serde(with = \"crate::moment\")]",
                        path.display()
                    );
                    times += 1;
                }
                as_it_should = false;
            }
        }
        times
    }
}
