//! What is left out without a pattern: the repository, its copies, the state directory, and what lies in caches.

use std::{fs, os::unix::fs::symlink, path::Path};

use super::*;
use crate::settings::RepositoryLocation;

/// Files as a repository has them.
fn repository(path: &Path, config: &str, key: &str) {
    for folder in ["data/00", "index", "keys", "locks", "snapshots"] {
        fs::create_dir_all(path.join(folder)).unwrap();
    }
    fs::write(path.join("config"), config).unwrap();
    fs::write(path.join("keys").join(key), "{}").unwrap();
    fs::write(path.join("data/00/pack"), "pack").unwrap();
}

/// A source of one directory with a repository and a state directory.
fn protecting(path: &Path, repository: &Path, state_dir: &Path) -> Directory {
    configured(DirectoryConfig {
        repository: Some(RepositoryLocation::Given(repository.display().to_string())),
        state_dir: Some(state_dir.to_owned()),
        ..DirectoryConfig::new(vec![path.to_owned()])
    })
}

#[test]
fn the_repository_its_copies_and_the_state_directory_are_left_out_wherever_they_lie() {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().join("top");
    let (repo, state) = (top.join("deep/repo"), top.join("state"));
    fs::create_dir_all(&state).unwrap();
    fs::write(state.join("history.sqlite"), "x").unwrap();
    fs::write(top.join("kept"), "x").unwrap();
    repository(&repo, "ours", "key");
    repository(&top.join("mirror"), "ours", "another key");
    repository(&top.join("same key"), "theirs", "key");
    repository(&top.join("other"), "theirs", "their key");
    // By another path than the walk takes.
    symlink("top", dir.path().join("link")).unwrap();
    let source = protecting(&top, &dir.path().join("link/deep/repo"), &state);

    let memory = Memory::default();
    let manifest = dump(&source, &memory).unwrap();
    memory.finish(&manifest);
    let paths: Vec<String> = memory.paths().into_iter().filter(|path| !path.starts_with("other/")).collect();
    assert_eq!(paths, ["deep", "kept", "other"]);
    assert!(memory.get("other/data/00/pack").is_some(), "another repository is data like any");
    let notes = manifest.notes.join("\n");
    assert!(
        notes.contains(
            "not backed up into itself: deep/repo (the repository), mirror (a copy of the repository), same key (a copy of \
             the repository), state (the state directory)"
        ),
        "{notes}"
    );
    assert!(notes.contains("other restic repositories") && notes.contains("not wanted: other"), "{notes}");
    assert_eq!(manifest.detail::<Detail>().unwrap().files, 4);

    let found = source.discover(&Cancel::new()).unwrap();
    let excluded: Vec<_> = found.excluded.iter().map(|excluded| excluded.name.as_str()).collect();
    let path = |path: &Path| path.canonicalize().unwrap().display().to_string();
    assert_eq!(excluded, [path(&repo), path(&state)]);
    assert!(found.excluded[0].rule.contains("is the repository"), "{}", found.excluded[0].rule);
}

