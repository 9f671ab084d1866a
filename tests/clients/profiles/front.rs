//! What an application puts in front: it answers for a run's status, and passes all else on as a
//! proxy does, without what the server says of its own connection.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// A run that is under way, as a client of LangGraph asks for it.
const RUNNING: &str = r#"{"run_id":"run","thread_id":"thread-1","status":"running"}"#;

/// Node 20's `fetch` takes a cut for the end of an answer that has this header.
const CLOSE: &[u8] = b"\r\nconnection: close\r\n";

/// It is gone when it is dropped.
pub(super) struct Front {
    pub(super) address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Front {
    /// Passes requests on to `target`, but those for a run's status.
    pub(super) async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, target));
            }
        });
        Self { address, accepting }
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Passes one connection on, for as long as both sides are there. The requests have no bodies;
/// they, and the heads of answers, come in one piece each.
async fn pass(mut client: TcpStream, target: SocketAddr) {
    let Ok(mut server) = TcpStream::connect(target).await else { return };
    let (mut request, mut answer) = (vec![0; 16 * 1024], vec![0; 16 * 1024]);
    loop {
        let passed = tokio::select! {
            count = client.read(&mut request) => match count {
                Ok(count @ 1..) if asks_for_status(&request[..count]) => {
                    client.write_all(status().as_bytes()).await
                }
                Ok(count @ 1..) => server.write_all(&request[..count]).await,
                _ => return,
            },
            count = server.read(&mut answer) => match count {
                Ok(count @ 1..) => client.write_all(&without_close(&answer[..count])).await,
                _ => return,
            },
        };
        if passed.is_err() {
            return;
        }
    }
}

fn without_close(answer: &[u8]) -> Vec<u8> {
    let close = answer.windows(CLOSE.len()).position(|bytes| bytes.eq_ignore_ascii_case(CLOSE));
    let end_of_header = CLOSE.len() - 2;
    close.map_or_else(
        || answer.to_vec(),
        |at| [&answer[..at], &answer[at + end_of_header..]].concat(),
    )
}

fn asks_for_status(request: &[u8]) -> bool {
    let request = String::from_utf8_lossy(request);
    let path = request.split(' ').nth(1).unwrap_or_default();
    path.contains("/runs/") && !path.contains("/stream")
}

fn status() -> String {
    let length = RUNNING.len();
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{RUNNING}"
    )
}
