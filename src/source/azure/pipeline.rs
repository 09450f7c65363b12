//! Many small downloads in parallel, with results in the order of the listing. All queues are bounded: the number of
//! downloads, and of entries that wait for an earlier one.

use std::{
    collections::VecDeque,
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use crossbeam_channel::{Receiver, unbounded};

use crate::{
    error::{Error, Result},
    stream::cancel::Cancel,
};

/// Entries that may wait for an earlier one: enough that one large blob does not stop the small ones behind it.
const WINDOW: usize = 16_384;
/// Pages that are listed ahead.
const PAGES: usize = 2;
/// The interval for checking whether the run was cancelled.
const TICK: Duration = Duration::from_millis(200);

/// The steps for the entries of a listing.
pub(super) struct Steps<'a, E, J, O> {
    /// The next page; `None` at the end. Called by a thread of its own, ahead of the others.
    pub(super) pages: &'a mut (dyn FnMut() -> Result<Option<Vec<E>>> + Send),
    /// Handles an entry at once, or returns it to be fetched. Called in order.
    pub(super) quick: &'a mut dyn FnMut(E) -> Result<Quick<J, O>>,
    /// Fetches an entry. From several threads.
    pub(super) fetch: &'a (dyn Fn(J) -> Result<O> + Sync),
    /// Takes the results, in the order of the listing.
    pub(super) done: &'a mut dyn FnMut(O) -> Result<()>,
}

/// The result of the first step of an entry.
pub(super) enum Quick<J, O> {
    /// Nothing has to be fetched.
    Done(O),
    /// It has to be fetched.
    Fetch(J),
}

/// Signals running downloads that their results are no longer needed.
#[derive(Default)]
pub(super) struct Stop(AtomicBool);

impl Stop {
    /// Whether to stop.
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Runs all steps for all entries, with `workers` threads for fetching. The first error ends it and sets `stop`.
pub(super) fn run<E: Send, J: Send, O: Send>(
    workers: usize,
    steps: Steps<'_, E, J, O>,
    stop: &Stop,
    cancel: &Cancel,
) -> Result<()> {
    let Steps { pages, quick, fetch, done } = steps;
    let span = tracing::Span::current();
    thread::scope(|scope| {
        let (page_tx, page_rx) = crossbeam_channel::bounded(PAGES);
        let of_item = span.clone();
        scope.spawn(move || {
            let _span = of_item.entered();
            loop {
                let page = pages();
                let over = !matches!(page, Ok(Some(_)));
                // The receiver is closed after an error elsewhere.
                if page_tx.send(page).is_err() || over {
                    return;
                }
            }
        });
        let (job_tx, job_rx) = unbounded::<(u64, J)>();
        let (result_tx, results) = mpsc::channel();
        for _ in 0..workers.max(1) {
            let (jobs, results) = (job_rx.clone(), result_tx.clone());
            let of_item = span.clone();
            scope.spawn(move || of_item.in_scope(|| work(&jobs, fetch, &results)));
        }
        drop((job_rx, result_tx));
        let order = Order { pages: page_rx, jobs: job_tx, results, most_out: workers.max(1) * 4, cancel };
        let result = order.run(quick, done);
        stop.0.store(result.is_err(), Ordering::Relaxed);
        result
    })
}

fn work<J, O>(
    jobs: &Receiver<(u64, J)>,
    fetch: &(dyn Fn(J) -> Result<O> + Sync),
    results: &mpsc::Sender<(u64, Result<O>)>,
) {
    for (number, job) in jobs {
        let outcome = fetch(job);
        if results.send((number, outcome)).is_err() {
            return;
        }
    }
}

struct Order<'a, E, J, O> {
    pages: Receiver<Result<Option<Vec<E>>>>,
    jobs: crossbeam_channel::Sender<(u64, J)>,
    results: mpsc::Receiver<(u64, Result<O>)>,
    most_out: usize,
    cancel: &'a Cancel,
}

