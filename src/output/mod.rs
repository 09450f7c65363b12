//! Output of commands: results on stdout as text or JSON, everything else on stderr.

pub(crate) mod lines;
pub(crate) mod paths;
mod screen;
pub(crate) mod shell;
mod table;
pub(crate) mod terminal;

use std::io::{self, Write};

use jiff::Zoned;
use serde::Serialize;

use self::lines::{Priority, say};
pub use self::{
    lines::printable,
    screen::{Screen, width},
    table::table,
};
use crate::error::{Error, Result};

/// The printer of one invocation.
#[derive(Debug, Clone, Copy)]
pub struct Printer {
    json: bool,
    verbose: bool,
}

impl Printer {
    /// A printer; with `json` results are one JSON document.
    pub fn new(json: bool, verbose: bool) -> Self {
        Self { json, verbose }
    }

    /// Whether JSON is requested.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Prints a result, as text unless JSON is requested.
    pub fn result(&self, value: &impl Serialize, text: impl FnOnce() -> String) -> Result<()> {
        if self.json {
            let json =
                serde_json::to_string_pretty(value).map_err(|e| Error::failed("cannot print").because(&e))?;
            return self.text(&json);
        }
        self.text(&text())
    }

    /// Prints a text that is the result, with or without JSON.
    pub fn text(&self, text: &str) -> Result<()> {
        let mut output = text.to_owned();
        if !output.is_empty() && !output.ends_with('\n') {
            output.push('\n');
        }
        let mut stdout = io::stdout().lock();
        match stdout.write_all(output.as_bytes()).and_then(|()| stdout.flush()) {
            // The reader of our output may stop early.
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other.map_err(|e| Error::failed("cannot print").because(&e)),
        }
    }

    /// Prints a message that is not a result.
    pub fn notice(&self, message: &str) {
        say(Priority::of_notice(message), message);
    }

    /// Prints a message that is not a result, with this priority.
    pub(crate) fn say(&self, priority: Priority, message: &str) {
        say(priority, message);
    }

    /// Prints a message that is shown with `-v` only.
    pub fn detail(&self, message: &str) {
        if self.verbose {
            say(Priority::Info, message);
        }
    }

    /// Prints an error. With JSON, it is a JSON document on stderr.
    pub fn error(&self, error: &Error) {
        if self.json {
            let document = serde_json::json!({"error": error.summary(), "hint": error.hint_text()});
            say(Priority::Error, &document.to_string());
        } else {
            say(Priority::Error, &format!("error: {error}"));
        }
    }
}

/// A name on one line: line breaks are escaped as well.
pub fn name(text: &str) -> String {
    printable(text).replace('\n', "\\n")
}

/// A number of things for people: `1 item`, `2 items`. `one` is a noun whose plural ends with s.
pub fn count(number: impl TryInto<u64>, one: &str) -> String {
    let number = number.try_into().unwrap_or(u64::MAX);
    format!("{number} {}", plural(number, one))
}

/// The singular or plural of a noun.
pub fn plural(number: impl TryInto<u64>, one: &str) -> String {
    let number = number.try_into().unwrap_or(u64::MAX);
    // A `y` after a vowel stays: days, but entries.
    match one.strip_suffix('y').filter(|stem| !stem.ends_with(['a', 'e', 'o', 'u'])) {
        _ if number == 1 => one.to_owned(),
        Some(stem) => format!("{stem}ies"),
        None => format!("{one}s"),
    }
}

/// A number of bytes for people.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// A time for people, in this machine's time zone.
pub fn time(time: &Zoned) -> String {
    time.with_time_zone(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// A duration in seconds for people.
pub fn duration(seconds: f64) -> String {
    let whole = seconds as u64;
    match whole {
        0..=59 => format!("{seconds:.1} s"),
        60..=3599 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_well() {
        assert_eq!(size(0), "0 B");
        assert_eq!(size(1023), "1023 B");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(1024 * 1024 - 1), "1.0 MiB");
        assert_eq!(size(5 << 40), "5.0 TiB");
    }

    #[test]
    fn one_thing_is_not_told_as_several() {
        assert_eq!(count(1_u64, "item"), "1 item");
        assert_eq!([0_usize, 2].map(|number| count(number, "day")), ["0 days", "2 days"]);
        assert_eq!([1_u64, 3].map(|number| count(number, "entry")), ["1 entry", "3 entries"]);
    }

    #[test]
    fn durations_read_well() {
        assert_eq!(duration(0.25), "0.2 s");
        assert_eq!(duration(61.0), "1 min 01 s");
        assert_eq!(duration(3700.0), "1 h 01 min");
    }

    #[test]
    fn names_cannot_steer_the_terminal() {
        assert_eq!(printable("a\u{1b}[31mb\nc"), "a\\u{1b}[31mb\nc");
        assert_eq!(printable("a\u{202e}b"), "a\\u{202e}b");
        assert_eq!(printable("sho\u{200b}p\u{feff}\u{2066}"), "sho\\u{200b}p\\u{feff}\\u{2066}");
        assert_eq!(printable("顧客 e\u{301} – ü"), "顧客 e\u{301} – ü");
        assert_eq!(name("a\nb\tü"), "a\\nb\\tü");
    }
}
