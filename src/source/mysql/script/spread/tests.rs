#![allow(clippy::unwrap_used)]

use super::*;

/// Writes what each session gets, one line for each call; announcements are left out.
#[derive(Default)]
struct Recorder {
    calls: Vec<String>,
    rows: Vec<u8>,
    fails: bool,
}

fn without_announcements(text: &[u8]) -> String {
    let text = String::from_utf8(text.to_vec()).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with("SELECT CONVERT(0x") && !line.is_empty());
    lines.collect::<Vec<_>>().join("\n")
}

impl Recorder {
    fn add(&mut self, what: &str, text: &[u8]) {
        let text = without_announcements(text);
        match self.calls.last_mut().filter(|last| what == "main" && last.starts_with("main ")) {
            Some(last) if !text.is_empty() => last.push_str(&format!("\n{text}")),
            Some(_) => {}
            None => self.calls.push(format!("{what} {text}")),
        }
    }
}

impl Lanes for Recorder {
    fn define(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.add("main", bytes);
        Ok(())
    }

    fn head(&mut self, settings: Vec<u8>) -> io::Result<()> {
        self.add("head", &settings);
        Ok(())
    }

    fn created(&mut self, table: Created) -> io::Result<()> {
        self.calls.push(format!("created {} {}", table.name, if table.ordered { "ordered" } else { "any" }));
        Ok(())
    }

    fn rows(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.rows.extend_from_slice(bytes);
        if self.fails { Err(io::Error::other("no more")) } else { Ok(()) }
    }

    fn rows_end(&mut self) -> io::Result<()> {
        let rows = std::mem::take(&mut self.rows);
        self.add("rows", &rows);
        Ok(())
    }

    fn complete(&mut self, then: Vec<u8>) -> io::Result<()> {
        self.add("complete", &then);
        Ok(())
    }

    fn join(&mut self) -> io::Result<()> {
        self.calls.push("join".to_owned());
        Ok(())
    }
}

fn spread(script: &str, size: usize) -> Vec<String> {
    let large = BTreeSet::from(["Parent".to_owned(), "child".to_owned()]);
    let mut spread = Spread::new(&large, Recorder::default());
    for piece in script.as_bytes().chunks(size) {
        spread.write_all(piece).unwrap();
    }
    spread.finish().unwrap().calls
}

const HEAD: &str = "-- Host: h    Database: d\n/*!40101 SET NAMES utf8mb4 */;\n\
                    /*!40014 SET @OLD_FOREIGN_KEY_CHECKS=@@FOREIGN_KEY_CHECKS, FOREIGN_KEY_CHECKS=0 */;\n";
const HEAD_SET: &str = "/*!40101 SET NAMES utf8mb4 */;\n\
                        /*!40014 SET @OLD_FOREIGN_KEY_CHECKS=@@FOREIGN_KEY_CHECKS, FOREIGN_KEY_CHECKS=0 */;";
const OPTIONS: &str = "ENGINE=InnoDB DEFAULT CHARSET=utf8mb4";

