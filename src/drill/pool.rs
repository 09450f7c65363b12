//! The scratch pool: scratch servers shared by the items of one server, started for the first item and removed after the last.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Instant,
};

use parking_lot::{Mutex, RwLock};

use super::plan::Candidate;
use crate::{
    error::Error,
    source::{
        kind_named,
        manifest::Manifest,
        verify::{
            Database, Fault, Globals, Proof, Proven, ScratchServer, Setup, Siblings, Verification, Verifier,
            files,
        },
    },
    stream::files::Files,
};

/// How snapshots of the kind of a manifest are proven.
pub(super) fn verification(manifest: &Manifest) -> Result<Verification, Fault> {
    kind_named(&manifest.kind).map(|kind| kind.verification()).ok_or_else(|| {
        let what = format!(
            "the snapshot is of the source kind `{}`, which this version does not know",
            manifest.kind
        );
        Fault::Cannot(Error::failed(what).hint("drill it with the version that made it, or a newer one"))
    })
}

/// A note if a server is not fully confined.
fn note(server: &dyn ScratchServer) -> Option<String> {
    let open = server.unconfined();
    (!open.is_empty()).then(|| {
        format!(
            "the scratch server is not confined completely: this system offers nothing for {}; `drill.sandbox` allows that",
            open.join(", ")
        )
    })
}

/// A server, and the result of restoring its roles.
struct Running {
    server: Box<dyn ScratchServer>,
    roles: Mutex<Option<Result<Proof, Fault>>>,
}

/// A slot for one server.
#[derive(Default)]
pub(super) struct Slot {
    running: RwLock<Option<Running>>,
    /// The number of servers that have died in this slot.
    deaths: AtomicU32,
}

/// Items share a server if they need the same version, settings and roles.
type Key = (String, Option<String>, String, String);

/// The scratch servers of a drill.
#[derive(Default)]
pub(super) struct ScratchPool {
    slots: Mutex<HashMap<Key, Arc<Slot>>>,
}

/// A snapshot to prove, and what it needs.
pub(super) struct Job<'a> {
    pub(super) candidate: &'a Candidate<'a>,
    pub(super) manifest: &'a Manifest,
    pub(super) files: &'a dyn Files,
    pub(super) globals: Option<Globals<'a>>,
    /// Id of the snapshot with the roles.
    pub(super) globals_id: &'a str,
    pub(super) part: files::Part,
    /// The other databases of the same server.
    pub(super) siblings: Option<&'a dyn Siblings>,
    /// The damage that a self-test does to the restored content.
    pub(super) damage: Option<&'a str>,
}

impl ScratchPool {
    /// The slot of the server that a job needs.
    fn slot(&self, verifier: &dyn Verifier, setup: &Setup<'_>, job: &Job<'_>) -> Result<Arc<Slot>, Fault> {
        let needs = verifier.server_key(setup, job.manifest)?;
        let (source, server) = job.candidate.group();
        let key = (source, server, needs, job.globals_id.to_owned());
        let mut slots = self.slots.lock();
        Ok(slots.entry(key).or_default().clone())
    }

    /// Removes the servers of a group, once all jobs on them are done.
    pub(super) fn clear(&self, group: &(String, Option<String>)) {
        let mut slots = self.slots.lock();
        let keys: Vec<Key> = slots
            .keys()
            .filter(|(source, server, ..)| (source, server) == (&group.0, &group.1))
            .cloned()
            .collect();
        let gone: Vec<Arc<Slot>> = keys.iter().filter_map(|key| slots.remove(key)).collect();
        drop(slots);
        // Stopping a server may take a while.
        drop(gone);
    }
}

/// Proves one item.
pub(super) fn prove(setup: &Setup<'_>, pool: &ScratchPool, job: &Job<'_>) -> Proven {
    let verifier = match verification(job.manifest)? {
        Verification::ReadBack(kind) => return files::prove(kind, setup, job.manifest, job.files, job.part),
        Verification::Restore(verifier) => verifier,
    };
    let slot = pool.slot(verifier, setup, job)?;
    let deaths = slot.deaths.load(Ordering::SeqCst);
    let server = OnServer { verifier, setup, slot: &slot, job };
    server.prove().map_err(|fault| died(&slot, deaths).unwrap_or(fault))
}

