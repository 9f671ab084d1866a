//! One connection: requests go to the router; an accepted event stream on HTTP/1.1 leaves hyper and owns its socket.
//!
//! Why: hyper's buffers are most of what an idle connection costs, and hyper asks a body for nothing while the peer does
//! not read. The stream's own task needs neither buffers nor hyper's leave for its timers (`docs/decisions/`).
//!
//! Invariant: a connection is taken over only when its request has been read to the end, and then nothing else uses it.

use std::{
    convert::Infallible,
    fmt::Write as _,
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::Poll,
    time::Duration,
};

use axum::{Router, body::Body};
use bytes::Bytes;
use http::{Method, Request, Response, Version, response};
use http_body::Body as _;
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tower::ServiceExt;

use super::{body_wire::BodyWire, server::ServerOptions, subscribe::Handoff};
use crate::{
    app::{lifecycle::Lifecycle, streaming::stream, subscriptions::Subscription},
    domain::timestamp::Timestamp,
    ports::clock::Clock,
};

/// What all connections have in common.
pub(super) struct Connections {
    pub(super) router: Router,
    pub(super) options: ServerOptions,
    pub(super) lifecycle: Lifecycle,
    pub(super) clock: Arc<dyn Clock>,
}

/// An event stream that is about to leave hyper.
struct Departure {
    head: response::Parts,
    subscription: Box<Subscription>,
}

type DepartureSlot = Arc<Mutex<Option<Departure>>>;

impl Connections {
    pub(super) async fn http1(self: Arc<Self>, socket: TcpStream) -> Option<(TcpStream, response::Parts, Box<Subscription>)> {
        let slot = DepartureSlot::default();
        let service = {
            let (connections, slot) = (Arc::clone(&self), Arc::clone(&slot));
            service_fn(move |request| Box::pin(Arc::clone(&connections).answer_http1(request, Arc::clone(&slot))))
        };
        // Who comes while the process drains is answered once, if only to be told so.
        let mut told_to_drain = self.lifecycle.is_draining();
        let mut connection = http1::Builder::new()
            .keep_alive(!told_to_drain)
            // A client that has said all it has to say may still listen.
            .half_close(true)
            .timer(TokioTimer::new())
            .header_read_timeout(self.options.request_timeout)
            .max_buf_size(self.options.header_bytes_max)
            .serve_connection(TokioIo::new(socket), service);
        let mut draining = Box::pin(self.lifecycle.draining().cancelled());
        let departure = poll_fn(|context| {
            if !told_to_drain && draining.as_mut().poll(context).is_ready() {
                told_to_drain = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
            let polled = connection.poll_without_shutdown(context);
            match slot.lock().unwrap_or_else(PoisonError::into_inner).take() {
                Some(departure) => Poll::Ready(Some(departure)),
                None => polled.map(|_| None),
            }
        })
        .await;
        let socket = connection.into_parts().io.into_inner();
        if let Some(Departure { head, subscription }) = departure {
            return Some((socket, head, subscription));
        }
        linger(socket).await;
        None
    }

    async fn answer_http1(self: Arc<Self>, request: Request<Incoming>, slot: DepartureSlot) -> Result<Response<Body>, Infallible> {
        let may_leave = request.version() == Version::HTTP_11 && request.method() == Method::GET && request.body().is_end_stream();
        let mut response = self.call(request).await;
        match response.extensions_mut().remove::<Handoff>().and_then(|handoff| handoff.take()) {
            Some(subscription) if may_leave => {
                *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(Departure { head: response.into_parts().0, subscription });
                // The connection's own loop has been woken by this very poll, sees the slot, and drops this future.
                std::future::pending().await
            }
            Some(subscription) => Ok(self.stream_as_body(response, subscription)),
            None => Ok(response),
        }
    }

    pub(super) async fn http2(self: Arc<Self>, socket: TcpStream) {
        let service = {
            let connections = Arc::clone(&self);
            service_fn(move |request| Arc::clone(&connections).answer_http2(request))
        };
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(HTTP2_PING_EVERY)
            .keep_alive_timeout(HTTP2_PING_TIMEOUT)
            .max_concurrent_streams(HTTP2_STREAMS_MAX)
            .max_send_buf_size(HTTP2_SEND_BUFFER_BYTES)
            .max_header_list_size(u32::try_from(self.options.header_bytes_max).unwrap_or(u32::MAX))
            .serve_connection(TokioIo::new(socket), service);
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            _ = connection.as_mut() => return,
            () = self.lifecycle.draining().cancelled() => connection.as_mut().graceful_shutdown(),
        }
        // What goes wrong on a connection ends it, and concerns nobody else.
        let _ = connection.await;
    }

    async fn answer_http2(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        let mut response = self.call(request).await;
        Ok(match response.extensions_mut().remove::<Handoff>().and_then(|handoff| handoff.take()) {
            Some(subscription) => self.stream_as_body(response, subscription),
            None => response,
        })
    }

    async fn call(&self, request: Request<Incoming>) -> Response<Body> {
        match self.router.clone().oneshot(request.map(Body::new)).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }

    fn stream_as_body(&self, response: Response<Body>, subscription: Box<Subscription>) -> Response<Body> {
        let (wire, body) = BodyWire::new(self.options.write_timeout);
        self.lifecycle.spawn(stream(subscription, wire));
        response.map(|_| body)
    }
}

const HTTP2_PING_EVERY: Duration = Duration::from_secs(20);
const HTTP2_PING_TIMEOUT: Duration = Duration::from_secs(20);
const HTTP2_STREAMS_MAX: u32 = 250;
/// What one stream may hold that its client has not taken.
const HTTP2_SEND_BUFFER_BYTES: usize = 64 * 1024;

/// The response's head, as HTTP/1.1 text (RFC 9112, section 4), with what hyper would have added.
pub(super) fn head_text(head: &response::Parts, now: Timestamp) -> Bytes {
    let mut text = String::from("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n");
    for (name, value) in &head.headers {
        // A header of ours is visible ASCII; what a middleware might add that isn't can be done without.
        if let Ok(value) = value.to_str() {
            let _ = write!(text, "{name}: {value}\r\n");
        }
    }
    if let Some(date) = now.to_http_date() {
        let _ = write!(text, "date: {date}\r\n");
    }
    text.push_str("\r\n");
    text.into()
}

/// Ends a connection so that its last answer arrives: closing a socket with unread input would cut it off.
async fn linger(mut socket: TcpStream) {
    const LINGER: Duration = Duration::from_millis(500);
    const LINGER_BYTES_MAX: u64 = 1024 * 1024;
    let drained = async {
        socket.shutdown().await?;
        tokio::io::copy(&mut socket.take(LINGER_BYTES_MAX), &mut tokio::io::sink()).await
    };
    let _ = tokio::time::timeout(LINGER, drained).await;
}
