//! The connections of the server: how many there may be, and how long each may take. Whoever reaches the address can open one before a
//! token is asked for, so all of this has limits.

use std::{
    collections::BTreeMap,
    future::Future,
    io,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use axum::Router;
use hyper::{Request, body::Incoming, server::conn::http1, service::Service};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use rustix::process::{Resource, getrlimit};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{Notify, watch},
    time,
};

/// How long the head of a request may take to arrive; also how long a connection may wait for its next request.
const HEAD: Duration = Duration::from_secs(10);
/// The longest head of a request. Bodies are refused.
const HEAD_BYTES: usize = 16 << 10;
/// After so long a connection takes no further request.
const LAST_REQUEST: Duration = Duration::from_secs(60);
/// After so long it is closed, whoever reads however slowly.
const LONGEST: Duration = Duration::from_secs(120);
/// The most connections at a time. A process that may open few files has fewer: a quarter of those.
const MOST: usize = 64;
/// A pause after the system had nothing left for one more connection.
const PAUSE: Duration = Duration::from_millis(50);

/// What is known of an open connection.
struct Known {
    /// Since when it has no request that is being answered.
    waits: Option<Instant>,
    /// Told when it is to make room.
    leave: Arc<Notify>,
}

/// The open connections.
struct Open {
    most: usize,
    known: Mutex<BTreeMap<u64, Known>>,
    /// Told whenever there is one less.
    fewer: Notify,
}

impl Open {
    fn known(&self) -> MutexGuard<'_, BTreeMap<u64, Known>> {
        self.known.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Closes the connection that has waited for a request for the longest. False if there is none.
    fn make_room(&self) -> bool {
        let mut known = self.known();
        let waiting = known.iter().filter_map(|(number, one)| Some((one.waits?, *number)));
        let Some((_, number)) = waiting.min() else { return false };
        if let Some(one) = known.remove(&number) {
            one.leave.notify_one();
        }
        true
    }

    /// Returns once none is left.
    async fn emptied(&self) {
        while !self.known().is_empty() {
            // A connection that ends in between has left a permit.
            self.fewer.notified().await;
        }
    }
}

/// The place of a connection among the open ones; it leaves when dropped.
struct Place {
    open: Arc<Open>,
    number: u64,
}

impl Place {
    fn take(open: &Arc<Open>, number: u64, leave: Arc<Notify>) -> Self {
        open.known().insert(number, Known { waits: Some(Instant::now()), leave });
        Self { open: open.clone(), number }
    }

    fn waits(&self, waits: Option<Instant>) {
        if let Some(one) = self.open.known().get_mut(&self.number) {
            one.waits = waits;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.known().remove(&self.number);
        self.open.fewer.notify_one();
    }
}

/// How many connections a process may have that may open `files` files.
fn most(files: Option<u64>) -> usize {
    let files = files.and_then(|files| usize::try_from(files).ok()).unwrap_or(usize::MAX);
    (files / 4).clamp(4, MOST)
}

/// Takes connections and answers what they ask until `over`; after that only what is being answered, for `grace` at most. Where there are
/// too many, the one that has sent no whole request for the longest makes room, so that half requests keep nobody out.
pub(super) async fn serve<S>(
    accept: impl AsyncFn() -> io::Result<S>,
    router: Router,
    over: impl Future<Output = ()>,
    grace: Duration,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let most = most(getrlimit(Resource::Nofile).current);
    let open = Arc::new(Open { most, known: Mutex::default(), fewer: Notify::new() });
    let (ending, told) = watch::channel(false);
    let mut over = pin!(over);
    for number in 0_u64.. {
        let accepted = tokio::select! {
            () = &mut over => break,
            accepted = accept() => accepted,
        };
        match accepted {
            Ok(stream) => {
                // If all of them are being answered, the new one is closed: its client sees that at once, and may try again.
                if open.known().len() < open.most || open.make_room() {
                    let leave = Arc::new(Notify::new());
                    let place = Place::take(&open, number, leave.clone());
                    tokio::spawn(connection(stream, router.clone(), place, leave, told.clone()));
                }
            }
            // The client has gone again.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionAborted
                        | io::ErrorKind::ConnectionReset
                        | io::ErrorKind::ConnectionRefused
                ) => {}
            // Too many open files, no memory: what waits in vain goes, and the rest is tried again a moment later.
            Err(_) => {
                open.make_room();
                time::sleep(PAUSE).await;
            }
        }
    }
    let _ = ending.send(true);
    let _ = time::timeout(grace, open.emptied()).await;
}

/// One connection, with all its requests.
async fn connection<S>(
    stream: S,
    router: Router,
    place: Place,
    leave: Arc<Notify>,
    mut told: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let place = Arc::new(place);
    let router = TowerToHyperService::new(router);
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let (place, answer) = (place.clone(), router.call(request));
        async move {
            place.waits(None);
            let answer = answer.await;
            place.waits(Some(Instant::now()));
            answer
        }
    });
    let mut settings = http1::Builder::new();
    settings.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(HEAD_BYTES);
    let mut served = pin!(settings.serve_connection(TokioIo::new(stream), service));
    let mut last_request = pin!(time::sleep(LAST_REQUEST));
    let mut longest = pin!(time::sleep(LONGEST));
    let mut ending = false;
    loop {
        tokio::select! {
            // What went wrong with it is the client's concern.
            _ = served.as_mut() => return,
            () = leave.notified() => return,
            () = &mut longest => return,
            () = &mut last_request, if !ending => {}
            _ = told.changed(), if !ending => {}
        }
        ending = true;
        served.as_mut().graceful_shutdown();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn few_files_mean_few_connections() {
        assert_eq!((most(None), most(Some(1024)), most(Some(64)), most(Some(1))), (64, 64, 16, 4));
    }

    #[test]
    fn the_one_that_waits_longest_makes_room_and_one_that_is_answered_stays() {
        let open = Arc::new(Open { most: 3, known: Mutex::default(), fewer: Notify::new() });
        let places: Vec<_> = (0..3).map(|number| Place::take(&open, number, Arc::default())).collect();
        places[0].waits(None);
        assert!(open.make_room());
        assert_eq!(open.known().keys().copied().collect::<Vec<_>>(), [0, 2]);
        assert!(open.make_room() && !open.make_room(), "the last one is being answered");
        drop(places);
        assert!(open.known().is_empty());
    }
}
