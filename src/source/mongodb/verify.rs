//! Proving databases of a MongoDB deployment.

use std::{path::PathBuf, time::Instant};

use mongodb::bson::Document;

use super::{
    Detail, Mongodb, compare,
    config::{MongodbConfig, MongodbConsistency},
    connect::{Deployment, Params},
    restore::{self, Target},
    scratch::MongodbServer,
};
use crate::{
    error::{Error, Result},
    scratch::{Rules, ScratchDir},
    settings::{DrillConfig, Patterns, Secret, SecretFile},
    source::{
        Item, Source,
        manifest::Manifest,
        restore::Options,
        verify::{
            Database, Fault, Globals, Proof, Proven, ScratchServer, Setup, Verifier, inflict, of_restore,
            scratch_source, sink::NullSink,
        },
    },
    stream::private::PrivateDir,
};

/// A scratch server.
struct Scratch {
    // Fields are dropped in this order: connections, then the server, then its directory.
    deployment: Deployment,
    uri_file: PathBuf,
    _private: PrivateDir,
    server: MongodbServer,
    _dir: ScratchDir,
}

/// Scratch servers of MongoDB.
pub(super) struct ScratchServers;

impl Verifier for ScratchServers {
    fn server_key(&self, _setup: &Setup<'_>, manifest: &Manifest) -> Result<String, Fault> {
        Ok(line(&manifest.server_version))
    }

    fn has_globals(&self) -> bool {
        false
    }

    fn start(
        &self,
        setup: &Setup<'_>,
        manifest: &Manifest,
        _globals: Option<&Globals<'_>>,
    ) -> Result<Box<dyn ScratchServer>, Fault> {
        Ok(Box::new(Scratch::start(setup, manifest).map_err(judged)?))
    }
}

/// Servers of MongoDB and its driver report errors of the system unchanged.
fn judged(fault: Fault) -> Fault {
    fault.judged(|_| None)
}

impl ScratchServer for Scratch {
    fn globals(&self, _setup: &Setup<'_>, _globals: &Globals<'_>, _damage: Option<&str>) -> Proven {
        Err(Fault::Cannot(Error::failed("MongoDB has no @globals")))
    }

    fn database(&self, setup: &Setup<'_>, database: &Database<'_>) -> Proven {
        self.prove(setup, database).map_err(judged)
    }

    fn is_dead(&self) -> bool {
        self.server.is_dead()
    }

    fn death(&mut self) -> Option<Error> {
        self.server.death()
    }

    fn unconfined(&self) -> &[String] {
        self.server.unconfined()
    }
}

/// The first two numbers of the server's version.
fn line(version: &str) -> String {
    let from = version.find(|c: char| c.is_ascii_digit()).unwrap_or(version.len());
    version[from..].split('.').take(2).collect::<Vec<_>>().join(".")
}

