//! One connection: requests go to the router; an accepted event stream on HTTP/1.1 leaves hyper and
//! owns its socket.
//!
//! Why: hyper's buffers are most of what an idle connection costs, and hyper asks a body for
//! nothing while the peer does not read. The stream's own task needs neither buffers nor hyper's
//! leave for its timers (`docs/decisions/`).
//!
//! Invariants: a connection that waits for its client does so for a bounded time, and holds up no
//! stop; an answer can be read by a client that sends its whole request first.

mod activity;
mod answer;
mod http1;
mod http2;
mod io;
mod unread;

use std::{sync::Arc, time::Duration};

use axum::{Router, body::Body, response::IntoResponse};
use http::{HeaderValue, Request, Response, StatusCode, Version, header};
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::{
    net::TcpStream,
    sync::oneshot::error::TryRecvError,
    time::{Instant, sleep_until},
};
use tower::ServiceExt;

use self::{
    activity::{Activity, Deadline, Exchange},
    http1::Departed,
    io::FirstBytes,
    unread::RequestBody,
};
use super::{
    Routes, body_wire::BodyWire, places::Place, problem::Problem, server_options::ServerOptions,
    slow_client::WriteTimeout, socket_wire::SocketWire, subscribe::is_stream,
};
use crate::{
    app::{lifecycle::Lifecycle, streaming::stream, subscription::Subscription},
    ports::clock::Clock,
};

/// The first byte of a connection that is accepted during a drain must come within this time.
const FIRST_BYTE_WHILE_DRAINING: Duration = Duration::from_secs(1);
/// A connection over the limit has this time for a request, and to take its answer: there are few
/// places for such.
const TIMEOUT_OVER_LIMIT: Duration = Duration::from_secs(5);

/// What all connections have in common.
pub(super) struct Connections {
    pub(super) routes: Routes,
    pub(super) options: ServerOptions,
    pub(super) lifecycle: Lifecycle,
    pub(super) clock: Arc<dyn Clock>,
}

/// A connection's coming.
pub(super) struct Arrival {
    pub(super) at: Instant,
    /// There are as many connections as may be: only the health checks are answered, and nothing
    /// else.
    pub(super) over_limit: bool,
}

impl Arrival {
    fn shortened(&self, timeout: Duration) -> Duration {
        if self.over_limit { timeout.min(TIMEOUT_OVER_LIMIT) } else { timeout }
    }
}

impl Connections {
    /// Serves a connection, to its end or to that of the stream that it became.
    pub(super) async fn serve(
        self: Arc<Self>,
        mut socket: TcpStream,
        arrival: Arrival,
        place: Place,
    ) {
        let Some(first) = self.first_bytes(&mut socket, &arrival).await else { return };
        if first.speak_http2() {
            self.http2(socket, first, &arrival).await;
        } else if let Some(Departed { socket, head, framing, subscription }) =
            self.http1(socket, first, &arrival).await
        {
            let wire = SocketWire::new(
                socket,
                head,
                framing,
                WriteTimeout::new(self.options.write_timeout),
                place,
            );
            // A task of its own is no larger than the stream needs; this one had to have room for
            // hyper.
            self.lifecycle.spawn(stream(subscription, wire));
        }
    }

    /// What the client says first, if it does so in time: a connection that has said nothing does
    /// not hold up a stop.
    async fn first_bytes(&self, socket: &mut TcpStream, arrival: &Arrival) -> Option<FirstBytes> {
        let draining = self.lifecycle.is_draining();
        let timeout =
            if draining { FIRST_BYTE_WHILE_DRAINING } else { self.request_timeout(arrival) };
        tokio::select! {
            biased;
            first = FirstBytes::read(socket) => first.ok(),
            () = sleep_until(arrival.at + timeout) => None,
            () = self.lifecycle.draining().cancelled(), if !draining => None,
        }
    }

    fn request_timeout(&self, arrival: &Arrival) -> Duration {
        arrival.shortened(self.options.request_timeout)
    }

    fn write_timeout(&self, arrival: &Arrival) -> Duration {
        arrival.shortened(self.options.write_timeout)
    }

    /// Whether a connection is for one request alone: who comes while the process drains is
    /// answered, if only with that refusal.
    fn answers_once(&self, arrival: &Arrival) -> bool {
        arrival.over_limit || self.lifecycle.is_draining()
    }

    fn deadline(&self, activity: Arc<Activity>, arrival: &Arrival) -> Deadline {
        let keep_alive =
            if self.answers_once(arrival) { Duration::ZERO } else { self.options.keep_alive };
        Deadline::new(activity, arrival.at, self.request_timeout(arrival), keep_alive)
    }

    /// Answers a request. What is left of its body then is read behind the answer.
    async fn answer(
        &self,
        request: Request<Incoming>,
        exchange: &Exchange,
        over_limit: bool,
    ) -> Response<Body> {
        let router = if over_limit { &self.routes.over_limit } else { &self.routes.all };
        let (head, body) = request.into_parts();
        if body.is_end_stream() {
            return call(router, Request::from_parts(head, Body::empty())).await;
        }
        let waits_for_leave = head.headers.contains_key(header::EXPECT);
        let http1 = head.version <= Version::HTTP_11;
        let (body, mut rest) = RequestBody::new(body, exchange.part().elsewhere());
        let mut response = call(router, Request::from_parts(head, Body::new(body))).await;
        match rest.try_recv() {
            // A stream takes the socket, which has to be read to the request's end before.
            Ok(rest) if http1 && is_stream(&response) => {
                if !rest.discard().await {
                    response = Problem::request_timeout().into_response();
                    close_after(&mut response);
                }
            }
            Ok(rest) => {
                let may_never_come =
                    waits_for_leave || response.status() == StatusCode::REQUEST_TIMEOUT;
                if http1 && (may_never_come || !rest.is_brief()) {
                    close_after(&mut response);
                }
                self.spawn_until_ending(async {
                    rest.discard().await;
                });
            }
            // It is read while the answer is sent, and maybe not to its end.
            Err(TryRecvError::Empty) => self.spawn_until_ending(async {
                if let Ok(rest) = rest.await {
                    rest.discard().await;
                }
            }),
            Err(TryRecvError::Closed) => {}
        }
        response
    }

    /// Does what only waits for a client, so long as a stop leaves time for that.
    fn spawn_until_ending(&self, waiting: impl Future<Output = ()> + Send + 'static) {
        let ending = self.lifecycle.ending().clone();
        self.lifecycle.spawn(async move { ending.run_until_cancelled(waiting).await });
    }

    fn stream_as_body(
        &self,
        response: Response<Body>,
        subscription: Box<Subscription>,
    ) -> Response<Body> {
        let (wire, body) = BodyWire::new(WriteTimeout::new(self.options.write_timeout));
        self.lifecycle.spawn(stream(subscription, wire));
        response.map(|_| body)
    }
}

fn close_after(response: &mut Response<Body>) {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
}

async fn call(router: &Router, request: Request<Body>) -> Response<Body> {
    match router.clone().oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}
