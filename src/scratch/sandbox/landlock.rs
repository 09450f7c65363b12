//! Landlock: kernel rules that a process applies to itself and cannot remove. Three system calls, without a library: the
//! rules are made before the fork, and code after it must not allocate.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd},
    path::Path,
};

use rustix::fs::{FileType, Mode, OFlags, fstat, open};

const EXECUTE: u64 = 1;
const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIR: u64 = 1 << 3;
const MAKE_CHAR: u64 = 1 << 6;
const MAKE_BLOCK: u64 = 1 << 11;
/// Version 1 has the rights up to this one.
const MAKE_SYMLINK: u64 = 1 << 12;
/// Moving files between directories: version 2. Version 1 always forbids it.
const REFER: u64 = 1 << 13;
/// Version 3. Before it, a file can be truncated by its name regardless of the rules.
const TRUNCATE: u64 = 1 << 14;
/// Version 5.
const IOCTL_DEVICE: u64 = 1 << 15;
/// Version 4.
const BIND_TCP: u64 = 1;
const CONNECT_TCP: u64 = 1 << 1;
/// Version 6: abstract Unix sockets and signals of processes outside.
const SCOPES: u64 = 3;
const RULE_PATH: usize = 1;
const RULE_PORT: usize = 2;

#[repr(C)]
struct Handled {
    files: u64,
    network: u64,
    scopes: u64,
}

#[repr(C, packed)]
struct PathRule {
    allowed: u64,
    parent: RawFd,
}

#[repr(C)]
struct PortRule {
    allowed: u64,
    port: u64,
}

/// What may be done with a file, or with all below a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Reading and running.
    Read,
    /// Reading and writing of a device.
    Device,
    /// Everything but running and making devices.
    Own,
}

/// The version of the kernel's Landlock, 0 if it has none.
pub(super) fn version() -> u32 {
    const VERSION: usize = 1;
    // SAFETY: asks for a number and nothing else.
    let version = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, 0_usize, 0_usize, VERSION) };
    u32::try_from(version).unwrap_or(0)
}

/// Rules that are being built.
#[derive(Debug)]
pub(super) struct Ruleset {
    rules: OwnedFd,
    files: u64,
    network: bool,
}

impl Ruleset {
    /// Forbids everything that this version can forbid.
    pub(super) fn new(version: u32) -> io::Result<Self> {
        let mut files = (MAKE_SYMLINK << 1) - 1;
        for (since, right) in [(2, REFER), (3, TRUNCATE), (5, IOCTL_DEVICE)] {
            if version >= since {
                files |= right;
            }
        }
        let network = version >= 4;
        let handled = Handled {
            files,
            network: if network { BIND_TCP | CONNECT_TCP } else { 0 },
            scopes: if version >= 6 { SCOPES } else { 0 },
        };
        let size = match version {
            0..=3 => 8_usize,
            4 | 5 => 16,
            _ => 24,
        };
        // SAFETY: the structure is at least as long as is said.
        let rules =
            unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, &raw const handled, size, 0_usize) };
        let rules = RawFd::try_from(rules).ok().filter(|rules| *rules >= 0);
        let rules = rules.ok_or_else(io::Error::last_os_error)?;
        // SAFETY: a file that was just opened, with the flag that closes it when a program is run.
        Ok(Self { rules: unsafe { OwnedFd::from_raw_fd(rules) }, files, network })
    }

    /// Allows something to be done with a file or below a directory.
    pub(super) fn allow(&self, path: &Path, access: Access) -> io::Result<()> {
        let opened = open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        let is_dir = FileType::from_raw_mode(fstat(&opened)?.st_mode) == FileType::Directory;
        let of_files = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEVICE;
        let wanted = match access {
            Access::Read => EXECUTE | READ_FILE | READ_DIR,
            Access::Device => READ_FILE | WRITE_FILE | TRUNCATE,
            Access::Own => !(EXECUTE | MAKE_CHAR | MAKE_BLOCK | IOCTL_DEVICE),
        };
        let allowed = wanted & self.files & if is_dir { u64::MAX } else { of_files };
        let rule = PathRule { allowed, parent: opened.as_fd().as_raw_fd() };
        self.add(RULE_PATH, (&raw const rule).cast())
    }

    /// Allows a server to listen on a TCP port.
    pub(super) fn allow_listening(&self, port: u16) -> io::Result<()> {
        if !self.network {
            return Ok(());
        }
        let rule = PortRule { allowed: BIND_TCP, port: port.into() };
        self.add(RULE_PORT, (&raw const rule).cast())
    }

    fn add(&self, kind: usize, rule: *const u8) -> io::Result<()> {
        let rules = self.rules.as_raw_fd();
        // SAFETY: `rule` points to the structure that goes with `kind`.
        match unsafe { libc::syscall(libc::SYS_landlock_add_rule, rules, kind, rule, 0_usize) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Applies the rules to the calling process, which must have set `no_new_privs`. Only a system call.
    pub(super) fn restrict(&self) -> io::Result<()> {
        // SAFETY: takes a number and flags.
        match unsafe { libc::syscall(libc::SYS_landlock_restrict_self, self.rules.as_raw_fd(), 0_usize) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}
