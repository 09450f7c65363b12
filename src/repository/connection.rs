//! The connection to a storage behind a network protocol. It is replaced after a failure.

use std::{mem, sync::Arc, time::Duration};

use parking_lot::Mutex;
use rustic_core::{RusticResult, WriteBackend};

pub(super) type Backend = Arc<dyn WriteBackend>;
/// Connects to the storage.
pub(super) type Build = dyn Fn() -> RusticResult<Backend> + Send + Sync;

/// How long a thread waits for another one that connects. Then it connects itself.
const CONNECTING: Duration = Duration::from_secs(55);

/// A connection that all threads share.
pub(super) struct Connection {
    build: Arc<Build>,
    current: Mutex<Current>,
    /// Held by the thread that connects: a server refuses many logins at the same time.
    connecting: Mutex<()>,
}

struct Current {
    backend: Backend,
    is_broken: bool,
}

impl Connection {
    pub(super) fn new(build: Arc<Build>, backend: Backend) -> Self {
        let current = Mutex::new(Current { backend, is_broken: false });
        Self { build, current, connecting: Mutex::default() }
    }

    /// The backend as it is, also if its connection is broken.
    pub(super) fn current(&self) -> Backend {
        self.current.lock().backend.clone()
    }

    fn intact(&self) -> Option<Backend> {
        let current = self.current.lock();
        (!current.is_broken).then(|| current.backend.clone())
    }

    /// Marks a connection as broken, unless it was replaced already.
    pub(super) fn mark_broken(&self, used: &Backend) {
        let mut current = self.current.lock();
        if Arc::ptr_eq(used, &current.backend) {
            current.is_broken = true;
        }
    }

    /// The backend, with a new connection if the last one is broken.
    ///
    /// # Errors
    /// Those of connecting.
    pub(super) fn usable(&self) -> RusticResult<Backend> {
        if let Some(backend) = self.intact() {
            return Ok(backend);
        }
        let _connecting = self.connecting.try_lock_for(CONNECTING);
        if let Some(backend) = self.intact() {
            return Ok(backend);
        }
        let backend = (self.build)()?;
        let new = Current { backend: backend.clone(), is_broken: false };
        let old = mem::replace(&mut *self.current.lock(), new);
        // Closing it may take a while, in which others use the new one.
        drop(old);
        Ok(backend)
    }
}
