//! The steps of a process between fork and exec to confine itself. Everything is prepared before the fork; here are only system
//! calls: nothing allocates, locks or panics.

use std::{
    ffi::{CStr, CString, c_long},
    io,
    os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd},
    path::Path,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{Gid, Mode, OFlags, Uid, mkdir, open, statvfs, symlink},
    io::{Errno, close, write},
    mount::{
        MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind_recursive, mount_change,
        mount_remount, unmount,
    },
    process::{
        DumpableBehavior, Pid, Resource, Rlimit, Signal, chdir, getppid, getrlimit, pivot_root,
        set_dumpable_behavior, set_parent_process_death_signal, setrlimit, setsid, umask,
    },
    stdio::stderr,
    thread::{
        UnshareFlags, clear_ambient_capability_set, set_no_new_privs, set_thread_groups, set_thread_res_gid,
        set_thread_res_uid, unshare_unsafe,
    },
};

use super::{
    landlock::{Access, Ruleset},
    owner::Owner,
};

/// A step on the way to the file system that a server sees. Places are below the directory where it is put together.
#[derive(Debug)]
pub(super) enum Step {
    /// An empty directory.
    Dir(CString),
    /// A symbolic link.
    Link { to: CString, at: CString },
    /// Mounts `from` at `at`, a directory or an empty file, with these `MOUNT_ATTR_*` in addition to its own.
    Bind { from: CString, at: CString, file: bool, attributes: u64, optional: bool },
}

/// A file system that contains only the results of the steps.
#[derive(Debug)]
pub(super) struct Root {
    /// An existing, empty directory.
    pub(super) at: CString,
    pub(super) steps: Vec<Step>,
    /// The mount point of `/proc` for the new process namespace, if there is one.
    pub(super) processes: Option<CString>,
}

/// The user and group maps of a new user namespace: only the caller, with the same IDs.
#[derive(Debug)]
pub(super) struct Maps {
    pub(super) uid: String,
    pub(super) gid: String,
}

/// How a process is confined.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// The namespaces that it leaves, all at once.
    pub(super) namespaces: Option<UnshareFlags>,
    /// Set if a user namespace is among them.
    pub(super) maps: Option<Maps>,
    /// The file system that it sees, if a mount namespace is among them.
    pub(super) root: Option<Root>,
    pub(super) landlock: Option<Ruleset>,
    /// The user that it becomes.
    pub(super) owner: Option<Owner>,
}

/// Attributes of mounts, and the structure of mount_setattr(2).
pub(super) const READ_ONLY: u64 = 1;
pub(super) const NO_SUID: u64 = 2;
pub(super) const NO_DEV: u64 = 4;
pub(super) const NO_EXEC: u64 = 8;

#[repr(C)]
struct MountAttributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

/// A pipe that tells the parent the server's process ID, and shows whether the parent exists.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) reader: OwnedFd,
    pub(crate) writer: OwnedFd,
}

/// The ends of a [`Line`] by number, for the child.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LineEnds {
    reader: RawFd,
    writer: RawFd,
}

impl Line {
    pub(crate) fn ends(&self) -> LineEnds {
        LineEnds { reader: self.reader.as_raw_fd(), writer: self.writer.as_raw_fd() }
    }
}

/// Names the step that failed in the server's log: the parent only gets the error number.
fn step<T, E: Into<io::Error>>(what: &'static str, done: Result<T, E>) -> io::Result<T> {
    done.map_err(|error| {
        let _ = write(stderr(), b"the confinement failed at: ");
        let _ = write(stderr(), what.as_bytes());
        let _ = write(stderr(), b"\n");
        error.into()
    })
}

/// # Safety
/// The arguments must be what the call of this number takes.
unsafe fn call(number: c_long, arguments: [usize; 5]) -> io::Result<c_long> {
    let [a, b, c, d, e] = arguments;
    // SAFETY: the caller's promise.
    match unsafe { libc::syscall(number, a, b, c, d, e) } {
        -1 => Err(io::Error::last_os_error()),
        result => Ok(result),
    }
}

impl Plan {
    /// Whether the server is the first process of a process namespace: its children end with it.
    pub(crate) fn is_first_process(&self) -> bool {
        self.namespaces.is_some_and(|flags| flags.contains(UnshareFlags::NEWPID))
    }