#[test]
fn rows_go_to_other_sessions_and_what_needs_them_comes_later() {
    let script = format!(
        "{HEAD}\n--\n-- Table structure for table `child`\n--\n\nDROP TABLE IF EXISTS `child`;\n\
         /*!40101 SET @saved_cs_client     = @@character_set_client */;\n/*!50503 SET character_set_client = utf8mb4 */;\n\
         CREATE TABLE `child` (\n  `id` int NOT NULL,\n  `p` int,\n  PRIMARY KEY (`id`),\n  KEY `k` (`p`),\n  \
         CONSTRAINT `f` FOREIGN KEY (`p`) REFERENCES `Parent` (`id`)\n) {OPTIONS};\n\
         /*!40101 SET character_set_client = @saved_cs_client */;\n\n\
         /*!40000 ALTER TABLE `child` DISABLE KEYS */;\nset autocommit=0;\nINSERT INTO `child` VALUES (1,1),\n(2,'a;b');\n\
         INSERT INTO `child` VALUES (3,'-- INSERT');\n/*!40000 ALTER TABLE `child` ENABLE KEYS */;\ncommit;\n\
         /*!50003 SET @saved_sql_mode       = @@sql_mode */ ;\n/*!50003 SET sql_mode              = 'ANSI' */ ;\n\
         DELIMITER ;;\n/*!50003 CREATE*/ /*!50017 DEFINER=`a`@`b`*/ /*!50003 TRIGGER `tr` AFTER INSERT ON `child` FOR EACH ROW BEGIN END */;;\n\
         DELIMITER ;\n/*!50003 SET sql_mode              = @saved_sql_mode */ ;\n\
         DROP TABLE IF EXISTS `old`;\nCREATE TABLE `old` (\n  `id` int,\n  KEY `k` (`id`)\n) ENGINE=MyISAM;\n\
         /*!40000 ALTER TABLE `old` DISABLE KEYS */;\nINSERT INTO `old` VALUES (1);\n/*!40000 ALTER TABLE `old` ENABLE KEYS */;\n\
         DROP TABLE IF EXISTS `small`;\nCREATE TABLE `small` (\n  `id` int NOT NULL,\n  `p` int,\n  PRIMARY KEY (`id`),\n  KEY `k` (`p`)\n) {OPTIONS};\n\
         /*!50001 CREATE VIEW `v` AS SELECT\n 1 AS `x` */;\n\
         DELIMITER ;;\nCREATE PROCEDURE `pr`()\nBEGIN\n  -- INSERT INTO t\nEND ;;\nDELIMITER ;\n\
         /*!40103 SET TIME_ZONE=@OLD_TIME_ZONE */;\n-- Dump completed\n"
    );
    let wanted = [
        format!("head {HEAD_SET}"),
        format!("main {HEAD_SET}"),
        "main DROP TABLE IF EXISTS `child`;\n/*!40101 SET @saved_cs_client     = @@character_set_client */;\n\
         /*!50503 SET character_set_client = utf8mb4 */;\n\
         CREATE TABLE `child` (\n  `id` int NOT NULL,\n  `p` int,\n  PRIMARY KEY (`id`)\n) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;"
            .to_owned(),
        "created child any".to_owned(),
        "rows INSERT INTO `child` VALUES (1,1),\n(2,'a;b');".to_owned(),
        "rows INSERT INTO `child` VALUES (3,'-- INSERT');".to_owned(),
        "complete ALTER TABLE `child` ADD KEY `k` (`p`)".to_owned(),
        "main /*!40101 SET character_set_client = @saved_cs_client */;\n\
         /*!50003 SET @saved_sql_mode       = @@sql_mode */ ;\nDROP TABLE IF EXISTS `old`;\n\
         CREATE TABLE `old` (\n  `id` int,\n  KEY `k` (`id`)\n) ENGINE=MyISAM;"
            .to_owned(),
        "created old ordered".to_owned(),
        "rows /*!40000 ALTER TABLE `old` DISABLE KEYS */;".to_owned(),
        "rows INSERT INTO `old` VALUES (1);".to_owned(),
        "rows /*!40000 ALTER TABLE `old` ENABLE KEYS */;".to_owned(),
        "complete ".to_owned(),
        format!(
            "main DROP TABLE IF EXISTS `small`;\nCREATE TABLE `small` (\n  `id` int NOT NULL,\n  `p` int,\n  \
             PRIMARY KEY (`id`),\n  KEY `k` (`p`)\n) {OPTIONS};"
        ),
        "created small any".to_owned(),
        "complete ".to_owned(),
        "main /*!50001 CREATE VIEW `v` AS SELECT\n 1 AS `x` */;".to_owned(),
        "join".to_owned(),
        "main ALTER TABLE `child` ADD CONSTRAINT `f` FOREIGN KEY (`p`) REFERENCES `Parent` (`id`);\n\
         /*!40101 SET character_set_client = @saved_cs_client */;\n\
         /*!50003 SET @saved_sql_mode       = @@sql_mode */ ;\n/*!50003 SET sql_mode              = 'ANSI' */ ;\n\
         DELIMITER ;;\n/*!50003 CREATE*/ /*!50017 DEFINER=`a`@`b`*/ /*!50003 TRIGGER `tr` AFTER INSERT ON `child` FOR EACH ROW BEGIN END */;;\n\
         DELIMITER ;\n/*!50003 SET sql_mode              = @saved_sql_mode */ ;\n\
         DELIMITER ;;\nCREATE PROCEDURE `pr`()\nBEGIN\n  -- INSERT INTO t\nEND ;;\nDELIMITER ;\n\
         /*!40103 SET TIME_ZONE=@OLD_TIME_ZONE */;\n-- Dump completed"
            .to_owned(),
    ];
    for size in 1..script.len() {
        let found = spread(&script, size);
        // In which portions the session of definitions gets its text does not matter.
        let text = |calls: &[String]| calls.join("\n").replace("\nmain ", "\n");
        assert_eq!(text(&found), text(&wanted), "{size}");
    }
}

