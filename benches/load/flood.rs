//! Deliveries a second, when events come faster than they can be written one by one.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::spawn_local,
    time::Instant,
};

use crate::{
    readers::{self, PAYLOAD},
    server::ServerProcess,
};

pub(crate) async fn measure(connections: usize, seconds: u64) {
    let rejoin = ServerProcess::rejoin();
    readers::with_readers(async {
        let tally = readers::open(rejoin.address, &rejoin.subscribe_request(), connections).await;
        let publisher = TcpStream::connect(rejoin.address).await.unwrap();
        let head = rejoin.request("POST", "content-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n");
        let (started, processor) = (Instant::now(), rejoin.processor_seconds());
        let publishing = spawn_local(publish(publisher, head));
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        let (elapsed, deliveries) = (started.elapsed(), tally.events.get());
        publishing.abort();
        let processor = rejoin.processor_seconds() - processor;
        let rate = deliveries as f64 / elapsed.as_secs_f64() / 1e6;
        let cost = processor * 1e6 / deliveries as f64;
        println!("flood: {connections} connections: {rate:.2} million deliveries/s, {cost:.2} µs of processor each");
    })
    .await;
}

async fn publish(publisher: TcpStream, head: String) {
    let lines =
        format!("{{\"user_id\":\"u1\",\"type\":\"load\",\"payload\":{PAYLOAD}}}\n").repeat(50);
    let chunk = format!("{:x}\r\n{lines}\r\n", lines.len());
    let (mut answers, mut requests) = publisher.into_split();
    spawn_local(async move {
        let mut buffer = vec![0; 64 * 1024];
        while answers.read(&mut buffer).await.is_ok_and(|count| count > 0) {}
    });
    requests.write_all(head.as_bytes()).await.unwrap();
    while requests.write_all(chunk.as_bytes()).await.is_ok() {
        tokio::task::yield_now().await;
    }
}
