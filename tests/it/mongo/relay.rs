//! Stands between the program and a server, and can stop what passes at a place that the test chooses.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use testkit::running::{Running, wait_until};

/// How the command to go on with a cursor begins after the length of its document.
const GET_MORE: &[u8] = b"\x12getMore\0";

#[derive(Default)]
struct State {
    /// Which of the commands from now on is held; 0 for none.
    hold_at: AtomicU32,
    held: AtomicBool,
}

/// Passes everything on, but delays a `getMore` command until it is released.
pub struct Relay {
    port: u16,
    state: Arc<State>,
}

impl Relay {
    /// To the server on this port of 127.0.0.1, which may stop and start again.
    pub fn start(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                // Without a server the client finds the connection closed.
                if let Ok(server) = TcpStream::connect(("127.0.0.1", server)) {
                    let (answers, back) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                    thread::spawn(move || copy(answers, back, &State::default()));
                    let state = Arc::clone(&shared);
                    thread::spawn(move || copy(client, server, &state));
                }
            }
        });
        Self { port, state }
    }

    /// Its connection string.
    pub fn uri(&self) -> String {
        format!("mongodb://127.0.0.1:{}/?directConnection=true&serverSelectionTimeoutMS=1000", self.port)
    }

    /// Holds the `number`th command to read on.
    pub fn hold(&self, number: u32) {
        self.state.held.store(false, Ordering::SeqCst);
        self.state.hold_at.store(number, Ordering::SeqCst);
    }

    /// Waits until it is held.
    #[track_caller]
    pub fn wait_held(&self, by: &mut Running) {
        wait_until("the command is held", || {
            assert!(!by.has_ended(), "it ended before:\n{}", by.stderr());
            self.state.held.load(Ordering::SeqCst)
        });
    }

    /// Lets it go on.
    pub fn release(&self) {
        self.state.held.store(false, Ordering::SeqCst);
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream, state: &State) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        let data = &buffer[..read];
        if memchr::memmem::find(data, GET_MORE).is_some() {
            let less = |left: u32| left.checked_sub(1);
            if state.hold_at.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less) == Ok(1) {
                state.held.store(true, Ordering::SeqCst);
                while state.held.load(Ordering::SeqCst) {
                    thread::sleep(Duration::from_millis(2));
                }
            }
        }
        if to.write_all(data).is_err() {
            break;
        }
    }
    from.shutdown(Shutdown::Both).ok();
    to.shutdown(Shutdown::Both).ok();
}
