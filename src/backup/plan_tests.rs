//! Tests of the answers that a run waits for, and of the items that it begins with.

use std::collections::VecDeque;

use parking_lot::Mutex;

use super::*;
use crate::{error::Problem, source::manifest::Manifest, stream::sink::Sink};

/// A source of two accounts, of which one answers late.
struct Slow {
    rest: Result<Vec<&'static str>>,
}

fn item(name: &str) -> Item {
    let problem = (!name.contains('/')).then(|| Problem::new("it gives no answer"));
    Item { name: name.to_owned(), estimate: None, problem }
}

impl Source for Slow {
    fn name(&self) -> &str {
        "az"
    }

    fn kind(&self) -> &'static str {
        "azure-storage"
    }

    fn discover(&self, _: &Cancel) -> Result<Discovery> {
        Ok(Discovery {
            items: vec![item("quick/a"), item("quick/b")],
            waiting: vec!["slow".to_owned()],
            unknown: vec!["slow".to_owned()],
            answered: vec!["quick".to_owned()],
            ..Discovery::default()
        })
    }

    fn discover_rest(&self, _: &Cancel) -> Result<Option<Discovery>> {
        let rest = self.rest.clone()?;
        let names = ["quick/a", "quick/b"].into_iter().chain(rest);
        Ok(Some(Discovery { items: names.map(item).collect(), ..Discovery::default() }))
    }

    fn dump(&self, _: &Item, _: &dyn Sink, _: &Cancel) -> Result<Manifest> {
        Err(Error::failed("there is nothing to dump"))
    }
}

fn planned(rest: Result<Vec<&'static str>>, selectors: &[&str]) -> Plan {
    let source: Arc<dyn Source> = Arc::new(Slow { rest });
    let found = source.discover(&Cancel::new()).unwrap();
    let selectors = selectors.iter().map(|text| text.parse().unwrap()).collect();
    let (items, failed, fresh) = (Vec::new(), Vec::new(), Vec::new());
    let mut plan = Plan { sources: vec![(source, found)], items, failed, selectors, fresh, earlier: 0 };
    plan.add(0, None);
    plan.order();
    plan
}

fn items(plan: &Plan) -> Vec<&str> {
    plan.items.iter().map(|planned| planned.item.name.as_str()).collect()
}

fn failed(plan: &Plan) -> Vec<String> {
    plan.failed.iter().map(ItemReport::name).collect()
}

#[test]
fn a_run_begins_with_what_has_answered_and_the_rest_brings_only_what_is_new() {
    let cancel = Cancel::new();
    let mut plan = planned(Ok(vec!["slow/c", "slow"]), &[]);
    assert!(plan.waits());
    assert_eq!((items(&plan), failed(&plan), plan.total()), (vec!["quick/a", "quick/b"], vec![], 2));
    let rest = plan.rest(&cancel);
    plan.continue_with(rest);
    assert!(!plan.waits());
    assert_eq!((items(&plan), failed(&plan), plan.total()), (vec!["slow/c"], vec!["az/slow".to_owned()], 4));
    assert_eq!(plan.fresh().count(), 1);

    let whole = planned(Ok(vec!["slow/c", "slow"]), &[]).complete(&cancel);
    assert_eq!(items(&whole), ["slow/c", "quick/a", "quick/b"]);
    assert_eq!((failed(&whole), whole.total()), (vec!["az/slow".to_owned()], 4));
    let nothing_new = planned(Ok(vec![]), &[]).complete(&cancel);
    assert_eq!((items(&nothing_new).len(), nothing_new.failed.len()), (2, 0));
}

/// A source whose accounts answer one after the other.
struct OneByOne(Mutex<VecDeque<Discovery>>);

impl Source for OneByOne {
    fn name(&self) -> &str {
        "az"
    }

    fn kind(&self) -> &'static str {
        "azure-storage"
    }

    fn discover(&self, _: &Cancel) -> Result<Discovery> {
        Ok(self.0.lock().pop_front().unwrap())
    }

    fn discover_rest(&self, cancel: &Cancel) -> Result<Option<Discovery>> {
        self.discover(cancel).map(Some)
    }

    fn dump(&self, _: &Item, _: &dyn Sink, _: &Cancel) -> Result<Manifest> {
        Err(Error::failed("there is nothing to dump"))
    }
}