#[test]
fn a_folder_that_is_the_repository_or_lies_in_it_is_a_failed_item() {
    let dir = tempfile::tempdir().unwrap();
    let (repo, state, copy) = (dir.path().join("repo"), dir.path().join("state"), dir.path().join("copy"));
    fs::create_dir_all(state.join("within")).unwrap();
    repository(&repo, "ours", "key");
    repository(&copy, "ours", "key");
    repository(&dir.path().join("other"), "theirs", "their key");
    symlink("repo/data", dir.path().join("link")).unwrap();
    for (name, said) in [
        ("repo", "repo is the repository"),
        ("link", "repo/data lies in the repository"),
        ("state", "state is the state directory"),
        ("state/within", "state/within lies in the state directory"),
        ("copy", "copy is a copy of the repository"),
        ("copy/data/00", "copy/data/00 lies in a copy of the repository"),
    ] {
        let source = protecting(&dir.path().join(name), &repo, &state);
        let found = source.discover(&Cancel::new()).unwrap();
        let problem = found.items[0].problem.clone().unwrap().to_string();
        assert!(problem.contains(said) && problem.contains("remove it from `paths`"), "{name}: {problem}");
        let error = source.dump(&found.items[0], &Memory::default(), &Cancel::new()).unwrap_err();
        assert_eq!(error.to_string(), problem);
    }
    // Another repository is data like any, and so is what lies in it.
    let other = dir.path().join("other");
    dump(&protecting(&other.join("data"), &repo, &state), &Memory::default()).unwrap();
    let manifest = dump(&protecting(&other, &repo, &state), &Memory::default()).unwrap();
    let named = format!("not wanted: {}", other.display());
    assert!(manifest.notes.iter().any(|note| note.ends_with(&named)), "{:?}", manifest.notes);

    // What only a pattern finds is left out.
    let source = protecting(&dir.path().join("*"), &repo, &state);
    let found = source.discover(&Cancel::new()).unwrap();
    let names: Vec<_> = found.items.iter().map(|item| item.name.rsplit('/').next().unwrap()).collect();
    assert_eq!(names, ["other"]);
    let mut excluded: Vec<_> =
        found.excluded.iter().map(|excluded| excluded.name.rsplit('/').next().unwrap()).collect();
    excluded.sort_unstable();
    assert_eq!(excluded, ["copy", "link", "repo", "state"]);
    let rule = |name: &str| found.excluded.iter().find(|excluded| excluded.name.ends_with(name)).unwrap();
    assert!(rule("/copy").rule.ends_with("is a copy of the repository, which is not backed up into itself"));
}

#[test]
fn of_a_folder_with_a_valid_tag_only_the_tag_is_stored() {
    let signature = "Signature: 8a477f597d28d172789f06886806bc55";
    let dir = tempfile::tempdir().unwrap();
    for folder in ["cache/sub", "short", "linked", "plain"] {
        fs::create_dir_all(dir.path().join(folder)).unwrap();
        fs::write(dir.path().join(folder).join("content"), "x").unwrap();
    }
    fs::write(dir.path().join("cache/CACHEDIR.TAG"), format!("{signature}\n# made by a test\n")).unwrap();
    fs::write(dir.path().join("short/CACHEDIR.TAG"), &signature[..42]).unwrap();
    symlink("../cache/CACHEDIR.TAG", dir.path().join("linked/CACHEDIR.TAG")).unwrap();
    // Of the directory that the operator names, everything is wanted.
    fs::write(dir.path().join("CACHEDIR.TAG"), signature).unwrap();
    fs::write(dir.path().join("cache/other"), "x").unwrap();

    let everything = source(dir.path(), &[]);
    let detail = dump(&everything, &Memory::default()).unwrap().into_detail::<Detail>().unwrap();
    assert!(detail.excluded.is_empty() && detail.files == 8, "{detail:?}");
    let caches = configured(DirectoryConfig {
        exclude: vec!["plain/".to_owned()],
        exclude_caches: true,
        ..DirectoryConfig::new(vec![dir.path().to_owned()])
    });
    let memory = Memory::default();
    let manifest = dump(&caches, &memory).unwrap();
    memory.finish(&manifest);
    assert_eq!(
        memory.paths(),
        [
            "CACHEDIR.TAG",
            "cache",
            "cache/CACHEDIR.TAG",
            "linked",
            "linked/CACHEDIR.TAG",
            "linked/content",
            "short",
            "short/CACHEDIR.TAG",
            "short/content"
        ]
    );
    let counts: Vec<(String, u64)> = manifest
        .into_detail::<Detail>()
        .unwrap()
        .excluded
        .into_iter()
        .map(|rule| (rule.pattern, rule.entries))
        .collect();
    assert_eq!(counts, [("plain/".to_owned(), 1), ("exclude_caches".to_owned(), 2)], "a file and a folder");

    // What rules leave out can be asked for without a backup.
    let item = caches.discover(&Cancel::new()).unwrap().items.remove(0);
    assert_eq!(caches.excluded_within(&item, &Cancel::new()).unwrap(), counts);
}