/// The program of the server.
pub(super) fn program(drill: &DrillConfig, client_dirs: &[PathBuf]) -> Result<PathBuf> {
    if let Some(named) = &drill.mongod {
        return Ok(named.clone());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut dirs: Vec<PathBuf> = drill.server_dirs.iter().chain(client_dirs).cloned().collect();
    dirs.extend(std::env::split_paths(&path));
    dirs.extend(["/usr/bin", "/usr/local/bin", "/run/current-system/sw/bin"].map(PathBuf::from));
    dirs.iter().map(|dir| dir.join("mongod")).find(|file| file.is_file()).ok_or_else(|| {
        Error::failed("no MongoDB server (mongod) is installed on this machine").hint(
            "install `mongodb-org-server` (MongoDB's packages for Debian) or `pkgs.mongodb-ce` (NixOS), or name the \
             program in `drill.mongod`",
        )
    })
}

impl Scratch {
    /// Starts an empty server of the version of the snapshot.
    fn start(setup: &Setup<'_>, manifest: &Manifest) -> Result<Self, Fault> {
        let program = program(setup.drill, &setup.client_dirs).map_err(Fault::Cannot)?;
        let dir = ScratchDir::new(setup.drill.dir.as_deref()).map_err(Fault::Cannot)?;
        let cannot = |error: Error| Fault::Cannot(error.context("a scratch server cannot be started"));
        let server = MongodbServer::start(&program, dir.path(), &Rules::of(setup.drill), setup.cancel)
            .map_err(cannot)?;
        let private = PrivateDir::new().map_err(cannot)?;
        let uri_file = private.file("uri", server.uri().as_bytes()).map_err(cannot)?;
        let params = Params::parse(&Secret::new(server.uri()), "the scratch server")?;
        let deployment = Deployment::connect(&params, setup.cancel).map_err(cannot)?;
        let scratch = Self { deployment, uri_file, _private: private, server, _dir: dir };
        scratch.require_version(setup, manifest)?;
        Ok(scratch)
    }

    fn require_version(&self, setup: &Setup<'_>, manifest: &Manifest) -> Result<(), Fault> {
        let ask = mongodb::bson::doc! { "buildInfo": 1 };
        let admin = self.deployment.client.database("admin");
        let told = self.deployment.ask(setup.cancel, async { admin.run_command(ask).await })?;
        let is = told.get_str("version").unwrap_or_default().to_owned();
        let (wanted, is) = (line(&manifest.server_version), line(&is));
        if wanted == is {
            return Ok(());
        }
        Err(Fault::Cannot(
            Error::failed(format!("MongoDB {wanted} is not installed on this machine, only {is}"))
                .hint(format!("install mongod {wanted}, and name it in `drill.mongod`")),
        ))
    }

    /// Restores a database, reads it back and compares it. It is dropped afterwards.
    fn prove(&self, setup: &Setup<'_>, of: &Database<'_>) -> Proven {
        let proven = self.restore_and_compare(setup, of);
        let database = self.deployment.client.database(of.name);
        // Remaining databases are removed with the server.
        let _ = self.deployment.ask(setup.cancel, async { database.drop().await });
        proven
    }

    fn restore_and_compare(&self, setup: &Setup<'_>, of: &Database<'_>) -> Proven {
        let Database { manifest, files, name, damage, .. } = *of;
        let begin = Instant::now();
        let params = Params::parse(&Secret::new(self.server.uri()), "the scratch server")?;
        let target = Target { params, database: name.to_owned() };
        let options = Options::default();
        let notice = |text: &str| setup.notice_about(manifest, text);
        let done = restore::restore(manifest, files, &target, &options, setup.cancel, &notice)
            .map_err(of_restore)?;
        let restore = begin.elapsed();
        tracing::debug!(seconds = restore.as_secs_f64(), "the item is restored and is compared");
        inflict(damage, |json| {
            let invalid = |e: serde_json::Error| Error::failed("not a command").because(&e);
            let command: Document = serde_json::from_str(json).map_err(invalid)?;
            let database = self.deployment.client.database(name);
            self.deployment.ask(setup.cancel, async { database.run_command(command).await }).map(drop)
        })?;
        let mut again = self.dump(setup, name)?;
        again.forget_omitted(manifest);
        let changed: compare::ChangedIndexes = done.own();
        let mut notes = done.notes;
        let missing = done.missing.iter();
        notes
            .extend(missing.map(|index| format!("not restored: the index {}: {}", index.name, index.reason)));
        let mut differences = compare::collections(&manifest.objects, &again.objects);
        let missing = || Error::failed("the manifest has no details about a MongoDB database");
        let before = manifest.detail::<Detail>().ok_or_else(missing)?;
        let after = again.detail::<Detail>().ok_or_else(missing)?;
        differences.extend(compare::details(before, after, &changed, &mut notes));
        Proof::of(manifest, restore, notes).unless(differences)
    }

    /// Reads the content of the server like a backup. There are no concurrent writes, so no snapshot is requested.
    fn dump(&self, setup: &Setup<'_>, name: &str) -> Result<Manifest> {
        let config = MongodbConfig {
            uri_file: SecretFile::at("the scratch server", &self.uri_file),
            databases: Patterns::default(),
            exclude: Patterns::default(),
            include_system: true,
            parallel_collections: 4,
            consistency: MongodbConsistency::None,
        };
        let source = scratch_source();
        let item = Item { name: name.to_owned(), estimate: None, problem: None };
        Mongodb::new(&source, &config)?.dump(&item, &NullSink::default(), setup.cancel)
    }
}
