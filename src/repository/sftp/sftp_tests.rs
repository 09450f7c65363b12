use std::{
    fs,
    io::{PipeReader, PipeWriter, Read, Write},
    process::{Command, Stdio},
    time::Duration,
};

use super::*;

/// OpenSSH's server, which speaks the protocol with its stdin and stdout.
const SERVER: &str = "/usr/lib/openssh/sftp-server";

/// A client of a server with these arguments, which a shell starts after this command.
fn client(directory: &Path, root: &Path, before: &str, arguments: &str) -> Option<Sftp> {
    if !Path::new(SERVER).exists() {
        testkit::skip("an SFTP server (apt-get install openssh-sftp-server)");
        return None;
    }
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("{before} exec {SERVER} {arguments}")).current_dir(directory);
    shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let session = Session::start(shell, Duration::from_secs(60)).unwrap();
    let (root, server) = (root.to_owned(), "test".to_owned());
    Some(Sftp { root, server, session, leftovers: Leftovers::default() })
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Servers with and without the extensions that are used.
const ARGUMENTS: [&str; 2] = ["", "-P posix-rename,fsync,limits,statvfs"];

#[test]
fn a_file_is_replaced_by_any_server() {
    for arguments in ARGUMENTS {
        let dir = tempfile::tempdir().unwrap();
        let Some(sftp) = client(dir.path(), dir.path(), "", arguments) else { return };
        sftp.create(vec!["data".to_owned()]).unwrap();
        let long = vec![7; 3 << 20];
        for content in [&b"one"[..], b"one", b"another", b"cut", b"", &long] {
            let parts = [Bytes::copy_from_slice(content), Bytes::from_static(b" end")];
            sftp.write("data/ab/file", &parts).unwrap();
            let expected = parts.concat();
            assert_eq!(fs::read(dir.path().join("data/ab/file")).unwrap(), expected, "{arguments}");
            assert_eq!(sftp.read("data/ab/file").unwrap(), expected);
            assert_eq!(names(&dir.path().join("data/ab")), ["file"], "{arguments}: a draft is left");
        }
        assert_eq!(sftp.read_part("data/ab/file", 1 << 20, 1 << 20).unwrap().len(), 1 << 20);
        assert!(matches!(sftp.read_part("data/ab/file", 3 << 20, 100), Err(ObjectError::Cut)));
        assert!(sftp.leftovers.lock().is_empty());
    }
}

#[test]
fn a_failed_write_replaces_nothing() {
    for arguments in ARGUMENTS {
        let dir = tempfile::tempdir().unwrap();
        // The server cannot write files of more than 64 KiB.
        let limit = "trap '' XFSZ; ulimit -f 128;";
        let Some(sftp) = client(dir.path(), dir.path(), limit, arguments) else { return };
        fs::write(dir.path().join("file"), "before").unwrap();
        let written = sftp.write("file", &[Bytes::from(vec![7; 1 << 20])]);
        assert!(matches!(written, Err(ObjectError::Answered(_))), "{arguments}: {written:?}");
        assert_eq!(fs::read(dir.path().join("file")).unwrap(), b"before", "{arguments}");
        assert_eq!(names(dir.path()), ["file"], "{arguments}: a draft is left");
    }
}

#[test]
fn drafts_that_could_not_be_removed_are_removed_later() {
    let dir = tempfile::tempdir().unwrap();
    let Some(sftp) = client(dir.path(), dir.path(), "", "") else { return };
    let draft = dir.path().join("file-tmp-1");
    fs::write(&draft, "half").unwrap();
    sftp.leftovers.lock().extend([draft, dir.path().join("never stored")]);
    sftp.write("file", &[Bytes::from_static(b"whole")]).unwrap();
    assert_eq!(names(dir.path()), ["file"]);
    assert!(sftp.leftovers.lock().is_empty());
}

