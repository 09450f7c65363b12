//! The confinement that the kernel and our environment allow, determined by trying.

use std::{
    io::{self, Read},
    path::Path,
    process::{Command, Stdio},
};

use parking_lot::Mutex;
use rustix::{process::Signal, thread::UnshareFlags};

use super::{
    enter::{Maps, Plan},
    landlock::{self, Ruleset},
    view::View,
};
use crate::scratch::bound;

/// The available mechanisms.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Kernel {
    /// Mount namespaces.
    pub(super) mount: bool,
    /// Process namespaces.
    pub(super) pid: bool,
    /// Network namespaces.
    pub(super) net: bool,
    /// IPC namespaces.
    pub(super) ipc: bool,
    /// The version of Landlock, 0 for none.
    pub(super) landlock: u32,
    /// The errors of unavailable mechanisms.
    pub(super) refusal: Option<String>,
}

/// The mechanisms available to this process. They are tried once; `stage` is an empty directory for mounts.
pub(super) fn kernel(stage: &Path) -> Kernel {
    static KNOWN: Mutex<Option<Kernel>> = Mutex::new(None);
    let mut known = KNOWN.lock();
    known.get_or_insert_with(|| find_out(stage)).clone()
}

fn find_out(stage: &Path) -> Kernel {
    let mut kernel = Kernel::default();
    let version = landlock::version();
    if version > 0 {
        let rules = |version| -> io::Result<Plan> {
            let rules = Ruleset::new(version)?;
            View::of_system().allow(&rules, &[], &[])?;
            Ok(Plan { landlock: Some(rules), ..Plan::default() })
        };
        match rules(version).and_then(attempt) {
            Ok(()) => kernel.landlock = version,
            Err(error) => kernel.refusal = Some(error.to_string()),
        }
    }
    let all = Kernel { mount: true, pid: true, net: true, ipc: true, ..kernel.clone() };
    if let Err(error) = attempt_namespaces(&all, stage) {
        kernel.refusal = Some(error.to_string());
    } else {
        return all;
    }
    let one = |wanted: &dyn Fn(&mut Kernel)| {
        let mut only = Kernel::default();
        wanted(&mut only);
        attempt_namespaces(&only, stage).is_ok()
    };
    let some = Kernel {
        mount: one(&|kernel| kernel.mount = true),
        pid: one(&|kernel| kernel.pid = true),
        net: one(&|kernel| kernel.net = true),
        ipc: one(&|kernel| kernel.ipc = true),
        ..kernel.clone()
    };
    if attempt_namespaces(&some, stage).is_ok() { some } else { kernel }
}

/// The flags for the wanted namespaces, and the maps if a user namespace is needed: root needs none.
pub(super) fn namespaces(wanted: &Kernel) -> (Option<UnshareFlags>, Option<Maps>) {
    let mut flags = UnshareFlags::empty();
    flags.set(UnshareFlags::NEWNS, wanted.mount);
    flags.set(UnshareFlags::NEWPID, wanted.pid);
    flags.set(UnshareFlags::NEWNET, wanted.net);
    flags.set(UnshareFlags::NEWIPC, wanted.ipc);
    if flags.is_empty() {
        return (None, None);
    }
    if rustix::process::geteuid().is_root() {
        return (Some(flags), None);
    }
    let map = |id: u32| format!("{id} {id} 1");
    let maps =
        Maps { uid: map(rustix::process::geteuid().as_raw()), gid: map(rustix::process::getegid().as_raw()) };
    (Some(flags | UnshareFlags::NEWUSER), Some(maps))
}

fn attempt_namespaces(wanted: &Kernel, stage: &Path) -> io::Result<()> {
    let (flags, maps) = namespaces(wanted);
    let mut root = wanted.mount.then(|| View::of_system().root(stage, &[], &[])).transpose()?;
    // It is not part of the attempt.
    root.iter_mut().for_each(|root| root.processes = None);
    attempt(Plan { namespaces: flags, maps, root, ..Plan::default() })
}

/// Runs a shell that prints one word, confined by this plan.
fn attempt(plan: Plan) -> io::Result<()> {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "echo confined"]).env_clear();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut shell = bound::start(command, Signal::KILL, plan)?;
    let mut said = String::new();
    let read = shell.stdout.as_mut().map(|output| output.read_to_string(&mut said));
    let status = shell.wait()?;
    read.transpose()?;
    if status.success() && said == "confined\n" {
        return Ok(());
    }
    Err(io::Error::other(format!("a confined /bin/sh {}", bound::describe(status))))
}
