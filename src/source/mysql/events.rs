//! Events that the dump tools cannot write: they loop endlessly on an event with the delimiter `;;` in its text, and an event
//! that ends in a comment makes a script that cannot be loaded. They are written here, in the tools' own form.

use std::io::{self, Cursor, Read};

use super::{
    clients::Flavour,
    code::{self, number},
    session::{Session, quote_ident, quote_literal, quote_text},
};
use crate::error::{Error, Result};

/// Whether the dump tool cannot write the events of a database.
pub(super) fn need_care(session: &Session<'_>, flavour: Flavour, database: &str) -> Result<bool> {
    // MariaDB's tool does not escape the name of the database in a statement.
    if flavour == Flavour::Mariadb && database.contains(['\'', '"', '\\']) {
        return Ok(true);
    }
    let ends = ends_in_comment("EVENT_DEFINITION");
    let [count] = session.row(&format!(
        "SELECT COUNT(*) FROM information_schema.EVENTS WHERE EVENT_SCHEMA = {} AND (LOCATE(';;', \
         CONCAT_WS(' ', EVENT_NAME, DEFINER, TIME_ZONE, EVENT_DEFINITION, EVENT_COMMENT)) > 0 OR {ends})",
        quote_literal(database)
    ))?;
    Ok(count != "0")
}

/// Whether MySQL's dump tool writes the delimiter of a routine or trigger of the database into a comment.
pub(super) fn have_open_ends(session: &Session<'_>, database: &str) -> Result<bool> {
    let name = quote_literal(database);
    let [count] = session.row(&format!(
        "SELECT (SELECT COUNT(*) FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = {name} AND {}) + \
         (SELECT COUNT(*) FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = {name} AND {})",
        ends_in_comment("ROUTINE_DEFINITION"),
        ends_in_comment("ACTION_STATEMENT")
    ))?;
    Ok(count != "0")
}

/// Whether the last line of a body may end in a comment.
fn ends_in_comment(column: &str) -> String {
    let line = format!("SUBSTRING_INDEX({column}, '\\n', -1)");
    format!("({line} LIKE '%#%' OR {line} LIKE '%--%')")
}

/// An event as the server shows it; texts are in the character set they were written in.
#[derive(Debug)]
struct Event {
    name: String,
    sql_mode: String,
    time_zone: String,
    create: Vec<u8>,
    charset: String,
    connection: String,
    collation: String,
}

/// All events of a database as a script, to be appended to the tool's dump. `collation` is that of the database.
pub(super) fn script(session: &Session<'_>, database: &str, collation: &str) -> Result<Vec<u8>> {
    let names: Vec<[String; 1]> = session.rows(&format!(
        "SELECT EVENT_NAME FROM information_schema.EVENTS WHERE EVENT_SCHEMA = {} ORDER BY EVENT_NAME",
        quote_literal(database)
    ))?;
    let mut events = Vec::new();
    for [name] in names {
        events.extend(ask(session, database, name)?);
    }
    Ok(if events.is_empty() { Vec::new() } else { written(database, collation, &events) })
}

