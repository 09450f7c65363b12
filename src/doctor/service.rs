//! Runs this program in the environment of the services.

use std::{
    io::Read,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use parking_lot::Mutex;

use super::{Finding, Part, inside};
use crate::{
    config::Config,
    error::{Error, Result},
    fs::owner::Account,
    stream::{cancel::Cancel, pipe::Stop, process::Process},
    systemd::units,
};

/// Exists if systemd is running.
pub(crate) const SYSTEMD: &str = "/run/systemd/system";

/// Timeout for the checks in a service. They have shorter timeouts of their own, which do not help if a system call
/// hangs.
const TIMEOUT: Duration = Duration::from_secs(300);
/// Time for systemd to start and stop it.
const START_AND_END: Duration = Duration::from_secs(60);
/// Maximum size of the output of a service.
const SAID: u64 = 16 << 20;
/// How long to read on after the command has ended: a process that it left behind may still hold the pipe.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The findings of the services, or of this process if it cannot run as they do.
pub(super) fn findings(config: &Config, cancel: &Cancel) -> Vec<Finding> {
    let user = &config.systemd.user;
    let root = rustix::process::geteuid().is_root();
    let about = "user";
    let account = Account::find(user, &config.systemd.group);
    let itself = account.as_ref().is_some_and(|account| account.uid == rustix::process::geteuid().as_raw());
    let mut findings = Vec::new();
    match (root, Path::new(SYSTEMD).exists(), &account) {
        (true, true, Some(_)) => return as_services(config, cancel),
        // The check of the files has already reported that the user does not exist.
        (_, true, None) => {}
        (_, false, _) => {
            findings.push(Finding::ok(about, "systemd does not run here: checked as the current user"));
        }
        (false, true, Some(_)) if itself => {
            let text = format!("checked as {user}, without the secrets that systemd passes to the services");
            findings.push(
                Finding::warning(about, text).hint("run it as root to check the environment of the services"),
            );
        }
        (false, true, Some(_)) => {
            let text =
                format!("not run as root: checked as the current user, while the services run as {user}");
            findings.push(
                Finding::warning(about, text).hint("run it as root to check the environment of the services"),
            );
        }
    }
    findings.extend(inside::findings(config, Part::All, cancel));
    findings
}

fn as_services(config: &Config, cancel: &Cancel) -> Vec<Finding> {
    let user = &config.systemd.user;
    let has_folders = config.sources.iter().any(|source| source.kind.folders().is_some());
    let mut parts = vec![Part::Servers];
    parts.extend(has_folders.then_some(Part::Directories));
    let (mut findings, mut answered) = (Vec::new(), false);
    for part in parts {
        match ask(config, part, cancel) {
            Ok(told) => {
                findings.extend(told);
                answered = true;
            }
            Err(finding) => {
                let known = |other: &Finding| other.about == finding.about && other.text == finding.text;
                if !findings.iter().any(known) {
                    findings.push(*finding);
                }
            }
        }
    }
    if answered {
        findings.insert(0, Finding::ok("user", format!("checked as {user}, in the sandbox of the services")));
    }
    findings
}

/// Runs the checks in one process with the settings of the services. The error says why there are no findings.
fn ask(config: &Config, part: Part, cancel: &Cancel) -> Result<Vec<Finding>, Box<Finding>> {
    let failed = |text: String| {
        let hint = "what systemd says of it: journalctl -n 20; `systemd-run` must be able to start services";
        let finding =
            Finding::problem("services", format!("the checks could not be started in a service: {text}"));
        Err(Box::new(finding.hint(hint)))
    };
    let executable = match program(config).map_or_else(std::env::current_exe, Ok) {
        Ok(path) => path,
        Err(error) => return failed(error.to_string()),
    };
    let directories = part == Part::Directories;
    let name = if directories { "directories" } else { "servers" };
    let unit = format!("{}doctor-{name}-{}.service", units::PREFIX, std::process::id());
    let mut command = Command::new("systemd-run");
    command.args(["--quiet", "--wait", "--pipe", "--collect", "--service-type=exec"]);
    command.arg(format!("--unit={unit}"));
    command
        .arg(format!("--property=RuntimeMaxSec={}", TIMEOUT.as_secs()))
        .arg("--property=TimeoutStopSec=10");
    for property in units::probe(config, &executable, directories) {
        command.arg("--property").arg(property);
    }
    if let Some(path) = search_path(config) {
        command.arg(format!("--setenv=PATH={path}"));
    }
    command
        .arg("--")
        .arg(&executable)
        .arg("--config")
        .arg(&config.path)
        .args(["--json", "doctor", "--inside", name]);
    let ran = match run(command, TIMEOUT + START_AND_END, cancel) {
        Ok(ran) => ran,
        Err(error) => return failed(error.summary()),
    };
    if ran.status.is_none() {
        // Stop the unit, which would otherwise go on.
        let _ = Command::new("systemctl").args(["--no-block", "stop", &unit]).stdin(Stdio::null()).output();
    }
    let told: Option<Vec<Finding>> = serde_json::from_slice::<serde_json::Value>(&ran.stdout)
        .ok()
        .and_then(|mut document| serde_json::from_value(document["findings"].take()).ok());
    match (told, ran.status) {
        (Some(told), _) => Ok(told),
        (None, Some(status)) => failed(format!("{status}: {}", ran.stderr)),
        (None, None) => Err(Box::new(unanswered(cancel))),
    }
}

/// The finding if the checks did not end in time.
fn unanswered(cancel: &Cancel) -> Finding {
    if let Err(error) = cancel.check() {
        return Finding::error("services", &error);
    }
    let text = format!("the checks in a service did not end within {} s", TIMEOUT.as_secs());
    Finding::problem("services", text)
        .hint("check whether every mount answers, those of the repository and of the directories: df -h")
}

/// The output of a command so far, and its exit status if it has ended.
struct Ran {
    stdout: Vec<u8>,
    stderr: String,
    status: Option<ExitStatus>,
}

/// Runs a command until it ends, the time is up or the flag is set.
fn run(mut command: Command, limit: Duration, cancel: &Cancel) -> Result<Ran> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let name = command.get_program().to_string_lossy().into_owned();
    let mut process = Process::start(command, name, Vec::new(), Vec::new(), None)?;
    let said = Arc::new(Mutex::new(Vec::new()));
    let stdout = process.child().stdout.take();
    let hearing = said.clone();
    // A command may leave a process behind that holds the pipe: do not wait for the end of the pipe.
    let reader = thread::Builder::new()
        .name("doctor".to_owned())
        .spawn(move || {
            let Some(stdout) = stdout else { return };
            let mut stdout = stdout.take(SAID);
            let mut part = [0; 8192];
            while let Ok(read @ 1..) = stdout.read(&mut part) {
                hearing.lock().extend_from_slice(&part[..read]);
            }
        })
        .map_err(|error| Error::failed("cannot start a thread").because(&error))?;
    let status = match process.wait(Some(limit), cancel) {
        Ok(status) => Some(status),
        Err(Stop::Io(error)) => return Err(Error::failed("cannot wait for it").because(&error)),
        Err(Stop::Silent(_) | Stop::Cancelled(_)) => {
            process.terminate();
            None
        }
    };
    let step = LAST_WORDS / 20;
    (0..20).take_while(|_| !reader.is_finished()).for_each(|_| thread::sleep(step));
    process.messages().wait_closed(step);
    let stdout = std::mem::take(&mut *said.lock());
    Ok(Ran { stdout, stderr: process.messages().text().trim().to_owned(), status })
}

