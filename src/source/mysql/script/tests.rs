#![allow(clippy::unwrap_used)]

use std::io::{self, Write};

use super::*;
use crate::stream::digest::{Digest128, RowDigest};

const MYSQL: &[u8] = include_bytes!("../../../../tests/fixtures/mysql97-sample.sql");
const MARIADB: &[u8] = include_bytes!("../../../../tests/fixtures/mariadb1011-sample.sql");
const WEIRD: &str = "we`ird \"na'me; -- ☃ ta ble";

fn read_by(dump: &[u8], piece: usize) -> ScriptSummary {
    let mut reader = ScriptReader::new();
    dump.chunks(piece).for_each(|piece| reader.feed(piece));
    reader.finish()
}

fn read(dump: impl AsRef<[u8]>) -> ScriptSummary {
    read_by(dump.as_ref(), 1 << 17)
}

fn replaced(dump: &[u8], from: &str, to: &str) -> Vec<u8> {
    let text = str::from_utf8(dump).unwrap();
    assert!(text.contains(from), "{from}");
    text.replacen(from, to, 1).into_bytes()
}

fn table<'a>(summary: &'a ScriptSummary, name: &str) -> &'a TableSummary {
    summary.tables.iter().find(|table| table.name == name).unwrap()
}

fn object<'a>(summary: &'a ScriptSummary, kind: &str, name: &str) -> &'a ObjectSummary {
    summary.objects.iter().find(|object| object.kind == kind && object.name == name).unwrap()
}

fn names(summary: &ScriptSummary, kind: &str) -> Vec<String> {
    summary.objects.iter().filter(|object| object.kind == kind).map(|object| object.name.clone()).collect()
}

fn rewritten(dump: &[u8], database: &str, without_definers: bool) -> Vec<u8> {
    let mut rewrite = Rewrite::new(database, without_definers, Vec::new());
    dump.chunks(77).for_each(|piece| rewrite.write_all(piece).unwrap());
    rewrite.finish().unwrap()
}

fn selected(dump: &[u8], table: &str) -> (Vec<u8>, bool) {
    let mut select = Select::new(table, Vec::new());
    dump.chunks(77).for_each(|piece| select.write_all(piece).unwrap());
    select.finish().unwrap()
}

#[test]
fn real_dumps_are_summed_up() {
    let views = ["Zagg", "v0onv1", "v1", "vdef", "vfn", "vother", "we`ird v", "zcheck"];
    let functions = ["f2", "flatin", "f`1; x"];
    let triggers = ["trlatin", "trq", "tr1", "t`r2", "ansitr", "tr;3"];
    for (dump, sandbox, tables) in [(MYSQL, false, 18), (MARIADB, true, 20)] {
        let summary = read(dump);
        assert_eq!(summary.undigested, None);
        assert_eq!(summary.complaints, [""; 0]);
        assert!(summary.complete);
        assert_eq!(summary.sandbox, sandbox);
        assert_eq!(summary.database.as_deref(), Some("orig"));
        assert_eq!(summary.tables.len(), tables);
        let rows = |name| table(&summary, name).rows.rows;
        let counts = ["plain", "types", "empty", "child", "allbytes", "gen", WEIRD].map(rows);
        assert_eq!(counts, [13, 4, 0, 3, 2, 3, 2]);
        assert_eq!(names(&summary, "view"), views);
        assert_eq!(names(&summary, "function"), functions);
        assert_eq!(names(&summary, "trigger"), triggers);
        assert_eq!(names(&summary, "event"), ["ev1", "evlatin", "e`v 2"]);
        assert_eq!(object(&summary, "trigger", "tr;3").table.as_deref(), Some(WEIRD));
        assert_eq!(object(&summary, "procedure", "pdef").definer.as_deref(), Some("o'dd@u`ser@%"));
        assert_eq!(object(&summary, "procedure", "ansi").definer.as_deref(), Some("root@localhost"));
        assert!(summary.auto_increments.contains(&("plain".to_owned(), "513".to_owned())));
        let others = summary.refers_to.iter().filter(|name| *name != "orig");
        assert_eq!(others.collect::<Vec<_>>(), ["otherdb"]);
    }
    let summary = read(MARIADB);
    assert_eq!(names(&summary, "sequence"), ["se`q"]);
    assert_eq!(names(&summary, "package"), ["pk"]);
    assert_eq!(names(&summary, "package body"), ["pk"]);
    assert!(summary.auto_increments.contains(&("se`q".to_owned(), "35, 0".to_owned())));
}

