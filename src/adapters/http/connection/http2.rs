//! HTTP/2: many requests at once, and event streams among them as bodies.
//!
//! Invariant: a connection without a stream is ended as one of HTTP/1 is, whether its client agrees or not.

use std::{convert::Infallible, future::poll_fn, pin::Pin, sync::Arc, task::Poll, time::Duration};

use http::{Request, Response};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::net::TcpStream;

use super::{
    Answer, Arrival, Connections,
    activity::{Activity, Exchange},
    io::{ConnectionIo, FirstBytes},
};
use crate::{adapters::http::subscribe::Handoff, app::lifecycle::StopSign};

const PING_EVERY: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
const STREAMS_MAX: u32 = 250;
/// What one stream may hold that its client has not taken.
const SEND_BUFFER_BYTES: usize = 64 * 1024;
/// How long a client without a stream has to agree to the connection's end.
const GOING_AWAY: Duration = Duration::from_millis(500);

impl Connections {
    pub(super) async fn http2(self: &Arc<Self>, socket: TcpStream, first: FirstBytes, arrival: &Arrival) {
        let activity = Arc::<Activity>::default();
        let service = {
            let (connections, activity, over_limit) = (Arc::clone(self), Arc::clone(&activity), arrival.over_limit);
            service_fn(move |request| {
                // hyper drives each answer in a task of its own.
                let exchange = Exchange::begin(&activity).elsewhere();
                Arc::clone(&connections).answer_http2(request, exchange, over_limit)
            })
        };
        let mut connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_TIMEOUT)
            .max_concurrent_streams(STREAMS_MAX)
            .max_send_buf_size(SEND_BUFFER_BYTES)
            .max_header_list_size(u32::try_from(self.options.header_bytes_max).unwrap_or(u32::MAX))
            .serve_connection(ConnectionIo::new(socket, first, Arc::clone(&activity)), service);
        let mut deadline = self.deadline(activity, arrival);
        let mut stop = self.lifecycle.stop_signs();
        let mut going_away = false;
        poll_fn(|context| {
            loop {
                // What goes wrong on a connection ends it, and concerns nobody else.
                if Pin::new(&mut connection).poll(context).is_ready() {
                    return Poll::Ready(());
                }
                let mut leaves = false;
                match stop.poll_next(context) {
                    Poll::Ready(StopSign::Drain) => leaves = true,
                    Poll::Ready(StopSign::End) => deadline.allow(Duration::ZERO),
                    Poll::Pending => {}
                }
                if deadline.poll_late(context).is_ready() {
                    if going_away {
                        return Poll::Ready(());
                    }
                    leaves = true;
                }
                if !leaves {
                    return Poll::Pending;
                }
                going_away = true;
                Pin::new(&mut connection).graceful_shutdown();
                deadline.allow(GOING_AWAY);
            }
        })
        .await;
    }

    async fn answer_http2(
        self: Arc<Self>,
        request: Request<Incoming>,
        exchange: Exchange,
        over_limit: bool,
    ) -> Result<Response<Answer>, Infallible> {
        let mut response = self.answer(request, &exchange, over_limit).await;
        let response = match response.extensions_mut().remove::<Handoff>().and_then(|handoff| handoff.take()) {
            Some(subscription) => self.stream_as_body(response, subscription),
            None => response,
        };
        Ok(response.map(|body| Answer::new(body, exchange)))
    }
}
