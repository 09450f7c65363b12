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
        matches!(of_ssh(refused.to_owned()), ObjectError::Denied(said) if said == "me@h: Permission denied (publickey).")
    );
    let unknown = "No ED25519 host key is known for h and you have requested strict checking.\nHost key verification failed.";
    assert!(matches!(of_ssh(unknown.to_owned()), ObjectError::WrongHost(_)));
    let away = "ssh: connect to host h port 22: Connection refused";
    assert!(
        matches!(of_ssh(away.to_owned()), ObjectError::Failed(said) if said == "connect to host h port 22: Connection refused")
    );
}
