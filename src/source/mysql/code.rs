//! Error codes of MySQL and MariaDB. Only this file parses the messages of their clients and dump tools; all other code uses
//! the numbers, or the functions defined here.

use crate::{
    error::{Error, Fact},
    stream::process::ToolMessages,
};

/// Error numbers of servers and clients that are used on their own.
pub(crate) mod number {
    /// No access to a database.
    pub(crate) const DATABASE_DENIED: u32 = 1044;
    /// The login is refused.
    pub(crate) const LOGIN_DENIED: u32 = 1045;
    /// The account has no such grant.
    pub(crate) const NO_SUCH_GRANT: u32 = 1141;
    /// A command is denied for a table.
    pub(crate) const TABLE_DENIED: u32 = 1142;
    /// A command is denied for a column.
    pub(crate) const COLUMN_DENIED: u32 = 1143;
    /// A privilege is needed.
    pub(crate) const PRIVILEGE_NEEDED: u32 = 1227;
    /// An event does not exist.
    pub(crate) const NO_SUCH_EVENT: u32 = 1539;
    /// MariaDB ended the connection of a statement.
    pub(crate) const CONNECTION_KILLED: u32 = 1927;
    /// The connection is gone.
    pub(crate) const SERVER_GONE: u32 = 2006;
    /// The connection was lost during a statement.
    pub(crate) const SERVER_LOST: u32 = 2013;
    /// TLS could not be agreed on, or a certificate was refused.
    pub(crate) const TLS: u32 = 2026;
    /// The server closed an idle connection.
    pub(crate) const IDLE: u32 = 4031;
}

/// Error numbers of the clients themselves, such as for a lost connection.
const OF_THE_CLIENT: std::ops::Range<u32> = 2000..3000;
/// Numbers of the storage engines.
const OF_THE_ENGINE: std::ops::Range<u32> = 100..1000;
/// The plugin of a login cannot be loaded: at the server (1524), by the client (2059), it failed (2061).
const PLUGIN: [u32; 3] = [1524, 2059, 2061];

/// Which tool reported an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tool {
    /// The SQL client: `ERROR 1356 (HY000) at line 1: …`.
    Client,
    /// A dump tool: `mysqldump: Error 2013: …`, `mysqldump: Got error: 1045: …`, `mysqldump: Couldn't execute '…': … (1356)`.
    Dump,
}

/// An error that a client or dump tool reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Code<'e> {
    /// Its number.
    pub(crate) number: u32,
    /// Its text.
    pub(crate) text: &'e str,
    /// The tool that reported it.
    pub(crate) tool: Tool,
}

impl<'e> Code<'e> {
    /// The code of a failed client or dump tool.
    pub(crate) fn of(error: &'e Error) -> Option<Self> {
        Self::read(ToolMessages::of(error))
    }

    /// The last error in the output of a tool.
    pub(crate) fn read(messages: &'e str) -> Option<Self> {
        messages.lines().rev().find_map(|line| in_front(line).or_else(|| behind(line)))
    }

    /// Whether the error comes from the client, such as a lost connection, and not from the server.
    pub(crate) fn is_of_the_client(&self) -> bool {
        OF_THE_CLIENT.contains(&self.number)
    }

    /// Whether it is the number of a storage engine.
    pub(crate) fn is_of_an_engine(&self) -> bool {
        OF_THE_ENGINE.contains(&self.number)
    }

    /// Whether the server's disk is full: engines report the system's error number within their own error.
    pub(crate) fn is_full(&self) -> bool {
        self.number == 28 || self.text.contains("error 28")
    }

    /// The text without its closing part.
    pub(crate) fn reason(&self) -> String {
        self.text.trim().trim_end_matches('.').to_owned()
    }
}

/// Whether the server reported this number.
pub(crate) fn is(error: &Error, number: u32) -> bool {
    is_any(error, &[number])
}

/// Whether the server reported one of these numbers.
pub(crate) fn is_any(error: &Error, numbers: &[u32]) -> bool {
    Code::of(error).is_some_and(|code| numbers.contains(&code.number))
}