#[test]
fn pieces_of_any_size_give_the_same() {
    for dump in [MYSQL, MARIADB] {
        let whole = read(dump);
        for piece in [1, 2, 3, 7, 4096] {
            assert_eq!(read_by(dump, piece), whole, "by {piece}");
        }
    }
}

#[test]
fn a_changed_row_changes_its_table_only() {
    for dump in [MYSQL, MARIADB] {
        let (before, after) = (read(dump), read(replaced(dump, "'medium'", "'medjum'")));
        let changed = |name: &str| table(&before, name).rows != table(&after, name).rows;
        let changed: Vec<_> = before.tables.iter().filter(|table| changed(&table.name)).collect();
        assert_eq!(changed.iter().map(|table| table.name.as_str()).collect::<Vec<_>>(), ["types"]);
        assert_eq!(before.objects, after.objects);
        let schema = |summary: &ScriptSummary| -> Vec<_> {
            summary.tables.iter().map(|table| table.schema_digest).collect()
        };
        assert_eq!(schema(&before), schema(&after));
    }
}

#[test]
fn grouping_and_order_of_rows_do_not_matter() {
    let grouped =
        read("CREATE TABLE `t` (a int);\nINSERT INTO `t` VALUES (1,'a),(\\'b'),(2,'''(;'),(3,NULL);\n");
    let single = read(
        "CREATE TABLE `t` (a int);\nINSERT INTO `t` VALUES\n(3,NULL),\n(1,'a),(\\'b');\nINSERT INTO `t` \
         VALUES (2,'''(;');",
    );
    assert_eq!(grouped, single);
    let mut rows = RowDigest::default();
    [&b"1,'a),(\\'b'"[..], b"2,'''(;'", b"3,NULL"].iter().for_each(|row| rows.add(row));
    assert_eq!(grouped.tables[0].rows, rows);
    assert_eq!(grouped.undigested, None);
}

#[test]
fn functions_column_lists_and_empty_rows_are_rows_too() {
    let summary = read(
        "REPLACE INTO `a``b` (`x)`, `VALUES (`) VALUES (f(')', g(1)),_binary 'x');INSERT  IGNORE INTO d.t () \
         VALUES (),();",
    );
    let digest = |rows: &[&[u8]]| {
        let mut sum = RowDigest::default();
        rows.iter().for_each(|row| sum.add(row));
        sum
    };
    assert_eq!(table(&summary, "a`b").rows, digest(&[b"f(')', g(1)),_binary 'x'"]));
    assert_eq!(table(&summary, "t").rows, digest(&[b"", b""]));
    assert_eq!(summary.undigested, None);
}

#[test]
fn a_row_of_any_size_hashes_like_the_whole() {
    let row = format!("1,'{}'", "ab\\'c".repeat(200_000));
    let summary = read_by(format!("INSERT INTO `t` VALUES ({row});").as_bytes(), 5000);
    assert_eq!(summary.tables[0].rows.digest, Digest128::of(row.as_bytes()));
    assert_eq!(summary.tables[0].rows.bytes, row.len() as u64);
}

#[test]
fn what_is_not_understood_is_said() {
    let why = |dump: &str| read(dump).undigested.unwrap_or_default();
    assert!(
        why("INSERT INTO `t` VALUES (1) ON DUPLICATE KEY UPDATE a=');';")
            .contains("something else than rows")
    );
    assert!(why("INSERT INTO `t` SELECT 1;").contains("INSERT without rows"));
    assert!(why("CREATE SPACESHIP `t`;").contains("unknown definition: CREATE SPACESHIP"));
    assert!(why("CREATE TABLE `t` (a int").contains("ends within a statement"));
    assert!(why("INSERT INTO `t` VALUES (1,'").contains("ends within a statement"));
    // What follows is read all the same.
    let summary = read("CREATE SPACESHIP 'secret';INSERT INTO t VALUES (1);\n-- Dump completed\n");
    assert_eq!(table(&summary, "t").rows.rows, 1);
    assert!(summary.complete);
    assert!(!summary.undigested.unwrap().contains("secret"));
}

