//! Limits on the number and duration of connections. They apply before authentication, because anyone who reaches the
//! address can open a connection.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    future::Future,
    io,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use axum::{Router, body::Body};
use hyper::{
    Request,
    body::{Frame, Incoming, SizeHint},
    server::conn::http1,
    service::Service,
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use parking_lot::{Mutex, MutexGuard};
use rustix::process::{Resource, getrlimit};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::{Notify, watch},
    time,
};

/// How long the head of a request may take to arrive; also how long a connection may wait for its next request.
const HEAD: Duration = Duration::from_secs(10);
/// The longest head of a request. Bodies are refused.
const HEAD_BYTES: usize = 16 << 10;
/// Age after which a connection accepts no further request.
const LAST_REQUEST: Duration = Duration::from_secs(60);
/// Age after which a connection is closed, even during a response.
const LONGEST: Duration = Duration::from_secs(120);
/// Maximum number of connections. It is lower if the process may open few files: a quarter of those.
const MOST: usize = 64;
/// Pause after the system ran out of resources for another connection.
const PAUSE: Duration = Duration::from_millis(50);

/// State of an open connection.
struct Known {
    /// Since when no request is being answered. A response ends when the kernel has accepted all of it.
    waits: Option<Instant>,
    /// Notified when the connection must close to make room.
    leave: Arc<Notify>,
}

/// The open connections.
struct Open {
    most: usize,
    known: Mutex<BTreeMap<u64, Known>>,
    /// Notified whenever a connection has ended.
    fewer: Notify,
}

impl Open {
    fn known(&self) -> MutexGuard<'_, BTreeMap<u64, Known>> {
        self.known.lock()
    }

    /// Closes the connection that has been idle longest. Returns false if there is no idle one.
    fn make_room(&self) -> bool {
        let mut known = self.known();
        let waiting = known.iter().filter_map(|(number, one)| Some((one.waits?, *number)));
        let Some((_, number)) = waiting.min() else { return false };
        if let Some(one) = known.remove(&number) {
            one.leave.notify_one();
        }
        true
    }

    /// Returns once no connection is left.
    async fn emptied(&self) {
        while !self.known().is_empty() {
            // A connection that ends meanwhile leaves a permit, so the notification is not lost.
            self.fewer.notified().await;
        }
    }
}

/// Registration of an open connection; dropping it removes the connection.
struct Place {
    open: Arc<Open>,
    number: u64,
    /// The body of the response was handed over and may still be buffered.
    ended: AtomicBool,
}

impl Place {
    fn take(open: &Arc<Open>, number: u64, leave: Arc<Notify>) -> Self {
        open.known().insert(number, Known { waits: Some(Instant::now()), leave });
        Self { open: open.clone(), number, ended: AtomicBool::new(false) }
    }

    /// A request has arrived.
    fn begin_answer(&self) {
        self.ended.store(false, Ordering::Release);
        self.waits(None);
    }

    /// The buffers are empty.
    fn flushed(&self) {
        if self.ended.swap(false, Ordering::AcqRel) {
            self.waits(Some(Instant::now()));
        }
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

/// A response body that records its end when dropped, for whatever reason.
struct Answered {
    body: Body,
    place: Arc<Place>,
}

impl hyper::body::Body for Answered {
    type Data = hyper::body::Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Answered {
    fn drop(&mut self) {
        self.place.ended.store(true, Ordering::Release);
    }
}

/// The stream of a connection. The server flushes it after it has written its buffers.
struct Watched<S> {
    stream: S,
    place: Arc<Place>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        self.place.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// The connection limit for a process that may open `files` files.
fn most(files: Option<u64>) -> usize {
    let files = files.and_then(|files| usize::try_from(files).ok()).unwrap_or(usize::MAX);
    (files / 4).clamp(4, MOST)
}

/// Accepts and serves connections until `over`; open requests then have `grace` to finish. At the limit, the connection
/// that has gone longest without a complete request is closed, so that incomplete requests cannot block other clients.
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
    let (ending, closing) = watch::channel(false);
    let mut over = pin!(over);
    for number in 0_u64.. {
        let accepted = tokio::select! {
            () = &mut over => break,
            accepted = accept() => accepted,
        };
        match accepted {
            Ok(stream) => {
                // If all connections are busy, the new one is closed at once, and its client may retry.
                if open.known().len() < open.most || open.make_room() {
                    let leave = Arc::new(Notify::new());
                    let place = Place::take(&open, number, leave.clone());
                    tokio::spawn(connection(stream, router.clone(), place, leave, closing.clone()));
                }
            }
            // The client has disconnected.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionAborted
                        | io::ErrorKind::ConnectionReset
                        | io::ErrorKind::ConnectionRefused
                ) => {}
            // Too many open files, or no memory: close an idle connection and retry after a pause.
            Err(_) => {
                open.make_room();
                time::sleep(PAUSE).await;
            }
        }
    }
    let _ = ending.send(true);
    let _ = time::timeout(grace, open.emptied()).await;
}

/// Serves one connection with all its requests.
async fn connection<S>(
    stream: S,
    router: Router,
    place: Place,
    leave: Arc<Notify>,
    mut closing: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let place = Arc::new(place);
    let stream = Watched { stream, place: place.clone() };
    let router = TowerToHyperService::new(router);
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let (place, answer) = (place.clone(), router.call(request));
        async move {
            place.begin_answer();
            Ok::<_, Infallible>(answer.await?.map(|body| Answered { body, place }))
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
            // Errors of a connection are the client's and are ignored.
            _ = served.as_mut() => return,
            () = leave.notified() => return,
            () = &mut longest => return,
            () = &mut last_request, if !ending => {}
            _ = closing.changed(), if !ending => {}
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

    #[test]
    fn an_answer_that_is_still_being_read_counts_as_one() {
        use std::{
            io::{Read, Write},
            os::unix::net::UnixStream,
        };
        // More than the kernel buffers.
        const BYTES: usize = 8 << 20;
        let (mut client, server) = UnixStream::pair().unwrap();
        server.set_nonblocking(true).unwrap();
        let open = Arc::new(Open { most: 1, known: Mutex::default(), fewer: Notify::new() });
        let known = open.clone();
        let waits = move || known.known().get(&0).map(|one| one.waits.is_some());
        let (_ending, closing) = watch::channel(false);
        let leave = Arc::new(Notify::new());
        let place = Place::take(&open, 0, leave.clone());
        let router = Router::new().fallback(|| async { vec![b'x'; BYTES] });
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.spawn(async move {
            let stream = tokio::net::UnixStream::from_std(server).unwrap();
            connection(stream, router, place, leave, closing).await;
        });
        assert_eq!(waits(), Some(true));
        for _ in 0..2 {
            client.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                client.read_exact(&mut byte).unwrap();
                head.push(byte[0]);
            }
            assert!(head.starts_with(b"HTTP/1.1 200"));
            let mut body = vec![0; BYTES];
            for part in body.chunks_mut(BYTES / 2) {
                assert_eq!(waits(), Some(false), "there is more to come");
                assert!(!open.make_room(), "it is not the one that makes room");
                client.read_exact(part).unwrap();
            }
            while waits() == Some(false) {
                std::thread::yield_now();
            }
            assert_eq!(waits(), Some(true), "the connection stays open");
        }
        drop(runtime);
        assert!(open.known().is_empty());
    }
}
