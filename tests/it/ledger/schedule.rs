//! Calendar expressions against systemd itself.

use testkit::{Cmd, ConfigBuilder, Tool, program::quoted, site::at};

use std::{path::Path, process::Command};

use jiff::{Timestamp, tz::TimeZone};
use tik_backup::calendar::Calendar;

const ORACLE: &str = "/usr/bin/systemd-analyze";
const BASE: &str = "2027-01-30 12:34:56 UTC";

/// The first five times after [`BASE`] as seconds since 1970, or `None` if systemd rejects the expression.
fn systemd(expressions: &[String], zone: &str) -> Vec<Option<Vec<i64>>> {
    let one = |expression: &String| {
        let output = Command::new(ORACLE)
            .args(["calendar", "--iterations=5", &format!("--base-time={BASE}"), "--", expression])
            .env("TZ", zone)
            .env("LC_ALL", "C")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        output.status.success().then(|| moments(&text, zone))
    };
    expressions.iter().map(one).collect()
}

/// Reads `Next elapse: Sat 2027-01-30 18:00:00 UTC` and `Iteration #2: …`; in other zones a line `(in UTC): …` follows.
fn moments(text: &str, zone: &str) -> Vec<i64> {
    let wanted = |label: &str| {
        if zone == "UTC" {
            label == "Next elapse" || label.starts_with("Iteration #") || label.starts_with("Iter. #")
        } else {
            label == "(in UTC)"
        }
    };
    text.lines()
        .filter_map(|line| line.trim().split_once(": "))
        .filter(|(label, moment)| wanted(label.trim()) && *moment != "never")
        .map(|(_, moment)| {
            let plain: Vec<&str> = moment.split_whitespace().skip(1).take(2).collect();
            format!("{}T{}Z", plain[0], plain[1]).parse::<Timestamp>().unwrap().as_second()
        })
        .collect()
}

fn ours(expression: &str, zone: &str) -> Option<Vec<i64>> {
    let calendar: Calendar = expression.parse().ok()?;
    let base: Timestamp = "2027-01-30T12:34:56Z".parse().unwrap();
    let mut after = base.to_zoned(TimeZone::get(zone).unwrap());
    let mut moments = Vec::new();
    for _ in 0..5 {
        let Some(next) = calendar.next(&after) else { break };
        moments.push(next.timestamp().as_second());
        // Backwards it is found again, from itself and from just before the one after.
        assert_eq!(calendar.previous(&next).unwrap(), next, "{expression}");
        after = next;
    }
    Some(moments)
}

const KNOWN: [&str; 47] = [
    "02:00",
    "02:00:30",
    "Sun 04:00",
    "Mon..Fri 22:30",
    "mon,WED 10:00",
    "Thu,Fri 2027-*-1,5 11:12:13",
    "Wed, 17:48",
    "Sat..Sun",
    "Monday *-*-* 00:00",
    "hourly",
    "daily",
    "weekly",
    "monthly",
    "quarterly",
    "semiannually",
    "yearly",
    "annually",
    "minutely",
    "Daily",
    "*-*-01 03:00",
    "*-02-29 12:00",
    "*-*~1 03:00",
    "*-*~03 03:00",
    "*-02~01",
    "Mon *-05~07/1 01:02:03",
    "*-*~07/2",
    "2028-02-29",
    "2027..2029-03-01",
    "*-1,4,7,10-1 05:00",
    "*:0/15",
    "0/6:00",
    "8..18/2:30",
    "8..18:00/20",
    "*-*-1/10 00:00",
    "12-24 18:00",
    "*-*-* *:*:00",
    "02:00 UTC",
    "02:00 America/New_York",
    "Sun *-*-* 03:30 Europe/Helsinki",
    "2020-01-01",
    "Mon *-02-29",
    "2150-01-01 02:00",
    "Sun 2026-11-29",
    "*-*-30,31 02:00",
    "23,11:59",
    "*-*-31 09:00",
    "Fri *-*-13",
];

const MALFORMED: [&str; 22] = [
    "",
    "25:00",
    "12:60",
    "Foo 02:00",
    "02:00:00:00",
    "*-13-01",
    "*-00-01",
    "*-*-32",
    "*-02~30",
    "02:00 Nowhere/Land",
    "5..3:00",
    "*-*-* 02:00 03:00",
    "Mon-",
    "/5:00",
    "1/0:00",
    "sometimes",
    "02",
    "Mon Tue 02:00",
    "a:b",
    "*",
    "1969-01-01",
    "*/4:00",
];

/// Expressions that systemd accepts and that never elapse.
const NEVER: [&str; 6] = [
    "*-02-30 02:00",
    "*-04-31",
    "*-2,4,6,9,11-31 02:00",
    "Mon 2026-11-29",
    "2027-02-29 02:00 Europe/Helsinki",
    "2027-03-28 03:30 Europe/Helsinki",
];