/// Whether the server refused for lack of privileges.
pub(crate) fn is_denied(error: &Error) -> bool {
    const DENIED: [u32; 5] = [
        number::DATABASE_DENIED,
        number::LOGIN_DENIED,
        number::TABLE_DENIED,
        number::COLUMN_DENIED,
        number::PRIVILEGE_NEEDED,
    ];
    is_any(error, &DENIED)
}

/// Whether the server offers no TLS although it is required.
#[derive(Debug)]
pub(super) struct NoTls;

impl Fact for NoTls {}

/// Whether the client of the other family might connect: this one lacks the server's authentication or kind of TLS.
pub(super) fn may_be_of_the_other_family(error: &Error) -> bool {
    // MariaDB's client reports a missing plugin as a refused login (1045), and neither client has a single number for TLS.
    const SIGNS: [&str; 3] = ["lugin", "SSL connection error", "TLS"];
    let messages = ToolMessages::of(error);
    error.is::<NoTls>()
        || is(error, number::TLS)
        || is_any(error, &PLUGIN)
        || SIGNS.iter().any(|sign| messages.contains(sign))
}

/// Whether a client reported that its connection had been closed before: then the query was not run.
pub(super) fn was_closed(error: &Error) -> bool {
    const CLOSED: [u32; 3] = [number::SERVER_GONE, number::IDLE, number::CONNECTION_KILLED];
    ToolMessages::of(error)
        .lines()
        .filter(|line| line.starts_with(CLIENT))
        .filter_map(in_front)
        .any(|code| CLOSED.contains(&code.number))
}

/// The prefix of an error line of the SQL client.
const CLIENT: &str = "ERROR ";

/// The line in which the SQL client reports an error, from `ERROR` on: clients repeat the statement in front of it.
pub(super) fn client_line(error: &Error) -> Option<&str> {
    let line = ToolMessages::of(error).lines().rfind(|line| line.contains(CLIENT))?;
    line.get(line.find(CLIENT)?..)
}

fn in_front(line: &str) -> Option<Code<'_>> {
    let words = [(CLIENT, Tool::Client), ("Got error: ", Tool::Dump), ("Error ", Tool::Dump)];
    words.iter().find_map(|(word, tool)| {
        let (_, rest) = line.split_once(word)?;
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number = rest.get(..digits)?.parse().ok()?;
        let rest = rest.get(digits..)?;
        let text = match rest.strip_prefix(": ") {
            Some(text) => text,
            // With the state, and of a script with the line.
            None => rest.strip_prefix(" (")?.split_once(": ")?.1,
        };
        Some(Code { number, text, tool: *tool })
    })
}

fn behind(line: &str) -> Option<Code<'_>> {
    let (_, rest) = line.split_once("Couldn't execute '")?;
    let (text, number) = rest.trim_end().strip_suffix(')')?.rsplit_once(" (")?;
    let number = number.parse().ok()?;
    Some(Code { number, text: text.split_once("': ").map_or(text, |(_, text)| text), tool: Tool::Dump })
}

/// The table that a dump tool failed on: `… when dumping table `t` at row: 5`, `Couldn't execute 'show create table `t`': …`.
pub(super) fn table(messages: &str) -> Option<String> {
    const BEFORE: [&str; 4] =
        ["when dumping table `", "'show create table `", "'SHOW FIELDS FROM `", "'show fields from `"];
    let line = messages.lines().rev().find(|line| line.contains("dump: "))?;
    let (_, name) = BEFORE.iter().find_map(|before| line.split_once(before))?;
    let end = name.find("` at row").or_else(|| name.find("`'"))?;
    Some(name.get(..end)?.replace("``", "`"))
}

/// The failure that a line on stderr reports, even if the tool exits with code 0: any line that begins with the tool's name and
/// is neither a warning nor a note.
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

