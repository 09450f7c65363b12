#![allow(clippy::unwrap_used)]

use super::*;

const MYSQL: &[u8] = include_bytes!("../../../../tests/fixtures/mysql97-sample.sql");
const MARIADB: &[u8] = include_bytes!("../../../../tests/fixtures/mariadb1011-sample.sql");

fn split(dump: &[u8], piece: usize, definitions: bool) -> (String, Views) {
    let mut phases = if definitions { Phases::definitions(Vec::new()) } else { Phases::new(Vec::new()) };
    dump.chunks(piece).for_each(|piece| phases.write_all(piece).unwrap());
    let (out, views) = phases.finish().unwrap();
    (String::from_utf8_lossy(&out).into_owned(), views)
}

#[test]
fn views_come_out_with_what_they_need_and_nothing_is_lost() {
    for dump in [MYSQL, MARIADB] {
        let (rest, views) = split(dump, 1 << 17, false);
        let names: Vec<&str> = views.all().iter().map(|view| view.name.as_str()).collect();
        assert_eq!(names, ["Zagg", "v0onv1", "v1", "vdef", "vfn", "vother", "we`ird v", "zcheck"]);
        assert!(!rest.contains("VIEW `v1` AS select"), "{rest}");
        assert!(rest.contains("CREATE VIEW `v1` AS SELECT"), "the stand-in stays");
        assert_eq!(rest.matches("DROP VIEW IF EXISTS `v1`").count(), 1, "once, for the stand-in");
        assert!(rest.contains("-- Dump completed"));
        let of_views: usize = views.all().iter().map(|view| view.text.len()).sum();
        assert_eq!(rest.len() + of_views, dump.len());
        let script = String::from_utf8(views.script(&views.all()[2..3])).unwrap();
        for text in ["SET NAMES utf8mb4", "DROP VIEW IF EXISTS `v1`", "collation_connection", "VIEW `v1` AS"]
        {
            assert!(script.contains(text), "{text}: {script}");
        }
        assert!(script.trim_end().ends_with("= @saved_col_connection */;"), "{script}");
        for piece in [1, 3, 77] {
            let (again, by_piece) = split(dump, piece, false);
            assert_eq!(again, rest);
            assert_eq!(by_piece.script(by_piece.all()), views.script(views.all()));
        }
    }
}

#[test]
fn definitions_have_no_rows_and_no_triggers() {
    for dump in [MYSQL, MARIADB] {
        let (rest, _) = split(dump, 77, true);
        assert!(!rest.contains("INSERT INTO `plain` VALUES") && rest.contains("CREATE TABLE `plain`"));
        assert!(!rest.contains("TRIGGER `tr1`") && !rest.contains("EVENT `ev1`"), "{rest}");
        assert!(rest.contains("PROCEDURE `pdef`"));
    }
}

#[test]
fn what_a_view_reads_is_found() {
    let reads = |text: &str| -> Vec<String> {
        references(text.as_bytes(), true)
            .into_iter()
            .map(|(database, name)| format!("{}.{name}", database.unwrap_or_default()))
            .collect()
    };
    assert_eq!(
        reads(
            "CREATE ALGORITHM=UNDEFINED DEFINER=`root`@`localhost` SQL SECURITY DEFINER VIEW `v` AS select \
             `a`.`id` AS `id`,`xb`.`f`(`b`.`a`) AS `x`,'`no`.`t`' AS `y` from ((`xa`.`t` `a` join `xb`.`t` `b` \
             on(`b`.`a` = `a`.`id`)) join `xc`.`w` on(`w`.`c` = `a`.`id`)) where `a`.`id` in (select `own`.`id` \
             from `own`)"
        ),
        [".own", "xa.t", "xb.f", "xb.t", "xc.w"]
    );
    assert_eq!(reads("CREATE TABLE `d` (`id` int DEFAULT nextval(`s2`.`s`))"), ["s2.s"]);
    assert_eq!(
        reads("CREATE TABLE `d` (`id` int, CONSTRAINT `c` FOREIGN KEY (`id`) REFERENCES `xa`.`t` (`id`))"),
        [""; 0]
    );
}