/// Expressions from the parts of the grammar, the same ones each time.
fn made() -> Vec<String> {
    let days = ["", "Mon ", "Sat,Sun ", "Tue..Thu ", "Mon,Wed..Fri "];
    let dates = [
        "",
        "*-*-* ",
        "*-*-15 ",
        "*-2,6,10-* ",
        "*-*-5..9 ",
        "*-*-2/7 ",
        "*-3..5-1,15 ",
        "*-*~2 ",
        "2027,2029-*-3 ",
    ];
    let times = ["00:00", "03:30", "6,18:15", "0/4:05", "9..17:00/30", "1:02:03", "*:30"];
    let mut made = Vec::new();
    for (i, day) in days.iter().enumerate() {
        for (j, date) in dates.iter().enumerate() {
            // A third of all: each costs a process.
            for (_, time) in times.iter().enumerate().filter(|(k, _)| (i + j + k) % 3 == 0) {
                made.push(format!("{day}{date}{time}"));
            }
        }
    }
    made
}

#[test]
fn systemd_agrees() {
    if !Path::new(ORACLE).exists() {
        return testkit::skip("systemd-analyze (Debian package systemd)");
    }
    let mut expressions: Vec<String> = KNOWN.iter().map(|text| (*text).to_owned()).collect();
    expressions.extend(made());
    for zone in ["UTC", "Europe/Helsinki"] {
        for (expression, theirs) in expressions.iter().zip(systemd(&expressions, zone)) {
            assert_eq!(ours(expression, zone), theirs, "{expression:?} in {zone}");
        }
    }
}

#[test]
fn systemd_refuses_what_is_refused() {
    if !Path::new(ORACLE).exists() {
        return testkit::skip("systemd-analyze (Debian package systemd)");
    }
    let malformed: Vec<String> = MALFORMED.iter().map(|text| (*text).to_owned()).collect();
    for (expression, theirs) in malformed.iter().zip(systemd(&malformed, "UTC")) {
        let ours = expression.parse::<Calendar>();
        assert!(ours.is_err(), "{expression:?} should be refused");
        assert_eq!(theirs, None, "systemd takes {expression:?}");
    }
}

#[test]
fn what_never_comes_is_refused() {
    for expression in NEVER {
        let fault = expression.parse::<Calendar>().unwrap_err();
        assert!(fault.contains("it never occurs"), "{fault}");
    }
    assert!("Mon 2026-11-29".parse::<Calendar>().unwrap_err().contains("2026-11-29 is a Sunday"));
    if !Path::new(ORACLE).exists() {
        return testkit::skip("systemd-analyze (Debian package systemd)");
    }
    let never: Vec<String> = NEVER.iter().map(|text| (*text).to_owned()).collect();
    for (expression, theirs) in never.iter().zip(systemd(&never, "UTC")) {
        assert!(theirs.is_none_or(|moments| moments.is_empty()), "{expression:?} comes for systemd");
    }
}

#[test]
fn a_time_that_a_change_of_clocks_leaves_out_does_not_come_that_day() {
    // Clocks go from 03:00 to 04:00 in Helsinki on the 28th: systemd's timers skip that night.
    let calendar: Calendar = "*-03-27..29 03:30 Europe/Helsinki".parse().unwrap();
    let base: Timestamp = "2027-01-30T12:34:56Z".parse().unwrap();
    let upcoming = calendar.upcoming(&base.to_zoned(TimeZone::UTC), 2);
    let upcoming: Vec<String> = upcoming.iter().map(|time| time.timestamp().to_string()).collect();
    assert_eq!(upcoming, ["2027-03-27T01:30:00Z", "2027-03-29T00:30:00Z"]);
    if Path::new(ORACLE).exists() {
        let expression = [calendar.to_string()];
        let theirs: Vec<i64> = systemd(&expression, "UTC").remove(0).unwrap().into_iter().take(2).collect();
        let ours: Vec<i64> = ours(&expression[0], "UTC").unwrap().into_iter().take(2).collect();
        assert_eq!(ours, theirs);
    }
}

#[test]
fn the_next_times_are_told_as_far_as_there_are_any() {
    let base: Timestamp = "2027-01-30T12:34:56Z".parse().unwrap();
    let base = base.to_zoned(TimeZone::UTC);
    let upcoming = |expression: &str| -> Vec<String> {
        let calendar: Calendar = expression.parse().unwrap();
        calendar.upcoming(&base, 3).iter().map(|time| time.strftime("%F %R").to_string()).collect()
    };
    assert_eq!(upcoming("*-02-29 02:00"), ["2028-02-29 02:00", "2032-02-29 02:00", "2036-02-29 02:00"]);
    assert_eq!(upcoming("2027-02-01 02:00"), ["2027-02-01 02:00"]);
    assert!(upcoming("2026-01-01 02:00").is_empty());
}