#[test]
fn only_what_ends_with_the_closing_comment_is_complete() {
    for dump in [MYSQL, MARIADB] {
        for cut in (0..dump.len() - 18).step_by(97) {
            assert!(!read(&dump[..cut]).complete, "cut at {cut}");
        }
        let text = str::from_utf8(dump).unwrap();
        // Within a routine's body, and within a row.
        for (at, _) in text.match_indices("-- Dump completed") {
            let line = &dump[..at + "-- Dump completed\n".len()];
            assert_eq!(read(line).complete, line.len() == dump.len(), "cut at {at}");
        }
    }
    assert!(read("-- Dump completed on 2026-01-01  1:02:03").complete);
    assert!(!read("-- Dump completed\nSELECT 1;").complete);
}

#[test]
fn complaints_of_the_dump_tool_are_kept() {
    let dump = "-- insufficient privileges to SHOW CREATE PROCEDURE `p`\n-- Host: x    Database: y\n\
                /*!50001 CREATE VIEW `v` AS SELECT\n 1 AS `i`*/;\n-- failed on view `v`: CREATE VIEW\n";
    let summary = read(dump);
    let expected = [
        "insufficient privileges to SHOW CREATE PROCEDURE `p`",
        "failed on view `v`: CREATE VIEW",
        "the view v has no definition in the dump",
    ];
    assert_eq!(summary.complaints, expected);
    assert_eq!(summary.objects, []);
}

#[test]
fn a_definition_is_the_same_wherever_it_was_dumped() {
    let digest = |sql: &str| read(sql).tables[0].schema_digest;
    let one =
        digest("CREATE TABLE `t` (`a` int AUTO_INCREMENT) ENGINE=InnoDB AUTO_INCREMENT=7 COMMENT='x  y';");
    assert_eq!(one, digest("CREATE TABLE `t` (`a` int AUTO_INCREMENT)\n ENGINE=InnoDB COMMENT='x  y';"));
    assert_ne!(one, digest("CREATE TABLE `t` (`a` int AUTO_INCREMENT) ENGINE=InnoDB COMMENT='x y';"));
    assert_ne!(one, digest("CREATE TABLE `t` (`a` int) ENGINE=InnoDB COMMENT='x  y';"));
    // What MySQL writes more of a copy means the same; another character set does not.
    let collated = digest("CREATE TABLE `t` (`a` text COLLATE utf8mb4_polish_ci);");
    assert_eq!(
        collated,
        digest("CREATE TABLE `t` (`a` text CHARACTER SET utf8mb4 COLLATE utf8mb4_polish_ci);")
    );
    assert_ne!(
        collated,
        digest("CREATE TABLE `t` (`a` text CHARACTER SET latin1 COLLATE utf8mb4_polish_ci);")
    );
    assert_ne!(
        digest("CREATE TABLE `t` (`a` text CHARACTER SET latin1);"),
        digest("CREATE TABLE `t` (`a` text);")
    );
    let digest = |sql: &str| read(sql).objects[0].digest;
    let one = digest(
        "/*!50003 CREATE*/ /*!50017 DEFINER=`a`@`b`*/ /*!50003 TRIGGER t BEFORE INSERT ON x SET @a=1 */;",
    );
    assert_eq!(one, digest("CREATE DEFINER=c TRIGGER t BEFORE INSERT ON x SET @a=1;"));
    assert_ne!(one, digest("CREATE TRIGGER t BEFORE INSERT ON x SET @a=2;"));
    // The modes under which it was created are part of its digest; those of others are not.
    let with = "SET sql_mode = 'ANSI';CREATE TRIGGER t BEFORE INSERT ON x SET @a=1;";
    let reset =
        "SET sql_mode = 'ANSI';SET sql_mode = @saved_sql_mode;CREATE TRIGGER t BEFORE INSERT ON x SET @a=1;";
    assert_ne!(one, digest(with));
    assert_eq!(one, digest(reset));
    let altered = "ALTER DATABASE `d` COLLATE x;ALTER DATABASE `d` COLLATE y;CREATE PROCEDURE p() SELECT 1;";
    assert_ne!(digest("CREATE PROCEDURE p() SELECT 1;"), digest(altered));
}

