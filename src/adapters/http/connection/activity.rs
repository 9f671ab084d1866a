//! What a connection is doing, and how long its client may keep it waiting.
//!
//! Invariant: while no request is being answered there is a deadline: for the next request's head
//! once it has begun, or for it to begin.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::task::AtomicWaker;
use tokio::time::{Instant, Sleep, sleep_until};

/// Shared by a connection's task and the requests that are being answered on it.
#[derive(Default)]
pub(super) struct Activity {
    state: Mutex<State>,
    /// Of the connection's task.
    waker: AtomicWaker,
}

#[derive(Default)]
struct State {
    /// How many parts of requests and answers there still are.
    parts: usize,
    /// How many times requests began to be answered.
    exchanges: u64,
    /// Bytes came since the last request was over.
    head_begun: bool,
}

/// What a connection is doing. The numbers distinguish one time from the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    /// It answers requests.
    Exchange,
    /// It waits for the end of a request's head, or for the first request.
    Head(u64),
    /// It waits for a further request.
    Idle(u64),
}

impl Activity {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes have come from the client.
    pub(super) fn received(&self) {
        self.state().head_begun = true;
    }

    fn moment(&self) -> Moment {
        match *self.state() {
            State { parts: 1.., .. } => Moment::Exchange,
            State { exchanges: exchanges @ 1.., head_begun: false, .. } => Moment::Idle(exchanges),
            State { exchanges, .. } => Moment::Head(exchanges),
        }
    }
}

/// A part of a request or of its answer: while there is one, the connection has something to do.
pub(super) struct Exchange {
    activity: Arc<Activity>,
    /// Whether its end wakes the connection's task.
    wakes: bool,
}

impl Exchange {
    /// The head of a request has come. What follows is done by the connection's own task.
    pub(super) fn begin(activity: &Arc<Activity>) -> Self {
        let mut state = activity.state();
        state.parts += 1;
        state.exchanges += 1;
        Self { activity: Arc::clone(activity), wakes: false }
    }

    /// The same, where it may end in another task than the connection's.
    pub(super) fn elsewhere(mut self) -> Self {
        self.wakes = true;
        self
    }

    /// Another part of it.
    pub(super) fn part(&self) -> Self {
        self.activity.state().parts += 1;
        Self { activity: Arc::clone(&self.activity), wakes: self.wakes }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let mut state = self.activity.state();
        state.parts -= 1;
        if state.parts > 0 {
            return;
        }
        // What came until now belonged to what is over.
        state.head_begun = false;
        drop(state);
        if self.wakes {
            self.activity.waker.wake();
        }
    }
}

/// When a client that keeps its connection waiting is given up.
pub(super) struct Deadline {
    activity: Arc<Activity>,
    request_timeout: Duration,
    keep_alive: Duration,
    moment: Moment,
    at: Instant,
    /// Set anew only if it would ring too late.
    alarm: Pin<Box<Sleep>>,
}

impl Deadline {
    /// For a connection whose first request must have come within the request timeout since it was
    /// accepted.
    pub(super) fn new(
        activity: Arc<Activity>,
        accepted_at: Instant,
        request_timeout: Duration,
        keep_alive: Duration,
    ) -> Self {
        let (moment, at) = (activity.moment(), accepted_at + request_timeout);
        Self { activity, request_timeout, keep_alive, moment, at, alarm: Box::pin(sleep_until(at)) }
    }

    /// From now on a client may keep the connection waiting for so long, whatever for.
    pub(super) fn allow(&mut self, timeout: Duration) {
        self.request_timeout = timeout;
        self.keep_alive = timeout;
        self.at = Instant::now() + timeout;
    }

    /// Ends when the client is late, and returns for what. The task is woken when it has to ask
    /// again.
    pub(super) fn poll_late(&mut self, context: &mut Context<'_>) -> Poll<Moment> {
        self.activity.waker.register(context.waker());
        let moment = self.activity.moment();
        if moment != self.moment {
            self.moment = moment;
            self.at = Instant::now()
                + match moment {
                    Moment::Idle(_) => self.keep_alive,
                    Moment::Head(_) | Moment::Exchange => self.request_timeout,
                };
        }
        if moment == Moment::Exchange {
            return Poll::Pending;
        }
        if self.alarm.deadline() > self.at {
            self.alarm.as_mut().reset(self.at);
        }
        loop {
            ready!(self.alarm.as_mut().poll(context));
            if self.at <= Instant::now() {
                return Poll::Ready(moment);
            }
            self.alarm.as_mut().reset(self.at);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::time::sleep;

    use super::*;

    const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);
    const KEEP_ALIVE: Duration = Duration::from_secs(10);

    struct Connection {
        activity: Arc<Activity>,
        deadline: Deadline,
    }

    impl Connection {
        fn new() -> Self {
            let activity = Arc::<Activity>::default();
            let deadline =
                Deadline::new(Arc::clone(&activity), Instant::now(), REQUEST_TIMEOUT, KEEP_ALIVE);
            Self { activity, deadline }
        }

        /// What the client is late for, and after how long.
        async fn late(&mut self) -> (Moment, Duration) {
            let began = Instant::now();
            let moment = poll_fn(|context| self.deadline.poll_late(context)).await;
            (moment, began.elapsed())
        }

        async fn look_for(&mut self, time: Duration) {
            assert!(tokio::time::timeout(time, self.late()).await.is_err(), "late too early");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_first_request_has_the_request_timeout_whether_it_begins_or_not() {
        assert_eq!(Connection::new().late().await, (Moment::Head(0), REQUEST_TIMEOUT));
        let mut begun = Connection::new();
        begun.look_for(Duration::from_secs(2)).await;
        begun.activity.received();
        assert_eq!(begun.late().await, (Moment::Head(0), Duration::from_secs(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn behind_an_answer_the_client_may_rest_and_then_has_the_request_timeout_for_a_head() {
        let mut connection = Connection::new();
        let exchange = Exchange::begin(&connection.activity);
        connection.activity.received();
        connection.look_for(Duration::from_mins(1)).await;
        drop(exchange);
        connection.look_for(Duration::from_secs(8)).await;
        connection.activity.received();
        assert_eq!(connection.late().await, (Moment::Head(1), REQUEST_TIMEOUT));

        let mut resting = Connection::new();
        for _ in 0..2 {
            drop(Exchange::begin(&resting.activity));
            resting.look_for(Duration::from_secs(9)).await;
        }
        assert_eq!(resting.late().await, (Moment::Idle(2), Duration::from_secs(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_part_ends_an_exchange_wherever_it_ends() {
        let mut connection = Connection::new();
        let exchange = Exchange::begin(&connection.activity);
        let part = exchange.part().elsewhere();
        drop(exchange);
        tokio::spawn(async move {
            sleep(Duration::from_mins(1)).await;
            drop(part);
        });
        assert_eq!(connection.late().await, (Moment::Idle(1), Duration::from_mins(1) + KEEP_ALIVE));
    }

    #[tokio::test(start_paused = true)]
    async fn a_shorter_time_counts_at_once_and_never_ends_an_exchange() {
        let mut connection = Connection::new();
        connection.deadline.allow(Duration::from_secs(1));
        assert_eq!(connection.late().await.1, Duration::from_secs(1));

        let mut busy = Connection::new();
        let exchange = Exchange::begin(&busy.activity);
        busy.deadline.allow(Duration::ZERO);
        busy.look_for(Duration::from_mins(1)).await;
        drop(exchange);
        assert_eq!(busy.late().await, (Moment::Idle(1), Duration::ZERO));
    }
}
