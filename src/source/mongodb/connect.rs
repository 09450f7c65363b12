//! A connection to a MongoDB deployment: the driver on its own runtime, behind blocking calls.

use std::{future::Future, time::Duration};

use mongodb::{
    Client,
    bson::{Document, RawDocumentBuf, doc},
    error::{Error as DriverError, ErrorKind},
    options::{ClientOptions, ReadPreference, SelectionCriteria},
};
use tokio::{
    runtime::{Builder, Handle, Runtime},
    time::error::Elapsed,
};

use super::hints;
pub use super::params::Params;
use super::{params::trust_system, secrets::Secrets};
use crate::{
    error::{Error, Result},
    stream::cancel::Cancel,
};

/// The timeout for requests other than reading data.
const QUESTION_TIME: Duration = Duration::from_secs(120);
/// The interval for checking the stop flag.
const CANCEL_POLL: Duration = Duration::from_millis(50);
/// The timeout for closing the connections of the driver.
const FAREWELL_TIME: Duration = Duration::from_secs(1);
/// The maximum number of attempts for a catalog request, and the wait in between.
const ATTEMPTS: u32 = 3;
const ATTEMPT_WAIT: Duration = Duration::from_secs(1);
/// Error codes after which the same request may succeed: host unreachable or not found, network timeout, cursor not
/// found, shutting down, stepped down, not primary, interrupted by a change of roles, socket errors, stale routing.
const PASSING: [i32; 14] = [6, 7, 43, 89, 91, 150, 189, 9001, 10107, 11600, 11602, 13388, 13435, 13436];
/// The maximum number of connections to each server; the driver's default of 10 is too low for a dump.
const POOL_SIZE: u32 = 40;

/// The topology of a deployment.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Topology {
    /// A single server that is not a member of a replica set.
    Standalone,
    /// A replica set of this name.
    ReplicaSet(String),
    /// A sharded cluster behind its routers.
    Sharded,
}

/// A connected and authenticated deployment.
pub struct Deployment {
    /// The driver's client. Its futures, cursors and sessions live on this deployment's runtime: use them within
    /// [`Deployment::run`], [`Deployment::ask`] or a task spawned on [`Deployment::handle`].
    pub client: Client,
    /// Version of the server that answered.
    pub version: String,
    /// Its topology.
    pub topology: Topology,
    /// The read preference.
    pub criteria: SelectionCriteria,
    server: String,
    secrets: Secrets,
    handle: Handle,
    runtime: Option<Runtime>,
}

impl Deployment {
    /// Connects, authenticates and determines version and topology.
    ///
    /// # Errors
    /// The deployment cannot be reached within the driver's time (30 seconds unless the connection string says
    /// otherwise), refuses the login, or `cancel` was set.
    pub fn connect(params: &Params, cancel: &Cancel) -> Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("mongodb")
            .enable_all()
            .build()
            .map_err(|error| Error::from_io("cannot start the threads of the MongoDB driver", error))?;
        match Self::open(params, runtime.handle(), cancel) {
            Ok(mut deployment) => {
                deployment.runtime = Some(runtime);
                Ok(deployment)
            }
            Err(error) => {
                runtime.shutdown_background();
                Err(error)
            }
        }
    }

    fn open(params: &Params, handle: &Handle, cancel: &Cancel) -> Result<Self> {
        let secrets = params.secrets();
        let failed = |error: &DriverError| {
            hints::explain(error, &secrets).context(format!("cannot connect to {}", params.server()))
        };
        let opened = wait(handle, cancel, QUESTION_TIME, async {
            let options = options(params).await?;
            let criteria = options.selection_criteria.clone();
            let client = Client::with_options(options)?;
            let admin = client.database("admin");
            let hello = admin.run_command(doc! { "hello": 1 }).await?;
            let build = admin.run_command(doc! { "buildInfo": 1 }).await?;
            Ok((client, criteria, hello, build))
        })?;
        let (client, criteria, hello, build) = opened.map_err(|error| failed(&error))?;
        Ok(Self {
            client,
            version: build.get_str("version").unwrap_or("unknown").to_owned(),
            topology: topology(&hello),
            criteria: criteria.unwrap_or_else(primary_preferred),
            server: params.server().to_owned(),
            secrets,
            handle: handle.clone(),
            runtime: None,
        })
    }

    /// The runtime handle for tasks that use the client.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Major and minor version of the server, 0 if unknown.
    pub fn version_number(&self) -> (u32, u32) {
        let mut parts = self.version.split('.').map(|part| part.parse().unwrap_or(0));
        (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
    }

    /// Waits for a call of the driver and returns its error unchanged.
    ///
    /// # Errors
    /// `cancel` was set, or there was no answer within `limit`.
    pub fn run<T>(
        &self,
        cancel: &Cancel,
        limit: Duration,
        call: impl Future<Output = Result<T, DriverError>>,
    ) -> Result<Result<T, DriverError>> {
        wait(&self.handle, cancel, limit, call)
    }

    /// Waits for the answer to a request other than reading data.
    ///
    /// # Errors
    /// As for [`Deployment::run`], and whatever the server or the driver says, with a hint where one is known.
    pub fn ask<T>(&self, cancel: &Cancel, call: impl Future<Output = Result<T, DriverError>>) -> Result<T> {
        self.run(cancel, QUESTION_TIME, call)?.map_err(|error| self.explain(&error))
    }

    /// A command on the members that are read, and its reply.
    pub(super) async fn reply(&self, database: &str, command: Document) -> Result<Document, DriverError> {
        let database = self.client.database(database);
        database.run_command(command).selection_criteria(self.criteria.clone()).await
    }

    /// A command with a cursor on the members that are read, and all documents of the cursor as the server sent them.
    /// It is retried after transient errors: a short interruption should not end a long dump.
    pub(super) async fn documents(
        &self,
        database: &str,
        command: Document,
    ) -> Result<Vec<RawDocumentBuf>, DriverError> {
        for _ in 1..ATTEMPTS {
            match self.documents_once(database, command.clone()).await {
                Err(error) if is_passing(&error) => tokio::time::sleep(ATTEMPT_WAIT).await,
                answer => return answer,
            }
        }
        self.documents_once(database, command).await
    }

    async fn documents_once(
        &self,
        database: &str,
        command: Document,
    ) -> Result<Vec<RawDocumentBuf>, DriverError> {
        let database = self.client.database(database);
        let mut cursor =
            database.run_cursor_command(command).selection_criteria(self.criteria.clone()).await?;
        let mut documents = Vec::new();
        while cursor.advance().await? {
            documents.push(cursor.current().to_owned());
        }
        Ok(documents)
    }

    /// Converts an error of the driver: without secrets, with a hint if one is known.
    pub fn explain(&self, error: &DriverError) -> Error {
        hints::explain(error, &self.secrets)
    }
}

