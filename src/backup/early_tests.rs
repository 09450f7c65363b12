//! Tests of what is begun before the repository is open.

use std::{
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
};

use super::*;
use crate::{
    error::{Error, Passing},
    source::{Discovery, manifest::Manifest},
    stream::sink::Sink,
};

/// Counts the dumps that are going on.
#[derive(Clone, Default)]
struct Open(Arc<AtomicUsize>);

impl Open {
    fn dumps(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// A dump that is going on until it is dropped.
struct Going(Open);

impl Drop for Going {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Begun for Going {
    fn store(self: Box<Self>, _: &dyn Sink) -> Result<Manifest> {
        Err(Error::failed("there is nothing to store"))
    }
}

impl Source for Open {
    fn name(&self) -> &str {
        "pg"
    }

    fn kind(&self) -> &'static str {
        "postgres"
    }

    fn discover(&self, _: &Cancel) -> Result<Discovery> {
        Ok(Discovery::default())
    }

    fn begin(&self, _: &Item, _: &Cancel) -> Option<Dump> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Some(Ok(Box::new(Going(self.clone()))))
    }

    fn dump(&self, _: &Item, _: &dyn Sink, _: &Cancel) -> Result<Manifest> {
        Err(Error::failed("there is nothing to dump"))
    }
}

/// As [`Early::start`], with this source, whose first item is `shop`.
fn started(source: &Open, limit: Duration) -> Early {
    let (planner, planned) = bounded(1);
    let (alive, over) = bounded::<()>(0);
    let whole = Cancel::new();
    let early =
        Early { asking: whole.child(), dumping: whole.child(), planned, first: Mutex::default(), over };
    let (sender, dump) = bounded(0);
    let first = First { source: "pg".to_owned(), item: "shop".to_owned(), dump };
    let plan = Err(Error::failed("the test needs no plan"));
    planner.send(Planned { at: Instant::now(), plan, first: Some(first) }).unwrap();
    let (source, dumping) = (source.clone(), early.dumping.clone());
    thread::spawn(move || {
        let item = Item { name: "shop".to_owned(), estimate: None, problem: None };
        begin(&source, &item, (&sender, limit), &dumping);
        drop(alive);
    });
    early
}

/// Longer than any test.
const LONG: Duration = Duration::from_secs(600);

#[test]
fn a_dump_is_handed_over_once_and_only_for_its_item() {
    let (open, cancel) = (Open::default(), Cancel::new());
    let early = started(&open, LONG);
    assert!(early.plan(&cancel).is_some());
    assert!(early.take("pg", "crm", &cancel).is_none());
    assert!(early.take("other", "shop", &cancel).is_none());
    let dump = early.take("pg", "shop", &cancel).unwrap().unwrap();
    assert!(early.take("pg", "shop", &cancel).is_none(), "another attempt begins anew");
    drop(early);
    assert_eq!(open.dumps(), 1, "it belongs to the run");
    drop(dump);
    assert_eq!(open.dumps(), 0);
}

#[test]
fn a_run_that_fails_before_it_takes_the_dump_ends_it() {
    let open = Open::default();
    let early = started(&open, LONG);
    while open.dumps() == 0 {
        thread::sleep(Duration::from_millis(1));
    }
    drop(early);
    assert_eq!(open.dumps(), 0, "before the plan was taken");
    let early = started(&open, LONG);
    assert!(early.plan(&Cancel::new()).is_some());
    drop(early);
    assert_eq!(open.dumps(), 0, "after it");
}

#[test]
fn a_dump_does_not_wait_for_long() {
    let (open, cancel) = (Open::default(), Cancel::new());
    let early = started(&open, Duration::from_millis(1));
    assert!(early.plan(&cancel).is_some());
    assert!(early.over.recv().is_err(), "the thread has ended");
    assert_eq!(open.dumps(), 0);
    assert!(early.take("pg", "shop", &cancel).is_none(), "it is begun anew");
}

#[test]
fn a_run_that_has_to_wait_ends_the_dump_and_keeps_the_plan() {
    let (open, cancel) = (Open::default(), Cancel::new());
    let early = started(&open, LONG);
    early.end_dump();
    assert!(early.dumping.is_cancelled() && !early.asking.is_cancelled());
    assert!(early.plan(&cancel).is_some());
    assert!(early.take("pg", "shop", &cancel).is_none(), "it is begun anew");
}

#[test]
fn an_error_that_may_pass_does_not_count() {
    for (passing, is_given) in [(Some(Passing::Connections), false), (None, true)] {
        let (sender, dump) = bounded(1);
        let early = started(&Open::default(), LONG);
        let error = passing.map_or(Error::failed("x"), |passing| Error::failed("x").passes(passing));
        sender.send(Err(error)).unwrap();
        *early.first.lock() = Some(First { source: "pg".to_owned(), item: "shop".to_owned(), dump });
        assert_eq!(early.take("pg", "shop", &Cancel::new()).is_some(), is_given);
    }
}

#[test]
fn what_cancels_the_run_ends_the_dump_that_it_has_taken() {
    let (open, run) = (Open::default(), Cancel::new());
    let early = started(&open, LONG);
    assert!(early.plan(&Cancel::new()).is_some());
    assert!(early.take("pg", "shop", &run).is_some());
    run.cancel("the storage is full");
    assert_eq!(early.dumping.reason(), Some("the storage is full"));
}

#[test]
fn sources_are_asked_beside_the_opening_and_again_if_it_takes_long() {
    let folder = tempfile::tempdir().unwrap();
    let paths = folder.path().join("files");
    std::fs::create_dir(&paths).unwrap();
    std::fs::write(folder.path().join("password"), "a repository password for tests").unwrap();
    let text = format!(
        "state_dir = \"{at}/state\"\n[repository]\nlocation = \"{at}/repo\"\npassword_file = \"{at}/password\"\n\
         [sources.files]\nkind = \"directory\"\npaths = [\"{at}/files\"]\n",
        at = folder.path().display()
    );
    let config = Config::parse(&text, Path::new("/etc/config.toml")).unwrap();
    let early = Early::start(&config, &[], &Cancel::new());
    let plan = early.plan(&Cancel::new()).unwrap().unwrap();
    assert_eq!(plan.items.len(), 1);
    assert!(early.take("files", &plan.items[0].item.name, &Cancel::new()).is_none());
    assert!(early.plan(&Cancel::new()).is_none(), "asked again");
}
