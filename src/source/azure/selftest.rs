//! An artificial container for the self-test.

use parking_lot::Mutex;

use super::{NAME, sample};
use crate::{
    error::Result,
    source::{
        Discovery, Item, Source,
        manifest::Manifest,
        subject::{Subject, Target, sample as content},
    },
    stream::{cancel::Cancel, sink::Sink},
};

/// An artificial container.
struct Container {
    blobs: Mutex<Vec<(String, Vec<u8>)>>,
}

/// A container with a few blobs.
pub(super) fn container() -> Box<dyn Subject> {
    let blobs = vec![("one".to_owned(), content(1)), ("sub/two".to_owned(), content(2))];
    Box::new(Container { blobs: Mutex::new(blobs) })
}

impl Source for Container {
    fn name(&self) -> &str {
        "drill"
    }

    fn kind(&self) -> &'static str {
        NAME
    }

    fn discover(&self, _: &Cancel) -> Result<Discovery> {
        let item = Item { name: "account/container".to_owned(), estimate: None, problem: None };
        Ok(Discovery { items: vec![item], ..Discovery::default() })
    }

    fn dump(&self, _: &Item, sink: &dyn Sink, _: &Cancel) -> Result<Manifest> {
        let blobs = self.blobs.lock();
        sample::store("drill", "account", "container", &blobs, sink)
    }
}

impl Subject for Container {
    fn name(&self) -> String {
        NAME.to_owned()
    }

    fn source(&self) -> &dyn Source {
        self
    }

    fn change(&self) -> Result<()> {
        let mut blobs = self.blobs.lock();
        blobs.iter_mut().take(1).for_each(|(_, data)| *data = content(3));
        Ok(())
    }

    fn damages(&self) -> &'static [(Target, &'static str, &'static str)] {
        &[]
    }

    fn file(&self) -> &'static str {
        "blobs/one"
    }

    fn other_file(&self) -> Option<&'static str> {
        Some("blobs/sub/two")
    }
}
