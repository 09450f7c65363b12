//! Recognising unreadable tables and views from the errors of servers and dump tools.

use super::{
    code::{self, Code},
    session::Session,
};
use crate::{
    error::{Error, Result},
    stream::process::ToolMessages,
};

/// Number of tables checked with one query.
const TOGETHER: usize = 50;
/// Errors that say that a table or view itself cannot be read: its file cannot be opened or found (1016, 1017), its engine
/// fails (1030, 1296), its definition or key file is damaged (1033, 1034, 1035), it is marked as crashed (1194, 1195), what
/// a MERGE table is made of differs (1168), its engine is not there (1286), its server is not reached (1429, 1430, 1431,
/// 1477), its tablespace is missing or discarded (1812, 1814, 1815), its engine does not know it (1932); what a view reads
/// is gone (1054, 1305, 1356), its definer is (1449), it reads itself (1462).
/// A table that is not there (1146) was dropped since it was listed.
const OF_THE_TABLE: [u32; 24] = [
    1016, 1017, 1030, 1033, 1034, 1035, 1054, 1168, 1194, 1195, 1286, 1296, 1305, 1356, 1429, 1430, 1431,
    1449, 1462, 1477, 1812, 1814, 1815, 1932,
];

impl Code<'_> {
    /// Whether a table or view is the cause; engines have their own numbers.
    fn is_of_the_table(&self) -> bool {
        OF_THE_TABLE.contains(&self.number) || self.is_of_an_engine()
    }
}

/// The unreadable table that a dump tool failed on, and the reason: `mariadb-dump: Error 1194: … when dumping table
/// `t` at row: 5`, `mysqldump: Couldn't execute 'show create table `t`': … (29)`.
pub(super) fn unreadable(error: &Error) -> Option<(String, String)> {
    /// Not because of the table: no privilege (1044, 1045, 1142, 1143, 1227, 1370), dropped or altered meanwhile (1146, 1051, 1412), locks
    /// (1205, 1213), ended (1053, 1317, 1969, 3024), no room or memory (1021, 1037, 1041, 1114).
    const OTHER: [u32; 19] = [
        1021, 1037, 1041, 1044, 1045, 1051, 1053, 1114, 1142, 1143, 1146, 1205, 1213, 1227, 1317, 1370, 1412,
        1969, 3024,
    ];
    let code = Code::of(error)?;
    if OTHER.contains(&code.number) || code.is_of_the_client() || code.is_full() {
        return None;
    }
    let table = code::table(ToolMessages::of(error))?;
    let reason = Code { text: code.text.split(" when dumping table ").next().unwrap_or(code.text), ..code };
    Some((table, reason.reason()))
}

/// Why a table cannot be read, if an error says that.
pub(super) fn of_the_table(error: &Error) -> Option<String> {
    let code = Code::of(error)?;
    (code.is_of_the_table() && !code.is_full()).then(|| code.reason())
}

/// The `names` for which the statement fails because of the table or view itself, and the reasons.
pub(super) fn faults<'n>(
    session: &Session<'_>,
    names: &[&'n str],
    statement: impl Fn(&str) -> String,
) -> Result<Vec<(&'n str, String)>> {
    let mut found = Vec::new();
    for some in names.chunks(TOGETHER) {
        let all: Vec<String> = some.iter().map(|name| statement(name)).collect();
        if fault(session, &all.join("; "))?.is_none() {
            continue;
        }
        for name in some {
            if let Some(Fault::Itself(reason)) = fault(session, &statement(name))? {
                found.push((*name, reason));
            }
        }
    }
    Ok(found)
}

/// Why a statement failed.
enum Fault {
    /// Because of the table or view.
    Itself(String),
    /// For another reason, such as a missing privilege or a lock: the dump tool meets it too.
    Other,
}

fn fault(session: &Session<'_>, sql: &str) -> Result<Option<Fault>> {
    // The query does not wait for locks.
    match session
        .query(&format!("SET SESSION lock_wait_timeout = 5; {sql}; SET SESSION lock_wait_timeout = DEFAULT"))
    {
        Ok(_) => Ok(None),
        Err(error) => match Code::of(&error) {
            Some(code) if code.is_of_the_table() => Ok(Some(Fault::Itself(code.reason()))),
            Some(code) if !code.is_of_the_client() => Ok(Some(Fault::Other)),
            _ => Err(error),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_cannot_be_read_is_told_from_other_failures_of_a_dump() {
        let crashed = code::failure(
            "mariadb-dump: Error 1194: Table 't`' is marked as crashed. when dumping table `t``` at row: 5",
        );
        let found = Some(("t`".to_owned(), "Table 't`' is marked as crashed".to_owned()));
        assert_eq!(unreadable(&crashed), found);
        for messages in [
            "mysqldump: Error 1146: x when dumping table `t` at row: 0",
            "mysqldump: Error 2013: Lost connection when dumping table `t` at row: 0",
            "mysqldump: Error 1030: Got error 28 from storage engine when dumping table `t` at row: 0",
        ] {
            assert_eq!(unreadable(&code::failure(messages)), None, "{messages}");
        }
        // Not the text of this program's own errors.
        assert_eq!(unreadable(&Error::failed("dump: Error 1194: x when dumping table `t` at row: 5")), None);
        assert!(of_the_table(&code::failure("ERROR 1356 (HY000) at line 1: broken.")).is_some());
        assert!(of_the_table(&code::failure("ERROR 1142 (42000) at line 1: denied")).is_none());
    }
}
