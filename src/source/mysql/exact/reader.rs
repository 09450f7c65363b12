//! A session beside a dump that reads the rows of which a value may be written otherwise than it is.

use std::time::Duration;

use crate::{
    error::{Error, Passing, Result},
    source::mysql::{
        connect::Connection,
        dialogue::{Dialogue, Unanswered},
        hints,
        session::unescape_bytes,
    },
    stream::cancel::Cancel,
};

/// How the session is: rows as the dump tool reads them, and no limit of the server ends it while the dump goes on.
const SETTINGS: &str = "SET SESSION time_zone='+00:00', net_write_timeout=86400, wait_timeout=86400;\n\
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
        item: &str,
        limit: Duration,
        cancel: &Cancel,
    ) -> Result<Self> {
        let mut reader = Self { dialogue: Dialogue::open(connection, Some(item), cancel)?, limit };
        reader.ask(SETTINGS)?;
        while reader.line()?.is_some() {}
        Ok(reader)
    }

    /// Asks for rows, which [`Self::line`] gives.
    pub(super) fn ask(&mut self, sql: &str) -> Result<()> {
        self.dialogue.ask(sql, self.limit).map_err(told)
    }

    /// The next row; `None` after the last.
    pub(super) fn line(&mut self) -> Result<Option<Vec<Vec<u8>>>> {
        let line = self.dialogue.line(self.limit).map_err(told)?;
        Ok(line.map(|line| line.split(|&b| b == b'\t').map(unescape_bytes).collect()))
    }
}

/// A table may have been altered or dropped since: then the dump is tried again.
fn told(unanswered: Unanswered) -> Error {
    hints::explain(unanswered.error).passes(Passing::Busy)
}