    /// Confines the calling process, which was forked from `parent` and has a single thread. If it gets a process namespace,
    /// the calling process ends here and another one returns, also a child of the parent.
    pub(crate) fn enter(&self, signal: Signal, parent: Pid, line: LineEnds) -> io::Result<()> {
        if let Some(namespaces) = self.namespaces {
            // SAFETY: there is a single thread, and no file that another one could miss.
            step("leaving the namespaces", unsafe { unshare_unsafe(namespaces) })?;
        }
        if let Some(maps) = &self.maps {
            map_users(maps)?;
        }
        if self.is_first_process() {
            be_first(line)?;
        }
        let shows_processes = match &self.root {
            Some(root) => change_root(root)?,
            None => false,
        };
        // No terminal, and no signals from one.
        step("a session of its own", setsid())?;
        if let Some(owner) = self.owner {
            step("becoming another user", owner.become_it())?;
        }
        let none = Rlimit { current: Some(0), maximum: Some(0) };
        step("forbidding core dumps", setrlimit(Resource::Core, none))?;
        // EINVAL: a kernel before 4.3 has none.
        match clear_ambient_capability_set() {
            Ok(()) | Err(Errno::INVAL) => {}
            Err(error) => step("dropping capabilities", Err(error))?,
        }
        step("forbidding new privileges", set_no_new_privs(true))?;
        if let Some(ruleset) = &self.landlock {
            if shows_processes {
                // It was not there when the rules were made. A path this short is not copied to the heap.
                step("allowing /proc", ruleset.allow(Path::new("/proc"), Access::Read))?;
            }
            step("Landlock", ruleset.restrict())?;
        }
        self.bind(signal, parent, line)?;
        step("closing files", close_others())?;
        // The old working directory belongs to the file system that it left.
        step("changing to /", chdir(c"/"))
    }

    /// Lets the kernel end this process with its parent.
    fn bind(&self, signal: Signal, parent: Pid, line: LineEnds) -> io::Result<()> {
        // The first process of a namespace ignores what it has no handler for, but not SIGKILL from outside.
        let first = self.is_first_process();
        let signal = if first { Signal::KILL } else { signal };
        // After the change of user, which would clear it.
        step("binding to the parent", set_parent_process_death_signal(Some(signal)))?;
        // The parent may have ended before the signal was set. In a new process namespace its PID is not visible, so the
        // pipe is checked instead: our copy of the reading end is closed, and once the parent has ended no other is left.
        let alive = if first { has_reader(line)? } else { getppid() == Some(parent) };
        if alive { Ok(()) } else { Err(io::Error::from_raw_os_error(Errno::PIPE.raw_os_error())) }
    }
}

impl Owner {
    /// Makes the calling process, which has one thread, one of this user, without other groups and without capabilities.
    fn become_it(self) -> io::Result<()> {
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        set_thread_groups(&[])?;
        set_thread_res_gid(gid, gid, gid)?;
        Ok(set_thread_res_uid(uid, uid, uid)?)
    }
}

fn map_users(maps: &Maps) -> io::Result<()> {
    // The files belong to root while this copy of a process that keeps others out does so too.
    step("opening /proc/self", set_dumpable_behavior(DumpableBehavior::Dumpable))?;
    let texts: [(&CStr, &str); 3] = [
        (c"/proc/self/setgroups", "deny"),
        (c"/proc/self/uid_map", &maps.uid),
        (c"/proc/self/gid_map", &maps.gid),
    ];
    for (file, text) in texts {
        let file =
            step("opening the map of users", open(file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()))?;
        step("writing the map of users", write(&file, text.as_bytes()))?;
    }
    step("closing /proc/self", set_dumpable_behavior(DumpableBehavior::NotDumpable))
}

/// Forks a sibling that is the first process of the new process namespace, tells the parent its number and ends. The
/// sibling returns.
fn be_first(line: LineEnds) -> io::Result<()> {
    // SAFETY: both ends were open when this process was forked; this end is used by nobody here.
    unsafe { close(line.reader) };
    let flags = libc::CLONE_PARENT | libc::SIGCHLD;
    // SAFETY: as fork(2), which has no way to ask for a sibling. Neither process uses anything of the C library that
    // remembers numbers of processes or threads.
    let pid = step("forking", unsafe { call(libc::SYS_clone, [flags as usize, 0, 0, 0, 0]) })?;
    if pid == 0 {
        return Ok(());
    }
    let number = (pid as i32).to_ne_bytes();
    // SAFETY: the parent keeps this open until both processes have left here.
    let writer = unsafe { BorrowedFd::borrow_raw(line.writer) };
    let told = matches!(write(writer, &number), Ok(4));
    // SAFETY: ends this process without running anything that belongs to the parent.
    unsafe { libc::_exit(if told { 0 } else { 1 }) }
}

