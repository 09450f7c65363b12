//! The page that people look at, and the same for programs. It only shows: every request reads, none changes anything.

mod api;
mod desk;
mod http;
mod openapi;
mod pages;

use std::{future::Future, time::Duration};

use tokio::net::{TcpListener, UnixListener};

pub use openapi::document;
pub use pages::report;

use crate::{
    config::{Config, DashboardConfig, Listen},
    error::{Error, Result},
    stream::cancel::Cancel,
};
use desk::Desk;

/// How long requests may go on after the server was told to end.
const GRACE: Duration = Duration::from_secs(5);
/// How often it is looked whether it was told so.
const LOOK: Duration = Duration::from_millis(100);

/// Serves until `cancel` is set; `ready` is told where, once it can be reached.
///
/// # Errors
/// The address cannot be used, the token not be read, or the history not be opened.
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
        .map_err(|error| Error::failed("cannot serve").because(&error))?;
    let desk = Desk::open(config, settings.refresh)?;
    let watching = desk.watch(cancel.clone());
    let router = http::router(desk, gate);
    let served = runtime.block_on(async {
        let cannot = |error: &std::io::Error| {
            Error::failed(format!("cannot listen on {}", settings.listen))
                .because(error)
                .hint(listening_hint(&settings.listen, error))
        };
        match &settings.listen {
            Listen::Tcp(address) => {
                let listener = TcpListener::bind(address).await.map_err(|error| cannot(&error))?;
                let address = listener.local_addr().map_err(|error| cannot(&error))?;
                ready(&format!("http://{address}/"));
                let serving = axum::serve(listener, router).with_graceful_shutdown(ended(cancel.clone()));
                within_grace(serving.into_future(), cancel).await
            }
            Listen::Unix(path) => {
                let listener = unix_listener(path).map_err(|error| cannot(&error))?;
                ready(&settings.listen.to_string());
                let serving = axum::serve(listener, router).with_graceful_shutdown(ended(cancel.clone()));
                let served = within_grace(serving.into_future(), cancel).await;
                // It is of use to nobody any more; one that stays is replaced by the next start.
                let _ = std::fs::remove_file(path);
                served
            }
        }
    });
    runtime.shutdown_timeout(GRACE);
    drop(watching);
    served
}

/// What to do if nothing can be listened on there.
fn listening_hint(listen: &Listen, error: &std::io::Error) -> String {
    let other = "name another with `dashboard.listen` or --listen";
    let folder = match listen {
        Listen::Unix(path) => path.parent(),
        Listen::Tcp(_) => None,
    };
    match (folder, error.kind()) {
        (Some(folder), std::io::ErrorKind::NotFound) => {
            format!("create the folder {}, or {other}", folder.display())
        }
        (Some(folder), _) => match crate::owner::writing_hint(folder, error) {
            Some(hint) => format!("{hint}; or {other}"),
            None => format!("another program may serve that socket; {other}"),
        },
        (None, std::io::ErrorKind::PermissionDenied) => {
            format!("only root may listen on a port below 1024; {other}")
        }
        (None, _) => format!("another program may have that port; {other}"),
    }
}

/// A socket that a process left behind is replaced; one that somebody serves is not.
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
        tokio::time::sleep(LOOK).await;
    }
}

async fn within_grace(serving: impl Future<Output = std::io::Result<()>>, cancel: &Cancel) -> Result<()> {
    let over = async {
        ended(cancel.clone()).await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        served = serving => served.map_err(|error| Error::failed("cannot serve").because(&error)),
        () = over => Ok(()),
    }
}
