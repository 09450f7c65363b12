//! Tests of running tools: only a whole output ends without an error, and nothing is left running.

#![allow(clippy::unwrap_used)]

use std::{
    io::Read,
    time::{Duration, Instant},
};

use super::*;

fn sh(script: &str) -> Command {
    Command::new("/bin/sh").arg("-c").arg(script).item("pg/shop")
}

fn read_all(command: Command) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    command.spawn_output()?.read_to_end(&mut all).map_err(into_error)?;
    Ok(all)
}

/// Whether a process runs; a zombie counts as running, as it would be a leak.
fn runs(pid: &str) -> bool {
    std::process::Command::new("/bin/sh")
        .args(["-c", "kill -0 \"$0\" 2>/dev/null", pid])
        .status()
        .unwrap()
        .success()
}

/// Reads the line a script starts its output with.
fn first_line(output: &mut ChildOutput) -> String {
    let mut line = Vec::new();
    let mut byte = [0];
    while output.read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {
        line.push(byte[0]);
    }
    String::from_utf8(line).unwrap()
}

#[test]
fn a_whole_output_is_read_to_its_end() {
    assert_eq!(read_all(sh("head -c 3000000 /dev/zero")).unwrap(), vec![0; 3_000_000]);
    let mut output = sh("echo data; echo 'circular foreign key' >&2").spawn_output().unwrap();
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    assert_eq!((text.as_str(), output.bytes_read()), ("data\n", 5));
    assert_eq!(output.messages(), "circular foreign key");
    assert_eq!(output.read(&mut [0; 10]).unwrap(), 0, "the end stays the end");
}

#[test]
fn failure_after_all_bytes_is_an_error_at_every_read() {
    let mut output = sh("echo data; echo 'lost connection' >&2; exit 7").spawn_output().unwrap();
    let mut all = Vec::new();
    let error = output.read_to_end(&mut all).unwrap_err();
    assert_eq!(all, b"data\n");
    let text = "sh (pg/shop) failed with exit status 7: lost connection";
    assert_eq!(into_error(error).to_string(), text);
    assert_eq!(output.read(&mut [0; 10]).unwrap_err().to_string(), text);
}

#[test]
fn a_failure_that_comes_after_stdout_was_closed_is_seen() {
    let error = read_all(sh("echo data; exec >&-; sleep 0.2; exit 1")).unwrap_err();
    assert!(error.to_string().contains("exit status 1"), "{error}");
}

#[test]
fn death_by_signal_is_named() {
    let error = read_all(sh("echo data; kill -9 $$")).unwrap_err();
    assert_eq!(error.summary(), "sh (pg/shop) was ended by signal 9 (SIGKILL)");
    assert!(error.hint_text().unwrap().contains("memory"));
}

#[test]
fn a_tool_that_is_kept_waiting_is_not_silent() {
    let command = sh("head -c 8000000 /dev/zero").idle_timeout(Duration::from_millis(100));
    let mut output = command.spawn_output().unwrap();
    let (mut total, mut buf) = (0, vec![0; 1 << 20]);
    // The storage takes nothing for longer than the tool may be silent, again and again.
    for _ in 0..4 {
        total += output.read(&mut buf).unwrap();
        std::thread::sleep(Duration::from_millis(150));
    }
    total += std::io::copy(&mut output, &mut std::io::sink()).unwrap() as usize;
    assert_eq!(total, 8_000_000);
}

#[test]
fn a_missing_program_is_named() {
    let error = read_all(Command::new("/nonexistent/pg_dump").item("pg/shop")).unwrap_err().to_string();
    assert!(
        error.contains("/nonexistent/pg_dump for pg_dump (pg/shop)") && error.contains("install"),
        "{error}"
    );
}

