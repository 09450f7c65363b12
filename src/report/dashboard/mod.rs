//! The dashboard: web pages and a JSON API. It is read-only.

mod answers;
mod api;
mod connections;
mod http;
mod openapi;
mod pages;
mod state;

use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};

pub use pages::report;

use crate::{
    config::{Config, DashboardConfig, Listen},
    error::{Error, Result},
    stream::cancel::Cancel,
};
use state::DashboardState;

/// How long open requests may take after the server was asked to stop.
const GRACE: Duration = Duration::from_secs(5);
/// How often the server checks for cancellation.
const POLL: Duration = Duration::from_millis(100);

/// Serves until `cancel` is set. `ready` is called with the address once the server accepts connections.
///
/// # Errors
/// The address cannot be used, the token cannot be read, or the history cannot be opened.
pub fn serve(
    config: Config,
    settings: &DashboardConfig,
    cancel: &Cancel,
    ready: &dyn Fn(&str),
) -> Result<()> {
    if let Some(refusal) = settings.refusal() {
        return Err(Error::usage(refusal));
    }
    let gate = http::Gate::new(settings)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Error::failed("cannot start the dashboard").because(&error))?;
    let state = DashboardState::open(config, settings.refresh)?;
    let watching = state.watch(cancel.clone());
    let router = http::router(state, gate);
    let served = runtime.block_on(async {
        let cannot = |error: &std::io::Error| {
            Error::failed(format!("cannot listen on {}", settings.listen))
                .because(error)
                .hint(listen_hint(&settings.listen, error))
        };
        let over = ended(cancel.clone());
        match &settings.listen {
            Listen::Tcp(address) => {
                let listener = TcpListener::bind(address).await.map_err(|error| cannot(&error))?;
                let address = listener.local_addr().map_err(|error| cannot(&error))?;
                ready(&format!("http://{address}/"));
                let accept = async || Ok(listener.accept().await?.0);
                connections::serve(accept, router, over, GRACE).await;
            }
            Listen::Unix(path) => {
                let listener = unix_listener(path).map_err(|error| cannot(&error))?;
                ready(&settings.listen.to_string());
                let accept = async || Ok(listener.accept().await?.0);
                connections::serve(accept, router, over, GRACE).await;
                // Remove the socket. If that fails, the next start replaces it.
                let _ = std::fs::remove_file(path);
            }
        }
        Ok(())
    });
    runtime.shutdown_timeout(GRACE);
    drop(watching);
    served
}

/// Advice for an address that cannot be used.
fn listen_hint(listen: &Listen, error: &std::io::Error) -> String {
    use std::io::ErrorKind;
    let other = "name another with `dashboard.listen` or --listen";
    match (listen, error.kind()) {
        (Listen::Unix(path), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            let folder = path.parent().unwrap_or(path).display();
            format!(
                "the directory {folder} does not exist: create it, owned by the user that runs the dashboard (a systemd unit has \
                 RuntimeDirectory= for one below /run), or {other}"
            )
        }
        (Listen::Unix(path), ErrorKind::PermissionDenied) => format!(
            "this user cannot create a socket in {}: run as a user who can, or {other}",
            path.parent().unwrap_or(path).display()
        ),
        (Listen::Unix(_), ErrorKind::AddrInUse) => {
            format!("another process serves that socket, or it is a file; {other}")
        }
        (Listen::Unix(_), _) => {
            format!("the path must be shorter than 108 bytes and on a filesystem with sockets; {other}")
        }
        (Listen::Tcp(_), ErrorKind::AddrInUse) => format!("another program has that port; {other}"),
        (Listen::Tcp(_), ErrorKind::AddrNotAvailable) => {
            format!("this machine does not have that address; {other}")
        }
        (Listen::Tcp(_), ErrorKind::PermissionDenied) => {
            format!("ports below 1024 are for root, or for a unit with CAP_NET_BIND_SERVICE; {other}")
        }
        (Listen::Tcp(_), _) => other.to_owned(),
    }
}

/// Replaces a stale socket, but not one on which a process still listens.
fn unix_listener(path: &std::path::Path) -> std::io::Result<UnixListener> {
    if std::os::unix::net::UnixStream::connect(path).is_err() {
        use std::os::unix::fs::FileTypeExt;
        let is_socket = path.symlink_metadata().is_ok_and(|metadata| metadata.file_type().is_socket());
        if is_socket {
            std::fs::remove_file(path)?;
        }
    }
    UnixListener::bind(path)
}

async fn ended(cancel: Cancel) {
    while !cancel.is_cancelled() {
        tokio::time::sleep(POLL).await;
    }
}
