//! Scratch servers whose files are made while the repository is still being opened.

use std::{
    any::Any,
    collections::HashMap,
    path::PathBuf,
    thread::{self, JoinHandle},
};

use parking_lot::Mutex;

use super::Verifier;
use crate::{settings::DrillConfig, stream::cancel::Cancel};

/// What a kind has prepared: a type of its own.
pub type Prepared = Box<dyn Any + Send>;

/// Preparations in threads of their own, by the names of kinds. Dropping it ends them and removes what was not used.
#[derive(Default)]
pub struct Ahead {
    threads: Mutex<HashMap<&'static str, JoinHandle<Option<Prepared>>>>,
    stop: Cancel,
}

impl Ahead {
    /// Without preparations, which end with `cancel`.
    pub fn new(cancel: &Cancel) -> Self {
        Self { threads: Mutex::default(), stop: cancel.child() }
    }

    /// Lets a kind prepare a server.
    pub fn begin(
        &self,
        kind: &'static str,
        verifier: &'static dyn Verifier,
        drill: &DrillConfig,
        client_dirs: &[PathBuf],
    ) {
        let (drill, client_dirs, stop) = (drill.clone(), client_dirs.to_vec(), self.stop.clone());
        let span = tracing::Span::current();
        let work = move || {
            let _span = span.enter();
            verifier.prepare(&drill, &client_dirs, &stop)
        };
        // Without a thread the server is made when it is needed.
        if let Ok(thread) = thread::Builder::new().name("prepare".to_owned()).spawn(work) {
            self.threads.lock().insert(kind, thread);
        }
    }

    /// With what a kind has prepared already.
    #[cfg(test)]
    pub(in crate::source) fn holding(kind: &'static str, prepared: Prepared) -> Self {
        let ahead = Self::default();
        ahead.threads.lock().insert(kind, thread::spawn(|| Some(prepared)));
        ahead
    }

    /// What this kind has prepared, once. Waits for it.
    pub fn take<T: Any>(&self, kind: &str) -> Option<T> {
        let thread = self.threads.lock().remove(kind)?;
        let prepared = thread.join().ok().flatten()?;
        prepared.downcast::<T>().ok().map(|prepared| *prepared)
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.stop.cancel("it is not needed");
        for (_, thread) in self.threads.get_mut().drain() {
            let _ = thread.join();
        }
    }
}