/// The program that the services run. On NixOS, it is a script that extends the search path and runs this one.
fn program(config: &Config) -> Option<PathBuf> {
    let text = property(config, "ExecStart")?;
    executable(&text).map(PathBuf::from).filter(|path| path.is_file())
}

/// The program in a command as `systemctl show` prints it: `{ path=/bin/x ; argv[]=/bin/x -v ; … }`.
fn executable(command: &str) -> Option<&str> {
    command.split_once("path=")?.1.split_once(" ;").map(|(path, _)| path)
}

/// A property of the unit of the first source, as `systemctl show` prints it.
fn property(config: &Config, name: &str) -> Option<String> {
    let unit = format!("{}source-{}.service", units::PREFIX, config.sources.first()?.name);
    let property = format!("--property={name}");
    let output = Command::new("systemctl").args(["show", &property, "--value", &unit]).output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The search path of the services, if their unit sets it, as on NixOS.
fn search_path(config: &Config) -> Option<String> {
    let text = property(config, "Environment")?;
    text.split_whitespace().find_map(|word| word.trim_matches('"').strip_prefix("PATH=").map(str::to_owned))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn shell(script: &str, limit: Duration, cancel: &Cancel) -> Ran {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        run(command, limit, cancel).unwrap()
    }

    #[test]
    fn what_a_command_says_is_heard_whole() {
        let hour = Duration::from_secs(3600);
        let ran = shell("seq 1 20000; echo broken >&2; exit 3", hour, &Cancel::new());
        assert_eq!(ran.status.unwrap().code(), Some(3));
        assert!(ran.stdout.ends_with(b"\n20000\n") && ran.stdout.starts_with(b"1\n2\n"));
        assert_eq!(ran.stderr, "broken");
    }

    #[test]
    fn the_program_of_a_unit_is_read_from_what_systemd_shows() {
        let shown = "{ path=/nix/store/x-tik backup/bin/tik-backup ; argv[]=/nix/store/x --config /c backup ; ignore_errors=no ; pid=0 }\n";
        assert_eq!(executable(shown), Some("/nix/store/x-tik backup/bin/tik-backup"));
        assert_eq!(executable("\n"), None);
    }

    #[test]
    fn one_that_hangs_is_left_when_the_time_is_up_or_the_flag_is_set() {
        let ran = shell("echo found; sleep 1000", Duration::from_millis(500), &Cancel::new());
        assert_eq!((ran.status, ran.stdout.as_slice()), (None, &b"found\n"[..]));
        let cancel = Cancel::new();
        cancel.cancel("interrupted by SIGINT");
        assert!(shell("sleep 1000", Duration::from_secs(3600), &cancel).status.is_none());
        assert_eq!(unanswered(&cancel).text, "stopped: interrupted by SIGINT");
        assert!(unanswered(&Cancel::new()).text.contains("did not end within 300 s"));
    }

    #[test]
    fn a_process_that_is_left_with_the_pipe_is_not_waited_for() {
        // `setsid`: killing the command's group does not end it.
        let ran = shell("setsid sleep 30 & echo found", Duration::from_secs(3600), &Cancel::new());
        assert_eq!(ran.stdout, b"found\n");
    }
}
