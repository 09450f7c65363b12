//! A session beside a dump that reads rows with values that the tool may not write exactly.

use std::time::Duration;

use crate::{
    error::{Error, Passing, Result},
    source::mysql::{
        connect::Connection,
        dialogue::{Dialogue, Unanswered},
        hints,
        session::{quote_ident, unescape_bytes},
    },
    stream::cancel::Cancel,
};

/// Settings of the session: rows as the dump tool reads them, and no time limits during the dump.
const SETTINGS: &str = "SET SESSION time_zone='+00:00', net_write_timeout=86400, wait_timeout=31536000, lock_wait_timeout=20;\n\
     /*!50708 SET SESSION max_execution_time=0 */;\n\
     /*M!100101 SET SESSION max_statement_time=0 */;\n\
     /*M!100300 SET SESSION idle_transaction_timeout=0, idle_readonly_transaction_timeout=0 */;\n\
     SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ;\n\
     START TRANSACTION /*!40100 WITH CONSISTENT SNAPSHOT */";

/// A session whose transaction has begun.
pub(super) struct Reader {
    dialogue: Dialogue,
    limit: Duration,
}

impl Reader {
    /// Connects and begins the transaction. `limit` is how long the server may be silent.
    pub(super) fn open(
        connection: &Connection,
        database: &str,
        item: &str,
        limit: Duration,
        cancel: &Cancel,
    ) -> Result<Self> {
        let mut reader = Self { dialogue: Dialogue::open(connection, Some(item), cancel)?, limit };
        // MySQL's EXPLAIN needs a current database.
        reader.ask(&format!("USE {};\n{SETTINGS}", quote_ident(database)))?;
        while reader.line()?.is_some() {}
        Ok(reader)
    }

    fn ask(&mut self, sql: &str) -> Result<()> {
        self.dialogue.ask(sql, self.limit).map_err(into_error)
    }

    /// Queries rows of a table, which [`Self::line`] returns. After the last one the table is no longer locked against ALTER.
    pub(super) fn ask_rows(&mut self, sql: &str) -> Result<()> {
        self.ask(&apart(sql))
    }

    /// As [`Self::ask_rows`], returning only the first row, if any.
    pub(super) fn first_row(&mut self, sql: &str) -> Result<Option<Vec<Vec<u8>>>> {
        self.first(&apart(sql))
    }

    /// The first line of the answer to a question, if there is one.
    pub(super) fn first(&mut self, sql: &str) -> Result<Option<Vec<Vec<u8>>>> {
        self.ask(sql)?;
        let mut first = None;
        while let Some(line) = self.line()? {
            first.get_or_insert(line);
        }
        Ok(first)
    }

    /// The next row; `None` after the last.
    pub(super) fn line(&mut self) -> Result<Option<Vec<Vec<u8>>>> {
        let line = self.dialogue.line(self.limit).map_err(into_error)?;
        Ok(line.map(|line| line.split(|&b| b == b'\t').map(unescape_bytes).collect()))
    }
}

/// Wraps a query so that the transaction keeps no metadata locks on the tables that it read.
fn apart(sql: &str) -> String {
    format!("SAVEPOINT tik_backup;\n{sql};\nROLLBACK TO SAVEPOINT tik_backup")
}

/// A table may have been altered or dropped since: then the dump is tried again.
fn into_error(unanswered: Unanswered) -> Error {
    hints::explain(unanswered.error).passes(Passing::Busy)
}
