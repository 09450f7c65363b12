//! The Debian package of the program under test. The first test that needs it builds it, so that other runs do not.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use crate::{kept, process::run_ok, program::bin, project, tools::tools_dirs};

/// The package, which is built if it does not exist; `None` without cargo-deb.
///
/// # Panics
/// If it cannot be built.
pub fn package() -> Option<PathBuf> {
    static PACKAGE: OnceLock<Option<PathBuf>> = OnceLock::new();
    PACKAGE.get_or_init(|| has_cargo_deb().then(once_per_run)).clone()
}

fn has_cargo_deb() -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let below_tools = tools_dirs().map(|dir| dir.join("cargo-deb/bin"));
    below_tools.chain(env::split_paths(&path)).any(|dir| dir.join("cargo-deb").exists())
}

/// nextest runs each test in a process of its own: the first one builds the package, and leaves a marker for the others.
fn once_per_run() -> PathBuf {
    let lock = fs::File::create(kept().join("debian-package.lock")).unwrap();
    lock.lock().unwrap();
    let note = kept().join("debian-package.note");
    let run = env::var("NEXTEST_RUN_ID").ok();
    let noted = fs::read_to_string(&note).unwrap_or_default();
    if let Some((of_run, path)) = noted.split_once('\n')
        && run.as_deref() == Some(of_run)
    {
        return PathBuf::from(path);
    }
    let package = make();
    if let Some(run) = run {
        fs::write(&note, format!("{run}\n{}", package.display())).unwrap();
    }
    package
}

/// Packs the program that the tests run. It is not built: other tests are running it.
fn make() -> PathBuf {
    let mut script = Command::new(project().join("scripts/package"));
    if bin().parent().and_then(Path::file_name).is_some_and(|profile| profile == "debug") {
        script.arg("--debug");
    }
    let printed = run_ok(script.arg("--no-build"), b"");
    PathBuf::from(String::from_utf8(printed).unwrap().trim())
}
