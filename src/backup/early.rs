//! What a run does while its repository is being opened: it asks the sources what exists, and begins the dump of the first item.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, never};
use parking_lot::Mutex;

use super::{Plan, Selector, discover};
use crate::{
    config::Config,
    error::{Error, Result},
    source::{Begun, Item, Source},
    stream::cancel::Cancel,
};

/// How long a dump that has begun waits for its sink: meanwhile it holds a transaction and locks on the server.
const LONGEST: Duration = Duration::from_secs(5);
/// A plan that is older is not used: items may have been created since.
const FRESH: Duration = Duration::from_secs(30);
/// How long the end of the thread is waited for, if nothing that it does is needed: longer than ending a tool takes.
const ENDING: Duration = Duration::from_secs(5);

type Dump = Result<Box<dyn Begun>>;

/// The thread that works beside the opening of the repository.
pub(super) struct Early {
    asking: Cancel,
    dumping: Cancel,
    planned: Receiver<Planned>,
    first: Mutex<Option<First>>,
    /// Disconnected when the thread has ended.
    over: Receiver<()>,
}

struct Planned {
    at: Instant,
    plan: Result<Plan>,
    first: Option<First>,
}

/// The item whose dump is begun.
struct First {
    source: String,
    item: String,
    /// Without room: what is not received is dropped.
    dump: Receiver<Dump>,
}

impl Early {
    /// Starts the thread. If that fails, nothing is done early.
    pub(super) fn start(config: &Config, selectors: &[Selector], cancel: &Cancel) -> Self {
        let (planner, planned) = bounded(1);
        let (alive, over) = bounded::<()>(0);
        let (asking, dumping) = (cancel.child(), cancel.child());
        let early = Self { asking, dumping, planned, first: Mutex::default(), over };
        let (config, selectors) = (config.clone(), selectors.to_vec());
        let (asking, dumping) = (early.asking.clone(), early.dumping.clone());
        let work = move || {
            let _alive = alive;
            let plan = discover(&config, &selectors, &asking);
            let at = Instant::now();
            let (offer, first) = first_of(&plan).unzip();
            let begin =
                offer.map(|(dump, source, item)| move || begin(&*source, &item, (&dump, LONGEST), &dumping));
            let is_wanted = planner.send(Planned { at, plan, first }).is_ok();
            // When both ends of the channel are dropped, a plan that was not taken is dropped too.
            drop(planner);
            if let Some(begin) = begin.filter(|_| is_wanted) {
                begin();
            }
        };
        // Without the thread, the run does everything in its order.
        let _ = thread::Builder::new().name("early".to_owned()).spawn(work);
        early
    }

    /// The answers of the sources, which are waited for. `None` if they have to be asked again.
    pub(super) fn plan(&self, cancel: &Cancel) -> Option<Result<Plan>> {
        self.asking.follow(cancel);
        let Planned { at, plan, first } = self.planned.recv().ok()?;
        if at.elapsed() > FRESH {
            self.asking.cancel("it was asked too long ago");
            self.dumping.cancel("it was begun too long ago");
            return None;
        }
        *self.first.lock() = first.filter(|_| !self.dumping.is_cancelled());
        Some(plan)
    }

    /// Ends the dump, because what stores it will not be there soon. The plan stays.
    pub(super) fn end_dump(&self) {
        self.dumping.cancel("the repository is not ready");
    }

    /// The dump of an item if it was begun early, or why it could not be begun. `None` also after an error that may pass: it is
    /// begun again. From now on `cancel` ends it.
    pub(super) fn take(&self, source: &str, item: &str, cancel: &Cancel) -> Option<Dump> {
        let is_it = |first: &mut First| first.source == source && first.item == item;
        let first = self.first.lock().take_if(is_it)?;
        self.dumping.follow(cancel);
        first.dump.recv().ok().filter(|dump| dump.as_ref().err().and_then(Error::passing).is_none())
    }
}

impl Drop for Early {
    fn drop(&mut self) {
        // Nothing that is still going on is needed.
        self.asking.cancel("it is not needed any more");
        self.dumping.cancel("it is not needed any more");
        self.first.lock().take();
        // A plan that was not taken is dropped, and with it the receiver of the dump.
        self.planned = never();
        if matches!(self.over.recv_timeout(ENDING), Err(RecvTimeoutError::Timeout)) {
            tracing::debug!("a source takes long to end what was begun early");
        }
    }
}

/// What is needed to begin the dump of an item and to hand it over.
type Offer = (Sender<Dump>, Arc<dyn Source>, Item);

/// The first item of a plan, and the way to hand over its dump.
fn first_of(plan: &Result<Plan>) -> Option<(Offer, First)> {
    let plan = plan.as_ref().ok()?;
    let planned = plan.items.first()?;
    let source = plan.sources[planned.source].0.clone();
    let (sender, dump) = bounded(0);
    let first = First { source: source.name().to_owned(), item: planned.item.name.clone(), dump };
    Some(((sender, source, planned.item.clone()), first))
}

/// Begins the dump of an item, and drops it unless it is taken within the limit.
fn begin(source: &dyn Source, item: &Item, (dump, limit): (&Sender<Dump>, Duration), cancel: &Cancel) {
    if cancel.is_cancelled() {
        return;
    }
    let _span = tracing::info_span!("item", source = source.name(), item = item.name).entered();
    if let Some(begun) = source.begin(item, cancel) {
        tracing::debug!("the dump has begun early");
        if dump.send_timeout(begun, limit).is_err() {
            tracing::info!("the dump that was begun early was not needed, or not soon enough");
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "early_tests.rs"]
mod tests;
