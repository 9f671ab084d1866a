//! From one publish until the last of many connections of one user has it, beside a bare write
//! loop.

use std::{rc::Rc, time::Duration};

use tokio::{io::AsyncWriteExt, net::TcpStream, time::Instant};

use crate::{
    readers::{self, PAYLOAD, Tally},
    server::ServerProcess,
};

pub(crate) async fn measure(connections: usize, rounds: usize) {
    readers::with_readers(async {
        let (bare, mut bare_trigger, bare_tally) = start_bare(connections).await;
        let rejoin = ServerProcess::rejoin();
        let rejoin_tally = readers::open(rejoin.address, &rejoin.subscribe_request(), connections).await;
        let mut publisher = TcpStream::connect(rejoin.address).await.unwrap();
        publisher.set_nodelay(true).unwrap();
        let publish = rejoin.publish_request(PAYLOAD);
        let (mut bare_times, mut rejoin_times) = (Vec::new(), Vec::new());
        // In turns, so that what else happens on the machine happens to both.
        for _ in 0..rounds {
            bare_times.push(round(&mut bare_trigger, b"x", &bare_tally, connections).await);
            rejoin_times.push(round(&mut publisher, publish.as_bytes(), &rejoin_tally, connections).await);
            let _ = publisher.try_read(&mut [0; 4_096]);
        }
        drop(bare);
        for (name, percent) in [("median", 50), ("p90", 90), ("p99", 99)] {
            let (bare, rejoin) = (at(&mut bare_times, percent), at(&mut rejoin_times, percent));
            let ratio = rejoin.as_secs_f64() / bare.as_secs_f64();
            println!("fanout: {connections} connections, {name} until the last has it: rejoin {rejoin:.2?}, bare write loop {bare:.2?}, ratio {ratio:.2}");
        }
    })
    .await;
}

/// The bare server with its connections, and the connection that triggers a write to all of them.
async fn start_bare(connections: usize) -> (ServerProcess, TcpStream, Rc<Tally>) {
    let bare = ServerProcess::bare();
    let mut trigger = TcpStream::connect(bare.address).await.unwrap();
    trigger.set_nodelay(true).unwrap();
    trigger.write_all(&(connections as u64).to_le_bytes()).await.unwrap();
    let tally = readers::open(bare.address, "", connections).await;
    (bare, trigger, tally)
}

async fn round(
    trigger: &mut TcpStream,
    bytes: &[u8],
    tally: &Tally,
    connections: usize,
) -> Duration {
    let started = Instant::now();
    let goal = tally.events.get() + connections;
    trigger.write_all(bytes).await.unwrap();
    tally.wait_for(goal).await - started
}

fn at(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    times[(times.len() - 1) * percent / 100]
}
