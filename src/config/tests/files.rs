//! The configuration file itself and the files it names.

use super::*;
use std::os::unix::fs::PermissionsExt;

#[test]
fn the_file_is_chosen_from_argument_variable_and_default() {
    let argument = Path::new("/a.toml");
    assert_eq!(choose_path(Some(argument), Some("/v.toml".into())), (argument.into(), Origin::Argument));
    assert_eq!(choose_path(None, Some("/v.toml".into())), ("/v.toml".into(), Origin::Variable));
    assert_eq!(choose_path(None, Some("".into())), (DEFAULT_PATH.into(), Origin::Default));
    assert_eq!(choose_path(None, None), (DEFAULT_PATH.into(), Origin::Default));
}

#[test]
fn a_missing_or_unreadable_file_is_named_with_the_way_to_name_another() {
    let room = tempfile::tempdir().unwrap();
    let path = room.path().join("none.toml");
    for (origin, named) in [
        (Origin::Argument, "named by --config"),
        (Origin::Variable, "named by $TIK_BACKUP_CONFIG"),
        (Origin::Default, "the default"),
    ] {
        let error = Config::load_from((path.clone(), origin)).unwrap_err();
        assert_eq!(error.kind(), Kind::Usage);
        let shown = path.display();
        assert_eq!(
            error.to_string(),
            format!(
                "there is no configuration file {shown} ({named})\n  \
                 → create it, or name another file with --config FILE or in $TIK_BACKUP_CONFIG"
            )
        );
    }
    let error = Config::load(Some(room.path())).unwrap_err();
    assert!(error.to_string().contains("(named by --config) cannot be read: Is a directory"), "{error}");
    fs::write(&path, b"jobs = 1\n# caf\xe9\n").unwrap();
    let error = Config::load(Some(&path)).unwrap_err();
    assert!(error.summary().ends_with("none.toml:2: not UTF-8 text"), "{error}");
}

#[test]
fn a_folder_in_the_repository_is_found_wherever_links_lead() {
    let room = tempfile::tempdir().unwrap();
    fs::create_dir_all(room.path().join("repo/data")).unwrap();
    fs::create_dir_all(room.path().join("state")).unwrap();
    fs::write(room.path().join("loc"), room.path().join("repo").display().to_string()).unwrap();
    fs::set_permissions(room.path().join("loc"), fs::Permissions::from_mode(0o600)).unwrap();
    std::os::unix::fs::symlink("repo/data", room.path().join("link")).unwrap();
    let check = |location: &str, path: &str| {
        let text = format!(
            "state_dir = \"state\"\n[repository]\n{location}\npassword_file = \"pw\"\n[sources.d]\nkind = \"directory\"\n\
             paths = [{path:?}]\n"
        );
        Config::parse(&text, &room.path().join("c.toml")).unwrap().validate_folders()
    };
    for location in ["location = \"repo\"", "location_file = \"loc\""] {
        let error = check(location, "link").unwrap_err();
        assert_eq!(error.kind(), Kind::Usage);
        let text = error.to_string();
        assert!(text.starts_with("sources.d.paths: ") && text.contains("lies in the repository"), "{text}");
        for path in [".", "none", "*"] {
            check(location, path).unwrap();
        }
    }
    let error = check("location_file = \"loc\"", "repo").unwrap_err().to_string();
    assert!(error.contains("is the repository"), "{error}");
}

#[test]
fn the_check_loads_every_file_and_reports_all_that_cannot_be_used() {
    let room = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &str, mode: u32| {
        let path = room.path().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let text = "[repository]\nlocation_file = \"loc\"\npassword_file = \"repo-pw\"\n\
                options_files = { token = \"token\" }\n\
                [sources.\"p.g\"]\nkind = \"postgres\"\npassword_file = \"pw\"\nsslcert = \"crt\"\nsslkey = \"key\"\n";
    let config = Config::parse(text, &room.path().join("c.toml")).unwrap();
    let error = config.validate_secrets().unwrap_err();
    let shown = error.to_string();
    assert_eq!(error.kind(), Kind::Usage);
    assert_eq!(shown.lines().next(), Some("6 files cannot be used"));
    let keys: Vec<_> = shown.lines().skip(1).map(|line| line.split(": ").next().unwrap()).collect();
    assert_eq!(
        keys,
        [
            "repository.location_file",
            "repository.password_file",
            "repository.options_files.token",
            "sources.\"p.g\".password_file",
            "sources.\"p.g\".sslcert",
            "sources.\"p.g\".sslkey",
        ]
    );
    for name in ["loc", "repo-pw", "token", "pw", "crt", "key"] {
        write(name, "hunter2\n", 0o600);
    }
    config.validate_secrets().unwrap();
    write("pw", "hunter2\n", 0o644);
    let error = config.validate_secrets().unwrap_err().to_string();
    assert!(
        error.starts_with("sources.\"p.g\".password_file: the file ") && error.contains("chmod 600"),
        "{error}"
    );
    assert!(!format!("{config:?}").contains("hunter2") && !error.contains("hunter2"));
}

#[test]
fn alerts_whose_files_cannot_work_are_told() {
    let room = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &str| {
        let path = room.path().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    };
    let text = format!(
        "{REPOSITORY}[[alerts]]\nkind = \"webhook\"\nurl_file = \"hook\"\n[[alerts]]\nkind = \"ntfy\"\ntopic_file = \"topic\"\n\
         [[alerts]]\nkind = \"heartbeat\"\nurl_file = \"beat\"\nca_file = \"none\"\n"
    );
    let config = Config::parse(&text, &room.path().join("c.toml")).unwrap();
    let faults = || -> Vec<Vec<String>> {
        let texts = |alert: &AlertConfig| alert.unusable_files().iter().map(Error::to_string).collect();
        config.alerts.iter().map(texts).collect()
    };
    write("hook", "hooks.slack.com/services/hunter2");
    write("topic", "https://ntfy.sh/hunter2");
    write("beat", "https://hc-ping.com/hunter2");
    let told = faults();
    assert!(
        told[0][0].starts_with("alerts[1].url_file: the URL in ") && told[0][0].contains("https://"),
        "{told:?}"
    );
    assert!(told[1][0].starts_with("alerts[2].topic_file: the topic in "), "{told:?}");
    assert!(told[2].len() == 1 && told[2][0].contains("ca_file"), "{told:?}");
    assert!(!format!("{told:?}").contains("hunter2"), "{told:?}");
    write("hook", "https://hooks.slack.com/services/hunter2");
    write("topic", "hunter2");
    assert!(faults()[0].is_empty() && faults()[1].is_empty());
    write("hook", "http://hooks.slack.com/services/hunter2");
    assert!(faults()[0][0].contains("use https://"));
    write("hook", "http://localhost:8080/hook");
    assert!(faults()[0].is_empty());
}
