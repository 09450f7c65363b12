//! Reports of items when the storage has failed, or when the end of the run could not confirm them.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, sync::atomic::AtomicU64, time::Duration};

use parking_lot::Mutex;

use super::*;
use crate::{
    backup::{RunReport, discover, held::Stored},
    history::{Check, Content, History, Home},
    outcome::ItemOutcome,
    repository::{
        LockOptions, patiently,
        writer::{FinalCheck, Written},
    },
};

/// Records the items that are reported to it.
#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl Observer for Told {
    fn notice(&self, _: &str) {}
    fn started(&self, _: &str, _: Option<u64>, _: Arc<AtomicU64>) {}
    fn finished(&self, item: &ItemReport) {
        self.0.lock().push(format!("{} {}", item.name(), item.outcome.as_str()));
    }
}

impl Told {
    fn sorted(&self) -> Vec<String> {
        let mut told = self.0.lock().clone();
        told.sort();
        told
    }
}

/// A configuration with a repository and a source of two directories.
fn configured(folder: &Path) -> Config {
    let password = folder.join("password");
    fs::write(&password, "a repository password for tests").unwrap();
    fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).unwrap();
    for name in ["a", "b"] {
        fs::create_dir_all(folder.join(name)).unwrap();
        fs::write(folder.join(name).join("file"), name).unwrap();
    }
    let at = folder.display();
    let text = format!(
        "state_dir = \"{at}/state\"\n[repository]\nlocation = \"{at}/repo\"\npassword_file = \"{at}/password\"\n\
         [sources.files]\nkind = \"directory\"\npaths = [\"{at}/a\", \"{at}/b\"]\n"
    );
    let config = Config::parse(&text, &folder.join("config.toml")).unwrap();
    Repository::init(&config.repository).unwrap();
    config
}

#[test]
fn items_that_come_after_the_storage_has_failed_are_all_reported() {
    let folder = tempfile::tempdir().unwrap();
    let config = configured(folder.path());
    let (cancel, told, report) = (Cancel::new(), Told::default(), RunReport::begin());
    let home = Home::example(&folder.path().join("state"), "h", "/nowhere");
    let history = History::open_home(home, Check::Quick).unwrap();
    let recorder = Recorder::begin(&config, &[], &report, &history, None, &told);
    let repository = Repository::open(&config.repository).unwrap();
    let notice = |_: &str| {};
    let options = LockOptions { exclusive: false, wait: Duration::ZERO, cancel: &cancel, notice: &notice };
    let lock = Arc::new(repository.lock(&options).unwrap());
    let plan = discover(&config, &[], &cancel).unwrap();
    let (reports, (more, error, _)) = patiently(Duration::ZERO, &cancel, &notice, |patience| {
        let mut passes = Passes {
            config: &config,
            repository: &repository,
            patience,
            lock,
            recorder: &recorder,
            observer: &told,
            program: &cancel,
            cancel: cancel.child(),
            early: None,
            current: None,
            // There was no second pass.
            error: Some(Error::repository("the storage is away")),
            held: Held::default(),
            lost: None,
        };
        passes.begin(&plan, false).unwrap();
        (passes.run(&plan), passes.finish())
    });
    assert_eq!(told.sorted(), ["files/a failed", "files/b failed"]);
    assert_eq!(reports.len(), 2);
    assert!(
        reports.iter().all(|report| report
            .error
            .as_ref()
            .unwrap()
            .to_string()
            .contains("the storage is away"))
    );
    assert!(more.is_empty() && error.unwrap().summary() == "the storage is away");
    assert!(!cancel.is_cancelled(), "nobody wants the program to end");
}

/// An item that is stored as this snapshot.
fn stored(item: &str, snapshot: String) -> Stored {
    let report = ItemReport {
        outcome: ItemOutcome::Ok,
        error: None,
        snapshot: Some(snapshot),
        ..ItemReport::failed("files", Some(item), "directory", Error::failed("it did not"))
    };
    Stored { report, content: Some(Content { bytes: 5, time: 1_700_000_000_000, ..Content::default() }) }
}

#[test]
fn only_what_the_end_of_a_run_has_confirmed_is_a_success_and_every_item_is_told_once() {
    let folder = tempfile::tempdir().unwrap();
    let config = configured(folder.path());
    let (told, report) = (Told::default(), RunReport::begin());
    let home = Home::example(&folder.path().join("state"), "h", "/nowhere");
    let history = History::open_home(home, Check::Quick).unwrap();
    let recorder = Recorder::begin(&config, &[], &report, &history, None, &told);
    let snapshot =
        |byte: u8| Written { snapshot: rustic_core::Id::new([byte; 32]), root: rustic_core::Id::default() };
    let mut held = Held::default();
    for (item, byte) in [("removed", 1), ("unseen", 2), ("whole", 3)] {
        held.stored.push(stored(item, snapshot(byte).id()));
    }
    held.saw(FinalCheck {
        removed: vec![snapshot(1).id()],
        unconfirmed: vec![snapshot(2)],
        error: Some(Error::repository("the storage is away")),
    });
    assert!(held.doubt().is_some() && told.sorted().is_empty());
    let reports = held.settle(&recorder, &told);
    assert_eq!(told.sorted(), ["files/removed failed", "files/unseen failed", "files/whole ok"]);
    let errors: Vec<_> =
        reports.iter().map(|report| report.error.clone().unwrap_or_default().to_string()).collect();
    assert!(errors[0].contains("its snapshot 01010101 was removed again"), "{errors:?}");
    assert!(errors[1].contains("its snapshot 02020202 is stored, but it could not be checked"), "{errors:?}");
    assert!(errors[1].contains("the storage is away"), "{errors:?}");
    assert_eq!(history.last_bytes().unwrap().into_keys().collect::<Vec<_>>(), ["files/whole"]);
    assert!(held.settle(&recorder, &told).is_empty());
}
