//! Runs the same work for many items on several threads.
//!
//! A thread takes the next item when it has finished one, so a slow item does not delay others. Results are in the order of
//! the items. All functions return after all threads have ended.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use parking_lot::Mutex;

use crate::{error::Result, stream::cancel::Cancel};

/// Does `work` for each item on up to `threads` threads, at least one. To end early, `work` must check for a
/// reason itself and return.
///
/// # Panics
/// If `work` panics: the thread takes no further items, the others continue, and then the panic is propagated.
pub fn map<T: Sync, R: Send>(items: &[T], threads: usize, work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    // Log events of the threads belong to the caller's span.
    let span = tracing::Span::current();
    let worker = || {
        let _span = span.enter();
        let mut done = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(number) else { return done };
            done.push((number, work(item)));
        }
    };
    let mut done: Vec<(usize, R)> = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads.max(1).min(items.len())).map(|_| scope.spawn(worker)).collect();
        let ended =
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
        ended.flatten().collect()
    });
    done.sort_unstable_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, result)| result).collect()
}

/// As [`map`], but if `work` panics for an item, `panicked` gives its result, and the other items are not affected.
pub fn map_or<T: Sync, R: Send>(
    items: &[T],
    threads: usize,
    panicked: impl Fn(&T) -> R + Sync,
    work: impl Fn(&T) -> R + Sync,
) -> Vec<R> {
    map(items, threads, |item| {
        catch_unwind(AssertUnwindSafe(|| work(item))).unwrap_or_else(|_| panicked(item))
    })
}

/// As [`map`], for work that may fail. The first error cancels `stop` for `reason`; from then on no further item is begun, and
/// the work under way can see it. If something else cancels `stop`, items that were not begun have no result.
///
/// # Errors
/// The first error of `work`.
///
/// # Panics
/// As [`map`].
pub fn try_map<T: Sync, R: Send>(
    items: &[T],
    threads: usize,
    stop: &Cancel,
    reason: &str,
    work: impl Fn(&T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let first = Mutex::new(None);
    let done = map(items, threads, |item| {
        if stop.is_cancelled() {
            return None;
        }
        work(item)
            .map_err(|error| {
                first.lock().get_or_insert(error);
                stop.cancel(reason);
            })
            .ok()
    });
    match first.into_inner() {
        Some(error) => Err(error),
        None => Ok(done.into_iter().flatten().collect()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{collections::HashSet, time::Duration};

    use super::*;
    use crate::error::Error;

    #[test]
    fn results_come_in_the_order_of_the_items() {
        let numbers: Vec<u64> = (0..100).collect();
        let squares = map(&numbers, 8, |number| {
            thread::sleep(Duration::from_micros(100 * (number % 7)));
            number * number
        });
        assert_eq!(squares, numbers.iter().map(|number| number * number).collect::<Vec<_>>());
        assert!(map(&[0; 0], 8, |number: &i32| *number).is_empty());
        assert_eq!(map(&[1, 2], 0, |number| *number), [1, 2], "no threads are one thread");
    }

    #[test]
    fn no_more_threads_work_than_were_asked_for() {
        let ids = map(&[(); 12], 3, |()| {
            thread::sleep(Duration::from_millis(5));
            thread::current().id()
        });
        let threads: HashSet<_> = ids.into_iter().collect();
        assert!((2..=3).contains(&threads.len()), "{} threads", threads.len());
    }

    #[test]
    fn one_that_takes_long_holds_up_no_other() {
        let at = Mutex::new(Vec::new());
        map(&[true, false, false, false], 2, |is_slow| {
            // It lasts until all others are done.
            while *is_slow && at.lock().len() < 3 {
                thread::sleep(Duration::from_millis(1));
            }
            at.lock().push(*is_slow);
        });
        assert_eq!(at.into_inner(), [false, false, false, true]);
    }

    #[test]
    fn a_panic_costs_one_item_or_is_passed_on() {
        let odd = |number: &i32| if number % 2 == 1 { panic!("odd") } else { *number };
        assert_eq!(map_or(&[0, 1, 2, 3, 4], 2, |_| -1, odd), [0, -1, 2, -1, 4]);
        assert!(catch_unwind(|| map(&[0, 1, 2], 2, odd)).is_err());
    }

    #[test]
    fn the_first_error_ends_it_and_cancels_the_others() {
        let stop = Cancel::new();
        let numbers: Vec<usize> = (0..1000).collect();
        let begun = AtomicUsize::new(0);
        let result = try_map(&numbers, 2, &stop, "another one failed", |number| {
            begun.fetch_add(1, Ordering::Relaxed);
            match *number {
                3 => Err(Error::failed("broken")),
                // The other thread is not through with everything before this one has failed.
                4.. => {
                    stop.wait(Duration::from_secs(60));
                    Ok(*number)
                }
                _ => Ok(*number),
            }
        });
        assert_eq!(result.unwrap_err().summary(), "broken");
        assert_eq!(stop.reason(), Some("another one failed"));
        assert!(begun.into_inner() <= 5);
        let all = try_map(&numbers, 2, &Cancel::new(), "", |number| Ok(*number));
        assert_eq!(all.unwrap(), numbers);
        assert!(try_map(&numbers, 2, &stop, "", |number| Ok(*number)).unwrap().is_empty());
    }
}
