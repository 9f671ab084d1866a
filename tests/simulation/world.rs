//! A world: processes, clients, and one journal.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use rejoin::{
    adapters::{backend_kit::limits::LocalLimits, memory::MemoryOptions},
    app::{hub::RingOptions, subscriptions::SubscriptionOptions},
    domain::{
        category::Category,
        event::Event,
        idempotency_key::IdempotencyKey,
        page::PageLimit,
        position::EventId,
        session::StreamPolicy,
        topic::{Topic, UserId},
    },
    ports::{
        clock::Clock,
        journal::{Append, Journal},
    },
    testing::event,
};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::{
    backend::Backend,
    dice::Dice,
    history::History,
    process::{Process, Setup},
};

pub(crate) struct World {
    pub(crate) setup: Setup,
    pub(crate) dice: Dice,
    /// No more faults.
    pub(crate) calm: Arc<AtomicBool>,
    /// No more clients.
    pub(crate) over: CancellationToken,
    processes: Mutex<Vec<Arc<Process>>>,
    publications: AtomicUsize,
    acknowledged: Mutex<HashMap<Topic, Vec<(EventId, String)>>>,
}

/// How large things are.
#[derive(Clone, Debug)]
pub(crate) struct Sizes {
    pub(crate) processes: usize,
    pub(crate) stream_maxlen: usize,
    pub(crate) replay_max_age: Option<Duration>,
    pub(crate) floor_is_known: bool,
    pub(crate) rings: RingOptions,
    pub(crate) page_entries_max: usize,
    /// Where it is long, no timer makes up for a wake-up that was lost.
    pub(crate) keepalive: Duration,
    pub(crate) replay_max_per_request: u32,
    pub(crate) connections_max: Option<u32>,
}

impl Sizes {
    /// Enough for everything.
    pub(crate) fn ample() -> Self {
        Self {
            processes: 1,
            stream_maxlen: 10_000,
            replay_max_age: None,
            floor_is_known: true,
            rings: RingOptions {
                ring_entries_max: 1_000,
                ring_max_bytes: 1 << 20,
                rings_max_bytes: 1 << 26,
            },
            page_entries_max: 256,
            keepalive: Duration::from_hours(1),
            replay_max_per_request: 1_000,
            connections_max: None,
        }
    }

    /// Small, so that everything runs full all the time.
    pub(crate) fn tight(dice: &Dice) -> Self {
        let ring_bytes = dice.number(2_000..20_000);
        Self {
            processes: dice.number(1..4),
            stream_maxlen: dice.number(8..60),
            replay_max_age: dice.chance(0.3).then(|| dice.ms(3_000..20_000)),
            floor_is_known: dice.chance(0.8),
            rings: RingOptions {
                ring_entries_max: dice.number(2..32),
                ring_max_bytes: ring_bytes,
                rings_max_bytes: dice.number(ring_bytes..3 * ring_bytes),
            },
            page_entries_max: dice.number(1..12),
            keepalive: *dice.pick(&[
                Duration::from_secs(1),
                Duration::from_secs(15),
                Duration::from_hours(1),
            ]),
            replay_max_per_request: u32::try_from(dice.number(1..30)).unwrap(),
            // As many as a user may have clients and readers.
            connections_max: dice.chance(0.5).then_some(13),
        }
    }
}

impl World {
    pub(crate) fn new(sizes: &Sizes, dice: Dice) -> Arc<Self> {
        Self::with_history(sizes, dice, false)
    }

    /// A world whose history is kept, or not.
    pub(crate) fn with_history(sizes: &Sizes, dice: Dice, is_kept: bool) -> Arc<Self> {
        let options = MemoryOptions {
            stream_maxlen: sizes.stream_maxlen,
            replay_max_age: sizes.replay_max_age,
            idempotency_window: Duration::from_mins(10),
            max_bytes: 1 << 26,
        };
        let backend = Arc::new(Backend::new(options, sizes.floor_is_known, History::new(is_kept)));
        let setup = Setup {
            limits: Arc::new(LocalLimits::new(Arc::clone(&backend.clock) as _)),
            backend,
            rings: sizes.rings.clone(),
            subscriptions: SubscriptionOptions {
                policy: StreamPolicy {
                    keepalive: sizes.keepalive,
                    retry_ms: 1_000,
                    replay_max_per_request: sizes.replay_max_per_request,
                    producer_idle: Duration::from_secs(90),
                },
                page_limit: PageLimit { entries_max: sizes.page_entries_max, bytes_max: 64 * 1024 },
                replay_max_age: sizes.replay_max_age,
                push_enabled: true,
                open_wait: Duration::ZERO,
            },
            connections_max: sizes.connections_max,
        };
        let processes = (0..sizes.processes).map(|_| Process::start(&setup, dice.fork())).collect();
        Arc::new(Self {
            setup,
            dice,
            calm: Arc::default(),
            over: CancellationToken::new(),
            processes: Mutex::new(processes),
            publications: AtomicUsize::new(0),
            acknowledged: Mutex::default(),
        })
    }

