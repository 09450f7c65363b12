//! Warnings of a server while a dump is loaded.

use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use crate::source::mysql::script::ANNOUNCEMENT;

/// At most this many are kept.
const KEPT: usize = 20;

/// Numbers of warnings that do not concern stored data. Definitions are compared separately.
///
/// - 139: a row of the table may become too large for a page (InnoDB)
/// - 1287, 1681, 4166: a word, variable, display width, `ZEROFILL` or foreign key that newer versions may refuse
/// - 1449: the definer does not exist, which is reported separately
/// - 1831: two indexes of a table are the same
/// - 1906: the value of a generated column is computed, not taken (MariaDB)
/// - 3090, 3135: modes as version 5.7 wrote them
/// - 3674: the optimizer will not use the index of a geometry that has no reference system
/// - 6001: the language of a routine is not installed, which makes the routine fail when it is called, and not before
/// - 3719, 3778, 3779, 4079: the character sets utf8mb3 and ucs2, their names and collations
const HARMLESS: [u32; 15] =
    [139, 1287, 1449, 1681, 1831, 1906, 3090, 3135, 3674, 3719, 3778, 3779, 4079, 4166, 6001];
/// Prefixes of warnings 1478 about tables that InnoDB accepted without strict mode: they are created unchanged.
const OPTIONS: [&str; 2] = ["InnoDB: assuming ROW_FORMAT=", "InnoDB: ignoring KEY_BLOCK_SIZE="];

/// Collects the warnings that the SQL client prints.
#[derive(Clone, Default)]
pub(super) struct Warnings {
    found: Arc<Mutex<Found>>,
    /// The object that the session creates or fills at present.
    present: Arc<Mutex<String>>,
}

#[derive(Default)]
struct Found {
    first: Vec<String>,
    more: u64,
}

impl Warnings {
    /// For the client of another session: collected together.
    pub(super) fn of_session(&self) -> Self {
        Self { found: Arc::clone(&self.found), present: Arc::default() }
    }

    /// The object that the session creates or fills at present.
    pub(super) fn present(&self) -> String {
        self.present.lock().clone()
    }

    /// Takes the next line that the client wrote to stdout.
    pub(super) fn line(&self, line: &str) {
        if let Some(what) = line.strip_prefix(ANNOUNCEMENT) {
            what.clone_into(&mut self.present.lock());
        } else if is_problem(line) {
            let present = self.present();
            let mut found = self.lock();
            if found.first.len() < KEPT {
                let colon = if present.is_empty() { "" } else { ": " };
                let text = format!("{present}{colon}{line}");
                found.first.push(text);
            } else {
                found.more += 1;
            }
        }
    }

    /// The first ones, and how many more there were.
    pub(super) fn take(&self) -> Vec<String> {
        let mut found = self.lock();
        let mut all = std::mem::take(&mut found.first);
        if found.more > 0 {
            all.push(format!("and {} more", found.more));
        }
        all
    }

    fn lock(&self) -> MutexGuard<'_, Found> {
        self.found.lock()
    }
}

/// The numbers of warnings, as the client shows them, each once.
pub(crate) fn numbers(warnings: &[String]) -> Vec<u32> {
    // The name of a table may stand in front.
    let number = |line: &String| line.rsplit_once(" (Code ")?.1.split_once("): ")?.0.parse().ok();
    let mut numbers: Vec<u32> = warnings.iter().filter_map(number).collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

/// Level, number and text of `Warning (Code 1265): Data truncated for column 'a' at row 1`.
fn parse(line: &str) -> Option<(&str, u32, &str)> {
    let (level, rest) = line.split_once(" (Code ")?;
    let (number, text) = rest.split_once("): ")?;
    ["Note", "Warning", "Error"].contains(&level).then_some((level, number.parse().ok()?, text))
}

fn is_problem(line: &str) -> bool {
    match parse(line) {
        None => false,
        // Dumps switch notes off.
        Some(("Note", ..)) => false,
        // MariaDB's number for what has none.
        Some((_, 1105, text)) => !text.starts_with("Event scheduler is switched off"),
        Some((_, 1478, text)) => !OPTIONS.iter().any(|start| text.starts_with(start)),
        Some((_, number, _)) => !HARMLESS.contains(&number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_values_is_a_problem_and_what_is_deprecated_is_none() {
        let problems = [
            "Warning (Code 1265): Data truncated for column 'a' at row 1",
            "Warning (Code 1264): Out of range value for column 'a' at row 2",
            "Warning (Code 1478): InnoDB: ROW_FORMAT=COMPRESSED requires innodb_file_per_table.",
            "Warning (Code 1105): something else",
            "Error (Code 1366): Incorrect string value: '\\xF0' for column 't' at row 1",
        ];
        let harmless = [
            "Note (Code 1051): Unknown table 'x'",
            "Warning (Code 1681): Integer display width is deprecated and will be removed in a future release.",
            "Warning (Code 1478): InnoDB: assuming ROW_FORMAT=DYNAMIC.",
            "Warning (Code 1478): InnoDB: ignoring KEY_BLOCK_SIZE=8 unless ROW_FORMAT=COMPRESSED.",
            "Warning (Code 1105): Event scheduler is switched off, use SET GLOBAL event_scheduler=ON to enable it.",
            "Warning (Code x): no number",
            "a",
            "",
        ];
        let warnings = Warnings::default();
        problems.iter().chain(&harmless).for_each(|line| warnings.line(line));
        assert_eq!(warnings.take(), problems);
        warnings.line(&format!("{ANNOUNCEMENT}table it's (Code 7): odd"));
        (0..30).for_each(|_| warnings.line(problems[1]));
        let found = warnings.take();
        assert_eq!((found.len(), found.last().map(String::as_str)), (KEPT + 1, Some("and 10 more")));
        assert_eq!(found[0], format!("table it's (Code 7): odd: {}", problems[1]));
        assert_eq!(numbers(&found), [1264]);
        let other = warnings.of_session();
        other.line(&format!("{ANNOUNCEMENT}table u"));
        other.line(problems[0]);
        warnings.line(problems[1]);
        let found = warnings.take();
        assert_eq!(found[0], format!("table u: {}", problems[0]), "each session has its own table");
        assert_eq!(found[1], format!("table it's (Code 7): odd: {}", problems[1]));
    }
}
