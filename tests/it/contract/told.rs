//! The log lines of a run on stderr, for each level of `-v`, with priorities for the journal.

use std::{fs::File, os::unix::fs::MetadataExt, process::Command};

use testkit::{Cmd, Config, reports::backup};

use super::{
    on_each_kind,
    subject::{Subject, configured, offered, texts},
};

on_each_kind!(a_run_tells_what_it_does_as_far_as_it_is_asked);

/// The lines of `-v`; `ITEM` stands for the full name of the item.
const INFO: [&str; 4] = [
    "the run begins run=",
    "source: the source has answered items=",
    "ITEM: the item's files are complete files=",
    "the run has ended run=",
];
/// The additional lines of `-vv`.
const DEBUG: [&str; 6] = [
    "ITEM: the item begins kind=",
    "ITEM: the item has ended outcome=ok snapshot=",
    "ITEM: the retention has decided snapshot=",
    "repository lock acquired lock=",
    "a snapshot is stored snapshot=",
    "repository lock released removed=true",
];
/// The additional lines of `-vv` for an item that tools dump.
const TOOLS: [&str; 2] = ["ITEM: a tool has started program=", "ITEM: a tool has ended program="];

fn a_run_tells_what_it_does_as_far_as_it_is_asked(subject: &dyn Subject) {
    subject.create("shop", &texts(50));
    let config = configured(subject, "", "");
    backup(&config);
    let said = |options: &[&str]| Cmd::with(&config).args(options).arg("backup").run().ok().stderr;
    let shop = subject.full("shop");
    let missing = |text: &str, wanted: &[&str]| -> Vec<String> {
        let is_missing = |start: &String| !text.lines().any(|line| line.starts_with(start));
        wanted.iter().map(|start| start.replace("ITEM", &shop)).filter(is_missing).collect()
    };
    let tools: &[&str] = match offered("tools", subject.has_tools()) {
        Some(()) => &TOOLS,
        None => &[],
    };
    let quiet = said(&[]);
    assert_eq!((missing(&quiet, &INFO).len(), missing(&quiet, &DEBUG).len()), (4, 6), "{quiet}");
    let info = said(&["-v"]);
    assert_eq!((missing(&info, &INFO), missing(&info, &DEBUG).len()), (vec![], 6), "{info}");
    let started = format!("{shop}: started");
    assert!(info.lines().any(|line| line == started), "{info}");
    for options in [&["-vv"][..], &["-v", "-v"], &["-vvv"]] {
        let all = said(options);
        assert_eq!((missing(&all, &INFO), missing(&all, &DEBUG)), (vec![], vec![]), "{all}");
        assert_eq!(missing(&all, tools), Vec::<String>::new(), "{all}");
        assert!(all.lines().all(|line| !line.starts_with('<')), "no priority outside of the journal: {all}");
    }

    let journal = in_journal(&config, &["-vv", "backup"]);
    let of = |priority: &str| journal.lines().filter(|line| line.starts_with(priority)).count();
    assert!(of("<6>") >= INFO.len() && of("<7>") >= DEBUG.len(), "{journal}");
    assert_eq!(of("<6>") + of("<7>"), journal.lines().count(), "{journal}");
    let failed = in_journal(&config, &["backup", "other"]);
    assert!(failed.starts_with("<3>error: there is no source `other`"), "{failed}");
    assert!(failed.lines().count() > 1 && failed.lines().all(|line| line.starts_with("<3>")), "{failed}");
}

/// The output of a command whose stderr is the stream that `JOURNAL_STREAM` names.
fn in_journal(config: &Config, args: &[&str]) -> String {
    let path = config.dir().join("journal");
    let stderr = File::create(&path).unwrap();
    let found = stderr.metadata().unwrap();
    let mut command: Command = Cmd::with(config).args(args).into_command();
    command.env("JOURNAL_STREAM", format!("{}:{}", found.dev(), found.ino())).stderr(stderr);
    command.status().unwrap();
    std::fs::read_to_string(path).unwrap()
}
