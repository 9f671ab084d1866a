//! A local HTTP server that publishes keys, as badly as it is told to.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use rejoin::adapters::auth::jwt::KeySource;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Notify, watch},
    task::JoinHandle,
    time::timeout,
};

/// What a request gets.
#[derive(Clone)]
pub(crate) enum Answer {
    /// These keys.
    Keys(Vec<Value>),
    /// These keys, when [`Issuer::release`] lets one answer go.
    Held(Vec<Value>),
    /// This, byte by byte.
    Raw(String),
    /// 200, and a body that never ends.
    Endless,
    /// Nothing, while the connection stays open.
    Silence,
}

pub(crate) struct Issuer {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

struct Shared {
    answer: Mutex<Answer>,
    requests: watch::Sender<usize>,
    gate: Notify,
}

impl Issuer {
    pub(crate) async fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            answer: Mutex::new(answer),
            requests: watch::Sender::new(0),
            gate: Notify::new(),
        });
        let accepting = tokio::spawn({
            let shared = Arc::clone(&shared);
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve(stream, Arc::clone(&shared)));
                }
            }
        });
        Self { address, shared, accepting }
    }

    /// Its keys' address, as a setting.
    pub(crate) fn source(&self) -> KeySource {
        KeySource::JwksUrl(format!("http://{}/keys", self.address))
    }

    pub(crate) fn answer_with(&self, answer: Answer) {
        *self.shared.answer.lock().unwrap() = answer;
    }

    /// How many requests have come.
    pub(crate) fn requests(&self) -> usize {
        *self.shared.requests.borrow()
    }

    /// Waits until this many requests have come.
    pub(crate) async fn asked(&self, times: usize) {
        let mut requests = self.shared.requests.subscribe();
        timeout(Duration::from_secs(10), requests.wait_for(|count| *count >= times))
            .await
            .expect("the issuer is asked")
            .unwrap();
    }

    /// Lets one held answer go.
    pub(crate) fn release(&self) {
        self.shared.gate.notify_one();
    }

    /// Goes away: from now on nobody listens at the address.
    pub(crate) async fn stop(self) {
        self.accepting.abort();
        assert!(self.accepting.await.is_err_and(|error| error.is_cancelled()));
    }
}

async fn serve(mut stream: TcpStream, shared: Arc<Shared>) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut request).await.is_ok_and(|count| count == 0) {
            return;
        }
    }
    let answer = shared.answer.lock().unwrap().clone();
    shared.requests.send_modify(|count| *count += 1);
    let text = match answer {
        Answer::Keys(keys) => published(&keys),
        Answer::Held(keys) => {
            shared.gate.notified().await;
            published(&keys)
        }
        Answer::Raw(text) => text,
        Answer::Endless => {
            // Ends when the other side has had enough.
            let mut written =
                stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n").await;
            while written.is_ok() {
                written = stream.write_all(&[b' '; 8192]).await;
            }
            return;
        }
        Answer::Silence => return std::future::pending().await,
    };
    // Who asked may be gone already; that is its business.
    drop(stream.write_all(text.as_bytes()).await);
}

fn published(keys: &[Value]) -> String {
    response("200 OK", &json!({ "keys": keys }).to_string())
}

/// A whole response.
pub(crate) fn response(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}
