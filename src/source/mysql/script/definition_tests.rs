#![allow(clippy::unwrap_used)]

use super::*;

const ALL: Later = Later { keys: true, foreign: true };

fn parsed(text: &str) -> Definition {
    Definition::parse(text.as_bytes(), true).unwrap()
}

fn table(lines: &str, options: &str) -> String {
    format!("CREATE TABLE `t` (\n  {lines}\n) {options}")
}

#[test]
fn keys_and_foreign_keys_are_taken_out_and_added_in_their_order() {
    let text = table(
        "`id` int(11) NOT NULL AUTO_INCREMENT,\n  `a,``(b` varchar(9) DEFAULT ',KEY `x` (`y`)' COMMENT 'it''s, \\' (',\n  \
         `d` datetime DEFAULT current_timestamp() /*!80023 INVISIBLE */,\n  PRIMARY KEY (`id`),\n  \
         UNIQUE KEY `u` (`a,``(b`(5),`d` DESC) USING BTREE COMMENT 'KEY, (',\n  KEY `k` (`d`) /*!80000 INVISIBLE */,\n  \
         KEY `l` (`d`) IGNORED,\n  CONSTRAINT `f` FOREIGN KEY (`d`) REFERENCES `o`.`P` (`x`) ON DELETE SET NULL,\n  \
         CONSTRAINT `c` CHECK (`id` > 0 and `d` in (1,2))",
        "ENGINE=InnoDB AUTO_INCREMENT=7 DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin ROW_FORMAT=DYNAMIC COMMENT='PARTITION BY'",
    );
    let definition = parsed(&text);
    assert!(definition.keys_can_follow() && definition.takes_rows_in_any_order());
    assert_eq!(definition.referenced().iter().collect::<Vec<_>>(), ["p"]);
    let short = String::from_utf8(definition.without(text.as_bytes(), ALL)).unwrap();
    let (head, rest) = text.split_once(",\n  UNIQUE KEY").unwrap();
    let check = rest.split_once(",\n  CONSTRAINT `c`").unwrap().1;
    assert_eq!(short, format!("{head},\n  CONSTRAINT `c`{check}"));
    assert_eq!(
        String::from_utf8(definition.addition(text.as_bytes(), ALL)).unwrap(),
        "ALTER TABLE `t` ADD UNIQUE KEY `u` (`a,``(b`(5),`d` DESC) USING BTREE COMMENT 'KEY, (', \
         ADD KEY `k` (`d`) /*!80000 INVISIBLE */, ADD KEY `l` (`d`) IGNORED, \
         ADD CONSTRAINT `f` FOREIGN KEY (`d`) REFERENCES `o`.`P` (`x`) ON DELETE SET NULL"
    );
    let keys = Later { keys: true, foreign: false };
    assert!(String::from_utf8(definition.without(text.as_bytes(), keys)).unwrap().contains("CONSTRAINT `f`"));
    assert!(!String::from_utf8(definition.addition(text.as_bytes(), keys)).unwrap().contains("`f`"));
}

