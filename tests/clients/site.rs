//! A web site whose page follows a stream of another server.

use std::{fs, net::SocketAddr};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use crate::clients::script;

const PAGE: &str = include_str!("page.html");
const WATCH: &str = include_str!("watch.mjs");

/// The site. It is gone when it is dropped; its pages stay.
pub(crate) struct Site {
    address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Site {
    pub(crate) async fn start() -> Self {
        Self::start_with_cookie("visited=yes").await
    }

    /// A site that gives its visitors a cookie. Browsers send it to all ports of this host.
    pub(crate) async fn start_with_cookie(cookie: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let cookie = cookie.to_owned();
        let serving = tokio::spawn(async move {
            while let Ok((visitor, _)) = listener.accept().await {
                tokio::spawn(answer(visitor, cookie.clone()));
            }
        });
        Self { address, serving }
    }

    /// The origin of its pages.
    pub(crate) fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The URL of a page that follows `stream` and listens for events of these types.
    pub(crate) fn page(&self, stream: &str, types: &[&str]) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query
            .append_pair("stream", stream)
            .extend_pairs(types.iter().map(|event_type| ("type", event_type)));
        format!("{}/?{}", self.origin(), query.finish())
    }

    /// The same, for a page that uses this npm package instead of the browser's `EventSource`.
    pub(crate) fn page_with(&self, package: &str, stream: &str, types: &[&str]) -> String {
        format!("{}&client={package}", self.page(stream, types))
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn answer(mut visitor: TcpStream, cookie: String) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        if visitor.read_buf(&mut request).await.is_ok_and(|count| count == 0) {
            return;
        }
    }
    let (media_type, body) = find(&String::from_utf8_lossy(&request));
    let head = format!(
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: {media_type}\r\nSet-Cookie: {cookie}\r\n"
    );
    let text = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
    // A visitor who is gone already misses nothing.
    drop(visitor.write_all(text.as_bytes()).await);
}

/// What is asked for: the page, its module, or one of an npm package that pages use.
fn find(request: &str) -> (&'static str, String) {
    let path = request.split(' ').nth(1).unwrap_or_default();
    if path == "/watch.mjs" {
        return ("text/javascript", WATCH.to_owned());
    }
    match fs::read_to_string(
        script::directory().join("node_modules").join(path.trim_start_matches('/')),
    ) {
        Ok(module) => ("text/javascript", module),
        Err(_) => ("text/html", PAGE.to_owned()),
    }
}