#[test]
fn foreign_keys_are_added_with_the_settings_of_the_dump() {
    let script = format!(
        "{HEAD}CREATE TABLE `child` (\n  `id` int NOT NULL,\n  `p` int,\n  PRIMARY KEY (`id`),\n  KEY `k` (`p`),\n  \
         CONSTRAINT `f` FOREIGN KEY (`p`) REFERENCES `Parent` (`id`)\n) {OPTIONS};\n\
         /*!50003 SET @saved_sql_mode       = @@sql_mode */ ;\n/*!50003 SET character_set_client  = utf8mb3 */ ;\n\
         /*!50003 SET sql_mode              = 'TRADITIONAL' */ ;\n/*!50003 DROP FUNCTION IF EXISTS `fn` */;\n\
         DELIMITER ;;\nCREATE FUNCTION `fn`() RETURNS int\nRETURN 1 ;;\nDELIMITER ;\n\
         /*!50003 SET sql_mode              = @saved_sql_mode */ ;\n"
    );
    let calls = spread(&script, 40);
    let at = calls.iter().position(|call| call == "join").unwrap();
    assert!(!calls[..at].concat().contains("saved_sql_mode"), "{calls:?}");
    let after = &calls[at + 1];
    assert!(after.starts_with("main ALTER TABLE `child` ADD CONSTRAINT `f`"), "{calls:?}");
    let positions =
        ["ADD CONSTRAINT", "@@sql_mode", "utf8mb3", "'TRADITIONAL'", "DROP FUNCTION", "CREATE FUNCTION"]
            .map(|part| after.find(part).unwrap());
    assert!(positions.is_sorted(), "{calls:?}");
}

#[test]
fn rows_of_a_history_are_loaded_with_their_settings() {
    let table = |name: &str, options: &str| {
        format!(
            "CREATE TABLE `{name}` (\n  `id` int NOT NULL,\n  PRIMARY KEY (`id`)\n) ENGINE=InnoDB{options};\n"
        )
    };
    let begin = "/*M!101100 SET @old_system_versioning_insert_history=@@session.system_versioning_insert_history, \
                 @@session.system_versioning_insert_history=1 */;";
    let end = "/*M!101100 SET system_versioning_insert_history=@old_system_versioning_insert_history */;";
    let rows = "INSERT INTO `v` VALUES (1);";
    let versioned =
        format!("{HEAD}{}{begin}\n{rows}\n{end}\n{}", table("v", " WITH SYSTEM VERSIONING"), table("w", ""));
    let calls = spread(&versioned, 30);
    let at = calls.iter().position(|call| call == "created v ordered").unwrap();
    let of_rows: Vec<_> = [begin, rows, end].iter().map(|text| format!("rows {text}")).collect();
    assert_eq!(calls[at + 1..at + 4], of_rows, "{calls:?}");
    assert!(calls.iter().any(|call| call == "created w any"), "{calls:?}");
}

