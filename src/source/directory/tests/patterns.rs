//! Patterns in `paths`.

use std::{
    collections::HashSet,
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt, fs::symlink},
    path::Path,
};

use super::{
    unreadable::{chmod, without_privileges},
    *,
};

/// A source of these paths below a directory.
fn source_of(top: &Path, paths: &[&str]) -> Directory {
    configured(DirectoryConfig::new(paths.iter().map(|path| top.join(path)).collect()))
}

fn found(source: &Directory) -> Discovery {
    source.discover(&Cancel::new()).unwrap()
}

/// Names below the directory of the items without a problem.
fn healthy(top: &Path, found: &Discovery) -> Vec<String> {
    let items = found.items.iter().filter(|item| item.problem.is_none());
    items.map(|item| below(top, &item.name)).collect()
}

fn below(top: &Path, name: &str) -> String {
    name.strip_prefix(&format!("{}/", top.display())).unwrap_or(name).to_owned()
}

fn excluded(top: &Path, found: &Discovery) -> Vec<(String, String)> {
    let text = |rule: &str| rule.replace(&format!("{}/", top.display()), "");
    found.excluded.iter().map(|excluded| (below(top, &excluded.name), text(&excluded.rule))).collect()
}

fn folders(top: &Path, names: &[&str]) {
    for name in names {
        fs::create_dir_all(top.join(name)).unwrap();
    }
}

#[test]
fn a_folder_that_is_new_is_found_the_next_time_and_one_that_went_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().canonicalize().unwrap();
    folders(&top, &["a/uploads", ".hidden/uploads", "without"]);
    fs::write(top.join("file"), "x").unwrap();
    let source = source_of(&top, &["*/uploads"]);
    assert_eq!(healthy(&top, &found(&source)), [".hidden/uploads", "a/uploads"]);

    folders(&top, &["b/uploads"]);
    fs::write(top.join("b/uploads/file"), "new").unwrap();
    let now = found(&source);
    assert_eq!(healthy(&top, &now), [".hidden/uploads", "a/uploads", "b/uploads"]);
    assert!(now.excluded.is_empty(), "what does not match is not listed: {:?}", now.excluded);
    let memory = Memory::default();
    let manifest = source.dump(&now.items[2], &memory, &Cancel::new()).unwrap();
    assert_eq!(memory.get("file").unwrap().content, b"new");
    assert_eq!(manifest.item, top.join("b/uploads").display().to_string());
    // Without having been asked what there is.
    source_of(&top, &["*/uploads"]).dump(&now.items[2], &Memory::default(), &Cancel::new()).unwrap();

    fs::remove_dir_all(top.join("a")).unwrap();
    assert!(source.is_gone(&now.items[1], &Cancel::new()));
    assert!(!source.is_gone(&now.items[2], &Cancel::new()));
    assert!(source.dump(&now.items[1], &Memory::default(), &Cancel::new()).is_err());
    assert_eq!(healthy(&top, &found(&source)), [".hidden/uploads", "b/uploads"]);
}

#[test]
fn of_a_filesystem_that_is_not_mounted_nothing_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().canonicalize().unwrap();
    folders(&top, &["data/app/uploads", "data/other"]);
    let source = source_of(&top, &["data/*/uploads"]);
    let before = found(&source);
    let name = &before.items[0].name;
    assert!(!before.is_unknown(name) && !before.is_unknown(&format!("{}/data/else", top.display())));

    // The directory on which it is mounted is empty, or was made by mounting it and is not there at all.
    fs::rename(top.join("data"), top.join("aside")).unwrap();
    for mount_point in [true, false] {
        if mount_point {
            folders(&top, &["data"]);
        } else {
            fs::remove_dir(top.join("data")).unwrap();
        }
        assert!(!source.is_gone(&before.items[0], &Cancel::new()), "a dump that fails has failed");
        let now = found(&source_of(&top, &["data/*/uploads"]));
        assert!(now.items[0].problem.is_some() && now.is_unknown(name), "{now:?}");
        assert!(!now.is_unknown(&format!("{}/data2/app/uploads", top.display())));
        assert!(!now.is_unknown(&now.items[0].name[..top.as_os_str().len()]));
    }
    // It is mounted again, and the application is gone.
    fs::rename(top.join("aside"), top.join("data")).unwrap();
    fs::remove_dir_all(top.join("data/app")).unwrap();
    assert!(source.is_gone(&before.items[0], &Cancel::new()));
    folders(&top, &["data/new/uploads"]);
    assert!(!found(&source).is_unknown(name), "others match: this one is gone");
}