#[test]
fn silence_is_ended_and_explained() {
    let command = sh("echo data; exec sleep 100").idle_timeout(Duration::from_millis(100));
    let began = Instant::now();
    let error = read_all(command).unwrap_err();
    assert!(
        error.summary().contains("sh (pg/shop) was ended: reading its output, nothing happened for 0."),
        "{error}"
    );
    assert!(error.hint_text().unwrap().contains("idle_timeout"));
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_busy_tool_without_output_is_reported_as_busy() {
    let command = sh("echo data; while :; do :; done").idle_timeout(Duration::from_millis(300));
    let error = read_all(command).unwrap_err();
    assert!(error.summary().contains("uses the CPU all the time"), "{error}");
    assert!(error.hint_text().unwrap().contains("neither a lock"), "{error}");
}

#[test]
fn time_the_consumer_spends_elsewhere_is_not_silence() {
    let mut output = sh("echo a; echo b").idle_timeout(Duration::from_millis(200)).spawn_output().unwrap();
    assert_eq!(first_line(&mut output), "a");
    std::thread::sleep(Duration::from_millis(400));
    assert_eq!(first_line(&mut output), "b");
    assert_eq!(output.read(&mut [0]).unwrap(), 0);
}

#[test]
fn the_stop_flag_ends_a_blocked_read() {
    let cancel = Cancel::new();
    let mut output = sh("echo $$; exec sleep 100").cancel(&cancel).spawn_output().unwrap();
    let pid = first_line(&mut output);
    let flag = cancel.clone();
    let thread = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        flag.cancel("interrupted");
    });
    let began = Instant::now();
    let error = output.read(&mut [0; 10]).unwrap_err();
    assert_eq!(error.to_string(), "sh (pg/shop): stopped: interrupted");
    assert!(began.elapsed() < Duration::from_secs(5));
    assert!(!runs(&pid), "ended and reaped");
    thread.join().unwrap();
}

#[test]
fn dropping_ends_the_whole_group_even_if_it_ignores_sigterm() {
    let mut output = sh("trap '' TERM; sleep 100 & echo $$ $!; wait").spawn_output().unwrap();
    let line = first_line(&mut output);
    let (leader, member) = line.split_once(' ').unwrap();
    assert!(runs(leader) && runs(member));
    drop(output);
    assert!(!runs(leader), "the leader is reaped");
    // Its parent being gone, the other one is reaped by init, or stays a zombie where there is none.
    let state = std::fs::read_to_string(format!("/proc/{member}/stat")).unwrap_or_default();
    assert!(!runs(member) || state.contains(") Z"), "{state}");
}

#[test]
fn a_child_outlives_the_thread_that_started_it() {
    // The signal at our death is bound to a thread: it must not be the caller's.
    let mut output =
        std::thread::spawn(|| sh("sleep 0.3; echo whole").spawn_output().unwrap()).join().unwrap();
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    assert_eq!(text, "whole\n");
}

#[test]
fn the_environment_is_small_and_the_language_fixed() {
    // Cargo sets CARGO_MANIFEST_DIR for us, and it is not on the list.
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
    let text = String::from_utf8(read_all(sh("env").env("PGPORT", "1")).unwrap()).unwrap();
    assert!(text.contains("LC_ALL=C\n") && text.contains("PGPORT=1\n") && text.contains("PATH="), "{text}");
    assert!(!text.contains("CARGO_MANIFEST_DIR"), "{text}");
    // Written by the shell itself: without PATH it finds no `env`.
    let text = String::from_utf8(read_all(sh("export -p").env_clear().env("A", "b")).unwrap()).unwrap();
    assert!(text.contains(" A=") && !text.contains("HOME"), "{text}");
}

#[test]
fn private_files_live_until_the_tool_has_ended() {
    let dir = Arc::new(PrivateDir::new().unwrap());
    let file = dir.file("pass", b"secret").unwrap();
    let mut output = sh("sleep 0.1; cat \"$0\"").arg(&file).private(dir).spawn_output().unwrap();
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    assert_eq!(text, "secret");
    drop(output);
    assert!(!file.exists());
}

#[test]
fn capture_is_bounded() {
    assert_eq!(run_capture(sh("printf 12345"), 5).unwrap(), b"12345");
    let error = run_capture(sh("yes"), 5).unwrap_err();
    assert_eq!(error.to_string(), "sh (pg/shop) wrote more than 5 bytes");
    assert!(run_capture(sh("printf 1; exit 1"), 5).is_err());
}

#[test]
fn a_tiny_output_is_not_held_back() {
    let mut fastest = Duration::MAX;
    for _ in 0..10 {
        let began = Instant::now();
        let mut output = sh("head -c 10000 /dev/zero").spawn_output().unwrap();
        let mut buf = vec![0; 1024 * 1024];
        while output.read(&mut buf).unwrap() > 0 {}
        fastest = fastest.min(began.elapsed());
    }
    assert!(fastest < Duration::from_millis(100), "{fastest:?}");
}