impl<E, J, O> Order<'_, E, J, O> {
    fn run(
        self,
        quick: &mut dyn FnMut(E) -> Result<Quick<J, O>>,
        done: &mut dyn FnMut(O) -> Result<()>,
    ) -> Result<()> {
        let mut window: VecDeque<Option<O>> = VecDeque::new();
        // Number of the entry at the front of the window.
        let (mut first, mut out, mut listed) = (0_u64, 0, false);
        let mut page = Vec::new().into_iter();
        loop {
            while !listed && out < self.most_out && window.len() < WINDOW {
                let Some(entry) = page.next() else {
                    match self.next_page()? {
                        Some(entries) => page = entries.into_iter(),
                        None => listed = true,
                    }
                    continue;
                };
                match quick(entry)? {
                    Quick::Done(outcome) if window.is_empty() => {
                        done(outcome)?;
                        first += 1;
                    }
                    Quick::Done(outcome) => window.push_back(Some(outcome)),
                    Quick::Fetch(job) => {
                        let job = (first + window.len() as u64, job);
                        self.jobs.send(job).map_err(|_| Error::failed("the download threads have ended"))?;
                        window.push_back(None);
                        out += 1;
                    }
                }
            }
            while let Some(front) = window.pop_front_if(|front| front.is_some()) {
                first += 1;
                if let Some(outcome) = front {
                    done(outcome)?;
                }
            }
            if listed && window.is_empty() {
                return Ok(());
            }
            if out == 0 {
                continue;
            }
            let (number, outcome) = self.next_result()?;
            out -= 1;
            if let Some(slot) = window.get_mut((number - first) as usize) {
                *slot = Some(outcome);
            }
        }
    }

    fn next_page(&self) -> Result<Option<Vec<E>>> {
        loop {
            self.cancel.check()?;
            match self.pages.recv_timeout(TICK) {
                Ok(page) => return page,
                Err(crossbeam_channel::RecvTimeoutError::Timeout) => {}
                Err(crossbeam_channel::RecvTimeoutError::Disconnected) => {
                    return Err(Error::failed("the listing thread has ended"));
                }
            }
        }
    }

    fn next_result(&self) -> Result<(u64, O)> {
        loop {
            self.cancel.check()?;
            match self.results.recv_timeout(TICK) {
                Ok((number, outcome)) => return outcome.map(|outcome| (number, outcome)),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    return Err(Error::failed("the download threads have ended"));
                }
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    /// Runs over the numbers below `count` in pages of ten; even ones are quick. Returns what came out.
    fn through(
        count: u64,
        fetch: &(dyn Fn(u64) -> Result<u64> + Sync),
        cancel: &Cancel,
    ) -> (Vec<u64>, Result<()>) {
        let (mut next, mut out) = (0, Vec::new());
        let result = run(
            4,
            Steps {
                pages: &mut || {
                    let page: Vec<u64> = (next..count.min(next + 10)).collect();
                    next += 10;
                    Ok((!page.is_empty()).then_some(page))
                },
                quick: &mut |n| Ok(if n % 2 == 0 { Quick::Done(n) } else { Quick::Fetch(n) }),
                fetch,
                done: &mut |n| {
                    out.push(n);
                    Ok(())
                },
            },
            &Stop::default(),
            cancel,
        );
        (out, result)
    }

    #[test]
    fn results_come_in_order_and_downloads_run_side_by_side() {
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let fetch = |n| {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            thread::sleep(Duration::from_millis(if n == 1 { 100 } else { n % 5 }));
            now.fetch_sub(1, Ordering::SeqCst);
            Ok(n)
        };
        let (out, result) = through(205, &fetch, &Cancel::new());
        result.unwrap();
        assert_eq!(out, (0..205).collect::<Vec<_>>());
        assert!((2..=4).contains(&most.load(Ordering::SeqCst)));
        assert!(through(0, &fetch, &Cancel::new()).0.is_empty());
    }

    #[test]
    fn the_first_error_ends_it() {
        let fetch = |n| if n == 21 { Err(Error::failed("broken")) } else { Ok(n) };
        let (out, result) = through(1000, &fetch, &Cancel::new());
        assert_eq!(result.unwrap_err().summary(), "broken");
        assert!(!out.contains(&21) && out.len() <= 21);
    }

    #[test]
    fn a_cancelled_run_ends() {
        let cancel = Cancel::new();
        let fetch = |n| {
            cancel.cancel("enough");
            Ok(n)
        };
        assert!(through(1000, &fetch, &cancel).1.unwrap_err().summary().contains("enough"));
    }
}
