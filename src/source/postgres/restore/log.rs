//! What `pg_restore --verbose` says about entries that it could not restore.

use super::filled::Filled;

/// Collects the messages of `pg_restore --verbose` about failed entries. No other code parses them.
#[derive(Debug, Default)]
pub(super) struct Log {
    current: Option<i32>,
    /// The entry that the last line names; its error must be on the next one.
    named: Option<i32>,
    /// What it could not restore.
    pub(super) filled: Filled,
    /// Whether it processed the whole list.
    pub(super) whole: bool,
}

impl Log {
    /// Reads one line.
    pub(super) fn hear(&mut self, line: &str) {
        // Values of rows are quoted in other lines of a message, and may contain any text.
        let named = self.named.take();
        let Some(text) = line.strip_prefix("pg_restore: ") else { return };
        // The second form is that of versions before 12.
        let entry = ["from TOC entry ", "[archiver (db)] Error from TOC entry "]
            .iter()
            .find_map(|start| text.strip_prefix(start))
            .and_then(|rest| rest.split_once(';')?.0.trim().parse().ok());
        if entry.is_some() {
            self.named = entry;
        } else if text.starts_with("warning: errors ignored on restore")
            || text.starts_with("WARNING: errors ignored")
        {
            self.whole = true;
        } else if let Some(reason) =
            text.strip_prefix("error: ").or_else(|| text.strip_prefix("[archiver (db)] "))
        {
            if let Some(id) = named {
                self.current = Some(id);
                self.filled.failed.entry(id).or_default();
            }
            self.reason(reason);
        }
    }

    fn reason(&mut self, reason: &str) {
        match self.current.and_then(|id| self.filled.failed.get_mut(&id)) {
            Some(said) if said.is_empty() => reason.clone_into(said),
            Some(_) => {}
            None => self.filled.other(reason.to_owned()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn entries_that_failed_are_read_from_what_pg_restore_says() {
        let said = "pg_restore: connecting to database for restore\n\
            pg_restore: creating TABLE \"public.from TOC entry 7;\"\n\
            pg_restore: while PROCESSING TOC:\n\
            pg_restore: from TOC entry 3360; 0 16392 TABLE DATA a1 postgres\n\
            pg_restore: error: COPY failed for table \"a1\": ERROR:  relation \"lim\" does not exist\n\
            LINE 1: $1 <= (select max(m) from lim)\n\
            CONTEXT:  pg_restore: from TOC entry 8;\n\
            pg_restore: creating INDEX \"public.fi\"\n\
            pg_restore: from TOC entry 3214; 1259 16396 INDEX fi postgres\n\
            pg_restore: error: could not execute query: ERROR:  function g(integer) does not exist\n\
            pg_restore: error: could not execute query: ERROR:  another\n";
        let mut log = Log::default();
        said.lines().for_each(|line| log.hear(line));
        assert!(!log.whole, "it ended before its end");
        log.hear("pg_restore: warning: errors ignored on restore: 2");
        assert!(log.whole);
        let failed: Vec<_> = log.filled.failed.into_iter().collect();
        assert_eq!(failed.len(), 2);
        assert_eq!(failed[0].0, 3214);
        assert_eq!(failed[0].1, "could not execute query: ERROR:  function g(integer) does not exist");
        assert!(failed[1].1.starts_with("COPY failed for table"));
    }

    #[test]
    fn values_in_a_message_name_no_entry() {
        let said = "pg_restore: from TOC entry 7; 0 16392 TABLE DATA a1 postgres\n\
            pg_restore: error: COPY failed for table \"a1\": ERROR:  new row violates a check\n\
            DETAIL:  Failing row contains (\n\
            pg_restore: from TOC entry 9; 0 16393 TABLE DATA a2 postgres\n\
            ).\n\
            pg_restore: error: could not execute query: ERROR:  another\n";
        let mut log = Log::default();
        said.lines().for_each(|line| log.hear(line));
        assert_eq!(log.filled.failed.into_keys().collect::<Vec<_>>(), [7]);
    }

    #[test]
    fn errors_of_no_entry_are_kept_apart() {
        let mut log = Log::default();
        (0..20).for_each(|n| log.hear(&format!("pg_restore: error: could not execute query: {n}")));
        assert!(log.filled.failed.is_empty());
        assert_eq!(log.filled.others.len(), 5);
    }
}