#[test]
fn a_server_that_allows_few_open_directories_is_listed() {
    let dir = tempfile::tempdir().unwrap();
    let directories: Vec<_> = (0..256).map(|number| format!("data/{number:02x}")).collect();
    for directory in &directories {
        fs::create_dir_all(dir.path().join(directory)).unwrap();
        fs::write(dir.path().join(directory).join("pack"), "pack").unwrap();
    }
    let Some(sftp) = client(dir.path(), dir.path(), "ulimit -n 24;", "") else { return };
    let listed = sftp.list(directories, Missing::Refused).unwrap();
    assert_eq!(listed.len(), 256);
    assert!(listed.iter().all(|file| file.bytes == 4));
}

#[test]
fn only_directories_of_packs_may_be_missing() {
    let dir = tempfile::tempdir().unwrap();
    let Some(sftp) = client(dir.path(), dir.path(), "", "") else { return };
    let folders = || vec!["data/ab".to_owned()];
    assert!(sftp.list(folders(), Missing::Empty).unwrap().is_empty());
    assert!(matches!(sftp.list(folders(), Missing::Refused), Err(ObjectError::Absent)));
    for path in ["index/file", "snapshots/file", "data/ab/file"] {
        assert!(matches!(sftp.write(path, &[]), Err(ObjectError::Absent)), "{path}");
    }
    assert!(names(dir.path()).is_empty(), "nothing is created in an empty directory");
    fs::create_dir(dir.path().join("data")).unwrap();
    sftp.write("data/ab/file", &[]).unwrap();
}

#[test]
fn without_a_root_the_directory_after_the_login_is_used() {
    let options = |root: &[&str]| -> BTreeMap<_, _> {
        root.iter().map(|root| ("root".to_owned(), (*root).to_owned())).collect()
    };
    for (given, expected) in [(&[][..], ""), (&[""], "/"), (&["/a/b/"], "/a/b"), (&["a"], "/a")] {
        assert_eq!(root(&options(given)), Path::new(expected), "{given:?}");
    }
    let dir = tempfile::tempdir().unwrap();
    let Some(sftp) = client(dir.path(), Path::new(""), "trap '' XFSZ; ulimit -f 128;", "") else { return };
    sftp.create(vec!["data".to_owned(), "index".to_owned()]).unwrap();
    sftp.write("data/ab/file", &[Bytes::from_static(b"content")]).unwrap();
    assert_eq!(sftp.list(vec!["data/ab".to_owned()], Missing::Refused).unwrap().len(), 1);
    assert_eq!(fs::read(dir.path().join("data/ab/file")).unwrap(), b"content");
    let failed = sftp.write("index/file", &[Bytes::from(vec![7; 1 << 20])]);
    assert!(matches!(failed, Err(ObjectError::Answered(_))), "{failed:?}");
}

/// Answers requests: `answers` gives the type and the content of each, after the number of the request.
fn serve(mut input: PipeReader, mut output: PipeWriter, mut answers: Vec<(u8, Vec<u8>)>) {
    answers.reverse();
    let mut length = [0; 4];
    while let Ok(()) = input.read_exact(&mut length) {
        let mut request = vec![0; u32::from_be_bytes(length) as usize];
        input.read_exact(&mut request).unwrap();
        let Some((tpe, content)) = answers.pop() else { return };
        // The greeting has a version in place of a number.
        let body = [&[tpe], &request[1..5], &content[..]].concat();
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        output.write_all(&[&length[..], &body].concat()).unwrap();
    }
}

#[test]
fn a_server_that_answers_with_nothing_ends_the_reading() {
    const VERSION: u8 = 2;
    const HANDLE: u8 = 102;
    const DATA: u8 = 103;
    let ((requests, to_server), (from_server, answers)) =
        (std::io::pipe().unwrap(), std::io::pipe().unwrap());
    let empty = || (DATA, vec![0; 4]);
    let handle = (HANDLE, vec![0, 0, 0, 1, b'h']);
    let script = vec![(VERSION, Vec::new()), handle, empty(), empty(), empty()];
    let server = std::thread::spawn(move || serve(requests, answers, script));
    let content = run(async {
        let protocol = session::greet(to_server.into(), from_server.into()).await?;
        let file = protocol.open("file").await?;
        read_part(file, 0, 10).await
    });
    assert!(matches!(content, Err(ObjectError::Cut)), "{content:?}");
    server.join().unwrap();
}