#[test]
fn a_copy_under_another_name_is_the_same() {
    for dump in [MYSQL, MARIADB] {
        let copy = rewritten(dump, "co`py", false);
        let copy = read(replaced(&copy, "Database: orig\n", "Database: co`py\n"));
        let mut expected = read(dump);
        expected.sandbox = false;
        expected.database = Some("co`py".to_owned());
        expected.refers_to =
            expected.refers_to.into_iter().map(|name| name.replace("orig", "co`py")).collect();
        assert_eq!(copy, expected);
    }
}

#[test]
fn routines_in_other_languages_and_modes_end_where_they_end() {
    let dump = "DELIMITER ;;\nCREATE FUNCTION `js`() RETURNS int LANGUAGE JAVASCRIPT AS $x$ // it's;; $$\n$x$ ;;\n\
                /*!50003 SET sql_mode = 'NO_BACKSLASH_ESCAPES' */ ;;\nCREATE PROCEDURE `p`() SELECT 'x\\';;\n\
                SET sql_mode = @s ;;\nCREATE PROCEDURE `q`() SELECT 'x\\';;' -- it's\n ;;\nDELIMITER ;\n\
                CREATE LIBRARY `l` LANGUAGE JAVASCRIPT AS $$ ' $$;\n-- Dump completed\n";
    for piece in [1, 1000] {
        let summary = read_by(dump.as_bytes(), piece);
        assert_eq!(summary.undigested, None);
        let kinds: Vec<_> =
            summary.objects.iter().map(|object| (object.kind, object.name.as_str())).collect();
        assert_eq!(kinds, [("function", "js"), ("procedure", "p"), ("procedure", "q"), ("library", "l")]);
        assert!(summary.complete);
    }
}

#[test]
fn a_table_that_stands_in_for_a_view_is_none() {
    let summary = read(
        "/*!50001 CREATE TABLE `v` (\n 1 AS `a`\n) ENGINE=MyISAM */;\nCREATE VIEW `w` AS SELECT 1;\
         /*!50001 CREATE ALGORITHM=UNDEFINED */ /*!50013 DEFINER=`a`@`%` SQL SECURITY DEFINER */ /*!50001 VIEW `v` AS \
         select 1 AS `a` */;",
    );
    assert_eq!(summary.tables, []);
    assert_eq!(names(&summary, "view"), ["v"]);
}

#[test]
fn nothing_but_what_must_go_is_left_out() {
    for dump in [MYSQL, MARIADB] {
        let text = str::from_utf8(dump).unwrap();
        let text = text.strip_prefix("/*M!999999\\- enable the sandbox mode */").unwrap_or(text);
        let locks = |line: &&str| !(line.starts_with("LOCK TABLES `") || line.starts_with("UNLOCK TABLES;"));
        let modes = "SQL_MODE='NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES,NO_ENGINE_SUBSTITUTION'";
        let text = text.replacen("SQL_MODE='NO_AUTO_VALUE_ON_ZERO'", modes, 1);
        assert!(text.contains(modes));
        let expected: Vec<&str> = text.lines().filter(locks).filter(|line| !line.is_empty()).collect();
        let out = String::from_utf8(rewritten(dump, "orig", false)).unwrap();
        assert_eq!(out.lines().filter(|line| !line.is_empty()).collect::<Vec<_>>(), expected);
    }
    let server = "SET @MYSQLDUMP_TEMP_LOG_BIN = @@SESSION.SQL_LOG_BIN;SET @@SESSION.SQL_LOG_BIN= 0;\
                  SET @@GLOBAL.GTID_PURGED=/*!80000 '+'*/ 'a:1-2';SET NAMES utf8mb4;";
    assert_eq!(rewritten(server.as_bytes(), "x", false), b"SET NAMES utf8mb4;");
}

#[test]
fn definers_go_but_texts_that_look_like_them_stay() {
    for dump in [MYSQL, MARIADB] {
        let without = rewritten(dump, "orig", true);
        let (before, after) = (read(dump), read(&without));
        assert!(after.objects.iter().all(|object| object.definer.is_none()));
        assert_eq!(before.tables, after.tables);
        let digests = |summary: &ScriptSummary| -> Vec<_> {
            summary.objects.iter().map(|object| object.digest).collect()
        };
        assert_eq!(digests(&before), digests(&after));
        let text = String::from_utf8(without).unwrap();
        assert_eq!(text.matches("/*!50017").count(), 1);
        assert!(text.contains("'ÄÖ😀 DEFINER=`root`@`localhost`','/*!50017 DEFINER=`a`@`b`*/'"));
        assert!(text.contains("SET @x = 'DEFINER=`root`@`localhost`'"));
        assert!(text.contains("\nCREATE PROCEDURE `pdef`()"));
    }
}