#[test]
fn folders_whose_names_are_written_alike_are_all_items() {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().canonicalize().unwrap();
    let bytes = |name: &'static [u8]| top.join("a").join(OsStr::from_bytes(name));
    // The second has a backslash, an x and two letters in its name.
    for (number, path) in [bytes(b"\xff"), bytes(b"\\xff"), bytes(b"\xfe")].iter().enumerate() {
        fs::create_dir_all(path).unwrap();
        fs::write(path.join("file"), number.to_string()).unwrap();
    }
    let pattern = source_of(&top, &["a/*"]);
    let literal = configured(DirectoryConfig::new(vec![bytes(b"\xff"), bytes(b"\\xff"), bytes(b"\xfe")]));
    for source in [pattern, literal] {
        let now = found(&source);
        let names: HashSet<&str> = now.items.iter().map(|item| item.name.as_str()).collect();
        assert_eq!((names.len(), now.items.len()), (3, 3), "{names:?}");
        let mut contents = Vec::new();
        for item in &now.items {
            let memory = Memory::default();
            source.dump(item, &memory, &Cancel::new()).unwrap();
            contents.push(memory.get("file").unwrap().content);
        }
        contents.sort_unstable();
        assert_eq!(contents, [b"0", b"1", b"2"]);
    }
}

#[test]
fn each_part_of_a_path_is_a_pattern_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().canonicalize().unwrap();
    folders(&top, &["a1/x", "a2/x", "a2/y", "b1/x", "a1/deep/x", "a10/x"]);
    for (pattern, expected) in [
        ("a?/x", &["a1/x", "a2/x"][..]),
        ("[ab]1/*", &["a1/deep", "a1/x", "b1/x"][..]),
        ("{a2,b1}/{x,y}", &["a2/x", "a2/y", "b1/x"][..]),
        ("*/*/x", &["a1/deep/x"][..]),
    ] {
        assert_eq!(healthy(&top, &found(&source_of(&top, &[pattern]))), expected, "{pattern}");
    }
}

#[test]
fn a_folder_that_is_reached_twice_is_backed_up_once() {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().canonicalize().unwrap();
    folders(&top, &["outside", "srv/second"]);
    symlink("second", top.join("srv/first")).unwrap();
    symlink("../outside", top.join("srv/linked")).unwrap();
    fs::write(top.join("srv/file"), "x").unwrap();
    let now = found(&source_of(&top, &["srv/*", "srv/s*"]));
    assert_eq!(healthy(&top, &now), ["srv/second", "srv/linked"], "without links first");
    let expected = [("srv/file", "is not a directory"), ("srv/first", "is the same directory as srv/second")];
    assert_eq!(excluded(&top, &now), expected.map(|(name, rule)| (name.to_owned(), rule.to_owned())));

    // One that is named is named as ever.
    let now = found(&source_of(&top, &["srv/second", "srv/*"]));
    assert_eq!(healthy(&top, &now), ["second", "srv/linked"]);
    assert!(
        excluded(&top, &now).contains(&("srv/first".into(), "is the same directory as srv/second".into()))
    );
}

#[test]
fn a_name_with_the_characters_of_patterns_means_itself_if_it_exists() {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().canonicalize().unwrap();
    folders(&top, &["[x]", "x", "*", "{a", "{p,q}", "p"]);
    for name in ["[x]", "*", "{a", "{p,q}"] {
        let now = found(&source_of(&top, &[name]));
        assert_eq!((healthy(&top, &now), now.excluded.len()), (vec![name.to_owned()], 0), "{name}");
    }
    assert_eq!(healthy(&top, &found(&source_of(&top, &["\\{a*"]))), ["{a"], "written out with a backslash");
}