/// A dead server says nothing about the backup; the next item gets a new one.
fn died(slot: &Slot, deaths: u32) -> Option<Fault> {
    let looked = slot.running.read();
    let dead = looked.as_ref().is_some_and(|running| running.server.is_dead());
    drop(looked);
    let mut death = None;
    if dead {
        // Other jobs on this server fail too, so the lock is free soon.
        let mut running = slot.running.write();
        death = running.as_mut().and_then(|running| running.server.death());
        if death.is_some() {
            slot.deaths.fetch_add(1, Ordering::SeqCst);
            *running = None;
        }
    }
    // Another thread may have found it dead, and even have started a new one by now.
    let died = slot.deaths.load(Ordering::SeqCst) != deaths;
    let death = death.or_else(|| died.then(|| Error::failed("the scratch server has ended")));
    Some(Fault::Cannot(death?.hint(
        "find out why it ended (out of memory?) and run the drill again; this is no verdict on the backup",
    )))
}

/// A job, and the slot of its server.
struct OnServer<'a> {
    verifier: &'a dyn Verifier,
    setup: &'a Setup<'a>,
    slot: &'a Slot,
    job: &'a Job<'a>,
}

impl OnServer<'_> {
    fn prove(&self) -> Proven {
        match self.shared() {
            Err(Fault::Alone(databases)) => self.alone(&databases),
            proven => proven,
        }
    }

    /// Proves on a server that other jobs may use at the same time.
    fn shared(&self) -> Proven {
        loop {
            let running = self.slot.running.read();
            if let Some(running) = &*running {
                return self.with(running, None);
            }
            drop(running);
            let mut running = self.slot.running.write();
            if running.is_none() {
                *running = Some(self.start()?);
            }
        }
    }

    /// Proves while nothing else is on the server: only then can databases that other jobs restore be created for this one.
    fn alone(&self, databases: &BTreeSet<String>) -> Proven {
        let mut running = self.slot.running.write();
        let there = match running.take() {
            Some(there) => there,
            None => self.start()?,
        };
        self.with(running.insert(there), Some(databases))
    }

    fn with(&self, running: &Running, alone_with: Option<&BTreeSet<String>>) -> Proven {
        let job = self.job;
        if job.candidate.is_globals {
            let roles = running.roles.lock().take();
            let known = "the roles were tried already, and the result is no longer available";
            return roles.unwrap_or_else(|| Err(Fault::Cannot(Error::failed(known))));
        }
        let database = Database {
            manifest: job.manifest,
            files: job.files,
            name: &job.candidate.database,
            globals: job.globals.as_ref(),
            siblings: job.siblings,
            alone_with,
            damage: job.damage,
        };
        let mut proof = running.server.database(self.setup, &database)?;
        proof.notes.extend(note(&*running.server));
        Ok(proof)
    }

    /// Starts a server and restores the roles. If that fails, a new server is started without them, so that the databases
    /// can still be proven: their restore creates the roles that it needs.
    fn start(&self) -> Result<Running, Fault> {
        let begin = Instant::now();
        let Self { verifier, setup, job, .. } = *self;
        let globals = job.globals.as_ref();
        let damage = job.damage.filter(|_| job.candidate.is_globals);
        let mut server = verifier.start(setup, job.manifest, globals)?;
        let roles = globals.map(|globals| server.globals(setup, globals, damage));
        if let Some(death) = server.death() {
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
            server = verifier.start(setup, job.manifest, globals)?;
            if let Some(globals) = globals {
                server.stand_ins(setup, globals)?;
            }
        }
        note(&*server).iter().for_each(|note| (setup.notice)(&format!("warning: {note}")));
        (setup.notice)(&format!(
            "{}: a scratch server is ready after {:.1} s",
            job.candidate.snapshot.source,
            begin.elapsed().as_secs_f64()
        ));
        Ok(Running { server, roles: Mutex::new(roles) })
    }
}