/// A source of one directory with this schedule; its repository exists if the configuration is valid.
fn scheduled(schedule: &str, folder: &Path) -> testkit::Config {
    std::fs::write(folder.join("file"), "content").unwrap();
    let path = quoted(&folder.display().to_string());
    let source = format!("kind = \"directory\"\npaths = [{path}]\nschedule = \"{schedule}\"\n");
    ConfigBuilder::new().source("files", &source).build()
}

#[test]
fn every_command_refuses_a_schedule_that_never_comes() {
    let folder = tempfile::tempdir().unwrap();
    let config = scheduled("*-02-30 02:00", folder.path());
    for args in
        [&["config", "check"][..], &["config", "check", "--offline"], &["status"], &["backup"], &["init"]]
    {
        let ran = Cmd::with(&config).args(args).run().expect_code(2);
        assert!(ran.stderr.contains("it never occurs"), "{args:?}: {}", ran.stderr);
    }
}

#[test]
fn after_the_last_time_of_a_schedule_items_are_late_by_the_default_age() {
    testkit::skip_unless!(Tool::Faketime);
    let folder = tempfile::tempdir().unwrap();
    let config = scheduled("2026-01-01 02:00", folder.path());
    let run = |moment: &str, args: &[&str]| at(Cmd::with(&config), moment).args(args).run();
    run("2026-10-05 02:00:00", &["init"]).ok();
    run("2026-10-05 02:00:00", &["backup"]).ok();
    run("2026-10-06 13:00:00", &["status", "--check"]).ok();
    let late = run("2026-10-06 15:00:00", &["status", "--check"]).expect_code(5);
    assert!(late.stdout.contains("it should not be older than 36 hours"), "{}", late.stdout);
    // Still valid, with a note.
    let checked = run("2026-10-06 15:00:00", &["config", "check"]).ok();
    assert!(checked.stdout.contains("none: its last time has passed"), "{}", checked.stdout);
}

#[test]
fn before_the_first_time_of_a_schedule_items_are_late_by_the_default_age() {
    testkit::skip_unless!(Tool::Faketime);
    let folder = tempfile::tempdir().unwrap();
    let config = scheduled("2035-06-01 02:00", folder.path());
    let run = |moment: &str, args: &[&str]| at(Cmd::with(&config), moment).args(args).run();
    run("2026-10-05 02:00:00", &["init"]).ok();
    run("2026-10-05 02:00:00", &["backup"]).ok();
    let late = run("2026-10-06 15:00:00", &["status", "--check"]).expect_code(5);
    assert!(late.stdout.contains("it should not be older than 36 hours"), "{}", late.stdout);
    let checked = run("2026-10-06 15:00:00", &["config", "check"]).ok();
    assert!(checked.stdout.contains("2035-06-01 02:00:00"), "{}", checked.stdout);
    assert!(checked.stdout.contains("become late as if the source had no schedule"), "{}", checked.stdout);
}

#[test]
fn config_check_prints_the_next_three_times_of_everything_planned() {
    testkit::skip_unless!(Tool::Faketime);
    let folder = tempfile::tempdir().unwrap();
    let config = scheduled("Sun 04:00", folder.path());
    let checked =
        at(Cmd::with(&config), "2026-10-05 12:00:00").args(["--json", "config", "check"]).run().ok();
    let planned = checked.json()["schedules"].clone();
    let next = ["2026-10-11T04:00:00+00:00", "2026-10-18T04:00:00+00:00", "2026-10-25T04:00:00+00:00"];
    let expected = serde_json::json!({
        "what": "backup", "source": "files", "schedule": "Sun 04:00", "next": next,
    });
    assert_eq!(planned[0], expected);
    let rest = planned.as_array().unwrap()[1..].iter();
    let rest: Vec<_> =
        rest.map(|plan| (plan["what"].as_str().unwrap(), plan["next"][0].as_str().unwrap())).collect();
    let jobs = [
        ("drill", "2026-10-10T06:00:00+00:00"),
        ("check", "2026-10-11T10:00:00+00:00"),
        ("prune", "2026-10-11T14:00:00+00:00"),
        ("watch", "2026-10-05T13:00:00+00:00"),
    ];
    assert_eq!(rest, jobs);
    let text = at(Cmd::with(&config), "2026-10-05 12:00:00").args(["config", "check"]).run().ok().stdout;
    assert!(text.contains("valid, 1 source\n"), "{text}");
    assert!(text.contains("backup of files  Sun 04:00  Sun 2026-10-11 04:00:00, Sun 2026-10-18"), "{text}");
}