#[test]
fn a_link_that_leads_nowhere_is_a_problem_of_what_may_lie_behind_it() {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().canonicalize().unwrap();
    folders(&top, &["nas/u", "srv/app1/u/x", "srv/app2", "srv/app3"]);
    fs::write(top.join("srv/file"), "x").unwrap();
    symlink(top.join("nas/u"), top.join("srv/app2/u")).unwrap();
    symlink("../nas", top.join("srv/app4")).unwrap();
    symlink("file", top.join("srv/to-file")).unwrap();
    let source = source_of(&top, &["srv/*/u"]);
    let before = found(&source);
    // Two links lead to one directory.
    assert_eq!(healthy(&top, &before), ["srv/app1/u", "srv/app2/u"]);

    fs::rename(top.join("nas"), top.join("aside")).unwrap();
    for (pattern, well, broken) in [
        ("srv/*/u", &["srv/app1/u"][..], &[("srv/app2/u", "nas/u"), ("srv/app4/u", "../nas")][..]),
        ("srv/*/u/*", &["srv/app1/u/x"][..], &[("srv/app2/u", "nas/u"), ("srv/app4/u", "../nas")][..]),
        ("srv/app2/*", &[][..], &[("srv/app2/u", "nas/u")][..]),
        ("srv/*", &["srv/app1", "srv/app2", "srv/app3"][..], &[("srv/app4", "../nas")][..]),
        ("srv/*/x", &[][..], &[("srv/app4/x", "../nas")][..]),
    ] {
        let now = found(&source_of(&top, &[pattern]));
        assert_eq!(healthy(&top, &now), well, "{pattern}");
        let problems: Vec<_> =
            now.items.iter().filter_map(|item| Some((item, item.problem.as_ref()?.to_string()))).collect();
        let names: Vec<_> = problems.iter().map(|(item, _)| below(&top, &item.name)).collect();
        assert_eq!(names, broken.iter().map(|(name, _)| *name).collect::<Vec<_>>(), "{pattern}");
        for ((_, problem), (_, target)) in problems.iter().zip(broken) {
            let said = format!("{target}, which is not there\n  → mount or create");
            assert!(problem.contains("is a link to ") && problem.contains(&said), "{problem}");
        }
    }
    let now = found(&source);
    assert!(!now.excluded.iter().any(|excluded| before.items[1].name == excluded.name));
    assert!(!source.is_gone(&before.items[1], &Cancel::new()));
}

#[test]
fn a_pattern_that_finds_nothing_or_cannot_look_is_a_problem() {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().canonicalize().unwrap();
    folders(&top, &["open/x", "locked/x"]);
    fs::write(top.join("open/y"), "x").unwrap();
    for pattern in ["none/*", "open/*/y", "open/y*", "open/x/*"] {
        let now = found(&source_of(&top, &[pattern]));
        assert_eq!(now.items.len(), 1, "{pattern}");
        assert_eq!(below(&top, &now.items[0].name), pattern);
        let problem = now.items[0].problem.clone().unwrap().to_string();
        assert!(
            problem.starts_with("no directory matches /") && problem.contains("\n  → correct"),
            "{problem}"
        );
    }

    chmod(&top.join("locked"), 0);
    let now = without_privileges(|| found(&source_of(&top, &["*/*"])));
    assert_eq!(healthy(&top, &now), ["open/x"]);
    let problem = now.items.iter().find(|item| item.problem.is_some()).unwrap();
    assert_eq!(below(&top, &problem.name), "locked", "what lies in it is unknown, not gone");
    let text = problem.problem.clone().unwrap().to_string();
    assert!(text.contains("cannot list") && text.contains("Permission denied"), "{text}");
    let now = without_privileges(|| found(&source_of(&top, &["*/x"])));
    let names: Vec<_> =
        now.items.iter().map(|item| (below(&top, &item.name), item.problem.is_some())).collect();
    assert!(names.contains(&("locked/x".to_owned(), true)) && names.contains(&("open/x".to_owned(), false)));
    chmod(&top.join("locked"), 0o700);
}
