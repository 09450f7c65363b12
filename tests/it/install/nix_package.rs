//! Two lists in nix/package.nix that only a build with Nix uses: the tests of the library that it skips, and the files that
//! it copies. The tests compare both with the library's sources, because such a build is rarely made and no other one
//! would fail.

use std::{
    fs,
    path::{Path, PathBuf},
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn package() -> String {
    fs::read_to_string(root().join("nix/package.nix")).unwrap()
}

fn sources(folder: &Path, into: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|end| end == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            into.push((path, text));
        }
    }
}

fn library() -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    files
}

/// The lines of a list of the file, from the one that begins it.
fn list<'a>(package: &'a str, begin: &str, end: &str) -> Vec<&'a str> {
    let from = package.find(begin).unwrap_or_else(|| panic!("{begin} is missing"));
    let lines: Vec<_> =
        package[from..].lines().skip(1).map(str::trim).take_while(|line| *line != end).collect();
    assert!(!lines.is_empty(), "{begin}");
    lines
}

#[test]
fn tests_that_a_build_with_nix_skips_exist() {
    let (package, files) = (package(), library());
    for name in list(&package, "forbidden = [", "];") {
        let name = name.trim_matches('"');
        let (modules, function) = name.rsplit_once("::").unwrap();
        let folder = modules.split("::").next().unwrap();
        let declared = format!("fn {function}()");
        let below = |path: &Path| path.strip_prefix(root().join("src")).unwrap().starts_with(folder);
        assert!(files.iter().any(|(path, text)| below(path) && text.contains(&declared)), "{name}");
    }
}

/// A file that the library or its tests read and that the source of the Nix package lacks fails that build only.
#[test]
fn the_source_of_the_nix_package_has_what_the_library_reads() {
    let package = package();
    let listed: Vec<PathBuf> = list(&package, "fileset = lib.fileset.unions [", "];")
        .into_iter()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.strip_prefix("../").map_or_else(|| Path::new("nix").join(&line[2..]), PathBuf::from))
        .collect();
    assert!(listed.contains(&PathBuf::from("testkit")), "cargo needs every member of the workspace");
    let mut read = 0;
    for (path, text) in library() {
        for literal in text.split('"').skip(1) {
            let outside = literal.trim_start_matches('/').trim_start_matches("../");
            if ["tests/", "docs/", "nix/", "packaging/"].iter().all(|folder| !outside.starts_with(folder))
                || !root().join(outside).exists()
            {
                continue;
            }
            read += 1;
            assert!(
                listed.iter().any(|entry| Path::new(outside).starts_with(entry)),
                "{} reads {outside}, which is not in the fileset of nix/package.nix",
                path.display()
            );
        }
    }
    assert!(read > 10, "{read} files outside of src were found");
}
