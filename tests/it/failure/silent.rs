//! A storage that accepts requests and never answers, and damaged key files.

use std::{fs, io::Read, net::TcpListener, path::Path, thread, time::Duration};

use rustix::process::Signal;
use testkit::{
    postgres_world::{Setup, World, cmd_with},
    program::quoted,
    running::{Running, wait_until},
};

/// Accepts connections and data, and never answers.
fn silent_server() -> (String, std::sync::mpsc::Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (asked, questions) = std::sync::mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (Ok(mut stream), asked) = (stream, asked.clone()) else { return };
            thread::spawn(move || {
                let mut bytes = [0; 1024];
                while stream.read(&mut bytes).is_ok_and(|read| read > 0) {
                    asked.send(()).ok();
                }
            });
        }
    });
    (address, questions)
}

fn silent_config(world: &World, address: &str) -> std::path::PathBuf {
    let line = format!("location = {}", quoted(&world.repo().display().to_string()));
    world.variant("silent.toml", &[(&line, &format!("location = \"rest:http://{address}/\""))])
}

#[test]
fn sigterm_ends_the_waiting_for_a_server_that_never_answers() {
    let Some(world) = World::with_repository(&["a"], Setup::default()) else { return };
    let (address, questions) = silent_server();
    let config = silent_config(&world, &address);
    for args in [&["status"][..], &["watch"], &["snapshots"], &["check"], &["backup"]] {
        let mut run = Running::start(cmd_with(&config).args(args).into_command());
        questions.recv_timeout(Duration::from_secs(60)).unwrap();
        run.signal(Signal::TERM);
        // A time limit for a program that does not end.
        wait_until("it has ended", || run.has_ended());
        let ended = run.finish().expect_code(1);
        assert!(ended.stderr.contains("stopped: terminated (SIGTERM)"), "{args:?}: {}", ended.stderr);
        while questions.try_recv().is_ok() {}
    }
}

/// Takes the half minute that `status` waits.
#[test]
fn status_shows_the_ledger_of_a_repository_that_never_answers() {
    if !testkit::tools::stress_or_skip() {
        return;
    }
    let Some(world) = World::with_repository(&["a"], Setup::default()) else { return };
    world.backup(&[]).ok();
    let (address, _questions) = silent_server();
    let config = silent_config(&world, &address);
    let run = cmd_with(&config).arg("status").run().expect_code(4);
    assert!(run.stdout.contains("does not answer within 30 s"), "{run:?}");
    assert!(run.stdout.contains("pg"), "{run:?}");
}

fn only_key(repo: &Path) -> std::path::PathBuf {
    fs::read_dir(repo.join("keys")).unwrap().next().unwrap().unwrap().path()
}

#[test]
fn a_damaged_key_file_keeps_no_other_password_from_opening_the_repository() {
    let Some(world) = World::with_repository(&["a"], Setup::default()) else { return };
    world.backup(&[]).ok();
    let whole = only_key(&world.repo());
    for (name, content) in [("0", &b""[..]), ("f", b"{\"N\": 0}"), ("7", b"\x00\xffnoise")] {
        let damaged = world.repo().join("keys").join(name.repeat(64));
        fs::write(&damaged, content).unwrap();
        world.backup(&[]).ok();
        let checked = world.cmd().arg("check").run().expect_code(1);
        let said = format!("{}{}", checked.stdout, checked.stderr);
        assert!(said.contains(&format!("key file {} is damaged", name.repeat(64))), "{said}");
        fs::remove_file(damaged).unwrap();
    }
    world.cmd().arg("check").run().ok();
    let content = fs::read(&whole).unwrap();
    let aside = world.config.dir().join("key");
    fs::rename(&whole, &aside).unwrap();
    let run = world.backup(&[]).expect_code(4);
    assert!(run.stderr.contains("has no key: its directory `keys` is empty"), "{}", run.stderr);
    fs::write(&whole, b"").unwrap();
    let run = world.backup(&[]).expect_code(4);
    assert!(
        run.stderr.contains("every key of the repository") && run.stderr.contains("is damaged"),
        "{}",
        run.stderr
    );
    fs::write(&whole, content).unwrap();
    world.backup(&[]).ok();
}

#[test]
fn a_damaged_config_file_is_named() {
    let Some(world) = World::with_repository(&["a"], Setup::default()) else { return };
    world.backup(&[]).ok();
    let file = world.repo().join("config");
    let content = fs::read(&file).unwrap();
    fs::remove_file(&file).unwrap();
    for damaged in [&b""[..], &[7; 155]] {
        fs::write(&file, damaged).unwrap();
        let run = world.cmd().arg("snapshots").run().expect_code(4);
        assert!(run.stderr.contains("the file `config` of the repository at"), "{}", run.stderr);
        assert!(run.stderr.contains("→ put it back from a copy"), "{}", run.stderr);
        fs::remove_file(&file).unwrap();
    }
    fs::write(&file, content).unwrap();
    world.backup(&[]).ok();
}
