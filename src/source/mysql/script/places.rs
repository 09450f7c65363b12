//! Parts of a table's definition that refer to data outside of the server's data directory: files in other directories,
//! tablespaces, and engines that access files, servers and services.

use std::{borrow::Cow, ops::Range};

use super::tokens::{Cursor, Kind, name_of};
use crate::stream::digest::Digest128;

/// A table that was created differently from its definition in the dump.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redefined {
    /// Its name.
    pub table: String,
    /// Digest of its definition in the dump.
    pub dumped: Digest128,
    /// How it was created.
    pub made: Made,
}

/// How a table was created that differs from its definition in the dump.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Made {
    /// Without the clauses that name directories and tablespaces; the digest of that definition.
    InPlace(Digest128),
    /// As an InnoDB table with the same columns and keys, in place of one of this engine.
    StandIn(String),
}

/// Ranges of a text with their replacements.
pub(super) type Edits<'a> = Vec<(Range<usize>, Cow<'a, [u8]>)>;

/// Engines whose tables are files, servers or services elsewhere.
const REACHING: [&str; 6] = ["CASSANDRA", "CONNECT", "FEDERATED", "S3", "SPHINX", "SPIDER"];

/// The clauses of a table's definition that name directories and tablespaces, including those of partitions. Column names are
/// quoted in dumps and cannot be confused with them.
pub(super) fn places(text: &[u8], backslash: bool) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut cursor = Cursor::new(text, backslash);
    let mut names_partition = false;
    while let Some(token) = cursor.next() {
        let word = text.get(token.range.clone()).filter(|_| token.kind == Kind::Word).unwrap_or_default();
        let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        let mut ahead = cursor.clone();
        let is_clause = if names_partition {
            false
        } else if is("DATA") || is("INDEX") {
            ahead.skip("DIRECTORY") && {
                ahead.skip_mark(b'=');
                ahead.next().is_some_and(|value| matches!(value.kind, Kind::Quoted(_)))
            }
        } else if is("TABLESPACE") {
            ahead.skip_mark(b'=');
            ahead.name().is_some()
        } else {
            false
        };
        names_partition = is("PARTITION") || is("SUBPARTITION");
        if is_clause {
            let end = ahead.position();
            let rest = text.get(end..).unwrap_or_default();
            let spaces = rest.len() - rest.trim_ascii_start().len();
            found.push(token.range.start..end + spaces);
            cursor = ahead;
        }
    }
    found
}

/// If the engine of a table accesses data outside: its name, and the edits that turn the definition into an InnoDB table with
/// the same columns and keys.
pub(super) fn stand_in(text: &[u8], backslash: bool) -> Option<(String, Edits<'static>)> {
    // A definition within a conditional comment would lose the end of the comment.
    if text.starts_with(b"/*") {
        return None;
    }
    let mut edits = Edits::new();
    let mut cursor = Cursor::new(text, backslash);
    let mut depth = 0_usize;
    let columns_end = loop {
        let token = cursor.next()?;
        match token.kind {
            Kind::Mark(b'(') => depth += 1,
            Kind::Mark(b')') if depth == 1 => break token.range.end,
            Kind::Mark(b')') => depth = depth.saturating_sub(1),
            // An option of the engine, as in `a` int `FLAG`=1.
            Kind::Word | Kind::Quoted(_) if depth == 1 => {
                let mut ahead = cursor.clone();
                if ahead.skip_mark(b'=') && ahead.next().is_some() {
                    edits.push((token.range.start..ahead.position(), Cow::Borrowed(&b""[..])));
                    cursor = ahead;
                }
            }
            _ => {}
        }
    };
    let mut engine = None;
    let mut options = b" ENGINE=InnoDB".to_vec();
    while let Some(token) = cursor.next() {
        let word = text.get(token.range.clone()).filter(|_| token.kind == Kind::Word).unwrap_or_default();
        let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        if is("PARTITION") {
            break;
        }
        let kept = ["CHARSET", "COLLATE", "AUTO_INCREMENT"].iter().any(|name| is(name));
        let mut ahead = cursor.clone();
        if !(kept || is("ENGINE")) || !ahead.skip_mark(b'=') {
            continue;
        }
        let value = ahead.next()?;
        if kept {
            options.push(b' ');
            options.extend_from_slice(text.get(token.range.start..value.range.end)?);
        } else {
            engine.get_or_insert(name_of(text, &value)?);
        }
        cursor = ahead;
    }
    let engine = engine.filter(|engine| REACHING.iter().any(|name| name.eq_ignore_ascii_case(engine)))?;
    edits.push((columns_end..text.len(), Cow::Owned(options)));
    Some((engine.to_ascii_uppercase(), edits))
}

