//! Stands between client and server, and loses replies.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
};

/// How a command to insert begins after the length of its document.
const INSERT: &[u8] = b"\x02insert\0";

/// Passes everything on, but loses the replies to the first commands to insert: the server has done what they say.
pub struct Proxy {
    /// Where it listens.
    pub port: u16,
    /// How many replies are still to be lost.
    pub to_lose: Arc<AtomicU32>,
}

impl Proxy {
    pub fn start(server: u16, to_lose: u32) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let to_lose = Arc::new(AtomicU32::new(to_lose));
        let shared = Arc::clone(&to_lose);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if let Ok(server) = TcpStream::connect(("127.0.0.1", server)) {
                    pass_on(client, server, &shared);
                }
            }
        });
        Self { port, to_lose }
    }
}

fn pass_on(client: TcpStream, server: TcpStream, to_lose: &Arc<AtomicU32>) {
    let inserting = Arc::new(AtomicBool::new(false));
    let (from_client, to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    let seen = Arc::clone(&inserting);
    thread::spawn(move || {
        copy(from_client, to_server, |data| {
            if memchr::memmem::find(data, INSERT).is_some() {
                seen.store(true, Ordering::SeqCst);
            }
            true
        });
    });
    let to_lose = Arc::clone(to_lose);
    thread::spawn(move || {
        copy(server, client, |_| {
            let less = |left: u32| left.checked_sub(1);
            !(inserting.swap(false, Ordering::SeqCst)
                && to_lose.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok())
        });
    });
}

/// Copies until the end or until `go_on` says no; then both directions are closed.
fn copy(mut from: TcpStream, mut to: TcpStream, go_on: impl Fn(&[u8]) -> bool) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        if !go_on(&buffer[..read]) || to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
