//! Heartbeats: signs of life for somebody who raises the alarm when they stay away. They are never sent late: one that
//! could not be delivered must be missed.

use std::{thread, time::Duration};

use super::{
    Failure,
    channel::{Heartbeat, Phase, Tries, with_tries},
};
use crate::{config::Config, history::History, stream::cancel::Cancel};

/// What a heartbeat says.
pub type Beat = Phase;

/// A stop flag that sets itself after a while.
pub fn within(budget: Duration) -> Cancel {
    let cancel = Cancel::new();
    let later = cancel.clone();
    // Without the thread only the tries and their timeouts bound the time.
    let _ = thread::Builder::new().name("budget".to_owned()).spawn(move || {
        thread::sleep(budget);
        later.cancel("telling took too long");
    });
    cancel
}

/// Sends to each heartbeat that concerns one of `sources` what `say` says for those that concern it. Returns those that
/// did not take it.
pub fn beat(
    config: &Config,
    history: &History,
    sources: &[&str],
    say: &(dyn Fn(&[&str]) -> (Beat, String) + Sync),
    cancel: &Cancel,
) -> Vec<Failure> {
    thread::scope(|scope| {
        let beating: Vec<_> = config
            .alerts
            .iter()
            .filter_map(|alert| {
                let of: Vec<&str> =
                    sources.iter().copied().filter(|name| alert.sources.matched(name).is_some()).collect();
                if of.is_empty() {
                    return None;
                }
                Some(scope.spawn(move || {
                    let sent = match Heartbeat::open(alert) {
                        Ok(None) => return None,
                        Ok(Some(heartbeat)) => {
                            let (phase, body) = say(&of);
                            let once = || heartbeat.ping(phase, &body, cancel);
                            with_tries(&Tries::new(alert.tries), cancel, once)
                                .map_err(|refused| refused.error)
                        }
                        Err(error) => Err(error),
                    };
                    let noted = history.sent(&alert.name, None, sent.as_ref().copied(), &jiff::Zoned::now());
                    let error = sent.and(noted).err()?;
                    Some(Failure { channel: alert.name.clone(), error: error.to_string() })
                }))
            })
            .collect();
        beating.into_iter().filter_map(|beating| beating.join().ok().flatten()).collect()
    })
}
