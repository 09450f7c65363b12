//! Values written as text with a unit: sizes (`16MiB`) and durations (`1h30m`).

use std::time::Duration;

const SIZE_UNITS: [(&str, u64); 9] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

const DURATION_UNITS: [(&str, u64); 4] = [("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400)];

/// Reads a size such as `16MiB` or `1 GB`, in bytes.
pub(crate) fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = split_number(text)?;
    let (_, factor) = SIZE_UNITS.iter().find(|(name, _)| *name == unit.trim())?;
    number.checked_mul(*factor)
}

/// Reads a duration such as `90s`, `15m` or `1h30m`: whole numbers with s, m, h or d, added up.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut seconds = 0_u64;
    loop {
        let (number, after) = split_number(rest)?;
        let end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (_, factor) = DURATION_UNITS.iter().find(|(name, _)| *name == &after[..end])?;
        seconds = seconds.checked_add(number.checked_mul(*factor)?)?;
        rest = after[end..].trim_start();
        if rest.is_empty() {
            return Some(Duration::from_secs(seconds));
        }
    }
}

fn split_number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, &text[end..]))
}

/// A size for messages, in the largest binary unit that divides it.
pub(crate) fn show_size(bytes: u64) -> String {
    let (name, factor) = SIZE_UNITS[..5]
        .iter()
        .rev()
        .find(|(_, factor)| bytes >= *factor && bytes.is_multiple_of(*factor))
        .unwrap_or(&SIZE_UNITS[0]);
    format!("{}{name}", bytes / factor)
}

/// A duration for messages, in the largest unit that divides it.
pub(crate) fn show_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (name, factor) = DURATION_UNITS
        .iter()
        .rev()
        .find(|(_, factor)| seconds >= *factor && seconds.is_multiple_of(*factor))
        .unwrap_or(&DURATION_UNITS[0]);
    format!("{}{name}", seconds / factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_need_a_known_unit() {
        assert_eq!(parse_size("16MiB"), Some(16 << 20));
        assert_eq!(parse_size("1 GB"), Some(1_000_000_000));
        assert_eq!(parse_size("0B"), Some(0));
        for bad in ["", "16", "MiB", "16mib", "1.5GiB", "-1GiB", "1G", "99999999999TiB", "1GiB2"] {
            assert_eq!(parse_size(bad), None, "{bad}");
        }
        for (bytes, text) in [(0, "0B"), (1 << 30, "1GiB"), (4 << 20, "4MiB"), (1_000, "1000B")] {
            assert_eq!(show_size(bytes), text);
            assert_eq!(parse_size(text), Some(bytes));
        }
    }

    #[test]
    fn durations_add_up() {
        for (text, seconds) in [("90s", 90), ("15m", 900), ("1h30m", 5400), ("1d 2h", 93_600), ("0s", 0)] {
            assert_eq!(parse_duration(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for bad in [
            "",
            "15",
            "m",
            "15 m",
            "15min",
            "1h30",
            "-5m",
            "1.5h",
            "99999999999999999999s",
            "9999999999999999d",
        ] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
        assert_eq!(show_duration(Duration::from_secs(7 * 86_400)), "7d");
        assert_eq!(show_duration(Duration::from_secs(90)), "90s");
    }
}