/// SQL modes for loading rows, besides those that the dump sets: invalid dates are stored unchanged, and a missing engine is
/// an error instead of being replaced.
const MODES: [&str; 2] = ["ALLOW_INVALID_DATES", "NO_ENGINE_SUBSTITUTION"];

/// The list of modes that the head of a dump sets while it keeps the session's own ones, and the list to set in its place.
pub(super) fn modes(text: &[u8], backslash: bool) -> Option<(Range<usize>, Vec<u8>)> {
    let mut cursor = Cursor::new(text, backslash);
    let mut is_variable = false;
    while let Some(token) = cursor.next() {
        let mut ahead = cursor.clone();
        let is_mode = token.kind == Kind::Word
            && text.get(token.range.clone())?.eq_ignore_ascii_case(b"SQL_MODE")
            && !is_variable
            && ahead.skip_mark(b'=');
        is_variable = token.kind == Kind::Mark(b'@');
        if !is_mode {
            continue;
        }
        let value = ahead.next()?;
        let list = name_of(text, &value).filter(|_| value.kind == Kind::Quoted(b'\''))?;
        let mut modes: Vec<&str> = list.split(',').map(str::trim).filter(|mode| !mode.is_empty()).collect();
        for wanted in MODES {
            if !modes.iter().any(|mode| mode.eq_ignore_ascii_case(wanted)) {
                modes.push(wanted);
            }
        }
        return Some((value.range, format!("'{}'", modes.join(",")).into_bytes()));
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Write;

    use super::{
        super::{Rewrite, ScriptReader},
        *,
    };

    const HEAD: &str = "-- Host: h    Database: d\n/*!40101 SET @OLD_SQL_MODE=@@SQL_MODE, SQL_MODE='NO_AUTO_VALUE_ON_ZERO' */;\n";

    /// The script for a scratch server, and the tables that are created differently.
    fn scratch(definition: &str) -> (String, Vec<Redefined>) {
        let mut rewrite = Rewrite::new("d", false, Vec::new())
            .without_places(true)
            .with_stand_ins(true)
            .after_head("\nSET x = 0;");
        rewrite.write_all(format!("{HEAD}{definition};\n").as_bytes()).unwrap();
        let redefined = rewrite.redefined().to_vec();
        (String::from_utf8(rewrite.finish().unwrap()).unwrap(), redefined)
    }

    fn digest(script: &str) -> Digest128 {
        let mut reader = ScriptReader::new();
        reader.feed(script.as_bytes());
        reader.finish().tables[0].schema_digest
    }

    fn moved(before: &str, after: &str) {
        let (out, redefined) = scratch(before);
        let tidy = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ").replace(" ;", ";");
        assert!(tidy(&out).contains(&tidy(&format!("{after};"))), "{out}");
        let dumped = digest(&format!("{HEAD}{before};"));
        let made = digest(&format!("{HEAD}{after};"));
        assert_ne!(dumped, made);
        assert_eq!(redefined, [Redefined { table: "t".to_owned(), dumped, made: Made::InPlace(made) }]);
    }

    #[test]
    fn folders_and_tablespaces_are_left_out_wherever_they_stand() {
        moved(
            "CREATE TABLE `t` (\n  `data` int COMMENT 'x DATA DIRECTORY=''/a''',\n  `directory` int\n) ENGINE=Aria \
             DEFAULT CHARSET=latin1 DATA DIRECTORY='/a/it''s/' INDEX DIRECTORY='/b/'",
            "CREATE TABLE `t` (\n  `data` int COMMENT 'x DATA DIRECTORY=''/a''',\n  `directory` int\n) ENGINE=Aria \
             DEFAULT CHARSET=latin1",
        );
        moved(
            "CREATE TABLE `t` (\n  `id` int\n) /*!50100 TABLESPACE `t``s` */ ENGINE=InnoDB COMMENT='TABLESPACE x'",
            "CREATE TABLE `t` (\n  `id` int\n) /*!50100 */ ENGINE=InnoDB COMMENT='TABLESPACE x'",
        );
        moved(
            "CREATE TABLE `t` (\n  `id` int\n) ENGINE=InnoDB\n/*!50100 PARTITION BY RANGE (`b`)\nSUBPARTITION BY HASH (`id`)\n\
             (PARTITION DATA VALUES LESS THAN (10)\n (SUBPARTITION TABLESPACE DATA DIRECTORY = '/x/' ENGINE = InnoDB,\n  \
             SUBPARTITION s1 COMMENT = 'y' INDEX DIRECTORY = '/x' TABLESPACE = `z` ENGINE = InnoDB)) */",
            "CREATE TABLE `t` (\n  `id` int\n) ENGINE=InnoDB\n/*!50100 PARTITION BY RANGE (`b`)\nSUBPARTITION BY HASH (`id`)\n\
             (PARTITION DATA VALUES LESS THAN (10)\n (SUBPARTITION TABLESPACE ENGINE = InnoDB,\n  \
             SUBPARTITION s1 COMMENT = 'y' ENGINE = InnoDB)) */",
        );
    }

    #[test]
    fn a_definition_that_reaches_nowhere_stays() {
        let text = "CREATE TABLE `t` (\n  `tablespace` int DEFAULT 1,\n  KEY `data` (`tablespace`) KEY_BLOCK_SIZE=8\n) ENGINE=InnoDB";
        let (out, redefined) = scratch(text);
        assert!(out.contains(text) && redefined.is_empty(), "{out}");
    }

    #[test]
    fn engines_that_reach_outside_get_a_stand_in_without_their_options() {
        let federated = "CREATE TABLE `t` (\n  `id` int NOT NULL,\n  PRIMARY KEY (`id`)\n) ENGINE=FEDERATED AUTO_INCREMENT=7 \
                         DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin COMMENT='c' CONNECTION='mysql://u:secret@h/d'";
        let connect = "CREATE TABLE `t` (\n  `a` char(9) CHECK (`a` = 'x') `FLAG`=10 `FIELD_FORMAT`='%s',\n  KEY `k` (`a`)\n) \
                       ENGINE=CONNECT DEFAULT CHARSET=latin1 `TABLE_TYPE`='CSV' `FILE_NAME`='/etc/secret'";
        let spider = "CREATE TABLE `t` (\n  `id` int\n) ENGINE=SPIDER COMMENT='password \"secret\"'\n PARTITION BY KEY (`id`)\n\
                      (PARTITION `p` COMMENT = 'srv \"secret\"' ENGINE = SPIDER)";
        let wanted = [
            (
                federated,
                "FEDERATED",
                "PRIMARY KEY (`id`)\n) ENGINE=InnoDB AUTO_INCREMENT=7 CHARSET=utf8mb4 COLLATE=utf8mb4_bin;",
            ),
            (connect, "CONNECT", "CHECK (`a` = 'x')  ,\n  KEY `k` (`a`)\n) ENGINE=InnoDB CHARSET=latin1;"),
            (spider, "SPIDER", "  `id` int\n) ENGINE=InnoDB;"),
        ];
        for (definition, engine, end) in wanted {
            let (out, redefined) = scratch(definition);
            assert!(out.contains(end) && !out.contains("secret"), "{out}");
            assert_eq!(redefined[0].made, Made::StandIn(engine.to_owned()));
            assert_eq!(redefined[0].dumped, digest(&format!("{HEAD}{definition};")));
        }
    }

    #[test]
    fn the_head_gets_modes_once_and_what_follows_it() {
        let wanted =
            "SQL_MODE='NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES,NO_ENGINE_SUBSTITUTION' */;\nSET x = 0;\n";
        let (out, _) = scratch("SELECT 1");
        assert!(out.contains(wanted), "{out}");
        let again = out.replace("\nSET x = 0;", "");
        let mut rewrite = Rewrite::new("d", false, Vec::new());
        rewrite.write_all(again.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(rewrite.finish().unwrap()).unwrap(), again, "it is there already");
        let (out, _) = scratch("SET @a=@@SQL_MODE, SQL_MODE='ORACLE'");
        assert!(
            out.contains("SQL_MODE='ORACLE';") && out.matches("SET x").count() == 1,
            "only the head: {out}"
        );
    }

    #[test]
    fn the_client_tells_what_it_makes_and_fills() {
        let mut rewrite = Rewrite::new("d", false, Vec::new()).announcing(true);
        let script = "CREATE TABLE `t` (a int);\nINSERT INTO `t` VALUES (1);\nINSERT INTO `t` VALUES (2);\nDELIMITER ;;\n\
                      CREATE TRIGGER `x` BEFORE INSERT ON `t` FOR EACH ROW SET @a = 1;;\nDELIMITER ;\nINSERT INTO `u` VALUES (1);\n";
        rewrite.write_all(script.as_bytes()).unwrap();
        let out = String::from_utf8(rewrite.finish().unwrap()).unwrap();
        let tells: Vec<&str> = out.lines().filter(|line| line.starts_with("SELECT CONVERT(0x")).collect();
        assert_eq!(tells.len(), 3, "{out}");
        assert!(tells[1].ends_with(" USING utf8mb4);;") && tells[2].ends_with(" USING utf8mb4);"), "{out}");
    }
}
