use super::*;
use crate::error::Kind;
use std::{fs, os::unix::fs::PermissionsExt};

struct Room(tempfile::TempDir);

impl Room {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, content: &[u8], mode: u32) -> SecretFile {
        let path = self.0.path().join(name);
        // Only root could write to a file without write permission.
        fs::remove_file(&path).ok();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        SecretFile::at("sources.shop.password_file", path)
    }
}

/// The refusal, which must be exit code 2, name the key and the file, and not hold the secret.
fn refusal(file: &SecretFile) -> String {
    let error = file.load_with(None).unwrap_err();
    let text = error.to_string();
    assert_eq!(error.kind(), Kind::Usage);
    assert!(text.starts_with("sources.shop.password_file: "), "{text}");
    assert!(text.contains(&file.to_string()), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
    text
}

#[test]
fn one_trailing_newline_is_dropped_and_nothing_else() {
    let room = Room::new();
    for (content, secret) in [
        ("hunter2", "hunter2"),
        ("hunter2\n", "hunter2"),
        ("hunter2\r\n", "hunter2"),
        (" pass word \n", " pass word "),
        ("schlüssel\n", "schlüssel"),
    ] {
        let file = room.file("pw", content.as_bytes(), 0o600);
        assert_eq!(file.load_with(None).unwrap().expose(), secret);
    }
}

#[test]
fn access_for_others_is_refused_for_the_group_accepted() {
    let room = Room::new();
    for mode in [0o600, 0o400, 0o440, 0o660] {
        assert_eq!(room.file("pw", b"hunter2", mode).load_with(None).unwrap().expose(), "hunter2");
    }
    for mode in [0o644, 0o604, 0o602, 0o601] {
        let file = room.file("open", b"hunter2", mode);
        let text = refusal(&file);
        assert!(text.contains(&format!("open to every user of this machine (mode {mode:04o})")), "{text}");
        assert!(text.ends_with(&format!("\n  → chmod 600 {file}")), "{text}");
    }
    let text = refusal(&room.file("it's here", b"hunter2", 0o644));
    assert!(text.ends_with(r"it'\''s here'"), "{text}");
}

#[test]
fn what_is_no_secret_is_refused() {
    let room = Room::new();
    let large = vec![b'x'; MAX_BYTES + 1];
    let cases: [(&[u8], &str); 9] = [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"\r\n", "is empty"),
        (b"hunter2\n\n", "has more than one line"),
        (b"hunter2\nsecond\n", "has more than one line"),
        (b"hunter2\rsecond", "has more than one line"),
        (b"hunter2\0", "holds a NUL byte"),
        (b"hunter2\xff", "is not UTF-8 text"),
        (&large, "is larger than 64 KiB"),
    ];
    for (content, what) in cases {
        let text = refusal(&room.file("pw", content, 0o600));
        assert!(text.contains(what), "{text}");
    }
    let fits = room.file("pw", &large[1..], 0o600).load_with(None).unwrap();
    assert_eq!(fits.expose().len(), MAX_BYTES);
}

#[test]
fn missing_files_directories_and_devices_are_refused() {
    let room = Room::new();
    let text = refusal(&SecretFile::at("sources.shop.password_file", room.0.path().join("none")));
    assert!(text.contains("cannot be read: No such file or directory"), "{text}");
    assert!(text.contains("→ create the file"), "{text}");
    let text = refusal(&SecretFile::at("sources.shop.password_file", room.0.path()));
    assert!(text.contains("is a directory"), "{text}");
    let text = refusal(&SecretFile::at("sources.shop.password_file", "/dev/null"));
    assert!(text.contains("is not a regular file"), "{text}");
}

#[test]
fn a_named_pipe_is_refused_without_waiting_for_a_writer() {
    let room = Room::new();
    let pipe = room.0.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let text = refusal(&SecretFile::at("sources.shop.password_file", pipe));
    assert!(text.contains("is not a regular file"), "{text}");
}

#[test]
fn credentials_come_from_the_directory_of_systemd_whatever_their_mode() {
    let room = Room::new();
    let plain = room.file("pw", b"hunter2\n", 0o444);
    let directory = room.0.path();
    let named = SecretFile::from_value("k".into(), "credential:pw", Path::new("/etc")).unwrap();
    assert_eq!(named.to_string(), "credential:pw");
    assert_eq!(named.load_with(Some(directory)).unwrap().expose(), "hunter2");
    assert_eq!(plain.load_with(Some(directory)).unwrap().expose(), "hunter2");
    assert!(plain.load_with(Some(Path::new("/elsewhere"))).is_err());
    let detour = directory.join("sub/../pw");
    fs::create_dir(directory.join("sub")).unwrap();
    assert!(SecretFile::at("k", detour).load_with(Some(directory)).is_err());

    let error = named.load_with(None).unwrap_err();
    assert_eq!(error.summary(), "k: there is no credential \"pw\": $CREDENTIALS_DIRECTORY is not set");
    assert!(error.hint_text().unwrap().contains("LoadCredential=pw:FILE"));
    for bad in ["credential:", "credential:..", "credential:a/b"] {
        let text = SecretFile::from_value("k".into(), bad, Path::new("/etc")).unwrap_err();
        assert!(text.contains("name of a systemd credential"), "{text}");
    }
}

#[test]
fn a_service_gets_its_files_as_credentials_named_after_their_keys() {
    let room = Room::new();
    let file = room.file("pw", b"of the file", 0o600);
    let directory = room.0.path().join("credentials");
    fs::create_dir(&directory).unwrap();
    let load = || file.load_with(Some(&directory)).unwrap().expose().to_owned();
    assert_eq!(load(), "of the file");
    let credential = directory.join(file.credential());
    fs::write(&credential, "of systemd").unwrap();
    assert_eq!(load(), "of systemd");
    // If systemd did not find the file, the message names the file.
    fs::write(&credential, PLACEHOLDER).unwrap();
    assert_eq!(load(), "of the file");
    let names = [
        ("alerts[2].url_file", "alerts.2.url_file"),
        ("sources.\"db.example\".password_file", "sources.db.example.password_file"),
        ("repository.options_files.odd key/:x", "repository.options_files.odd_key__x"),
    ];
    for (key, name) in names {
        assert_eq!(SecretFile::at(key, "/x").credential(), name);
    }
}

#[test]
fn debug_shows_nothing() {
    assert_eq!(format!("{:?}", Secret::new("hunter2".into())), "Secret(…)");
}