#[test]
fn keys_stay_where_the_result_could_differ() {
    const INNODB: &str = "ENGINE=InnoDB DEFAULT CHARSET=utf8mb4";
    let columns = "`id` int NOT NULL,\n  `a` text,\n  PRIMARY KEY (`id`)";
    for (lines, options) in [
        (
            "`id` int NOT NULL AUTO_INCREMENT,\n  `a` int,\n  PRIMARY KEY (`a`,`id`),\n  KEY `k` (`id`)"
                .to_owned(),
            INNODB,
        ),
        ("`id` int NOT NULL,\n  UNIQUE KEY `k` (`id`)".to_owned(), INNODB),
        (format!("{columns},\n  FULLTEXT KEY `k` (`a`)"), INNODB),
        (format!("{columns},\n  KEY `j` (`id`),\n  SPATIAL KEY `k` (`a`)"), INNODB),
        (format!("{columns},\n  KEY `k` ((lower(`a`)))"), INNODB),
        (format!("{columns},\n  KEY `k` (`a`(9)) KEY_BLOCK_SIZE=4"), INNODB),
        (format!("{columns},\n  UNIQUE KEY `k` (`a`) USING HASH"), INNODB),
        (format!("`g` int GENERATED ALWAYS AS (1) VIRTUAL,\n  {columns},\n  KEY `k` (`id`)"), INNODB),
        (format!("{columns},\n  KEY `k` (`id`),\n  PERIOD FOR SYSTEM_TIME (`a`, `b`)"), INNODB),
        (format!("{columns},\n  KEY `k` (`id`)"), "ENGINE=MyISAM DEFAULT CHARSET=utf8mb4"),
        (
            format!("{columns},\n  KEY `k` (`id`)"),
            "ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 WITH SYSTEM VERSIONING",
        ),
        (format!("{columns},\n  KEY `k` (`id`)"), "ENGINE=InnoDB ROW_FORMAT=COMPRESSED"),
        (format!("{columns},\n  KEY `k` (`id`)"), "ENGINE=InnoDB KEY_BLOCK_SIZE=4"),
        (
            format!("{columns},\n  KEY `k` (`id`)"),
            "ENGINE=InnoDB\n/*!50100 PARTITION BY HASH (`id`)\nPARTITIONS 2 */",
        ),
        (columns.to_owned(), INNODB),
    ] {
        let text = table(&lines, options);
        assert!(!parsed(&text).keys_can_follow(), "{text}");
    }
}

#[test]
fn rows_keep_their_order_without_a_primary_key_and_outside_of_innodb() {
    let any = |lines: &str, options: &str| parsed(&table(lines, options)).takes_rows_in_any_order();
    assert!(any("`a` int NOT NULL,\n  PRIMARY KEY (`a`)", "ENGINE=InnoDB DEFAULT CHARSET=utf8mb4"));
    assert!(any(
        "`a` int NOT NULL,\n  PRIMARY KEY (`a`)",
        "/*!50100 TABLESPACE `x` */ ENGINE=InnoDB DATA DIRECTORY='/a' `ENCRYPTED`=YES DEFAULT CHARSET=latin1"
    ));
    assert!(!any("`a` int NOT NULL", "ENGINE=InnoDB DEFAULT CHARSET=utf8mb4"));
    assert!(!any("`a` int NOT NULL,\n  PRIMARY KEY (`a`)", "ENGINE=Aria DEFAULT CHARSET=utf8mb4"));
    assert!(!any("`a` int NOT NULL,\n  PRIMARY KEY (`a`)", "ENGINE=InnoDB UNION=(`a`)"));
    assert!(!any(
        "`a` int NOT NULL,\n  PRIMARY KEY (`a`)",
        "ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 PARTITION BY KEY (`a`)\nPARTITIONS 2"
    ));
}

#[test]
fn what_is_not_understood_is_not_taken_apart() {
    for text in [
        "CREATE TABLE `t` (\n  `a` int,\n  ODD KEY `k` (`a`)\n) ENGINE=InnoDB",
        "CREATE TABLE `t` (\n  \"a\" int\n) ENGINE=InnoDB",
        "CREATE TABLE `t` (\n  `a` int /* x */\n) ENGINE=InnoDB",
        "CREATE TABLE `t` (\n  `a` int, /*!99999 KEY `k` (`a`)\n) ENGINE=InnoDB",
        "/*!50001 CREATE TABLE `t` (\n  `a` int\n) ENGINE=InnoDB */",
        "CREATE TABLE `t` LIKE `u`",
        "CREATE TABLE `t` (\n  `a` int,\n",
    ] {
        assert_eq!(Definition::parse(text.as_bytes(), true), None, "{text}");
    }
    let text = b"CREATE TABLE `t` (\n  ODD FOREIGN KEY (`a`) REFERENCES `D`.`Par``ent` (`b`)\n) COMMENT='REFERENCES `x`'";
    assert_eq!(may_refer_to(text, true).into_iter().collect::<Vec<_>>(), ["par`ent"]);
}