impl Drop for Deployment {
    fn drop(&mut self) {
        let Some(runtime) = self.runtime.take() else { return };
        // The driver's threads end sessions and cursors while the runtime still exists. A task of this runtime that
        // drops the last reference cannot wait for that.
        if Handle::try_current().is_err() {
            let farewell = async { self.client.clone().shutdown().await };
            // A missing notification does no harm: the server ends idle sessions itself.
            let _: Result<(), Elapsed> =
                runtime.block_on(async { tokio::time::timeout(FAREWELL_TIME, farewell).await });
        }
        // Dropping a runtime waits for name look-ups under way, which may take minutes.
        runtime.shutdown_background();
    }
}

impl std::fmt::Debug for Deployment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Deployment")
            .field("server", &self.server)
            .field("version", &self.version)
            .field("topology", &self.topology)
            .finish_non_exhaustive()
    }
}

/// The code of an error that the server sent.
pub fn error_code(error: &DriverError) -> Option<i32> {
    match &*error.kind {
        ErrorKind::Command(command) => Some(command.code),
        _ => None,
    }
}

/// Whether the same request may succeed if it is retried.
pub(super) fn is_passing(error: &DriverError) -> bool {
    match &*error.kind {
        ErrorKind::Io(_) | ErrorKind::ConnectionPoolCleared { .. } | ErrorKind::ServerSelection { .. } => {
            true
        }
        _ => error_code(error).is_some_and(|code| PASSING.contains(&code)),
    }
}

/// Resolves the connection string into the driver's options.
async fn options(params: &Params) -> Result<ClientOptions, DriverError> {
    let mut options = ClientOptions::parse(params.parsed.clone()).await?;
    trust_system(&mut options.tls);
    if let (Some(password), Some(credential)) = (&params.password, &mut options.credential) {
        credential.password = Some(password.expose().to_owned());
    }
    options.app_name.get_or_insert_with(|| "tik-backup".to_owned());
    options.max_pool_size.get_or_insert(POOL_SIZE);
    // Snapshot reads set their own read concern, and the server refuses two.
    options.read_concern = None;
    // By default metadata and data come from one member that has every acknowledged write. To
    // reduce the load of the primary, set readPreference=secondaryPreferred in the connection string.
    options.selection_criteria.get_or_insert_with(primary_preferred);
    Ok(options)
}

fn primary_preferred() -> SelectionCriteria {
    SelectionCriteria::ReadPreference(ReadPreference::PrimaryPreferred { options: None })
}

fn topology(hello: &Document) -> Topology {
    if hello.get_str("msg").is_ok_and(|message| message == "isdbgrid") {
        Topology::Sharded
    } else if let Ok(name) = hello.get_str("setName") {
        Topology::ReplicaSet(name.to_owned())
    } else {
        Topology::Standalone
    }
}

/// Waits for a call, the stop flag or the end of the time, whichever comes first.
fn wait<T>(
    handle: &Handle,
    cancel: &Cancel,
    limit: Duration,
    call: impl Future<Output = Result<T, DriverError>>,
) -> Result<Result<T, DriverError>> {
    handle.block_on(limited(&[cancel], limit, call))
}

/// Awaits a call, one of the stop flags or the end of the time, whichever comes first.
pub(super) async fn limited<T>(
    cancels: &[&Cancel],
    limit: Duration,
    call: impl Future<Output = T>,
) -> Result<T> {
    tokio::select! {
        biased;
        answer = call => Ok(answer),
        stopped = stopped(cancels) => Err(stopped),
        () = tokio::time::sleep(limit) => Err(Error::failed(format!("the server did not answer within {limit:?}"))
            .hint("look at the server's load and at the network; for slow servers raise idle_timeout")),
    }
}

async fn stopped(cancels: &[&Cancel]) -> Error {
    loop {
        if let Some(stopped) = cancels.iter().find_map(|cancel| cancel.check().err()) {
            return stopped;
        }
        tokio::time::sleep(CANCEL_POLL).await;
    }
}
