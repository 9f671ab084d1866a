//! A client: it keeps its cursor, and comes back with it for as long as the world lasts.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use rejoin::{
    app::{
        streaming::stream,
        subscriptions::{SubscribeRequest, Subscribed},
    },
    domain::{
        access::Principal,
        category::{Category, CategoryFilter},
        cursor::{Continuity, Cursor},
        frame::{Format, StreamStyle},
        frame_decoder::Decoded,
        position::Position,
        topic::{Topic, UserId},
    },
};
use tokio::time::sleep;

use crate::{
    backend::Backend,
    checker::{Seen, judge},
    dice::Dice,
    process::Process,
    wire::{Mood, MoodyWire, Taker},
    world::World,
};

pub(crate) struct Client {
    pub(crate) topic: Topic,
    pub(crate) dice: Dice,
    /// Tells it from the others of its world in the history.
    number: u64,
    principal: Principal,
    categories: BTreeSet<Category>,
    format: Format,
    backend: Arc<Backend>,
    calm: Arc<AtomicBool>,
    cursor: Mutex<Cursor>,
    seen: Mutex<Vec<Seen>>,
    /// Which journal there was when the present connection was asked for.
    met_incarnation: AtomicUsize,
    pub(crate) broadcasts: AtomicUsize,
}

impl Client {
    pub(crate) fn new(
        world: &World,
        user: &UserId,
        categories: BTreeSet<Category>,
        cursor: Cursor,
        dice: Dice,
    ) -> Arc<Self> {
        Arc::new(Self {
            topic: Topic::User(user.clone()),
            principal: Principal {
                user: Some(user.clone()),
                scopes: BTreeSet::new(),
                categories: None,
                expires_at: None,
            },
            categories,
            number: dice.seed(),
            format: *dice.pick(&[Format::Whole, Format::Named]),
            backend: Arc::clone(&world.setup.backend),
            calm: Arc::clone(&world.calm),
            cursor: Mutex::new(cursor),
            seen: Mutex::default(),
            met_incarnation: AtomicUsize::new(0),
            broadcasts: AtomicUsize::new(0),
            dice,
        })
    }

    /// Connects, and connects again, until the world ends.
    pub(crate) async fn live(self: Arc<Self>, world: Arc<World>) {
        loop {
            let process = world.any_process(&self.dice);
            tokio::select! {
                biased;
                () = world.over.cancelled() => return,
                () = process.dead.cancelled() => {}
                () = Arc::clone(&self).connect(&process) => {}
            }
            sleep(self.dice.ms(1..300)).await;
        }
    }

    /// One connection, to its end.
    pub(crate) async fn connect(self: Arc<Self>, process: &Process) {
        let cursor = *self.cursor.lock().unwrap();
        let request = SubscribeRequest {
            cursor,
            categories: self.categories.clone(),
            style: StreamStyle { format: self.format, ..StreamStyle::default() },
        };
        self.met_incarnation.store(self.backend.incarnation(), Ordering::Relaxed);
        // Who is refused has seen nothing, and comes again.
        let Ok(Subscribed::Stream(subscription)) =
            process.subscriptions.open(&self.principal, request).await
        else {
            return;
        };
        self.backend.history.note("a client connected", &(self.number, cursor));
        self.seen.lock().unwrap().push(Seen::Connected(cursor));
        let mood = if self.is_calm() { Mood::Gentle } else { Mood::random(&self.dice) };
        stream(subscription, MoodyWire::new(Arc::clone(&self), mood)).await;
    }

    /// What a truncation notice means at this moment.
    async fn notice(&self) -> Seen {
        let bounds = self.backend.bounds(&self.topic).await;
        let position = match *self.cursor.lock().unwrap() {
            Cursor::After(id) => Position::After(id),
            Cursor::Oldest => Position::Start,
            Cursor::Absent | Cursor::Unreadable => {
                return Seen::Truncated { excuses: bounds.head, justified: true };
            }
        };
        match bounds.continuity(position) {
            Continuity::Ahead => Seen::Truncated { excuses: bounds.head, justified: true },
            Continuity::Truncated => {
                Seen::Truncated { excuses: bounds.floor.unwrap(), justified: true }
            }
            // Who asked for all of a journal may have been told of one that is no more.
            Continuity::Whole => {
                let wiped = position == Position::Start
                    && self.met_incarnation.load(Ordering::Relaxed) < self.backend.incarnation();
                Seen::Truncated {
                    excuses: Position::Start,
                    justified: wiped || !self.backend.floor_is_known(),
                }
            }
        }
    }

    pub(crate) async fn judge(&self) -> Result<(), String> {
        let filter = CategoryFilter::resolve(self.categories.clone(), None).unwrap();
        let origin = self.backend.bounds(&self.topic).await.origin;
        let seen = self.seen.lock().unwrap();
        judge(&seen, &self.backend.log_of(&self.topic), &filter, origin)
            .map_err(|failure| format!("{}: {failure}", self.topic))
    }

    /// How many connections it had.
    pub(crate) fn connections(&self) -> usize {
        self.seen.lock().unwrap().iter().filter(|seen| matches!(seen, Seen::Connected(_))).count()
    }

    /// How many entries it saw.
    pub(crate) fn entries(&self) -> usize {
        self.seen.lock().unwrap().iter().filter(|seen| matches!(seen, Seen::Entry { .. })).count()
    }

    /// Waits until it has seen so many entries.
    pub(crate) async fn has_seen(&self, entries: usize) {
        while self.entries() < entries {
            sleep(Duration::from_millis(1)).await;
        }
    }
}

#[async_trait]
impl Taker for Client {
    fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    fn dice(&self) -> &Dice {
        &self.dice
    }

    async fn take(&self, decoded: Decoded) {
        self.backend.history.note("a client got", &(self.number, &decoded));
        let seen = match decoded {
            Decoded::Comment(_) | Decoded::Retry(_) => return,
            Decoded::Position(id) => Seen::MovedTo {
                id: id.parse().unwrap(),
                origin: self.backend.bounds(&self.topic).await.origin,
            },
            Decoded::Event { id: None, event_type, data } => {
                if event_type != "backlog.truncated"
                    && !data.starts_with(r#"{"type":"backlog.truncated""#)
                {
                    self.broadcasts.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                self.notice().await
            }
            Decoded::Event { id: Some(id), data, .. } => {
                let payload = match self.format {
                    Format::Named | Format::Data => data,
                    Format::Whole => {
                        serde_json::from_str::<serde_json::Value>(&data).unwrap()["payload"]
                            .to_string()
                    }
                };
                Seen::Entry {
                    id: id.parse().unwrap(),
                    payload,
                    origin: self.backend.bounds(&self.topic).await.origin,
                }
            }
        };
        if let Seen::Entry { id, .. } | Seen::MovedTo { id, .. } = seen {
            *self.cursor.lock().unwrap() = Cursor::After(id);
        }
        self.seen.lock().unwrap().push(seen);
    }
}