#[test]
fn the_database_is_renamed_where_it_stands_for_itself() {
    let text = String::from_utf8(rewritten(MARIADB, "co`py", false)).unwrap();
    assert!(text.contains("DEFAULT nextval(`co``py`.`se``q`)"));
    assert!(text.contains("TRIGGER `co``py`.trq BEFORE INSERT ON `co``py`.parent"));
    assert!(text.contains("(`otherdb`.`tt` `a` join `co``py`.`plain` on(`co``py`.`plain`.`id` = `a`.`a`))"));
    assert!(text.contains("ALTER DATABASE `co``py` CHARACTER SET latin1"));
    assert!(!text.contains("`orig`"));
    let view = "-- Host: h    Database: d\nCREATE VIEW `v` AS select `d`.`a` AS `a` from `d`;";
    assert_eq!(rewritten(view.as_bytes(), "x", false), view.as_bytes());
}

#[test]
fn one_table_is_taken_out_with_all_it_needs() {
    for dump in [MYSQL, MARIADB] {
        let whole = read(dump);
        for wanted in &whole.tables {
            let (out, found) = selected(dump, &wanted.name);
            assert!(found);
            let summary = read(&out);
            assert_eq!(summary.tables, std::slice::from_ref(wanted));
            assert!(summary.complete);
            assert_eq!(summary.sandbox, whole.sandbox);
            let expected: Vec<_> = whole
                .objects
                .iter()
                .filter(|o| {
                    o.table.as_ref() == Some(&wanted.name) || wanted.name == "useseq" && o.kind == "sequence"
                })
                .cloned()
                .collect();
            assert_eq!(summary.objects, expected, "{}", wanted.name);
            let out = String::from_utf8(out).unwrap();
            assert_eq!(out.matches("\nLOCK TABLES `").count(), 1);
            assert_eq!(out.matches("UNLOCK TABLES;\n").count(), 1);
            assert!(
                out.contains("SQL_MODE='NO_AUTO_VALUE_ON_ZERO'") && out.contains("SQL_MODE=@OLD_SQL_MODE")
            );
        }
        assert!(!selected(dump, "Plain").1);
        assert!(!selected(dump, "v1").1, "a view is no table");
    }
}

#[test]
fn a_statement_of_any_size_passes_in_pieces() {
    let long = format!("CREATE PROCEDURE p() SELECT '{}';\nSELECT ';';", "x;\\'".repeat(6 << 20));
    let summary = read(&long);
    assert!(summary.undigested.unwrap().contains("more than 16 MiB"));
    let mut rewrite = Rewrite::new("x", true, Vec::new());
    long.as_bytes().chunks(1 << 17).for_each(|piece| rewrite.write_all(piece).unwrap());
    assert!(rewrite.finish().unwrap() == long.as_bytes());
}

struct Full;

impl Write for Full {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::Error::other("disk on fire"))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn an_error_of_the_writer_comes_through_both_filters() {
    let mut select = Select::new("plain", Rewrite::new("x", false, Full));
    let row = format!("INSERT INTO `plain` VALUES ('{}');", "x".repeat(100_000));
    let written = select.write_all(row.as_bytes()).and_then(|()| select.write_all(row.as_bytes()));
    assert_eq!(written.unwrap_err().to_string(), "disk on fire");
    assert!(select.finish().is_err());
}

#[test]
fn no_bytes_make_it_panic() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let spice = b"'\"`\\;()*/-#$.=@,\n\0 \xff!";
    for round in 0..400 {
        let dump = if round % 2 == 0 { MYSQL } else { MARIADB };
        let start = random(dump.len());
        let mut bytes = dump[start..(start + 6000).min(dump.len())].to_vec();
        for _ in 0..1 + random(8) {
            let at = random(bytes.len());
            match random(3) {
                0 => bytes[at] = spice[random(spice.len())],
                1 => bytes.insert(at, spice[random(spice.len())]),
                _ => bytes.truncate(at.max(1)),
            }
        }
        assert_eq!(read_by(&bytes, 1 + random(9)), read(&bytes));
        rewritten(&bytes, "x", true);
        selected(&bytes, "plain");
    }
}
