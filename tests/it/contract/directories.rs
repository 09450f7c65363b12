//! The directories that a pattern finds as a subject of the suite.

use std::{fs, path::PathBuf};

use serde_json::Value;
use tempfile::TempDir;
use testkit::{Config, ConfigBuilder, Restic, program::quoted, running::Hold, tree};

use super::{
    pieces,
    subject::{Offer, Report, SOURCE, Subject},
};

/// A directory whose directories are the items.
pub struct Directories {
    dir: TempDir,
}

impl Directories {
    pub fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("items")).unwrap();
        fs::create_dir(dir.path().join("aside")).unwrap();
        fs::write(dir.path().join("items/no directory"), "text").unwrap();
        Self { dir }
    }

    fn path(&self, item: &str) -> PathBuf {
        self.dir.path().join("items").join(item)
    }

    /// Where the content of a broken item is.
    fn aside(&self, item: &str) -> PathBuf {
        self.dir.path().join("aside").join(item)
    }
}

impl Subject for Directories {
    fn kind(&self) -> &'static str {
        "directory"
    }

    fn add_to(&self, builder: ConfigBuilder, more: &str) -> ConfigBuilder {
        let pattern = quoted(self.path("*").to_str().unwrap());
        builder.source(SOURCE, &format!("kind = \"directory\"\npaths = [{pattern}]\n{more}"))
    }

    fn secrets(&self) -> Offer<Vec<String>> {
        Err("directories are read without logging in")
    }

    fn name(&self, item: &str) -> String {
        self.path(item).to_str().unwrap().to_owned()
    }

    fn create(&self, item: &str, texts: &[String]) {
        self.create_empty(item);
        fs::create_dir(self.path(item).join(pieces::LATE)).unwrap();
        for (name, content) in pieces::of(texts) {
            fs::write(self.path(item).join(name), content).unwrap();
        }
    }

    fn rows(&self, texts: usize) -> usize {
        pieces::count(texts)
    }

    fn create_empty(&self, item: &str) {
        fs::create_dir(self.path(item)).unwrap();
    }

    fn add(&self, item: &str, text: &str) {
        fs::write(self.path(item).join("added.txt"), text).unwrap();
    }

    fn remove(&self, item: &str) {
        fs::remove_dir_all(self.path(item)).unwrap();
    }

    fn content(&self, item: &str) -> String {
        let mut text = String::new();
        for (path, properties) in tree::describe(&self.path(item)) {
            text += &format!("{} {properties}\n", path.escape_ascii());
        }
        tree::each(&self.path(item), &mut |path| {
            if path.is_file() {
                text += &fs::read_to_string(path).unwrap();
            }
        });
        text
    }

    fn odd_names(&self) -> Vec<&'static str> {
        vec!["it's \"a\" `db`\\y", "größe ☃", "--clean", "[a]?", "%2F", "tab\tand\nline", "a.b;c", " "]
    }

    fn exclusion(&self, _pattern: &str) -> Offer<(String, String)> {
        Err(
            "`exclude` is about the files of a directory; an item is left out by a narrower pattern in `paths`",
        )
    }

    fn never_backed_up(&self) -> Offer<&'static str> {
        Ok("is not a directory")
    }

    fn has_estimates(&self) -> bool {
        false
    }

    fn into(&self, item: &str) -> String {
        format!("--to={}", self.path(item).display())
    }

    fn report(&self) -> Report {
        Report { part: "folder", target: None, rows: "files", tables: None }
    }

    // A wrong argument, which is found before anything is read.
    fn code_if_occupied(&self) -> i32 {
        2
    }

    fn is_restored_as_it_was(&self) -> bool {
        true
    }

    fn manifest(&self, config: &Config, item: &str, snapshot: &str) -> Value {
        let path = format!("/{SOURCE}/{}/manifest.json", self.name(item).replace('/', "%2F"));
        let restic = Restic::new_().unwrap();
        let json = restic.dump(&config.repo(), &config.password_file(), snapshot, &path);
        serde_json::from_slice(&json).unwrap()
    }

    // As if the filesystem in it was not mounted. In the middle only single files fail, and these are left out and named:
    // tests/it/files/failures.rs.
    fn break_off(&self, item: &str) {
        fs::rename(self.path(item), self.aside(item)).unwrap();
        fs::create_dir(self.path(item)).unwrap();
    }

    fn heal(&self, item: &str) {
        fs::remove_dir(self.path(item)).unwrap();
        fs::rename(self.aside(item), self.path(item)).unwrap();
    }

    fn hold(&self, _item: &str) -> Offer<Hold> {
        Err("the program reads directories itself")
    }

    fn has_tools(&self) -> Offer<()> {
        Err("the program reads directories itself")
    }
}