/// One event; `None` if it was dropped meanwhile.
fn ask(session: &Session<'_>, database: &str, name: String) -> Result<Option<Event>> {
    // The body is returned as it was written, as in the queries of the dump tools.
    let sql = format!("SHOW CREATE EVENT {}.{}", quote_ident(database), quote_ident(&name));
    let rows = match session.query_bytes(&sql) {
        Ok(rows) => rows,
        Err(error) if code::is(&error, number::NO_SUCH_EVENT) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match rows.as_slice() {
        [row] => match row.as_slice() {
            [_, sql_mode, time_zone, create, charset, connection, collation, ..] if !create.is_empty() => {
                Ok(Some(Event {
                    name,
                    sql_mode: text(sql_mode),
                    time_zone: text(time_zone),
                    create: create.clone(),
                    charset: text(charset),
                    connection: text(connection),
                    collation: text(collation),
                }))
            }
            _ => Err(unreadable(&name)),
        },
        _ => Err(unreadable(&name)),
    }
}

fn unreadable(name: &str) -> Error {
    Error::failed(format!("the server does not show how the event {name} was made"))
        .hint("grant the backup account what it needs: GRANT EVENT ON *.* TO …")
}

fn written(database: &str, collation: &str, events: &[Event]) -> Vec<u8> {
    let end = delimiter(events);
    let mut out = format!(
        "\n--\n-- Dumping events for database '{}'\n--\n\
         SET @saved_names_client = @@character_set_client;\n\
         SET @saved_names_results = @@character_set_results;\n\
         SET @saved_names_connection = @@collation_connection;\n",
        database.replace(['\n', '\r'], " ")
    )
    .into_bytes();
    for event in events {
        // The tools change the database's collation for an event that was created under another one.
        let foreign = event.collation != collation;
        let alter = |wanted: &str| {
            if foreign {
                format!("ALTER DATABASE {} COLLATE {wanted};\n", quote_ident(database))
            } else {
                String::new()
            }
        };
        out.extend_from_slice(
            format!(
                "SET NAMES utf8mb4;\n\
                 DROP EVENT IF EXISTS {};\n\
                 {}\
                 SET @saved_sql_mode       = @@sql_mode;\n\
                 SET @saved_time_zone      = @@time_zone;\n\
                 SET sql_mode              = {};\n\
                 SET time_zone             = {};\n\
                 SET character_set_client  = {charset};\n\
                 SET character_set_results = {charset};\n\
                 SET collation_connection  = {};\n\
                 DELIMITER {end}\n",
                quote_ident(&event.name),
                alter(&event.collation),
                quote_text(&event.sql_mode),
                quote_text(&event.time_zone),
                event.connection,
                charset = event.charset,
            )
            .as_bytes(),
        );
        out.extend_from_slice(&event.create);
        // The line feed ends what may be a comment.
        out.extend_from_slice(
            format!(
                "\n{end}\n\
                 DELIMITER ;\n\
                 SET time_zone             = @saved_time_zone;\n\
                 SET sql_mode              = @saved_sql_mode;\n\
                 {}",
                alter(collation)
            )
            .as_bytes(),
        );
    }
    out.extend_from_slice(
        b"SET character_set_client  = @saved_names_client;\n\
          SET character_set_results = @saved_names_results;\n\
          SET collation_connection  = @saved_names_connection;\n\n\
          -- Dump completed\n",
    );
    out
}

/// A delimiter that none of the texts contains.
fn delimiter(events: &[Event]) -> String {
    let occurs =
        |end: &str| events.iter().any(|event| memchr::memmem::find(&event.create, end.as_bytes()).is_some());
    let mut end = "//".to_owned();
    let mut number = 0_u32;
    while occurs(&end) {
        number += 1;
        end = format!("//{number}//");
    }
    end
}

/// A dump with an appended script. A truncated dump stays recognisable.
#[derive(Debug)]
pub(super) struct Appended<R> {
    inner: R,
    /// The last bytes of the dump.
    last: Vec<u8>,
    script: Cursor<Vec<u8>>,
    over: bool,
}

impl<R> Appended<R> {
    /// Number of bytes at the end of the dump that must contain its end marker.
    const LAST: usize = 256;

    /// The dump, and the script to append; it may be empty.
    pub(super) fn new(inner: R, script: Vec<u8>) -> Self {
        Self { inner, last: Vec::new(), script: Cursor::new(script), over: false }
    }

    /// The stream inside.
    pub(super) fn into_inner(self) -> R {
        self.inner
    }
}

impl<R: Read> Read for Appended<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if !self.over {
            let n = self.inner.read(buffer)?;
            let new = buffer.get(..n).unwrap_or_default();
            self.last.extend_from_slice(new.get(n.saturating_sub(Self::LAST)..).unwrap_or_default());
            self.last.drain(..self.last.len().saturating_sub(Self::LAST));
            if n > 0 {
                return Ok(n);
            }
            self.over = true;
            if memchr::memmem::find(&self.last, b"-- Dump completed").is_none() {
                self.script = Cursor::new(Vec::new());
            }
        }
        self.script.read(buffer)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::source::mysql::script::ScriptReader;

    fn event(name: &str, create: &str, collation: &str) -> Event {
        Event {
            name: name.to_owned(),
            sql_mode: "STRICT_TRANS_TABLES".to_owned(),
            time_zone: "+02:00".to_owned(),
            create: create.as_bytes().to_vec(),
            charset: "latin1".to_owned(),
            connection: "latin1_swedish_ci".to_owned(),
            collation: collation.to_owned(),
        }
    }

    #[test]
    fn a_script_with_events_is_read_like_that_of_the_tools() {
        let own = "utf8mb4_bin";
        let events = [
            event(
                "a",
                "CREATE DEFINER=`u`@`%` EVENT `a` ON SCHEDULE EVERY 1 DAY DO SELECT ';;', '//' -- end",
                own,
            ),
            event(
                "b`c",
                "CREATE DEFINER=`u`@`%` EVENT `b``c` ON SCHEDULE EVERY 1 DAY COMMENT ';;' DO SELECT 1",
                "ascii_bin",
            ),
        ];
        let text = written("shop", own, &events);
        let shown = String::from_utf8_lossy(&text).into_owned();
        assert!(
            shown.contains("\nDELIMITER //1//\n") && shown.contains("-- end\n//1//\nDELIMITER ;\n"),
            "{shown}"
        );
        assert!(shown.contains("ALTER DATABASE `shop` COLLATE ascii_bin;\n"), "{shown}");
        assert_eq!(shown.matches("ALTER DATABASE `shop` COLLATE utf8mb4_bin;\n").count(), 1, "{shown}");
        let mut reader = ScriptReader::new();
        reader.feed(b"-- Dump completed\n");
        reader.feed(&text);
        let summary = reader.finish();
        assert_eq!(summary.undigested, None);
        assert!(summary.complete);
        let names: Vec<_> =
            summary.objects.iter().map(|o| (o.kind, o.name.as_str(), o.definer.as_deref())).collect();
        assert_eq!(names, [("event", "a", Some("u@%")), ("event", "b`c", Some("u@%"))]);
        // Settings that affect how a body is parsed are part of its digest.
        let digest = |change: fn(&mut Event)| {
            let mut event = event("a", "CREATE EVENT `a` ON SCHEDULE EVERY 1 DAY DO SELECT 1", own);
            change(&mut event);
            let mut reader = ScriptReader::new();
            reader.feed(&written("shop", own, &[event]));
            reader.finish().objects.first().map(|object| object.digest)
        };
        let changes: [fn(&mut Event); 4] = [
            |event| event.sql_mode.clear(),
            |event| event.time_zone = "SYSTEM".to_owned(),
            |event| event.charset = "utf8mb4".to_owned(),
            |event| event.connection = "latin1_bin".to_owned(),
        ];
        for change in changes {
            assert_ne!(digest(|_| {}), digest(change));
        }
    }

    #[test]
    fn a_dump_without_an_end_gets_none() {
        let read = |dump: &str| {
            let mut out = String::new();
            Appended::new(dump.as_bytes(), b"more\n-- Dump completed\n".to_vec())
                .read_to_string(&mut out)
                .unwrap();
            out
        };
        let long = "x".repeat(100_000);
        let whole = format!("{long}\n-- Dump completed\n");
        assert_eq!(read(&whole), format!("{whole}more\n-- Dump completed\n"));
        assert_eq!(read(&long), long);
        assert_eq!(read(""), "");
    }
}
