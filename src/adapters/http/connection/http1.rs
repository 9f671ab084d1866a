//! HTTP/1: hyper reads requests and writes answers, until an event stream leaves it with its
//! socket.
//!
//! Invariants: a connection is taken over only when its request has been read to the end, and then
//! nothing else uses it; every event stream takes it over.

use std::{
    convert::Infallible,
    fmt::Write as _,
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, Version, response};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use tokio::net::TcpStream;

use super::{
    Arrival, Connections,
    activity::{Activity, Exchange, Moment},
    answer::Answer,
    io::{ConnectionIo, FirstBytes},
    unread::discard_all,
};
use crate::{
    adapters::http::{problem::Problem, socket_wire::Framing, subscribe::take_stream},
    app::{lifecycle::StopSign, subscription::Subscription},
    domain::timestamp::Timestamp,
};

/// An event stream that is about to leave hyper.
struct Departure {
    head: response::Parts,
    subscription: Box<Subscription>,
}

type DepartureSlot = Arc<Mutex<Option<Departure>>>;

/// An event stream that has left hyper.
pub(super) struct Departed {
    pub(super) socket: TcpStream,
    /// The response's head, which is yet to be written.
    pub(super) head: Bytes,
    pub(super) framing: Framing,
    pub(super) subscription: Box<Subscription>,
}

/// How a connection leaves hyper.
enum End {
    /// With an event stream.
    Departure(Departure),
    /// All has been said, or went wrong.
    Over(hyper::Result<()>),
    /// The client was late.
    Late(Moment),
}

impl Connections {
    /// Serves until the connection's end, or until an event stream takes its socket.
    pub(super) async fn http1(
        self: &Arc<Self>,
        socket: TcpStream,
        first: FirstBytes,
        arrival: &Arrival,
    ) -> Option<Departed> {
        let (activity, slot) = (Arc::<Activity>::default(), DepartureSlot::default());
        let service = {
            let (connections, activity, slot, over_limit) =
                (Arc::clone(self), Arc::clone(&activity), Arc::clone(&slot), arrival.over_limit);
            service_fn(move |request| {
                let exchange = Exchange::begin(&activity);
                Box::pin(Arc::clone(&connections).answer_http1(
                    request,
                    exchange,
                    over_limit,
                    Arc::clone(&slot),
                ))
            })
        };
        let mut stop = self.lifecycle.stop_signs();
        let mut connection = http1::Builder::new()
            .keep_alive(!self.answers_once(arrival))
            // A client that has said all it has to say may still listen.
            .half_close(true)
            // Our own deadline distinguishes a request that is late from a connection that rests.
            .header_read_timeout(None)
            .max_buf_size(self.options.max_header_bytes)
            .serve_connection(
                ConnectionIo::new(
                    socket,
                    first,
                    Some(Arc::clone(&activity)),
                    self.write_timeout(arrival),
                ),
                service,
            );
        let mut deadline = self.deadline(activity, arrival);
        let end = poll_fn(|context| {
            loop {
                let polled = Pin::new(&mut connection).poll(context);
                if let Some(departure) = slot.lock().unwrap_or_else(PoisonError::into_inner).take()
                {
                    return Poll::Ready(End::Departure(departure));
                }
                if let Poll::Ready(result) = polled {
                    return Poll::Ready(End::Over(result));
                }
                match stop.poll_next(context) {
                    Poll::Ready(StopSign::Drain) => Pin::new(&mut connection).graceful_shutdown(),
                    Poll::Ready(StopSign::End) => deadline.allow(Duration::ZERO),
                    Poll::Pending => return deadline.poll_late(context).map(End::Late),
                }
            }
        })
        .await;
        let parts = connection.into_parts();
        let socket = parts.io.into_socket();
        match end {
            End::Departure(Departure { head, subscription }) => {
                let framing = if head.version == Version::HTTP_10 {
                    Framing::UntilClose
                } else {
                    Framing::Chunked
                };
                return Some(Departed {
                    socket,
                    head: head_text(&head, framing, self.clock.now()),
                    framing,
                    subscription,
                });
            }
            // A client that sends what is no request, or more requests than are answered, reads its
            // last answer before that is noticed.
            End::Over(result) if result.is_err() || !parts.read_buf.is_empty() => {
                self.lifecycle.ending().run_until_cancelled(discard_all(socket)).await;
            }
            End::Late(Moment::Head(_)) if !parts.read_buf.is_empty() => {
                // All that was written before has been taken, so there is room for this.
                let _ = socket.try_write(&late_head_text());
                self.lifecycle.ending().run_until_cancelled(discard_all(socket)).await;
            }
            End::Over(_) | End::Late(_) => {}
        }
        None
    }

    async fn answer_http1(
        self: Arc<Self>,
        request: Request<Incoming>,
        exchange: Exchange,
        over_limit: bool,
        slot: DepartureSlot,
    ) -> Result<Response<Answer>, Infallible> {
        let version = request.version();
        let mut response = self.answer(request, &exchange, over_limit).await;
        if let Some(subscription) = take_stream(&mut response) {
            let mut head = response.into_parts().0;
            head.version = version;
            *slot.lock().unwrap_or_else(PoisonError::into_inner) =
                Some(Departure { head, subscription });
            // The connection's own loop has been woken by this very poll, sees the slot, and drops
            // this future.
            return std::future::pending().await;
        }
        Ok(response.map(|body| Answer::alone(body, exchange)))
    }
}

/// The response's head as text (RFC 9112, section 4), with what hyper would have added.
fn head_text(head: &response::Parts, framing: Framing, now: Timestamp) -> Bytes {
    let mut text = String::from(match framing {
        // It does not say that the connection closes behind it: with that, the `fetch` of Node 20
        // takes a connection that is cut for the end of the stream.
        Framing::Chunked => "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n",
        Framing::UntilClose => "HTTP/1.0 200 OK\r\nconnection: close\r\n",
    });
    for (name, value) in &head.headers {
        // A header of ours is visible ASCII; what a middleware might add that isn't can be done
        // without.
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

/// The answer to a head that did not come to its end, which hyper doesn't give.
fn late_head_text() -> Vec<u8> {
    let problem = Problem::request_timeout();
    let body = serde_json::to_string(&problem.body()).unwrap_or_default();
    let (status, length) = (problem.status(), body.len());
    format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}").into()
}
