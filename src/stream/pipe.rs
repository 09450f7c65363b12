//! Pipes to and from child processes, read and written in large portions: waking up for each 4 KiB that a tool writes costs
//! more CPU time than the data itself.

use std::{
    io,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::{Errno, ioctl_fionbio, ioctl_fionread},
};

use super::cancel::Cancel;
use crate::error::Error;

/// Requested size of each pipe; the system may grant less.
const CAPACITY: usize = 1024 * 1024;
/// The longest time until a stop flag is noticed.
const SLICE: Duration = Duration::from_millis(200);
/// First, shortest and longest pause while a pipe fills, and the longest total delay of a read.
const FIRST_NAP: Duration = Duration::from_micros(300);
const SHORTEST_NAP: Duration = Duration::from_micros(100);
const LONGEST_NAP: Duration = Duration::from_millis(2);
const LONGEST_FILL: Duration = Duration::from_millis(4);

/// Why waiting on a pipe or a process ended without a result.
pub(crate) enum Stop {
    /// Nothing happened for this long.
    Silent(Duration),
    /// The stop flag was set; the error has its reason.
    Cancelled(Error),
    /// The system call failed.
    Io(io::Error),
}

impl From<Errno> for Stop {
    fn from(errno: Errno) -> Self {
        Self::Io(errno.into())
    }
}

/// The reading end of a child's stdout.
pub(crate) struct PipeReader {
    fd: OwnedFd,
    cancel: Cancel,
    /// A read waits briefly until this many bytes are available; with 1 it returns at once.
    portion: usize,
    /// Bytes per second that the producer wrote during the pauses; 0 if unknown.
    rate: f64,
}

impl PipeReader {
    /// Enlarges the pipe. A read waits a few milliseconds at most until `portion` bytes are available.
    pub(crate) fn new(fd: OwnedFd, cancel: Cancel, portion: usize) -> Self {
        let capacity = enlarge(&fd);
        Self { fd, cancel, portion: portion.min(capacity / 4).max(1), rate: 0.0 }
    }

    /// Reads at least one byte, or 0 at the end of the stream. `limit` bounds the wait for the first byte.
    pub(crate) fn read(&mut self, buf: &mut [u8], limit: Option<Duration>) -> Result<usize, Stop> {
        let want = buf.len().min(self.portion);
        let mut have = self.available()?;
        if have == 0 {
            wait_for(&self.fd, PollFlags::IN, limit, &self.cancel)?;
            have = self.available()?;
        } else {
            self.cancel.check().map_err(Stop::Cancelled)?;
        }
        if 0 < have && have < want {
            self.let_it_fill(have, want)?;
        }
        loop {
            match rustix::io::read(&self.fd, &mut *buf) {
                Err(Errno::INTR) => {}
                result => return Ok(result?),
            }
        }
    }

    /// Pauses while the pipe fills. Ends early if the producer has closed it or pauses itself.
    fn let_it_fill(&mut self, mut have: usize, want: usize) -> Result<(), Stop> {
        let began = Instant::now();
        while have < want && began.elapsed() < LONGEST_FILL {
            let missing = (want - have) as f64;
            let nap = if self.rate > 0.0 {
                Duration::try_from_secs_f64(missing / self.rate)
                    .unwrap_or(LONGEST_NAP)
                    .clamp(SHORTEST_NAP, LONGEST_NAP)
            } else {
                FIRST_NAP
            };
            let napped = Instant::now();
            // Without requested events, poll returns early only if the other side closes the pipe.
            let closed = poll_once(&self.fd, PollFlags::empty(), nap)?;
            let now = self.available()?;
            self.rate = now.saturating_sub(have) as f64 / napped.elapsed().as_secs_f64().max(1e-6);
            if closed || now <= have {
                break;
            }
            have = now;
        }
        Ok(())
    }

    fn available(&self) -> Result<usize, Stop> {
        Ok(usize::try_from(ioctl_fionread(&self.fd)?).unwrap_or(usize::MAX))
    }
}

/// The writing end of a child's stdin.
pub(crate) struct PipeWriter {
    fd: OwnedFd,
    cancel: Cancel,
    capacity: u64,
}

impl PipeWriter {
    /// Enlarges the pipe.
    pub(crate) fn new(fd: OwnedFd, cancel: Cancel) -> io::Result<Self> {
        let capacity = enlarge(&fd) as u64;
        ioctl_fionbio(&fd, true)?;
        Ok(Self { fd, cancel, capacity })
    }

    /// Writes some bytes. `limit` bounds the wait until the child reads any.
    pub(crate) fn write(&mut self, buf: &[u8], limit: Option<Duration>) -> Result<usize, Stop> {
        self.cancel.check().map_err(Stop::Cancelled)?;
        loop {
            match rustix::io::write(&self.fd, buf) {
                Err(Errno::AGAIN) => self.wait_for_room(limit)?,
                Err(Errno::INTR) => {}
                result => return Ok(result?),
            }
        }
    }

