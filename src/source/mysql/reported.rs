//! The errors that the clients report, by their numbers: which of them pass by themselves, and which lines that a dump
//! tool writes although it ends well are failures.

use crate::error::{Error, Passing};

/// The connection was lost or is gone: the server restarted, the network failed, or the server waited longer than its
/// `net_write_timeout` for us, because the storage stood still.
const LOST: [u32; 2] = [2006, 2013];
/// The server could not read from or write to the connection any more, or closed it because nothing happened on it.
const BROKEN_OFF: [u32; 5] = [1158, 1159, 1160, 1161, 4031];

/// The server ends statements that take longer than it or the account allows: `max_execution_time`, `max_statement_time`.
const TIME_LIMITS: [u32; 2] = [1969, 3024];

/// The number and the text of the error that a client or dump tool reports: `ERROR 1356 (HY000) at line 1: …`,
/// `mysqldump: Error 2013: …`, `mysqldump: Got error: 1045: …`, `mysqldump: Couldn't execute '…': … (1356)`.
pub(super) fn reported(text: &str) -> Option<(u32, &str)> {
    text.lines().rev().find_map(|line| in_front(line).or_else(|| behind(line)))
}

fn in_front(line: &str) -> Option<(u32, &str)> {
    ["ERROR ", "Got error: ", "Error "].iter().find_map(|word| {
        let (_, rest) = line.split_once(word)?;
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number = rest.get(..digits)?.parse().ok()?;
        let rest = rest.get(digits..)?;
        let text = match rest.strip_prefix(": ") {
            Some(text) => text,
            // With the state, and of a script with the line.
            None => rest.strip_prefix(" (")?.split_once(": ")?.1,
        };
        Some((number, text))
    })
}

fn behind(line: &str) -> Option<(u32, &str)> {
    let (_, rest) = line.split_once("Couldn't execute '")?;
    let (text, number) = rest.trim_end().strip_suffix(')')?.rsplit_once(" (")?;
    let number = number.parse().ok()?;
    Some((number, text.split_once("': ").map_or(text, |(_, text)| text)))
}

/// Whether and how the cause of an error passes by itself.
pub(super) fn passing(message: &str) -> Option<Passing> {
    let (number, _) = reported(message)?;
    match number {
        number if LOST.contains(&number) => Some(Passing::Unreachable),
        number if BROKEN_OFF.contains(&number) => Some(Passing::Busy),
        _ => None,
    }
}

/// What to do about an error by its number.
pub(super) fn hint(message: &str) -> Option<&'static str> {
    let (number, _) = reported(message)?;
    if TIME_LIMITS.contains(&number) {
        return Some(
            "the server ends statements that take that long: lift the limit for the backup account (MariaDB: ALTER USER … WITH \
             MAX_STATEMENT_TIME 0; `max_statement_time`), or of the server (MySQL: `max_execution_time = 0`)",
        );
    }
    if number == 2013 && message.contains("initial communication packet") {
        return Some(
            "something accepts connections there and does not speak MySQL's protocol, or the server is overloaded: check `host` \
             and `port`",
        );
    }
    // One that is gone (2006) may also be one that the server closed because of a row.
    (number == 2013 || BROKEN_OFF.contains(&number)).then_some(
        "the connection broke: look at the server's log; if the storage of the repository stands still for longer than the \
         server's `net_write_timeout`, raise that on the server",
    )
}

/// The failure that a line on stderr tells of, as a tool that ends with code 0 may write it: any line that begins with the
/// tool's name and is neither a warning nor a note.
pub(super) fn complaint(line: &str) -> Option<&str> {
    const TOOLS: [&str; 2] = ["mysqldump", "mariadb-dump"];
    /// How lines begin that are no failures, in lower case; the last one is MariaDB's about the old name of its tool.
    const HARMLESS: [&str; 5] = ["[warning]", "warning", "[note]", "note:", "deprecated program name"];
    let (name, text) = line.split_once(": ")?;
    // Called by its path, the tool may show that.
    let name = name.rsplit('/').next().unwrap_or(name);
    let text = text.trim_start();
    let begins = |sign: &&str| text.get(..sign.len()).is_some_and(|start| start.eq_ignore_ascii_case(sign));
    (TOOLS.contains(&name) && !HARMLESS.iter().any(begins) && !lacks_masking_policies(line)).then_some(line)
}

