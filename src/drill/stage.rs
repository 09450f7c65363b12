//! Scratch servers shared by the items of one server: started for the first, thrown away after the last.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Instant,
};

use parking_lot::{Mutex, RwLock};

use super::{
    plan::Candidate,
    prove::{Database, Fault, Proof, Proven, Setup, files, mongodb, mysql, postgres},
    siblings::Siblings,
};
use crate::{error::Error, source::manifest::Manifest, stream::files::Files};

/// What is needed of the roles of a server.
pub(super) struct Globals<'a> {
    pub(super) manifest: &'a Manifest,
    pub(super) files: &'a dyn Files,
}

enum Server {
    Postgres(postgres::Scratch),
    Mysql(mysql::Scratch),
    Mongodb(mongodb::Scratch),
}

impl Server {
    fn is_dead(&self) -> bool {
        match self {
            Self::Postgres(scratch) => scratch.is_dead(),
            Self::Mysql(scratch) => scratch.is_dead(),
            Self::Mongodb(scratch) => scratch.is_dead(),
        }
    }

    fn unconfined(&self) -> &[String] {
        match self {
            Self::Postgres(scratch) => scratch.unconfined(),
            Self::Mysql(scratch) => scratch.unconfined(),
            Self::Mongodb(scratch) => scratch.unconfined(),
        }
    }

    /// What an operator should know of a server that is not wholly confined.
    fn note(&self) -> Option<String> {
        let open = self.unconfined();
        (!open.is_empty()).then(|| {
            format!(
                "the scratch server is not confined as it should be: this system offers nothing for {}; `drill.sandbox` \
                 allows that",
                open.join(", ")
            )
        })
    }

    fn death(&mut self) -> Option<Error> {
        match self {
            Self::Postgres(scratch) => scratch.death(),
            Self::Mysql(scratch) => scratch.death(),
            Self::Mongodb(scratch) => scratch.death(),
        }
    }
}

/// A server, and what came of giving it the roles.
struct Running {
    server: Server,
    roles: Mutex<Option<Result<Proof, Fault>>>,
}

/// A place for one server.
#[derive(Default)]
pub(super) struct Place {
    running: RwLock<Option<Running>>,
    /// Servers that have died here.
    deaths: AtomicU32,
}

/// Servers are of one version, are started with the same settings, and have the roles of one snapshot.
type Key = (String, Option<String>, String, String);

/// All places.
#[derive(Default)]
pub(super) struct Stage {
    places: Mutex<HashMap<Key, Arc<Place>>>,
}

/// What to prove, and with what.
pub(super) struct Job<'a> {
    pub(super) candidate: &'a Candidate<'a>,
    pub(super) manifest: &'a Manifest,
    pub(super) files: &'a dyn Files,
    pub(super) globals: Option<Globals<'a>>,
    /// Id of the snapshot with the roles.
    pub(super) globals_id: &'a str,
    pub(super) part: files::Part,
    /// The other databases of the same server.
    pub(super) siblings: Option<&'a Siblings<'a>>,
    /// What a self-test does to what was restored.
    pub(super) damage: Option<&'a str>,
}

impl Stage {
    /// The place for the server that a job needs.
    pub(super) fn place(&self, setup: &Setup<'_>, job: &Job<'_>) -> Result<Arc<Place>, Fault> {
        let version = match job.manifest.kind.as_str() {
            "postgres" => {
                let needs = postgres::Needs::of(job.manifest, setup.drill.jobs);
                format!("{} {}", postgres::version(job.manifest)?, needs.key())
            }
            "mysql" => {
                let (flavour, version) = mysql::version(job.manifest)?;
                let (major, minor) = version.line();
                format!("{flavour} {major}.{minor}")
            }
            _ => mongodb::line(&job.manifest.server_version),
        };
        let (source, server) = job.candidate.group();
        let key = (source, server, version, job.globals_id.to_owned());
        let mut places = self.places.lock();
        Ok(places.entry(key).or_default().clone())
    }

    /// Throws the servers of a group away, once those that still work with them are done.
    pub(super) fn clear(&self, group: &(String, Option<String>)) {
        let mut places = self.places.lock();
        let keys: Vec<Key> = places
            .keys()
            .filter(|(source, server, ..)| (source, server) == (&group.0, &group.1))
            .cloned()
            .collect();
        let gone: Vec<Arc<Place>> = keys.iter().filter_map(|key| places.remove(key)).collect();
        drop(places);
        // Stopping a server may take a while.
        drop(gone);
    }
}

/// Proves one item.
pub(super) fn prove(setup: &Setup<'_>, stage: &Stage, job: &Job<'_>) -> Proven {
    if !matches!(job.manifest.kind.as_str(), "postgres" | "mysql" | "mongodb") {
        return files::prove(setup, job.manifest, job.files, job.part);
    }
    let place = stage.place(setup, job)?;
    let deaths = place.deaths.load(Ordering::SeqCst);
    on_server(setup, &place, job).map_err(|fault| died(&place, deaths).unwrap_or(fault))
}

/// A dead server says nothing about the backup; the next one gets a new one.
fn died(place: &Place, deaths: u32) -> Option<Fault> {
    let looked = place.running.read();
    let dead = looked.as_ref().is_some_and(|running| running.server.is_dead());
    drop(looked);
    let mut death = None;
    if dead {
        // Others who work with it fail too: nobody is kept waiting for long.
        let mut running = place.running.write();
        death = running.as_mut().and_then(|running| running.server.death());
        if death.is_some() {
            place.deaths.fetch_add(1, Ordering::SeqCst);
            *running = None;
        }
    }
    // Somebody else may have found it dead, and even have another one by now.
    let died = place.deaths.load(Ordering::SeqCst) != deaths;
    let death = death.or_else(|| died.then(|| Error::failed("the scratch server has ended")));
    Some(Fault::Cannot(death?.hint(
        "see why it ended (short of memory?) and run the drill again; nothing is known about the backup",
    )))
}

