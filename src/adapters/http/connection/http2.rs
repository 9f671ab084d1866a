//! HTTP/2: many requests at once, and event streams among them as bodies.
//!
//! Invariants: a connection without a request is closed as one of HTTP/1 is, whether its client
//! agrees or not, and whatever else it sends; an answer of which the client takes nothing for the
//! write timeout is reset.

use std::{
    convert::Infallible,
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::{Poll, ready},
    time::Duration,
};

use http::{Request, Response};
use hyper::{body::Incoming, rt::Executor, server::conn::http2, service::service_fn};
use hyper_util::rt::TokioTimer;
use tokio::{
    net::TcpStream,
    time::{Sleep, sleep_until},
};

use super::{
    Arrival, Connections,
    activity::{Activity, Exchange},
    answer::{Answer, Progress, Untaken},
    io::{ConnectionIo, FirstBytes},
};
use crate::{
    adapters::http::subscribe::take_stream,
    app::lifecycle::{Lifecycle, StopSign},
};

const PING_EVERY: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
const STREAMS_MAX: u32 = 250;
/// What one stream may hold that its client has not taken.
const SEND_BUFFER_BYTES: usize = 64 * 1024;
/// How long a client without a stream has to agree to the connection's end.
const GOING_AWAY: Duration = Duration::from_millis(500);

impl Connections {
    pub(super) async fn http2(
        self: &Arc<Self>,
        socket: TcpStream,
        first: FirstBytes,
        arrival: &Arrival,
    ) {
        let (activity, untaken) = (Arc::<Activity>::default(), Arc::<Untaken>::default());
        let service = {
            let (connections, activity, over_limit) =
                (Arc::clone(self), Arc::clone(&activity), arrival.over_limit);
            service_fn(move |request| {
                // hyper drives each answer in a task of its own.
                let exchange = Exchange::begin(&activity).elsewhere();
                Arc::clone(&connections).answer_http2(
                    request,
                    exchange,
                    over_limit,
                    Arc::clone(&untaken),
                )
            })
        };
        let mut connection = http2::Builder::new(AnswerTasks {
            lifecycle: self.lifecycle.clone(),
            write_timeout: self.write_timeout(arrival),
        })
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT)
        .max_concurrent_streams(STREAMS_MAX)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .max_header_list_size(u32::try_from(self.options.max_header_bytes).unwrap_or(u32::MAX))
        // Bytes that come are no sign of a request: a client that only answers pings rests.
        .serve_connection(
            ConnectionIo::new(socket, first, None, self.write_timeout(arrival)),
            service,
        );
        let mut deadline = self.deadline(activity, arrival);
        let mut stop = self.lifecycle.stop_signs();
        let mut going_away = false;
        poll_fn(|context| {
            loop {
                // What goes wrong on a connection ends it, and no other.
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
        untaken: Arc<Untaken>,
    ) -> Result<Response<Answer>, Infallible> {
        untaken.room().await;
        let mut response = self.answer(request, &exchange, over_limit).await;
        let response = match take_stream(&mut response) {
            Some(subscription) => self.stream_as_body(response, subscription),
            None => response,
        };
        // There is always one: hyper polls this in a task of ours. Without it the answer would not
        // be watched.
        let progress = PROGRESS.try_with(Arc::clone).unwrap_or_default();
        Ok(response.map(|body| Answer::shared(body, exchange, &untaken, progress)))
    }
}

tokio::task_local! {
    /// Of the answer that a task makes and sends.
    static PROGRESS: Arc<Progress>;
}

/// Spawns hyper's tasks: one for each request, which makes the answer and sends it.
#[derive(Clone)]
struct AnswerTasks {
    lifecycle: Lifecycle,
    write_timeout: Duration,
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for AnswerTasks {
    fn execute(&self, task: F) {
        let progress = Arc::<Progress>::default();
        self.lifecycle.spawn_part(
            PROGRESS
                .scope(Arc::clone(&progress), until_stalled(task, progress, self.write_timeout)),
        );
    }
}

/// Runs a task that sends an answer. hyper does not ask for a stream's next piece while its
/// client's window is closed, and can't be asked to give the stream up: dropping its task resets
/// the stream.
async fn until_stalled(
    task: impl Future<Output = ()>,
    progress: Arc<Progress>,
    write_timeout: Duration,
) {
    let mut task = pin!(task);
    let mut alarm: Option<Pin<Box<Sleep>>> = None;
    poll_fn(|context| {
        if task.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        // It changes only while the task is polled.
        let Some(since) = progress.stalled_since() else { return Poll::Pending };
        let at = since + write_timeout;
        let alarm = alarm.get_or_insert_with(|| Box::pin(sleep_until(at)));
        loop {
            ready!(alarm.as_mut().poll(context));
            if alarm.deadline() >= at {
                return Poll::Ready(());
            }
            alarm.as_mut().reset(at);
        }
    })
    .await;
}
