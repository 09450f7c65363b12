//! Retries with increasing delays.

use std::{
    thread,
    time::{Duration, Instant},
};

use super::Refused;
use crate::{error::Error, stream::cancel::Cancel};

/// The longest delay requested by a receiver that is honoured within a run. After a longer one, the next run retries.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// How often a wait checks for cancellation.
const POLL: Duration = Duration::from_millis(50);

/// The number of tries and the delays between them.
#[derive(Debug, Clone)]
pub struct Tries {
    /// The delays between tries, one fewer than there are tries.
    pub waits: Vec<Duration>,
}

impl Tries {
    /// `tries` tries: the first delay is a second, each further one is four times as long.
    pub fn new(count: usize) -> Self {
        let wait = |index: u32| Duration::from_secs(4_u64.saturating_pow(index)).min(LONGEST_WAIT);
        Self { waits: (0..).take(count.saturating_sub(1)).map(wait).collect() }
    }
}

/// Retries until success, until the tries are used up, until an error that retrying cannot solve, or until cancelled.
///
/// # Errors
/// The error of the last try.
pub fn with_tries(
    tries: &Tries,
    cancel: &Cancel,
    mut once: impl FnMut() -> Result<(), Refused>,
) -> Result<(), Refused> {
    let mut waits = tries.waits.iter();
    loop {
        if let Some(reason) = cancel.reason() {
            return Err(Refused::passing(Error::failed(format!("not sent: {reason}"))));
        }
        match once() {
            Ok(()) => return Ok(()),
            Err(refused) if refused.lasting || cancel.is_cancelled() => return Err(refused),
            Err(refused) => {
                let asked = refused.wait.unwrap_or_default();
                let Some(wait) = waits.next().filter(|_| asked <= LONGEST_WAIT) else { return Err(refused) };
                let until = Instant::now() + asked.max(jittered(*wait));
                while Instant::now() < until && !cancel.is_cancelled() {
                    thread::sleep(POLL.min(until.saturating_duration_since(Instant::now())));
                }
                if cancel.is_cancelled() {
                    return Err(refused);
                }
            }
        }
    }
}

/// Adds up to a quarter to a delay (jitter), so that hosts that failed together do not retry together.
fn jittered(wait: Duration) -> Duration {
    let mut random = [0; 1];
    // Without random numbers there is no jitter, which is harmless.
    let _ = getrandom::fill(&mut random);
    wait + wait * u32::from(random[0]) / 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quick(tries: usize) -> Tries {
        Tries { waits: vec![Duration::ZERO; tries - 1] }
    }

    fn no(lasting: bool) -> Result<(), Refused> {
        Err(Refused { error: Error::failed("no"), lasting, wait: None })
    }

    #[test]
    fn it_is_tried_until_it_succeeds_or_the_tries_are_used_up() {
        let mut count = 0;
        let done = with_tries(&quick(4), &Cancel::new(), || {
            count += 1;
            if count < 3 { no(false) } else { Ok(()) }
        });
        assert!(done.is_ok() && count == 3);
        let mut count = 0;
        let done = with_tries(&quick(4), &Cancel::new(), || {
            count += 1;
            no(false)
        });
        assert!(done.is_err() && count == 4);
    }

    #[test]
    fn what_cannot_help_is_not_tried_again() {
        let mut count = 0;
        let done = with_tries(&quick(4), &Cancel::new(), || {
            count += 1;
            no(true)
        });
        assert!(done.is_err() && count == 1);
    }

    #[test]
    fn a_receiver_that_asks_to_wait_for_long_is_left_alone() {
        let mut count = 0;
        let done = with_tries(&quick(4), &Cancel::new(), || {
            count += 1;
            let wait = Some(LONGEST_WAIT + Duration::from_secs(1));
            Err(Refused { error: Error::failed("later"), lasting: false, wait })
        });
        assert!(done.is_err() && count == 1);
    }

    #[test]
    fn a_cancelled_wait_ends() {
        let cancel = Cancel::new();
        let tries = Tries { waits: vec![Duration::from_secs(3600)] };
        let done = with_tries(&tries, &cancel, || {
            let later = cancel.clone();
            thread::spawn(move || {
                thread::sleep(Duration::from_millis(100));
                later.cancel("enough");
            });
            no(false)
        });
        assert!(done.is_err());
    }
}
