//! Loading the data of one collection from the repository: while one batch is filled, another is being sent.

use std::io::{self, Write};

use tokio::task::JoinHandle;

use super::{
    insert::{Batch, Fault, Place, insert},
    server::Server,
};
use crate::{
    error::{Error, Result},
    source::mongodb::format::split::Splitter,
    stream::{cancel::Cancel, files::Files},
};

/// What was loaded.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Loaded {
    pub(super) documents: u64,
    pub(super) bytes: u64,
}

/// Loads the file `path`. `stop` is set when another collection failed.
pub(super) fn load(
    server: &Server<'_>,
    place: Place,
    files: &dyn Files,
    path: &str,
    stop: &Cancel,
) -> Result<Loaded> {
    let batch = Batch::new(&place);
    let sender = Sender { server, place, stop, batch, on_the_way: None, documents: 0 };
    let mut loader = Loader { splitter: Splitter::new(path), sender };
    let bytes = files.copy(path, &mut loader)?;
    let Loader { splitter, mut sender } = loader;
    splitter.finish()?;
    sender.send()?;
    sender.arrive()?;
    Ok(Loaded { documents: sender.documents, bytes })
}

struct Loader<'a> {
    splitter: Splitter,
    sender: Sender<'a>,
}

impl Write for Loader<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let Self { splitter, sender } = self;
        splitter.push(data, |document| sender.add(document)).map_err(io::Error::other)?;
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Sender<'a> {
    server: &'a Server<'a>,
    place: Place,
    stop: &'a Cancel,
    batch: Batch,
    /// At most one, so that documents arrive in their order.
    on_the_way: Option<JoinHandle<Result<u64, Fault>>>,
    /// How many have arrived.
    documents: u64,
}

impl Sender<'_> {
    fn add(&mut self, document: &[u8]) -> Result<()> {
        if !self.batch.has_room(document.len()) {
            self.send()?;
        }
        self.batch.push(document);
        Ok(())
    }

    fn send(&mut self) -> Result<()> {
        self.arrive()?;
        self.server.cancel.check()?;
        self.stop.check()?;
        if self.batch.len() > 0 {
            let batch = std::mem::replace(&mut self.batch, Batch::new(&self.place));
            let client = self.server.deployment.client.clone();
            let stops = [self.server.cancel.clone(), self.stop.clone()];
            let call = insert(client, self.place.clone(), batch, stops);
            self.on_the_way = Some(self.server.deployment.handle().spawn(call));
        }
        Ok(())
    }

    /// Waits for the batch that is on its way.
    fn arrive(&mut self) -> Result<()> {
        let Some(task) = self.on_the_way.take() else { return Ok(()) };
        match self.server.deployment.handle().block_on(task) {
            Ok(Ok(documents)) => {
                self.documents += documents;
                Ok(())
            }
            Ok(Err(Fault::Driver(error))) => Err(self.server.explain(&error)),
            Ok(Err(Fault::Ours(error))) => Err(error),
            Err(error) => Err(Error::failed("inserting documents was interrupted").because(&error)),
        }
    }
}

impl Drop for Sender<'_> {
    fn drop(&mut self) {
        if let Some(task) = self.on_the_way.take() {
            task.abort();
        }
    }
}
