//! Starts child processes from one thread that runs as long as this process, so that tools and servers end with this program.
//!
//! The kernel signals a child when the *thread* that started it ends (`PR_SET_PDEATHSIG`), so no other thread may start a child
//! that relies on this signal.

use std::{
    io,
    os::unix::process::CommandExt,
    process::{Child, Command},
    sync::{
        OnceLock,
        mpsc::{Sender, channel},
    },
    thread,
};

use parking_lot::Mutex;
use rustix::{
    io::Errno,
    process::{Pid, Signal, getpid, getppid, set_parent_process_death_signal},
};

/// The steps of a child between fork and exec.
///
/// # Safety
/// [`Plan::enter`] runs in a copy of a process with many threads, of which only one continues: it makes system calls and neither
/// allocates nor locks nor panics.
pub(crate) unsafe trait Plan: Send + Sync + 'static {
    /// Prepares the calling process, which was forked from `parent`, for its program.
    ///
    /// # Errors
    /// The program is not run. Only the errno reaches the parent.
    fn enter(&self, parent: Pid) -> io::Result<()>;
}

/// The child gets this signal when this process ends, and is not run if it has ended already.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EndsWithUs(pub(crate) Signal);

// SAFETY: two system calls; an error made from an errno does not allocate.
unsafe impl Plan for EndsWithUs {
    fn enter(&self, parent: Pid) -> io::Result<()> {
        set_parent_process_death_signal(Some(self.0))?;
        // The parent may have ended before the line above took effect.
        if getppid() == Some(parent) {
            Ok(())
        } else {
            Err(io::Error::from_raw_os_error(Errno::PIPE.raw_os_error()))
        }
    }
}

/// An order for the thread.
type Order = Box<dyn FnOnce() + Send>;

/// Starts `command` with the plan, and returns the result of `started`, which runs on the starting thread.
///
/// # Errors
/// Those of `started`; the thread cannot be started.
pub(crate) fn start<T: Send + 'static>(
    mut command: Command,
    plan: impl Plan,
    started: impl FnOnce(io::Result<Child>) -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let us = getpid();
    // SAFETY: the closure only calls the plan, which makes system calls only; it neither allocates nor locks.
    unsafe { command.pre_exec(move || plan.enter(us)) };
    let (reply, answer) = channel();
    let order: Order = Box::new(move || {
        // A caller always waits for the reply; if it was lost, the child ends on its closed pipes.
        let _ = reply.send(started(command.spawn()));
    });
    let gone = || io::Error::other("the thread that starts processes has ended");
    orders()?.send(order).map_err(|_| gone())?;
    answer.recv().map_err(|_| gone())?
}

/// The channel to the thread, which is started with the first order.
fn orders() -> io::Result<Sender<Order>> {
    static ORDERS: OnceLock<Mutex<Option<Sender<Order>>>> = OnceLock::new();
    let mut slot = ORDERS.get_or_init(|| Mutex::new(None)).lock();
    if let Some(orders) = &*slot {
        return Ok(orders.clone());
    }
    let (sender, receiver) = channel::<Order>();
    thread::Builder::new()
        .name("starter".into())
        .spawn(move || receiver.into_iter().for_each(|order| order()))?;
    Ok(slot.insert(sender).clone())
}
