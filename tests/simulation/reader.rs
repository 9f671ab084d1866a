//! Who reads a message: it keeps its cursor, and comes back with it until it has all.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use rejoin::{
    app::{message_subscriptions::MessageRequest, streaming::stream, subscriptions::Subscribed},
    domain::{
        access::Principal,
        cursor::{Cursor, MessageStart},
        frame::StreamStyle,
        frame_decoder::Decoded,
        position::EventId,
    },
    ports::messages::Messages,
};
use tokio::time::sleep;

use crate::{
    dice::Dice,
    process::Process,
    producer::Answer,
    wire::{Mood, MoodyWire, Taker},
    world::World,
};

pub(crate) struct Reader {
    answer: Arc<Answer>,
    world: Arc<World>,
    dice: Dice,
    principal: Principal,
    cursor: Mutex<Cursor>,
    /// Numbers, types and payloads, in the order in which they came.
    seen: Mutex<Vec<(u64, String, String)>>,
    /// Whether a notice of truncation came: the message is not what it was.
    truncated: AtomicBool,
    /// Whether it was told that it has all.
    has_all: AtomicBool,
}

impl Reader {
    pub(crate) fn new(world: &Arc<World>, answer: &Arc<Answer>) -> Arc<Self> {
        let user = Some(answer.owner.clone());
        Arc::new(Self {
            answer: Arc::clone(answer),
            world: Arc::clone(world),
            dice: world.dice.fork(),
            principal: Principal {
                user,
                scopes: BTreeSet::new(),
                categories: None,
                expires_at: None,
            },
            cursor: Mutex::new(Cursor::Absent),
            seen: Mutex::default(),
            truncated: AtomicBool::new(false),
            has_all: AtomicBool::new(false),
        })
    }

    /// Connects, and connects again, until it has all or the world ends.
    pub(crate) async fn live(self: Arc<Self>) {
        while !self.has_all.load(Ordering::Relaxed) {
            let process = self.world.any_process(&self.dice);
            tokio::select! {
                biased;
                () = self.world.over.cancelled() => return,
                () = process.dead.cancelled() => {}
                () = Arc::clone(&self).connect(&process) => {}
            }
            sleep(self.dice.ms(1..500)).await;
        }
    }

    async fn connect(self: Arc<Self>, process: &Process) {
        let cursor = *self.cursor.lock().unwrap();
        let cursor = if cursor == Cursor::Absent { Cursor::Oldest } else { cursor };
        self.world.setup.backend.history.note("a reader connected", &(&self.answer.id, cursor));
        let request = MessageRequest {
            start: MessageStart::Behind(cursor),
            style: StreamStyle::default(),
            waits: true,
            wants_finished: true,
        };
        match process
            .subscriptions
            .open_message(&self.principal, &self.answer.id, request)
            .await
            .map(|opened| opened.subscribed)
        {
            Ok(Subscribed::Stream(subscription)) => {
                let mood = if self.is_calm() { Mood::Gentle } else { Mood::random(&self.dice) };
                stream(subscription, MoodyWire::new(Arc::clone(&self), mood)).await;
            }
            Ok(Subscribed::MessageOver) => self.has_all.store(true, Ordering::Relaxed),
            // It is not open yet, or gone: the judge looks.
            Ok(Subscribed::PushDisabled | Subscribed::Draining { .. }) | Err(_) => {}
        }
    }

    /// Promises 1 to 3, for a reader that has had the time to get everything.
    pub(crate) async fn judge(&self) -> Result<(), String> {
        let events = self.world.setup.backend.appends.of(&self.answer.id);
        let seen = self.seen.lock().unwrap().clone();
        for (place, (number, event_type, payload)) in seen.iter().enumerate() {
            let expected = events.get(place).map(|(event_type, payload)| (event_type, payload));
            if *number != place as u64 || expected != Some((event_type, payload)) {
                return Err(format!(
                    "a reader of {:?} got {number} ({event_type} {payload}) at place {place}, where {expected:?} was appended",
                    self.answer.id
                ));
            }
        }
        let is_there =
            self.world.setup.backend.journal().observe(&self.answer.id).await.unwrap().is_some();
        match (is_there, self.truncated.load(Ordering::Relaxed)) {
            (true, true) => Err(format!("a reader of {:?} got a needless notice", self.answer.id)),
            (true, false) if seen.len() < events.len() => Err(format!(
                "promise 1: a reader of {:?} lacks {} of {}",
                self.answer.id,
                events.len() - seen.len(),
                events.len()
            )),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Taker for Reader {
    fn is_calm(&self) -> bool {
        self.world.calm.load(Ordering::Relaxed)
    }

    fn dice(&self) -> &Dice {
        &self.dice
    }

    async fn take(&self, decoded: Decoded) {
        self.world.setup.backend.history.note("a reader got", &(&self.answer.id, &decoded));
        match decoded {
            Decoded::Event { id: Some(id), data, .. } => {
                let mut fields: serde_json::Map<String, serde_json::Value> =
                    serde_json::from_str(&data).unwrap();
                let event_type = fields.remove("type").unwrap().as_str().unwrap().to_owned();
                let number: u64 = id.parse().unwrap();
                *self.cursor.lock().unwrap() = Cursor::After(EventId::sequence(number));
                self.seen.lock().unwrap().push((
                    number,
                    event_type,
                    serde_json::Value::Object(fields).to_string(),
                ));
            }
            // A silent producer ends the stream with an error of its own; the reader comes again.
            Decoded::Event { id: None, data, .. } if data.contains("backlog.truncated") => {
                self.truncated.store(true, Ordering::Relaxed);
            }
            Decoded::Event { id: None, .. }
            | Decoded::Comment(_)
            | Decoded::Retry(_)
            | Decoded::Position(_) => {}
        }
    }
}
