//! The secrets of a source are not visible in processes, in output or on disk.

use std::path::PathBuf;

use testkit::{
    Cmd,
    onlookers::{contains, family, visible},
    reports::files_below,
    running::Running,
};

use super::{
    on_each_kind,
    subject::{Subject, configured, offered, texts},
};

on_each_kind!(a_secret_is_seen_by_nobody);

fn a_secret_is_seen_by_nobody(subject: &dyn Subject) {
    subject.create("shop", &texts(3_000));
    let config = configured(subject, "", "");
    let password = std::fs::read_to_string(config.password_file()).unwrap();
    assert!(password.trim().len() > 5);
    let mut in_files = vec![password.trim().to_owned()];
    in_files.extend(offered("a secret of the source", subject.secrets()).into_iter().flatten());
    let received = subject.received_secrets();
    let unseen = |bytes: &[u8]| {
        let seen = in_files.iter().chain(&received).find(|secret| contains(bytes, secret));
        assert!(seen.is_none(), "{seen:?}: {}", String::from_utf8_lossy(bytes));
    };
    let hold = offered("a tool that is held", subject.hold("shop"));
    let mut running = Running::start(Cmd::with(&config).args(["-vvv", "backup"]).into_command());
    let look = |running: &Running| {
        let seen: Vec<_> = family(running.id()).into_iter().map(visible).collect();
        seen.iter().for_each(|bytes| unseen(bytes));
        seen.iter().filter(|bytes| bytes.len() > 1).count()
    };
    match hold {
        Some(hold) => {
            hold.wait_reached(&mut running);
            assert!(look(&running) >= 3, "the program, the script and the tool are running");
            hold.release();
        }
        None => {
            let mut most = look(&running);
            while !running.has_ended() {
                most = most.max(look(&running));
            }
            assert!(most >= 1, "the program was seen");
        }
    }
    let ended = running.finish().expect_code(0);
    let line = format!("{}: the item has ended outcome=ok", subject.full("shop"));
    assert!(ended.stderr.contains(&line), "{}", ended.stderr);
    [&ended.stdout, &ended.stderr].into_iter().for_each(|text| unseen(text.as_bytes()));
    let holders = |secret: &String| -> Vec<_> {
        let holds = |file: &PathBuf| contains(&std::fs::read(file).unwrap(), secret);
        files_below(config.dir()).into_iter().filter(holds).collect()
    };
    for secret in &in_files {
        let holders = holders(secret);
        assert_eq!(holders.len(), 1, "only the file that the configuration names: {holders:?}");
    }
    for secret in &received {
        assert_eq!(holders(secret), Vec::<PathBuf>::new(), "what the server gave is not stored");
    }

    subject.break_off("shop");
    for command in
        [&["-v", "backup"][..], &["-vvv", "backup"], &["-vvv", "--json", "backup"], &["-vvv", "discover"]]
    {
        let ran = Cmd::with(&config).args(command).run();
        assert_eq!(ran.code() == Some(0), command.contains(&"discover"), "{}", ran.stderr);
        [&ran.stdout, &ran.stderr].into_iter().for_each(|text| unseen(text.as_bytes()));
    }
}
