use super::*;

fn address(options: &[(&str, &str)]) -> Result<Address> {
    let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Address::from_options(&options.collect())
}

fn arguments(options: &[(&str, &str)]) -> Vec<String> {
    let command = address(options).unwrap().command();
    command.get_args().map(|argument| argument.to_string_lossy().into_owned()).collect()
}

#[test]
fn options_become_arguments_of_ssh() {
    let all = arguments(&[
        ("endpoint", "ssh://host:2222"),
        ("user", "me"),
        ("key", "/k"),
        ("known_hosts_strategy", "Add"),
    ]);
    let text = all.join(" ");
    assert!(text.contains("-o StrictHostKeyChecking=accept-new"), "{text}");
    assert!(text.ends_with("-p 2222 -l me -o IdentitiesOnly=yes -i /k -s -- host sftp"), "{text}");
    let text = arguments(&[("endpoint", "-oProxyCommand=evil")]).join(" ");
    assert!(
        text.contains("StrictHostKeyChecking=yes") && text.ends_with("-s -- -oProxyCommand=evil sftp"),
        "{text}"
    );
    for (endpoint, server) in [
        ("host", "host"),
        ("ssh://you@host", "you@host"),
        ("ssh://you@[::1]:23", "you@::1:23"),
        ("ssh://host:23", "host:23"),
    ] {
        assert_eq!(address(&[("endpoint", endpoint)]).unwrap().server(), server);
    }
    for wrong in [&[][..], &[("endpoint", "")], &[("endpoint", "h"), ("known_hosts_strategy", "perhaps")]] {
        assert!(matches!(address(wrong), Err(ObjectError::Unusable(_))));
    }
}

#[test]
fn messages_of_ssh_are_told_apart() {
    let refused = "Warning: Permanently added 'h' (ED25519) to the list of known hosts.\nme@h: Permission denied (publickey).";
    assert!(
        matches!(of_ssh(refused), ObjectError::Denied(said) if said == "me@h: Permission denied (publickey).")
    );
    let tries = "Received disconnect from ::1 port 22:2: Too many authentication failures\nDisconnected from ::1 port 22";
    assert!(matches!(of_ssh(tries), ObjectError::Denied(said) if said.starts_with("Received disconnect")));
    let unknown = "No ED25519 host key is known for h and you have requested strict checking.\nHost key verification failed.";
    assert!(matches!(of_ssh(unknown), ObjectError::UnknownHost));
    let changed = "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key for h has changed and you have requested \
                   strict checking.\nHost key verification failed.";
    assert!(matches!(of_ssh(changed), ObjectError::ChangedHost));
    for (said, expected) in [
        (
            "/c: line 1: Bad configuration option: x\n/c: terminating, 1 bad configuration options",
            "/c: line 1: Bad configuration option: x",
        ),
        ("Bad owner or permissions on /c", "Bad owner or permissions on /c"),
        ("subsystem request failed on channel 0\nend", "subsystem request failed on channel 0"),
        (
            "Unable to negotiate with h port 22: no matching host key type found. Their offer: ssh-rsa",
            "Unable to negotiate with h port 22: no matching host key type found. Their offer: ssh-rsa",
        ),
    ] {
        assert!(matches!(of_ssh(said), ObjectError::Unusable(said) if said == expected), "{said}");
    }
    let away = "ssh: connect to host h port 22: Connection refused";
    assert!(
        matches!(of_ssh(away), ObjectError::Failed(said) if said == "connect to host h port 22: Connection refused")
    );
}

fn shell(script: &str, directory: &std::path::Path) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", script]).arg(directory);
    shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    shell
}

#[test]
fn a_server_that_never_speaks_leaves_no_process() {
    let dir = tempfile::tempdir().unwrap();
    let started = Session::start(shell("sleep 600", dir.path()), Duration::from_millis(200));
    assert!(matches!(started, Err(ObjectError::Failed(said)) if said == "the server does not answer"));
    assert!(testkit::running::processes_naming(dir.path()).is_empty());
}

#[test]
fn a_shell_that_prints_a_text_is_named_as_the_cause() {
    let dir = tempfile::tempdir().unwrap();
    let started = Session::start(shell("echo Welcome; cat >/dev/null", dir.path()), Duration::from_secs(60));
    assert!(matches!(started, Err(ObjectError::Unusable(said)) if said.contains("must print nothing")));
    let missing = Session::start(Command::new(dir.path().join("ssh")), Duration::from_secs(60));
    assert!(matches!(missing, Err(ObjectError::NoProgram(_))));
}

#[test]
fn a_part_of_the_protocol_ends_at_its_limit() {
    let ended = within(Duration::from_millis(10), std::future::pending::<Result<()>>());
    assert!(matches!(ended, Err(ObjectError::Failed(_))));
}