fn has_reader(line: LineEnds) -> io::Result<bool> {
    // SAFETY: this is the server's own copy, open until it runs its program.
    let writer = unsafe { BorrowedFd::borrow_raw(line.writer) };
    let mut ends = [PollFd::from_borrowed_fd(writer, PollFlags::OUT)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    step("looking for the parent", poll(&mut ends, Some(&now)))?;
    let [end] = &ends;
    Ok(!end.revents().contains(PollFlags::ERR))
}

/// Assembles a file system and makes it the only one. Returns whether `/proc` shows the server's own processes and no
/// others: programs find their own path there, but can do without.
fn change_root(root: &Root) -> io::Result<bool> {
    // Mounts made here must not propagate.
    let ours = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    step("leaving the mounts", mount_change(c"/", ours))?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    let options = c"mode=0755,size=1m,nr_inodes=4096";
    step("mounting an empty file system", mount(c"tmpfs", &*root.at, c"tmpfs", flags, options))?;
    // The directories belong to root and must be accessible to the server.
    let usual = umask(Mode::from_raw_mode(0o022));
    let put = root.steps.iter().try_for_each(put);
    umask(usual);
    put?;
    let shows_processes = root.processes.as_ref().is_some_and(|at| {
        // Not allowed where parts of the old /proc are hidden, as services have it.
        mount(c"proc", &**at, c"proc", flags | MountFlags::NOEXEC, c"subset=pid").is_ok()
    });
    step("making it read-only", set_attributes(&root.at, READ_ONLY, false))?;
    step("entering it", chdir(&*root.at))?;
    // The old root is then mounted over the new one, and is removed.
    step("changing the root", pivot_root(c".", c"."))?;
    step("leaving the old root", unmount(c".", UnmountFlags::DETACH))?;
    step("entering the new root", chdir(c"/"))?;
    Ok(shows_processes)
}

fn put(one: &Step) -> io::Result<()> {
    match one {
        Step::Dir(at) => match mkdir(&**at, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(error) => step("making a directory", Err(error)),
        },
        Step::Link { to, at } => match symlink(&**to, &**at) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(error) => step("making a link", Err(error)),
        },
        Step::Bind { from, at, file, attributes, optional } => {
            if *file {
                let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
                drop(step("making a file", open(&**at, flags, Mode::from_raw_mode(0o644)))?);
            } else {
                match mkdir(&**at, Mode::from_raw_mode(0o755)) {
                    // On a read-only file system the directory exists or the mount fails.
                    Ok(()) | Err(Errno::EXIST | Errno::ROFS) => {}
                    Err(error) => step("making a directory", Err(error))?,
                }
            }
            match mount_bind_recursive(&**from, &**at) {
                Err(_) if *optional => return Ok(()),
                done => step("showing a file or directory", done)?,
            }
            step("protecting a file or directory", set_attributes(at, *attributes, true))
        }
    }
}

/// Adds attributes to a mount, and to all below it; what they have cannot be taken away.
fn set_attributes(at: &CStr, attributes: u64, recursive: bool) -> io::Result<()> {
    if attributes == 0 {
        return Ok(());
    }
    let wanted = MountAttributes { set: attributes, clear: 0, propagation: 0, user_namespace: 0 };
    let flags = if recursive { libc::AT_RECURSIVE } else { 0 };
    let arguments = [
        libc::AT_FDCWD as usize,
        at.as_ptr() as usize,
        flags as usize,
        &raw const wanted as usize,
        size_of::<MountAttributes>(),
    ];
    // SAFETY: the path ends in a zero byte, and the structure is as long as is said.
    match unsafe { call(libc::SYS_mount_setattr, arguments) } {
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => remount(at, attributes),
        done => done.map(drop),
    }
}

/// The way of kernels before 5.12, for a mount without those below it: its attributes are given anew, and what it has must be
/// among them.
fn remount(at: &CStr, attributes: u64) -> io::Result<()> {
    // As statvfs(3) and mount(2) number them; the second has other numbers for the rest.
    const NO_ACCESS_TIME: u64 = 1 << 10;
    const KEPT: u64 = READ_ONLY | NO_SUID | NO_DEV | NO_EXEC | NO_ACCESS_TIME | 1 << 11;
    const RELATIVE_ACCESS_TIME: u64 = 1 << 12;
    let has = statvfs(at)?.f_flag.bits();
    let mut flags = MountFlags::BIND | MountFlags::from_bits_retain(((has & KEPT) | attributes) as u32);
    if has & (NO_ACCESS_TIME | RELATIVE_ACCESS_TIME) == 0 {
        flags |= MountFlags::STRICTATIME;
    }
    Ok(mount_remount(at, flags, c"")?)
}

/// All open files except standard input and outputs are closed when the program is run.
fn close_others() -> io::Result<()> {
    // SAFETY: no file is closed here, only marked.
    let marked = unsafe {
        call(libc::SYS_close_range, [3, u32::MAX as usize, libc::CLOSE_RANGE_CLOEXEC as usize, 0, 0])
    };
    if marked.is_ok() {
        return Ok(());
    }
    // A kernel before 5.11, or a filter of system calls.
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(1 << 20).min(1 << 20);
    for number in 3..limit as RawFd {
        // SAFETY: a number that is not open gets an error, which says that there is nothing to do.
        unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
    Ok(())
}