/// Its plan, where each answer has these items and waits for these accounts.
fn one_by_one(answers: &[(&[&str], &[&str])], selectors: &[&str]) -> Plan {
    fn owned(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }
    let answer = |(items, waiting): &(&[&str], &[&str])| Discovery {
        items: items.iter().map(|name| item(name)).collect(),
        waiting: owned(waiting),
        unknown: owned(waiting),
        ..Discovery::default()
    };
    let source: Arc<dyn Source> = Arc::new(OneByOne(Mutex::new(answers.iter().map(answer).collect())));
    let found = source.discover(&Cancel::new()).unwrap();
    let selectors = selectors.iter().map(|text| text.parse().unwrap()).collect();
    let (items, failed, fresh) = (Vec::new(), Vec::new(), Vec::new());
    let mut plan = Plan { sources: vec![(source, found)], items, failed, selectors, fresh, earlier: 0 };
    plan.add(0, None);
    plan.order();
    plan
}

#[test]
fn what_answers_late_does_not_wait_for_the_slowest() {
    let cancel = Cancel::new();
    let answers: [(&[&str], &[&str]); 3] = [
        (&["quick/a"], &["late", "busy"]),
        (&["quick/a", "late/b"], &["busy"]),
        (&["quick/a", "late/b", "busy"], &[]),
    ];
    let mut plan = one_by_one(&answers, &[]);
    assert!(plan.waits() && items(&plan) == ["quick/a"]);
    let rest = plan.rest(&cancel);
    plan.continue_with(rest);
    assert!(plan.waits(), "for the busy one");
    assert_eq!((items(&plan), failed(&plan), plan.total()), (vec!["late/b"], vec![], 2));
    let rest = plan.rest(&cancel);
    plan.continue_with(rest);
    assert!(!plan.waits());
    assert_eq!((items(&plan), failed(&plan), plan.total()), (vec![], vec!["az/busy".to_owned()], 3));

    let whole = one_by_one(&answers, &[]).complete(&cancel);
    assert_eq!((items(&whole), failed(&whole)), (vec!["quick/a", "late/b"], vec!["az/busy".to_owned()]));
    assert_eq!(whole.total(), 3);
    // The named item has answered.
    let mut named = one_by_one(&answers, &["az/late/b"]);
    let rest = named.rest(&cancel);
    named.continue_with(rest);
    assert!(!named.waits() && items(&named) == ["late/b"]);
    // A source that never answers anything new is not asked forever.
    let stuck: [(&[&str], &[&str]); 2] = [(&["quick/a"], &["busy"]), (&["quick/a"], &["busy"])];
    let stuck = one_by_one(&stuck, &[]).complete(&cancel);
    assert!(!stuck.waits() && stuck.sources[0].1.is_unknown("busy/x"));
}

#[test]
fn what_is_named_is_waited_for_only_if_it_may_still_come() {
    let cancel = Cancel::new();
    assert!(!planned(Ok(vec![]), &["az/quick/a"]).waits());
    let missing = planned(Ok(vec![]), &["az/quick/x"]);
    assert!(!missing.waits() && failed(&missing) == ["az/quick/x"]);
    let plan = planned(Ok(vec!["slow/c"]), &["az/slow/c", "az/slow/d"]);
    assert!(plan.waits() && plan.items.is_empty() && plan.failed.is_empty());
    let plan = plan.complete(&cancel);
    assert_eq!((items(&plan), failed(&plan)), (vec!["slow/c"], vec!["az/slow/d".to_owned()]));
    let error = plan.failed[0].error.as_ref().unwrap().to_string();
    assert!(error.contains("the source has no such item"), "{error}");
}

#[test]
fn a_rest_that_never_comes_fails_the_source_and_leaves_it_open() {
    let plan = planned(Err(Error::failed("stopped")), &[]).complete(&Cancel::new());
    assert_eq!((items(&plan).len(), failed(&plan)), (2, vec!["az".to_owned()]));
    assert!(plan.sources[0].1.is_unknown("slow/c") && !plan.sources[0].1.is_unknown("quick/c"));
}

#[test]
fn selectors_may_hold_slashes() {
    let selector: Selector = "pg/a/b".parse().unwrap();
    assert_eq!(selector, Selector { source: "pg".into(), item: Some("a/b".into()) });
    assert!(selector.matches("pg", "a/b") && !selector.matches("pg", "a"));
    assert!("pg".parse::<Selector>().unwrap().matches("pg", "anything"));
    assert!("/x".parse::<Selector>().is_err());
    assert!("pg/".parse::<Selector>().is_err());
}
