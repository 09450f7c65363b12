//! What stands on a terminal: bars that leave nothing behind, lines that fit, colours where they are wanted.

use std::{
    fs::{self, File},
    io::Read,
    os::{
        fd::{FromRawFd, OwnedFd},
        unix::process::ExitStatusExt,
    },
    process::{ExitStatus, Stdio},
    ptr,
};

use rustix::process::{Pid, Signal, kill_process};
use testkit::{Cmd, Config, ConfigBuilder, program::quoted, reports::ready};
use unicode_width::UnicodeWidthStr;

/// A new terminal: the end of its user, and that of the program.
fn terminal(columns: u16) -> (File, OwnedFd) {
    let size = libc::winsize { ws_row: 40, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    let (mut user, mut program) = (-1, -1);
    // SAFETY: both numbers are written by the call, and the size is only read.
    let opened = unsafe {
        libc::openpty(&raw mut user, &raw mut program, ptr::null_mut(), ptr::null(), &raw const size)
    };
    assert_eq!(opened, 0, "{}", std::io::Error::last_os_error());
    // SAFETY: the call has just opened them, and nobody else knows them.
    unsafe { (File::from_raw_fd(user), OwnedFd::from_raw_fd(program)) }
}

/// Runs something on a terminal. `seen` is given all that was printed so far, and the process, whenever there is more. Returns all that was printed.
fn shown(
    command: Cmd,
    columns: u16,
    variables: &[(&str, &str)],
    mut seen: impl FnMut(&str, Pid),
) -> (ExitStatus, String) {
    let (mut user, program) = terminal(columns);
    let mut command = command.env("TERM", "xterm").env("LC_ALL", "C.UTF-8").into_command();
    command.env_remove("NO_COLOR").env_remove("COLUMNS").envs(variables.iter().copied());
    command.stdin(Stdio::null()).stdout(program.try_clone().unwrap()).stderr(program);
    let mut child = command.spawn().unwrap();
    // It holds the program's end; with the last of those closed, reading ends.
    drop(command);
    let pid = Pid::from_child(&child);
    let (mut printed, mut piece) = (Vec::new(), [0; 4096]);
    // A terminal whose program has gone is an error (EIO).
    while let Ok(length) = user.read(&mut piece)
        && length > 0
    {
        printed.extend_from_slice(&piece[..length]);
        seen(&String::from_utf8_lossy(&printed), pid);
    }
    (child.wait().unwrap(), String::from_utf8(printed).unwrap())
}

/// The lines that stand on a terminal of 80 columns in the end.
fn left(printed: &str) -> Vec<String> {
    let (mut lines, mut row, mut column) = (vec![Vec::new()], 0_usize, 0_usize);
    let mut chars = printed.chars();
    while let Some(c) = chars.next() {
        match c {
            '\r' => column = 0,
            '\n' => row += 1,
            '\u{1b}' => {
                assert_eq!(chars.next(), Some('['), "{printed:?}");
                let mut number = String::new();
                let what = chars.by_ref().find(|c| {
                    let letter = c.is_ascii_alphabetic();
                    number.extend((!letter).then_some(*c));
                    letter
                });
                let count = number.parse().unwrap_or(1);
                match (what, number.as_str()) {
                    (Some('A'), _) => row = row.saturating_sub(count),
                    (Some('B'), _) => row += count,
                    (Some('K'), "2") => lines[row].clear(),
                    (Some('K'), "" | "0") => lines[row].truncate(column),
                    (Some('J'), "" | "0") => {
                        lines[row].truncate(column);
                        lines.truncate(row + 1);
                    }
                    (Some('m'), _) => {}
                    other => panic!("{other:?} in {printed:?}"),
                }
            }
            c => {
                if column == 80 {
                    (row, column) = (row + 1, 0);
                    lines.resize(lines.len().max(row + 1), Vec::new());
                }
                let line = &mut lines[row];
                line.resize(line.len().max(column + 1), ' ');
                line[column] = c;
                column += 1;
            }
        }
        lines.resize(lines.len().max(row + 1), Vec::new());
    }
    let text = |line: Vec<char>| line.into_iter().collect::<String>().trim_end().to_owned();
    lines.into_iter().map(text).filter(|line| !line.is_empty()).collect()
}

/// Directories of these names with a file of so many bytes in each, as items of the source `disk`.
fn folders(names: &[&str], bytes: usize) -> (tempfile::TempDir, Config) {
    let dir = tempfile::tempdir().unwrap();
    let paths: Vec<String> = names
        .iter()
        .map(|name| {
            let path = dir.path().join(name);
            fs::create_dir(&path).unwrap();
            let mut noise = vec![0; bytes];
            getrandom::fill(&mut noise).unwrap();
            fs::write(path.join("file"), noise).unwrap();
            quoted(&path.display().to_string())
        })
        .collect();
    let source = format!("kind = \"directory\"\npaths = [{}]", paths.join(", "));
    (dir, ready(ConfigBuilder::new().source("disk", &source)))
}

/// What only a bar has.
fn is_bar(line: &str) -> bool {
    line.contains("B/s")
}

#[test]
fn bars_leave_nothing_behind_when_a_run_is_over() {
    let (_dir, config) = folders(&["one", "two", "three"], 4 << 20);
    let command = || Cmd::with(&config).args(["-v", "backup"]);
    let (status, printed) = shown(command(), 80, &[], |_, _| {});
    assert!(status.success(), "{printed}");
    assert!(is_bar(&printed), "there were bars: {printed:?}");
    let lines = left(&printed);
    let known = |line: &String| {
        line.ends_with(": started") || line.contains(": ok, ") || line.starts_with("all 3 items backed up")
    };
    assert!(lines.iter().all(|line| !is_bar(line)), "{lines:#?}");
    assert_eq!(lines.iter().filter(|line| known(line)).count(), 7, "{lines:#?}");

    // Where the cursor cannot be moved there are none.
    let (status, printed) = shown(command(), 80, &[("TERM", "dumb")], |_, _| {});
    assert!(status.success() && !is_bar(&printed) && !printed.contains('\u{1b}'), "{printed:?}");
}

#[test]
fn bars_leave_nothing_behind_when_a_run_is_interrupted() {
    let (_dir, config) = folders(&["large"], 64 << 20);
    let mut told = false;
    let (status, printed) = shown(Cmd::with(&config).arg("backup"), 80, &[], |printed, pid| {
        if !told && is_bar(printed) {
            told = true;
            kill_process(pid, Signal::INT).unwrap();
        }
    });
    assert!(told && !status.success() && status.signal().is_none(), "{status}: {printed:?}");
    let lines = left(&printed);
    assert!(lines.iter().all(|line| !is_bar(line)), "{lines:#?}");
    assert!(lines.iter().any(|line| line.contains("SIGINT")), "{lines:#?}");
}

#[test]
fn lines_fit_the_terminal_and_are_whole_in_a_pipe() {
    const LONG: &str =
        "顧客データベース of a tenant with a name that is far too long for a line, in production";
    let (dir, config) = folders(&[LONG, "short"], 8);
    Cmd::with(&config).arg("backup").run().ok();
    fs::remove_dir_all(dir.path().join("short")).unwrap();
    Cmd::with(&config).arg("backup").run().expect_code(3);
    for command in ["status", "snapshots", "discover"] {
        let run = || Cmd::with(&config).arg(command);
        for columns in [72, 80, 140] {
            let (_, printed) = shown(run(), columns, &[("NO_COLOR", "1")], |_, _| {});
            assert!(!printed.contains('\u{1b}'), "{printed:?}");
            for line in printed.lines() {
                // The message of a command that fails is no table, and wraps where the terminal does.
                let width = line.trim_end().width();
                assert!(width <= usize::from(columns), "{command} at {columns}: {width}: {line}");
            }
            assert!(printed.contains("顧客") && printed.contains("ction"), "both ends: {printed}");
        }
        let (_, set) = shown(run(), 0, &[("COLUMNS", "90"), ("NO_COLOR", "1")], |_, _| {});
        assert!(set.lines().all(|line| line.trim_end().width() <= 90), "{set}");
        let piped = run().env("LC_ALL", "C.UTF-8").run().stdout;
        assert!(piped.contains(&format!("disk/{LONG}  ")) && !piped.contains('…'), "{piped}");
    }
    let status = || Cmd::with(&config).arg("status");
    let coloured =
        |variables: &[(&str, &str)]| shown(status(), 80, variables, |_, _| {}).1.contains("\u{1b}[");
    assert!(coloured(&[]) && !coloured(&[("NO_COLOR", "1")]) && !coloured(&[("TERM", "dumb")]));
    assert!(coloured(&[("NO_COLOR", "")]), "set but empty counts as not set");
}
