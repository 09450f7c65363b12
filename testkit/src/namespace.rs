//! Mount namespaces for tests that mount something.

use std::thread;

use rustix::{
    mount::{MountPropagationFlags, mount_change},
    thread::{UnshareFlags, unshare_unsafe},
};

use crate::skip;

/// Runs this in a mount namespace of its own; a visible skip if that is not permitted.
pub fn in_private_namespace(test: impl FnOnce() + Send) {
    thread::scope(|scope| {
        let done = scope.spawn(|| {
            // SAFETY: only this thread, which ends below, gets another view of the file system.
            let entered = unsafe { unshare_unsafe(UnshareFlags::NEWNS) };
            let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
            match entered.and_then(|()| mount_change("/", private)) {
                Ok(()) => test(),
                Err(error) => skip(&format!("the right to mount ({error})")),
            }
        });
        if let Err(panic) = done.join() {
            std::panic::resume_unwind(panic);
        }
    });
}