#[test]
fn after_what_is_not_known_all_goes_to_one_session() {
    for odd in [
        "LOAD DATA LOCAL INFILE 'x' INTO TABLE `t`",
        "SET GLOBAL x = 1",
        "SET sql_log_bin = @OLD_X, x = 1",
        "INSERT INTO `other` VALUES (1)",
        "CREATE ODD THING `x`",
        "ALTER TABLE `t` ADD x int",
    ] {
        let script = format!(
            "{HEAD}CREATE TABLE `t` (\n  `id` int NOT NULL,\n  PRIMARY KEY (`id`)\n) {OPTIONS};\nINSERT INTO `t` VALUES (1);\n\
             {odd};\nCREATE TABLE `parent` (\n  `id` int NOT NULL,\n  PRIMARY KEY (`id`),\n  KEY `k` (`id`)\n) {OPTIONS};\n\
             INSERT INTO `parent` VALUES (1);\n"
        );
        let calls = spread(&script, 7);
        let at = calls.iter().position(|call| call == "join").unwrap();
        assert_eq!(calls[at - 1], "complete ", "{calls:?}");
        assert!(calls[..at].iter().any(|call| call == "rows INSERT INTO `t` VALUES (1);"), "{calls:?}");
        assert_eq!(calls.len(), at + 2, "{calls:?}");
        assert!(calls[at + 1].starts_with(&format!("main {odd};")), "{calls:?}");
        assert!(calls[at + 1].contains("KEY `k` (`id`)") && calls[at + 1].ends_with("`parent` VALUES (1);"));
    }
}

#[test]
fn a_delimiter_stays_in_force_for_what_is_not_known() {
    let script = format!("{HEAD}DELIMITER ;;\nODD THING;;\nDELIMITER ;\nSELECT 1;\n");
    let calls = spread(&script, 5);
    assert_eq!(calls.last().unwrap(), "main DELIMITER ;;\nODD THING;;\nDELIMITER ;\nSELECT 1;");
}

#[test]
fn a_table_that_is_not_understood_finds_the_keys_that_it_refers_to() {
    let odd = |parent: &str| {
        format!(
            "CREATE TABLE `odd` (\n  `id` int,\n  ODD FOREIGN KEY (`id`) REFERENCES `{parent}` (`k`)\n) {OPTIONS};\n"
        )
    };
    let parent = format!(
        "CREATE TABLE `parent` (\n  `id` int NOT NULL,\n  PRIMARY KEY (`id`),\n  UNIQUE KEY `k` (`id`)\n) {OPTIONS};\n"
    );
    for (script, joins) in
        [(format!("{HEAD}{parent}{}", odd("PARENT")), true), (format!("{HEAD}{}", odd("other")), false)]
    {
        let calls = spread(&script, 50);
        let join = calls.iter().position(|call| call == "join").unwrap();
        let created = calls.iter().position(|call| call.contains("CREATE TABLE `odd`")).unwrap();
        assert_eq!(join < created, joins, "{calls:?}");
    }
}

#[test]
fn nothing_is_sent_after_an_error() {
    let lanes = Recorder { fails: true, ..Recorder::default() };
    let mut spread = Spread::new(&BTreeSet::new(), lanes);
    let script = format!(
        "{HEAD}CREATE TABLE `t` (\n  `id` int NOT NULL,\n  PRIMARY KEY (`id`)\n) {OPTIONS};\nINSERT INTO `t` VALUES (1);\nSELECT 1;\n"
    );
    assert_eq!(spread.write_all(script.as_bytes()).unwrap_err().to_string(), "no more");
    assert!(spread.write_all(b"SELECT 2;\n").is_err());
    assert!(spread.finish().is_err());
}