fn on_server(setup: &Setup<'_>, place: &Place, job: &Job<'_>) -> Proven {
    match shared(setup, place, job) {
        Err(Fault::Alone(databases)) => alone(setup, place, job, &databases),
        proven => proven,
    }
}

/// With a server on which others may work at the same time.
fn shared(setup: &Setup<'_>, place: &Place, job: &Job<'_>) -> Proven {
    loop {
        let running = place.running.read();
        if let Some(running) = &*running {
            return with_server(setup, running, job, None);
        }
        drop(running);
        let mut running = place.running.write();
        if running.is_none() {
            *running = Some(start(setup, job)?);
        }
    }
}

/// While nothing else is on the server: then databases that others may be about to restore can be made for this one.
fn alone(setup: &Setup<'_>, place: &Place, job: &Job<'_>, databases: &BTreeSet<String>) -> Proven {
    let mut running = place.running.write();
    let there = match running.take() {
        Some(there) => there,
        None => start(setup, job)?,
    };
    with_server(setup, running.insert(there), job, Some(databases))
}

fn with_server(
    setup: &Setup<'_>,
    running: &Running,
    job: &Job<'_>,
    needed: Option<&BTreeSet<String>>,
) -> Proven {
    if job.candidate.is_globals {
        let roles = running.roles.lock().take();
        let known = "the roles were tried already, and what came of it is no longer known";
        return roles.unwrap_or_else(|| Err(Fault::Cannot(Error::failed(known))));
    }
    let detail =
        job.globals.as_ref().and_then(|globals| globals.manifest.detail::<crate::source::postgres::Detail>());
    let database = Database {
        manifest: job.manifest,
        files: job.files,
        name: &job.candidate.database,
        roles: detail.map(|detail| detail.roles.as_slice()).unwrap_or_default(),
        damage: job.damage,
    };
    let proven = match &running.server {
        Server::Postgres(scratch) => {
            let proven = scratch.database(setup, &database);
            proven.map_err(|fault| if job.globals.is_none() { without_roles(fault) } else { fault })
        }
        Server::Mysql(scratch) => {
            scratch.database(setup, &database, &mysql::Others { siblings: job.siblings, needed })
        }
        Server::Mongodb(scratch) => scratch.database(setup, &database),
    };
    proven.map(|mut proof| {
        proof.notes.extend(running.server.note());
        proof
    })
}

/// That roles are missing of which there is no snapshot says nothing about the database.
fn without_roles(fault: Fault) -> Fault {
    let missing = |text: &str| {
        text.contains("does not exist")
            && ["the role ", "the tablespace ", "role \""].iter().any(|word| text.contains(word))
    };
    match fault {
        Fault::Failed(error) if missing(&error.summary()) => {
            Fault::Cannot(Error::failed(error.summary()).hint(
                "there is no snapshot of @globals that goes with it: set `globals = true` and back it up",
            ))
        }
        other => other,
    }
}

/// Starts a server and gives it the roles. If it does not take them it is begun anew without, so that something can be
/// said about the databases: their restore creates the roles that it needs.
fn start(setup: &Setup<'_>, job: &Job<'_>) -> Result<Running, Fault> {
    let begin = Instant::now();
    let globals = job.globals.as_ref();
    let damage = job.damage.filter(|_| job.candidate.is_globals);
    let empty = || -> Result<Server, Fault> {
        Ok(match job.manifest.kind.as_str() {
            "postgres" => {
                let major = postgres::version(job.manifest)?;
                let globals = globals.map(|globals| (globals.manifest, globals.files));
                let needs = postgres::Needs::of(job.manifest, setup.drill.jobs);
                Server::Postgres(postgres::Scratch::start(setup, major, &needs, globals)?)
            }
            "mysql" => {
                Server::Mysql(mysql::Scratch::start(setup, job.manifest, globals.map(|g| g.manifest))?)
            }
            _ => Server::Mongodb(mongodb::Scratch::start(setup, job.manifest)?),
        })
    };
    let mut server = empty()?;
    let roles = globals.map(|globals| match &server {
        Server::Postgres(scratch) => scratch.globals(setup, globals.manifest, globals.files, damage),
        Server::Mysql(scratch) => scratch.globals(setup, globals.manifest, globals.files, damage),
        Server::Mongodb(_) => Err(Fault::Cannot(Error::failed("MongoDB has no @globals"))),
    });
    let dead = server.death();
    if let Some(death) = dead {
        return Err(Fault::Cannot(death));
    }
    if let Some(Err(fault)) = &roles
        && !matches!(fault, Fault::Differs(_))
    {
        if !job.candidate.is_globals {
            (setup.notice)(&format!(
                "{}: its roles could not be restored; the database is tried without them",
                job.candidate.snapshot.name()
            ));
        }
        server = empty()?;
        if let (Server::Postgres(scratch), Some(globals)) = (&server, globals) {
            scratch.stand_ins(setup, globals.manifest, globals.files)?;
        }
    }
    server.note().iter().for_each(|note| (setup.notice)(&format!("warning: {note}")));
    (setup.notice)(&format!(
        "{}: a scratch server is ready after {:.1} s",
        job.candidate.snapshot.source,
        begin.elapsed().as_secs_f64()
    ));
    Ok(Running { server, roles: Mutex::new(roles) })
}
