//! The bare write loop: one thread that writes the same bytes to every connection, one `write`
//! each. Nothing can deliver one event to many sockets with less.

use std::{
    io::{Read, Write},
    net::TcpListener,
};

/// What a delivered event looks like on Rejoin's wire, so that both write the same.
pub(crate) const FRAME: &str = "c4\r\nid: 1718900000000-1\ndata: {\"id\":\"1718900000000-1\",\"type\":\"load\",\"ts\":\"2024-06-20T16:13:20.000Z\",\"user_id\":\"u1\",\"topic\":\"user:u1\",\"scope\":null,\"payload\":\"~xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"}\n\n\r\n";

/// The first connection is the trigger: for each byte that comes on it, a frame goes to all others.
/// A zero byte says that all others are there.
pub(crate) fn serve() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    println!("http://{}", listener.local_addr().unwrap());
    let (mut trigger, _) = listener.accept().unwrap();
    let mut count = [0; 8];
    trigger.read_exact(&mut count).unwrap();
    let mut sockets: Vec<_> =
        (0..u64::from_le_bytes(count)).map(|_| listener.accept().unwrap().0).collect();
    for socket in &mut sockets {
        socket.set_nodelay(true).unwrap();
        socket.write_all(b": connected\n\nid: 0\n\n").unwrap();
    }
    let mut byte = [0; 1];
    while trigger.read_exact(&mut byte).is_ok() {
        for socket in &mut sockets {
            socket.write_all(FRAME.as_bytes()).unwrap();
        }
    }
}
