//! Ports for servers that have to be told one.
//!
//! Invariant: a port belongs to one process of the tests until that ends: it is reserved by a
//! locked file, and lies below the ports that the system gives to outgoing connections.

use std::{
    fs::File,
    net::TcpListener,
    sync::{Mutex, atomic::AtomicU16, atomic::Ordering},
};

/// Where ports are chosen from. A Redis in a cluster also uses the port 10,000 above its own.
const FIRST: u16 = 10_000;
const COUNT: u16 = 10_000;
const SECOND: u16 = 10_000;

/// Locked for as long as this process lives.
static RESERVED: Mutex<Vec<File>> = Mutex::new(Vec::new());

/// A port that no other test is given, and that nobody listens on, nor on the one 10,000 above.
pub fn reserve_port() -> u16 {
    static TRIED: AtomicU16 = AtomicU16::new(0);
    let folder = std::env::temp_dir().join("rejoin-test-ports");
    std::fs::create_dir_all(&folder).unwrap();
    // Processes begin at different places, so that they don't try the same ports one after the
    // other.
    let start = u16::try_from(std::process::id() % u32::from(COUNT)).unwrap();
    loop {
        let offset = (u32::from(start) * 97 + u32::from(TRIED.fetch_add(1, Ordering::Relaxed)))
            % u32::from(COUNT);
        let port = FIRST + u16::try_from(offset).unwrap();
        let file = File::create(folder.join(port.to_string())).unwrap();
        let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if file.try_lock().is_ok() && is_free(port) && is_free(port + SECOND) {
            RESERVED.lock().unwrap().push(file);
            return port;
        }
    }
}