/// Whether a line says that the account may not read masking policies (MySQL 9.7), which few servers have: the dump lacks them.
pub(super) fn lacks_masking_policies(line: &str) -> bool {
    line.contains("command denied") && line.contains("when trying to dump masking policies")
}

/// Adds what the number of the reported error tells: whether it passes, and what to do.
pub(super) fn explain(error: Error) -> Error {
    let summary = error.summary();
    let error = match passing(&summary) {
        Some(passing) => error.passes(passing),
        None => error,
    };
    match hint(&summary) {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_texts_are_read_in_all_forms() {
        for (text, number, said) in [
            (
                "mysql failed with exit status 1: ERROR 1356 (HY000) at line 1: View 'a.b' references: x",
                1356,
                "View 'a.b' references: x",
            ),
            ("ERROR 2002 (HY000): Can't connect (111)", 2002, "Can't connect (111)"),
            (
                "mysqldump: Error 2013: Lost connection to MySQL server during query when dumping table `x` at row: 5",
                2013,
                "Lost connection to MySQL server during query when dumping table `x` at row: 5",
            ),
            (
                "mysqldump: Got error: 1045: \"Access denied\" when trying to connect",
                1045,
                "\"Access denied\" when trying to connect",
            ),
            (
                "mariadb-dump: Couldn't execute 'SHOW FIELDS FROM `v`': View is bad (1356)",
                1356,
                "View is bad",
            ),
            ("mysqldump: [Warning] 1\nmysqldump: Couldn't execute 'x': y (1969)", 1969, "y"),
        ] {
            assert_eq!(reported(text), Some((number, said)), "{text}");
        }
        for text in ["mysqldump: Got errno 28 on write", "no such luck (5)", "Error: what", ""] {
            assert_eq!(reported(text), None, "{text}");
        }
    }

    #[test]
    fn a_lost_connection_passes_and_a_limit_does_not() {
        let of = |number: u32| passing(&format!("mariadb-dump: Error {number}: x when dumping table `t`"));
        assert_eq!(of(2013), Some(Passing::Unreachable));
        assert_eq!(of(1159), Some(Passing::Busy));
        assert_eq!(of(4031), Some(Passing::Busy));
        for number in [1969, 3024, 1356, 1045, 2002] {
            assert_eq!(of(number), None, "{number}");
        }
        let error = explain(Error::failed("mysqldump: Error 3024: Query execution was interrupted"));
        assert!(error.passing().is_none() && error.hint_text().is_some(), "{error}");
        let error =
            explain(Error::failed("mysqldump: Error 2013: Lost connection to MySQL server during query"));
        assert!(error.passing().is_some() && error.hint_text().is_some(), "{error}");
        let error = explain(Error::failed(
            "ERROR 2013 (HY000): Lost connection to server at 'handshake: reading initial communication packet', system error: 110",
        ));
        assert!(error.hint_text().is_some_and(|hint| hint.contains("`port`")), "{error}");
    }

    #[test]
    fn lines_that_tell_of_a_failure_are_told_from_warnings() {
        for line in [
            "mariadb-dump: Got errno 32 on write",
            "mysqldump: Couldn't find table: \"x\"",
            "/usr/bin/mysqldump: Error: 'Access denied' when trying to dump tablespaces",
        ] {
            assert_eq!(complaint(line), Some(line));
        }
        for line in [
            "mysqldump: [Warning] Using a password on the command line interface can be insecure.",
            "Warning: A partial dump from a server that has GTIDs",
            "mysqldump: Deprecated program name. It will be removed in a future release",
            "mysqldump: Warning: x",
            "mysqldump: [Note] y",
            "WARNING: option is deprecated",
            "somebody: else",
            "plain text",
        ] {
            assert_eq!(complaint(line), None, "{line}");
        }
    }
}