/// The error of a tool of which the messages are known.
#[cfg(test)]
pub(crate) fn failure(messages: &str) -> Error {
    Error::failed("mysql (my/shop) failed with exit status 1")
        .because_text(messages)
        .with(ToolMessages::new(messages))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_texts_are_read_in_all_forms() {
        use Tool::{Client, Dump};
        for (messages, tool, number, text) in [
            (
                "ERROR 1356 (HY000) at line 1: View 'a.b' references: x",
                Client,
                1356,
                "View 'a.b' references: x",
            ),
            ("ERROR 2002 (HY000): Can't connect (111)", Client, 2002, "Can't connect (111)"),
            (
                "mysqldump: Error 2013: Lost connection to MySQL server during query when dumping table `x` at row: 5",
                Dump,
                2013,
                "Lost connection to MySQL server during query when dumping table `x` at row: 5",
            ),
            (
                "mysqldump: Got error: 1045: \"Access denied\" when trying to connect",
                Dump,
                1045,
                "\"Access denied\" when trying to connect",
            ),
            (
                "mariadb-dump: Couldn't execute 'SHOW FIELDS FROM `v`': View is bad (1356)",
                Dump,
                1356,
                "View is bad",
            ),
            ("mysqldump: [Warning] 1\nmysqldump: Couldn't execute 'x': y (1969)", Dump, 1969, "y"),
        ] {
            assert_eq!(Code::of(&failure(messages)), Some(Code { number, text, tool }), "{messages}");
        }
        for messages in ["mysqldump: Got errno 28 on write", "no such luck (5)", "Error: what", ""] {
            assert_eq!(Code::of(&failure(messages)), None, "{messages}");
        }
    }

    #[test]
    fn only_what_a_tool_wrote_is_read() {
        // An item or a table may have a name that looks like an error.
        let ours = Error::failed("my/ERROR 1141 (42000): x: the storage is away");
        assert!(!is(&ours, number::NO_SUCH_GRANT) && !is_denied(&ours));
        assert!(is(&failure("ERROR 1141 (42000) at line 1: There is no such grant"), number::NO_SUCH_GRANT));
        let wrapped = Error::failed("cannot create the database x").caused_by(failure(
            "ERROR 1044 (42000) at line 1: Access denied for user 'u'@'%' to database 'x'",
        ));
        assert!(is_denied(&wrapped), "the code comes along");
        for number in [1044, 1045, 1142, 1143, 1227] {
            assert!(is_denied(&failure(&format!("ERROR {number} (42000) at line 1: x"))), "{number}");
        }
        assert!(!is_denied(&failure("ERROR 1049 (42000): Unknown database 'x'")));
    }

    #[test]
    fn what_the_server_said_is_found_behind_the_statement() {
        let error = failure(
            "--------------\nCREATE VIEW `v` AS select 'ERROR 1 (x): y'\n--------------\n\n\
             ERROR 1146 (42S02) at line 3: Table 'xb.t' doesn't exist",
        );
        assert!(is(&error, 1146));
        assert_eq!(client_line(&error), Some("ERROR 1146 (42S02) at line 3: Table 'xb.t' doesn't exist"));
        assert_eq!(client_line(&Error::failed("ERROR 1 (x): y")), None);
    }

    #[test]
    fn a_connection_that_was_closed_before_the_question_is_recognised() {
        for number in [2006, 4031, 1927] {
            assert!(was_closed(&failure(&format!("ERROR {number} (HY000) at line 1: gone"))), "{number}");
        }
        assert!(!was_closed(&failure("ERROR 2013 (HY000) at line 1: Lost connection")));
    }

    #[test]
    fn another_client_is_tried_for_plugins_and_tls_and_for_nothing_else() {
        for messages in [
            "ERROR 2059 (HY000): Authentication x cannot be loaded",
            "ERROR 1045 (28000): Plugin caching_sha2_password could not be loaded: x",
            "ERROR 2026 (HY000): SSL connection error: x",
        ] {
            assert!(may_be_of_the_other_family(&failure(messages)), "{messages}");
        }
        assert!(may_be_of_the_other_family(&Error::failed("no encryption").with(NoTls)));
        assert!(!may_be_of_the_other_family(&failure("ERROR 1045 (28000): Access denied for user 'u'@'h'")));
        assert!(!may_be_of_the_other_family(&Error::failed("TLS.example.com is not reached")));
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
