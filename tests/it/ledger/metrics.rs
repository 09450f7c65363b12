//! Metrics against Prometheus' own checker.

use std::{fs, process::Command};

use testkit::{
    Tool,
    process::run_ok,
    site::{More, Site},
};

#[test]
fn promtool_finds_nothing_to_complain_about() {
    let odd = "a\"b\\c {x=\"1\"} ü";
    let Some(site) = Site::new(&["shop", odd], More::default()) else { return };
    testkit::skip_unless!(Tool::Promtool);
    let check = |metrics: &str| {
        run_ok(Command::new(Tool::Promtool.path().unwrap()).args(["check", "metrics"]), metrics.as_bytes())
    };
    let file = site.config.dir().join("tik.prom");
    let metrics = |moment: &str, code: i32| {
        let path = file.display().to_string();
        site.at(moment).args(["status", "--prometheus", "--output", &path]).run().expect_code(code);
        fs::read_to_string(&file).unwrap()
    };
    check(&metrics("2026-10-05 01:00:00", 0));
    site.backup_at("2026-10-05 02:00:00").ok();
    let text = metrics("2026-10-05 03:00:00", 0);
    check(&text);
    let value = |text: &str, series: &str| {
        let line = text.lines().find(|line| line.starts_with(series));
        let line = line.unwrap_or_else(|| panic!("no {series} in\n{text}"));
        line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()
    };
    let shop = "{source=\"pg\",item=\"shop\",kind=\"postgres\"}";
    let success = value(&text, &format!("tik_backup_item_last_success_timestamp_seconds{shop}")) as i64;
    assert!(
        (1_791_165_600..1_791_165_660).contains(&success),
        "at two o'clock, however slow the machine: {success}"
    );
    assert_eq!(value(&text, &format!("tik_backup_item_rows{shop}")), 1000.0);
    let max_age = value(&text, &format!("tik_backup_item_max_age_seconds{shop}"));
    assert!(
        (129_590.0..=129_600.0).contains(&max_age),
        "a day until it is due and half a day more: {max_age}"
    );
    assert_eq!(value(&text, "tik_backup_items{state=\"protected\"}"), 2.0);
    assert_eq!(value(&text, "tik_backup_ok"), 1.0);
    assert!(text.contains("item=\"a\\\"b\\\\c {x=\\\"1\\\"} ü\""), "{text}");
    assert!(value(&text, "tik_backup_repository_size_bytes") > 0.0);

    site.forbid(odd);
    site.backup_at("2026-10-06 02:00:00").expect_code(3);
    let text = metrics("2026-10-06 03:00:00", 0);
    check(&text);
    assert_eq!((value(&text, "tik_backup_ok"), value(&text, "tik_backup_problems")), (0.0, 1.0));
    assert!(
        text.lines()
            .any(|line| line.starts_with("tik_backup_problem{") && line.contains("problem=\"failed\"")),
        "{text}"
    );
    // There is a metric for an unreadable repository.
    fs::rename(site.config.repo(), site.config.dir().join("away")).unwrap();
    let text = metrics("2026-10-06 04:00:00", 4);
    check(&text);
    assert_eq!(value(&text, "tik_backup_repository_reachable"), 0.0);
    assert_eq!(
        fs::read_dir(site.config.dir())
            .unwrap()
            .filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().contains("prom"))
            .count(),
        1
    );
}