    pub(crate) fn processes(&self) -> Vec<Arc<Process>> {
        self.processes.lock().unwrap().clone()
    }

    pub(crate) fn any_process(&self, dice: &Dice) -> Arc<Process> {
        Arc::clone(dice.pick(&self.processes.lock().unwrap()))
    }

    /// Puts a new process in the place of one, which it gives back.
    pub(crate) fn replace_any_process(&self) -> Arc<Process> {
        self.setup.backend.history.note("a process is replaced", &());
        let fresh = Process::start(&self.setup, self.dice.fork());
        let mut processes = self.processes.lock().unwrap();
        let index = self.dice.number(0..processes.len());
        std::mem::replace(&mut processes[index], fresh)
    }

    /// Publishes so many events in one batch, and again if no answer comes; gives up in the end.
    pub(crate) async fn publish(&self, topic: &Topic, count: usize) {
        let (batch, payloads): (Vec<_>, Vec<_>) =
            (0..count).map(|_| self.publication(topic)).unzip();
        for _ in 0..4 {
            let process = self.any_process(&self.dice);
            if let Ok(told) = process.journal.append(batch.clone()).await {
                let told = told.into_iter().map(|appended| appended.unwrap().id).zip(payloads);
                self.acknowledged.lock().unwrap().entry(topic.clone()).or_default().extend(told);
                return;
            }
            sleep(self.dice.ms(1..100)).await;
        }
    }

    /// Publishes from elsewhere, where nothing is in the way.
    pub(crate) async fn publish_elsewhere(&self, topic: &Topic, count: usize) {
        let batch = (0..count).map(|_| self.publication(topic).0).collect();
        self.setup.backend.append(batch).await.unwrap();
    }

    fn publication(&self, topic: &Topic) -> (Append, String) {
        let number = self.publications.fetch_add(1, Ordering::Relaxed);
        let payload = format!("\"{number}{}\"", ".".repeat(*self.dice.pick(&[0, 0, 0, 3, 300])));
        let category = self
            .dice
            .pick(&[None, Some("a"), Some("b")])
            .map(|name| Category::parse(name).unwrap());
        let event =
            Event { ts: self.setup.backend.clock.now(), category, ..(*event(&payload)).clone() };
        let idempotency_key = Some(IdempotencyKey::parse(&number.to_string()).unwrap());
        (
            Append { user: topic.user().unwrap().clone(), event: Arc::new(event), idempotency_key },
            payload,
        )
    }

    pub(crate) fn acknowledged(&self, topic: &Topic) -> Vec<(EventId, String)> {
        self.acknowledged.lock().unwrap().get(topic).cloned().unwrap_or_default()
    }

    /// Promise 7, at any moment.
    pub(crate) fn judge_memory(&self) -> Result<(), String> {
        let most = self.setup.rings.rings_max_bytes;
        let over = self
            .processes()
            .into_iter()
            .map(|process| process.hub.ring_bytes())
            .find(|bytes| *bytes > most);
        over.map_or(Ok(()), |bytes| {
            Err(format!("promise 7: the rings hold {bytes} bytes, where {most} are allowed"))
        })
    }

    /// What is left when all clients have gone: nothing.
    pub(crate) async fn judge_emptiness(&self, users: &[UserId]) -> Result<(), String> {
        use rejoin::ports::limits::ConnectionLeases;
        for process in self.processes() {
            let left = (
                process.hub.topics_followed(),
                process.feed.watched(),
                process.hub.ring_bytes(),
                process.limits.connections(),
            );
            if left != (0, 0, 0, 0) {
                return Err(format!(
                    "left behind: (topics, watched, bytes, connections) = {left:?}"
                ));
            }
        }
        for user in users {
            let held = self.setup.limits.count(user).await.unwrap();
            if held > 0 {
                return Err(format!("{held} leases of {user} are left behind"));
            }
        }
        Ok(())
    }
}
