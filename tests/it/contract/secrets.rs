//! The secrets of a source are not visible in processes, in output or on disk.

use testkit::{
    Cmd,
    onlookers::{contains, family, visible},
    reports::files_below,
    running::Running,
};

use super::{
    on_each_kind,
    subject::{SECRET, Subject, configured, texts},
};

on_each_kind!(a_secret_is_seen_by_nobody);

fn a_secret_is_seen_by_nobody(subject: &dyn Subject) {
    subject.create("shop", &texts(3_000));
    let config = configured(subject, "", "");
    let hold = subject.hold("shop");
    let mut running = Running::start(Cmd::with(&config).args(["-vvv", "backup"]).into_command());
    let look = |running: &Running| {
        let seen: Vec<_> = family(running.id()).into_iter().map(visible).collect();
        for bytes in &seen {
            assert!(!contains(bytes, SECRET), "{}", String::from_utf8_lossy(bytes));
        }
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
    assert!(ended.stderr.contains("source/shop: the item has ended outcome=ok"), "{}", ended.stderr);
    let password = std::fs::read_to_string(config.password_file()).unwrap();
    assert!(password.trim().len() > 5 && !ended.stderr.contains(password.trim()), "{}", ended.stderr);
    assert!(!ended.stdout.contains(SECRET) && !ended.stderr.contains(SECRET), "{}", ended.stderr);
    let holders: Vec<_> = files_below(config.dir())
        .into_iter()
        .filter(|file| contains(&std::fs::read(file).unwrap(), SECRET))
        .collect();
    assert_eq!(holders.len(), 1, "only the file that the configuration names: {holders:?}");

    subject.break_off("shop");
    for command in
        [&["-v", "backup"][..], &["-vvv", "backup"], &["-vvv", "--json", "backup"], &["-vvv", "discover"]]
    {
        let ran = Cmd::with(&config).args(command).run();
        assert_eq!(ran.code() == Some(0), command.contains(&"discover"), "{}", ran.stderr);
        assert!(!ran.stdout.contains(SECRET) && !ran.stderr.contains(SECRET), "{command:?}: {}", ran.stderr);
    }
}
