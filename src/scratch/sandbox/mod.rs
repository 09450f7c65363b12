//! Confinement of scratch servers. A backup brings code: functions, constraints and triggers of its owners, which a server
//! runs as its superuser when it is restored. So the server can read and write nothing but its own directory and the programs
//! that it needs, and neither sees nor reaches other processes or the network.
//!
//! Files, Unix sockets, processes and the network are confined, each by all that the kernel offers: namespaces, Landlock, and
//! as root a user of the server's own. `drill.sandbox` says whether a server may be started where one of the four is
//! confined by nothing.

pub(crate) mod enter;
mod landlock;
pub(crate) mod owner;
mod probe;
#[cfg(test)]
mod tests;
mod view;

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

use self::{enter::Plan, landlock::Ruleset, owner::Owner, probe::Kernel, view::View};
use crate::{
    error::{Error, Result},
    settings::{DrillConfig, SandboxRule},
};

/// The first version of Landlock that lets no file be emptied, and no TCP port be reached.
const KEEPS_FILES: u32 = 3;
const KEEPS_PORTS: u32 = 4;
/// Version 1 forbids moving files between directories, which servers do.
const LETS_MOVE: u32 = 2;
/// The directory with what the confinement needs, in the directory of a server.
const FOLDER: &str = ".confinement";

/// How servers are confined, as configured.
#[derive(Debug, Clone)]
pub struct Rules {
    /// What happens if a resource cannot be confined.
    pub sandbox: SandboxRule,
    /// What servers may read besides their programs.
    pub files: Vec<PathBuf>,
}

impl Rules {
    /// The rules of a drill.
    pub fn of(drill: &DrillConfig) -> Self {
        Self { sandbox: drill.sandbox, files: drill.server_files.clone() }
    }

    /// Rules for servers that only contain generated content.
    pub fn for_own_content() -> Self {
        Self { sandbox: SandboxRule::BestEffort, files: Vec::new() }
    }
}

/// The confinement of one server.
#[derive(Debug)]
pub(crate) struct Sandbox {
    rules: Rules,
    kernel: Kernel,
    owner: Option<Owner>,
    /// The directory of the confinement.
    dir: PathBuf,
    /// The TCP port that the server must listen on, if it needs one: it then shares the machine's network.
    port: Option<u16>,
    open: Vec<String>,
}

impl Sandbox {
    /// Prepares the confinement of a server in `dir`, an existing directory. Also protects this process from other processes of our user.
    ///
    /// # Errors
    /// A resource cannot be confined, and the rules require it.
    pub(crate) fn new(rules: &Rules, dir: &Path, port: Option<u16>) -> Result<Self> {
        // Our memory contains passwords. A failure is ignored, because the server is kept out in other ways too.
        let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
        let failed = |error: io::Error| {
            Error::failed(format!("cannot prepare the confinement of a server in {}", dir.display()))
                .because(&error)
        };
        let dir = dir.join(FOLDER);
        let stage = dir.join("root");
        DirBuilder::new().recursive(true).mode(0o700).create(&stage).map_err(failed)?;
        let mut kernel = probe::kernel(&stage);
        kernel.net &= port.is_none();
        let owner = owner::of_servers(kernel.mount)?;
        for (name, text) in owner::accounts(owner) {
            let file = dir.join(name);
            fs::write(&file, text)
                .and_then(|()| fs::set_permissions(&file, fs::Permissions::from_mode(0o644)))
                .map_err(failed)?;
        }
        if !kernel.pid {
            crate::stream::process::adopt_orphans().map_err(failed)?;
        }
        let open = open(&kernel, owner, port.is_some());
        if !open.is_empty() && rules.sandbox == SandboxRule::Required {
            return Err(refused(&open, &kernel));
        }
        let sandbox = Self { rules: rules.clone(), kernel, owner, dir, port, open };
        Ok(sandbox)
    }

    /// The user that the server runs as; `None` for our own.
    pub(crate) fn owner(&self) -> Option<Owner> {
        self.owner
    }

    /// The user whose processes may outlive the server, as it has no process namespace. Nothing else runs as that user.
    pub(crate) fn leaves_orphans(&self) -> Option<u32> {
        self.owner.filter(|owner| owner.own && !self.kernel.pid).map(|owner| owner.uid)
    }

