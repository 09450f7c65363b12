use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::Instant,
};

use super::*;
use crate::{
    repository::objects::{Listed, Missing, ObjectError, ObjectStorage, Objects, Result},
    stream::cancel::Cancel,
};

/// A server whose connections can break.
#[derive(Debug, Default)]
struct Server {
    is_down: AtomicBool,
    refuses_logins: AtomicBool,
    /// Logins so far.
    logins: AtomicUsize,
    /// Connections before this login are broken.
    broken_before: AtomicUsize,
}

impl Server {
    fn cut(&self) {
        self.broken_before.store(self.logins.load(Ordering::SeqCst) + 1, Ordering::SeqCst);
    }

    fn login(self: &Arc<Self>) -> RusticResult<Backend> {
        let refused = |error| RusticError::with_source(ErrorKind::Backend, "cannot connect", error);
        if self.is_down.load(Ordering::SeqCst) {
            return Err(refused(ObjectError::Failed("no route".to_owned())));
        }
        if self.refuses_logins.load(Ordering::SeqCst) {
            return Err(refused(ObjectError::Denied("the key is revoked".to_owned())));
        }
        thread::sleep(Duration::from_millis(20));
        let number = self.logins.fetch_add(1, Ordering::SeqCst) + 1;
        Ok(Arc::new(ObjectStorage(Line { server: self.clone(), number })))
    }
}

/// A connection to it. The server has a `config` and nothing else.
#[derive(Debug)]
struct Line {
    server: Arc<Server>,
    number: usize,
}

impl Objects for Line {
    fn location(&self) -> String {
        "test".to_owned()
    }

    fn list(&self, _: Vec<String>, _: Missing) -> Result<Vec<Listed>> {
        Ok(Vec::new())
    }

    fn length(&self, _: &str) -> Result<u64> {
        let is_broken = self.number < self.server.broken_before.load(Ordering::SeqCst);
        if is_broken || self.server.is_down.load(Ordering::SeqCst) {
            return Err(ObjectError::Failed("the connection is lost".to_owned()));
        }
        Ok(1)
    }

    fn read(&self, _: &str) -> Result<Bytes> {
        Err(ObjectError::Absent)
    }

    fn read_part(&self, _: &str, _: u64, _: usize) -> Result<Bytes> {
        Err(ObjectError::Absent)
    }

    fn write(&self, _: &str, _: &[Bytes]) -> Result<()> {
        Ok(())
    }

    fn remove(&self, _: &str) -> Result<()> {
        Err(ObjectError::Absent)
    }

    fn create(&self, _: Vec<String>) -> Result<()> {
        Ok(())
    }
}

fn opened(retry_for: Duration) -> (Arc<Server>, RemoteStorage) {
    let server = Arc::new(Server::default());
    let of_builder = server.clone();
    let patience = Patience::new(retry_for, &Cancel::new());
    let storage = RemoteStorage::open(Box::new(move || of_builder.login()), &patience).unwrap();
    (server, storage)
}

#[test]
fn a_storage_that_returns_after_the_limit_is_used_again() {
    for limit in [Duration::ZERO, Duration::from_millis(100)] {
        let (server, storage) = opened(limit);
        assert_eq!(storage.list(FileType::Config).unwrap().len(), 1);
        server.is_down.store(true, Ordering::SeqCst);
        server.cut();
        assert!(storage.list(FileType::Config).is_err());
        assert!(storage.list(FileType::Config).is_err());
        server.is_down.store(false, Ordering::SeqCst);
        assert_eq!(storage.list(FileType::Config).unwrap().len(), 1, "after {limit:?}");
        assert_eq!(server.logins.load(Ordering::SeqCst), 2);
    }
}

#[test]
fn a_refused_login_ends_the_retries() {
    let (server, storage) = opened(Duration::from_secs(600));
    server.refuses_logins.store(true, Ordering::SeqCst);
    server.cut();
    let begun = Instant::now();
    let error = storage.list(FileType::Config).unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(60));
    let text = crate::repository::errors::rustic_error("cannot list", error).to_string();
    assert!(text.contains("the storage refuses this user: the key is revoked"), "{text}");
}

#[test]
fn threads_that_lose_a_connection_log_in_once() {
    let (server, storage) = opened(Duration::from_secs(600));
    server.cut();
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| storage.list(FileType::Config).unwrap());
        }
    });
    assert_eq!(server.logins.load(Ordering::SeqCst), 2);
}
