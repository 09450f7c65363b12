//! Tables and views that cannot be read, by what servers and dump tools say of them.

use super::{reported::reported, session::Session};
use crate::error::Result;

/// Tables looked at with one question.
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
/// Errors of engines are also told by the engine's own number.
const OF_THE_ENGINE: std::ops::Range<u32> = 100..1000;
/// Errors of a client that has no connection.
const OF_THE_CLIENT: std::ops::Range<u32> = 2000..3000;

/// The table that a dump tool failed on because it cannot be read, and why: `mariadb-dump: Error 1194: … when dumping table
/// `t` at row: 5`, `mysqldump: Couldn't execute 'show create table `t`': … (29)`.
pub(super) fn unreadable(said: &str) -> Option<(String, String)> {
    /// Not because of the table: no privilege (1044, 1045, 1142, 1143, 1227, 1370), dropped or altered meanwhile (1146, 1051, 1412), locks
    /// (1205, 1213), ended (1053, 1317, 1969, 3024), no room or memory (28, 1021, 1037, 1041, 1114).
    const OTHER: [u32; 20] = [
        28, 1021, 1037, 1041, 1044, 1045, 1051, 1053, 1114, 1142, 1143, 1146, 1205, 1213, 1227, 1317, 1370,
        1412, 1969, 3024,
    ];
    let (number, text) = reported(said)?;
    if OTHER.contains(&number) || OF_THE_CLIENT.contains(&number) || text.contains("error 28") {
        return None;
    }
    let line = said.lines().rev().find(|line| line.contains("dump: "))?;
    let name = ["when dumping table `", "'show create table `", "'SHOW FIELDS FROM `", "'show fields from `"]
        .iter()
        .find_map(|before| line.split_once(before))
        .map(|(_, rest)| rest)?;
    let end = name.find("` at row").or_else(|| name.find("`'"))?;
    let table = name.get(..end)?.replace("``", "`");
    let reason = text.split(" when dumping table ").next().unwrap_or(text);
    Some((table, reason.trim().trim_end_matches('.').to_owned()))
}

/// Why a table cannot be read, if an error says that.
pub(super) fn of_the_table(said: &str) -> Option<String> {
    let (number, text) = reported(said)?;
    let itself = OF_THE_TABLE.contains(&number) || OF_THE_ENGINE.contains(&number);
    (itself && !text.contains("error 28")).then(|| text.trim().trim_end_matches('.').to_owned())
}

/// Those of `names` for which the statement fails because of what they are, and why.
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
    // Nobody who holds a lock is waited for.
    match session
        .query(&format!("SET SESSION lock_wait_timeout = 5; {sql}; SET SESSION lock_wait_timeout = DEFAULT"))
    {
        Ok(_) => Ok(None),
        Err(error) => match reported(&error.summary()) {
            Some((number, text)) if OF_THE_TABLE.contains(&number) || OF_THE_ENGINE.contains(&number) => {
                Ok(Some(Fault::Itself(text.trim().trim_end_matches('.').to_owned())))
            }
            Some((number, _)) if !OF_THE_CLIENT.contains(&number) => Ok(Some(Fault::Other)),
            _ => Err(error),
        },
    }
}