    /// The resources that are not confined.
    pub(crate) fn open(&self) -> &[String] {
        &self.open
    }

    /// How to start `program`, which writes to the directories `own`.
    pub(crate) fn plan(&self, program: &Path, own: &[PathBuf]) -> Result<Plan> {
        self.make_plan(program, own)
            .map_err(|error| Error::failed("cannot prepare the confinement of a server").because(&error))
    }

    fn make_plan(&self, program: &Path, own: &[PathBuf]) -> io::Result<Plan> {
        let mut view = View::of_system();
        view.show_program(program);
        self.rules.files.iter().for_each(|path| view.show(path));
        // The server gets this variable, whose directories are searched for libraries.
        let libraries = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
        std::env::split_paths(&libraries).filter(|path| path.is_absolute()).for_each(|path| view.show(&path));
        let own: Vec<PathBuf> = own.iter().filter_map(|path| view.follow(path)).collect();
        let (namespaces, maps) = probe::namespaces(&self.kernel);
        let files = if self.kernel.mount {
            ["passwd", "group"].map(|name| (self.dir.join(name), Path::new("/etc").join(name))).to_vec()
        } else {
            ["passwd", "group"].iter().for_each(|name| view.show(&Path::new("/etc").join(name)));
            Vec::new()
        };
        let mut root =
            self.kernel.mount.then(|| view.root(&self.dir.join("root"), &own, &files)).transpose()?;
        if let Some(root) = root.as_mut().filter(|_| !self.kernel.pid) {
            // It would show other processes.
            root.processes = None;
        }
        // Version 1 forbids operations that servers need; a file system of their own is sufficient.
        let usable = self.kernel.landlock >= LETS_MOVE || self.kernel.landlock > 0 && !self.kernel.mount;
        let landlock = if usable {
            let rules = Ruleset::new(self.kernel.landlock)?;
            view.allow(&rules, &own, &files)?;
            self.port.map_or(Ok(()), |port| rules.allow_listening(port))?;
            Some(rules)
        } else {
            None
        };
        Ok(Plan { namespaces, maps, root, landlock, owner: self.owner })
    }
}

/// The resources that no mechanism confines.
fn open(kernel: &Kernel, owner: Option<Owner>, needs_port: bool) -> Vec<String> {
    let own = owner.is_some_and(|owner| owner.own);
    let mut open = Vec::new();
    // Another user may not truncate our files.
    let files = kernel.landlock >= KEEPS_FILES || kernel.landlock > 0 && owner.is_some();
    if !kernel.mount && !files {
        open.push("files (a mount namespace, or Landlock of version 3)".to_owned());
    }
    // Landlock blocks signals, but processes and shared memory may outlive the server.
    if (!kernel.pid || !kernel.ipc) && !own {
        open.push(
            "processes (namespaces of processes and of shared memory, or as root a user `tik-backup-drill`)"
                .to_owned(),
        );
    }
    if !kernel.net && kernel.landlock < KEEPS_PORTS {
        let how = if needs_port {
            "Landlock of version 4"
        } else {
            "a network namespace, or Landlock of version 4"
        };
        open.push(format!("the network ({how})"));
    }
    // The server behind a socket would treat the connection as ours.
    if !kernel.mount && owner.is_none() {
        open.push("sockets in directories (a mount namespace, or as root another user)".to_owned());
    }
    open
}

fn refused(open: &[String], kernel: &Kernel) -> Error {
    let error = Error::failed(format!(
        "the scratch server cannot be confined, although it would run code from the backup: this system offers nothing for {}",
        open.join(", ")
    ));
    let error = match &kernel.refusal {
        Some(refusal) => error.because_text(refusal),
        None => error,
    };
    error.hint(
        "allow user namespaces (a service: the units that `tik-backup systemd` writes; a container: its seccomp profile; \
         sysctl kernel.apparmor_restrict_unprivileged_userns=0 or kernel.unprivileged_userns_clone=1), or use a kernel with \
         Landlock; if you trust everyone who may create tables in what is backed up, set `drill.sandbox = \"best-effort\"`",
    )
}