    fn wait_for_room(&self, limit: Option<Duration>) -> Result<(), Stop> {
        wait_for(&self.fd, PollFlags::OUT, limit, &self.cancel)?;
        let began = Instant::now();
        let mut filled = ioctl_fionread(&self.fd)?;
        // The child has read a little: wait until one write can fill half of the pipe again.
        while filled > self.capacity / 2 && began.elapsed() < LONGEST_FILL {
            let closed = poll_once(&self.fd, PollFlags::empty(), FIRST_NAP)?;
            let now = ioctl_fionread(&self.fd)?;
            if closed || now >= filled {
                break;
            }
            filled = now;
        }
        Ok(())
    }
}

/// Enlarges a pipe and returns its size. A smaller size is not an error.
#[cfg(target_os = "linux")]
fn enlarge(fd: &OwnedFd) -> usize {
    let _ = rustix::pipe::fcntl_setpipe_size(fd, CAPACITY);
    rustix::pipe::fcntl_getpipe_size(fd).unwrap_or(4096)
}

#[cfg(not(target_os = "linux"))]
fn enlarge(_fd: &OwnedFd) -> usize {
    64 * 1024
}

/// Waits until one of `events` occurs, the other side closes the pipe, the limit is over or the flag is set.
fn wait_for(fd: &OwnedFd, events: PollFlags, limit: Option<Duration>, cancel: &Cancel) -> Result<(), Stop> {
    let began = Instant::now();
    loop {
        cancel.check().map_err(Stop::Cancelled)?;
        let left = limit.map_or(SLICE, |limit| limit.saturating_sub(began.elapsed()));
        if poll_once(fd, events, left.min(SLICE))? {
            return Ok(());
        }
        if left.is_zero() {
            return Err(Stop::Silent(began.elapsed()));
        }
    }
}

/// One poll; true if an event was reported. An interruption by a signal is not an event.
fn poll_once(fd: &OwnedFd, events: PollFlags, limit: Duration) -> Result<bool, Stop> {
    let mut fds = [PollFd::new(fd, events)];
    let limit = Timespec::try_from(limit).map_err(|_| Errno::INVAL)?;
    match poll(&mut fds, Some(&limit)) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::INTR) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::{io::Write, thread};

    fn reader(portion: usize) -> (PipeReader, io::PipeWriter) {
        let (reader, writer) = io::pipe().unwrap();
        (PipeReader::new(reader.into(), Cancel::new(), portion), writer)
    }

    #[test]
    fn small_writes_arrive_in_large_portions() {
        let (mut reader, mut writer) = reader(256 * 1024);
        let total = 64 * 1024 * 1024;
        let thread =
            thread::spawn(move || (0..total / 4096).for_each(|_| writer.write_all(&[7; 4096]).unwrap()));
        let mut buf = vec![0; 1024 * 1024];
        let (mut sum, mut reads) = (0, 0);
        loop {
            match reader.read(&mut buf, None) {
                Ok(0) => break,
                Ok(n) => (sum, reads) = (sum + n, reads + 1),
                Err(_) => panic!("read failed"),
            }
        }
        thread.join().unwrap();
        assert_eq!(sum, total);
        assert!(reads < total / 4096 / 4, "{reads} reads");
    }

    #[test]
    fn a_slow_or_closed_producer_is_not_waited_for() {
        let (mut reader, mut writer) = reader(256 * 1024);
        let mut buf = vec![0; 1024 * 1024];
        writer.write_all(b"abc").unwrap();
        let began = Instant::now();
        assert!(matches!(reader.read(&mut buf, None), Ok(3)));
        writer.write_all(b"de").unwrap();
        drop(writer);
        assert!(matches!(reader.read(&mut buf, None), Ok(2)));
        assert!(matches!(reader.read(&mut buf, None), Ok(0)));
        assert!(began.elapsed() < Duration::from_millis(100), "{:?}", began.elapsed());
    }

    #[test]
    fn silence_and_the_stop_flag_end_a_wait() {
        let (mut reader, _writer) = reader(1);
        let stop = reader.read(&mut [0; 10], Some(Duration::from_millis(30)));
        assert!(matches!(stop, Err(Stop::Silent(time)) if time >= Duration::from_millis(30)));
        let cancel = reader.cancel.clone();
        let thread = thread::spawn(move || {
            thread::sleep(Duration::from_millis(50));
            cancel.cancel("test");
        });
        let began = Instant::now();
        assert!(matches!(reader.read(&mut [0; 10], None), Err(Stop::Cancelled(_))));
        assert!(began.elapsed() < Duration::from_secs(2));
        thread.join().unwrap();
    }

    #[test]
    fn a_full_pipe_is_silence_for_the_writer() {
        let (_reader, writer) = io::pipe().unwrap();
        let mut writer = PipeWriter::new(writer.into(), Cancel::new()).unwrap();
        let data = vec![1; 256 * 1024];
        let stop = loop {
            match writer.write(&data, Some(Duration::from_millis(30))) {
                Ok(_) => {}
                Err(stop) => break stop,
            }
        };
        assert!(matches!(stop, Stop::Silent(_)));
    }
}
