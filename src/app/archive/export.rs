//! Reading all that there is, topic by topic.
//!
//! Invariant: what is held is a page of one topic and a part of the list of names; all names only
//! where a backend may list one twice.

use std::{
    collections::{HashSet, VecDeque},
    hash::Hash,
};

use super::{Archives, PAGE_LIMIT, Record, Tally, id_at, tally::Counter};
use crate::{
    domain::{
        cursor::Bounds,
        position::Position,
        timestamp::Timestamp,
        topic::{MessageId, Topic, UserId},
    },
    ports::{
        archive::{ListPlace, Listing},
        backend_error::{BackendError, BackendErrorKind},
    },
};

/// Names of one kind as they are listed, each once.
struct Names<T> {
    listed: VecDeque<T>,
    /// Where the list goes on; `None` at its beginning.
    place: Option<ListPlace>,
    is_over: bool,
    /// What was listed before, where names may repeat.
    seen: HashSet<T>,
}

impl<T: Clone + Eq + Hash> Names<T> {
    fn new() -> Self {
        Self { listed: VecDeque::new(), place: None, is_over: false, seen: HashSet::new() }
    }

    fn take(&mut self, listing: Listing<T>) {
        let is_new = |name: &T| !listing.may_repeat || self.seen.insert(name.clone());
        self.listed.extend(listing.items.into_iter().filter(is_new));
        self.is_over = listing.next.is_none();
        self.place = listing.next;
    }
}

/// An export that is being made.
pub struct Exporter {
    from: Archives,
    users: Names<UserId>,
    messages: Names<MessageId>,
    /// The topic that is being read, and up to where it was.
    reading: Option<(Topic, Position)>,
    ready: VecDeque<Record>,
    counter: Counter,
    is_over: bool,
}

impl Exporter {
    /// Begins an export at that time.
    pub fn new(from: Archives, now: Timestamp) -> Self {
        Self {
            from,
            users: Names::new(),
            messages: Names::new(),
            reading: None,
            ready: [Record::Begin { exported_at: now }].into(),
            counter: Counter::default(),
            is_over: false,
        }
    }

    /// The next record; `None` behind the last.
    ///
    /// # Errors
    /// The backend's; to try again is harmless.
    pub async fn next(&mut self) -> Result<Option<Record>, BackendError> {
        loop {
            if let Some(record) = self.ready.pop_front() {
                self.counter.count(&record);
                return Ok(Some(record));
            }
            if self.is_over {
                return Ok(None);
            }
            self.advance().await?;
        }
    }

    /// What was exported so far.
    pub const fn tally(&self) -> Tally {
        self.counter.tally
    }

    async fn advance(&mut self) -> Result<(), BackendError> {
        if let Some((topic, after)) = self.reading.take() {
            return self.read_on(topic, after).await;
        }
        if let Some(user) = self.users.listed.pop_front() {
            self.reading = Some((Topic::User(user), Position::Start));
            return Ok(());
        }
        if !self.users.is_over {
            self.users.take(self.from.of_events.users(self.users.place.as_ref()).await?);
            return Ok(());
        }
        if let Some(id) = self.messages.listed.pop_front() {
            return self.begin_message(id).await;
        }
        if !self.messages.is_over {
            self.messages.take(self.from.of_messages.messages(self.messages.place.as_ref()).await?);
            return Ok(());
        }
        self.is_over = true;
        self.ready.push_back(Record::End(self.counter.tally));
        Ok(())
    }

    async fn begin_message(&mut self, id: MessageId) -> Result<(), BackendError> {
        let topic = Topic::Message(id.clone());
        match self.from.messages.observe(&id).await {
            Ok(Some(observed)) => {
                self.ready.push_back(Record::Message { id, message: observed.message });
                self.reading = Some((topic, Position::Start));
                Ok(())
            }
            // It was removed meanwhile.
            Ok(None) => Ok(()),
            Err(error) => self.pass_over(topic, error),
        }
    }

    async fn read_on(&mut self, topic: Topic, after: Position) -> Result<(), BackendError> {
        let read = match &topic {
            Topic::User(_) => self.from.journal.read(&topic, after, PAGE_LIMIT).await,
            Topic::Message(_) => self.from.messages.read(&topic, after, PAGE_LIMIT).await,
        };
        let page = match read {
            Ok(page) => page,
            Err(error) => {
                let failed = self.pass_over(topic.clone(), error);
                if failed.is_err() {
                    self.reading = Some((topic, after));
                }
                return failed;
            }
        };
        if let (Topic::User(user), Position::Start) = (&topic, after) {
            self.ready.push_back(begin(user, &page.bounds));
        }
        let last = page.entries.last().map(|entry| entry.id);
        self.ready.extend(page.entries.into_iter().map(Record::Entry));
        if let (true, Some(last)) = (page.more, last) {
            self.reading = Some((topic, last.into()));
        }
        Ok(())
    }

    /// One topic that is damaged does not keep the others from being exported.
    fn pass_over(&mut self, topic: Topic, error: BackendError) -> Result<(), BackendError> {
        if error.kind != BackendErrorKind::Damaged {
            return Err(error);
        }
        self.ready.push_back(Record::Unreadable { topic, why: error.with_cause() });
        Ok(())
    }
}

fn begin(user: &UserId, bounds: &Bounds) -> Record {
    let after = match (bounds.floor, bounds.oldest) {
        (Some(floor), _) => floor,
        // It is unknown what lay before the oldest entry; right before it there can't have been
        // anything.
        (None, Some(oldest)) => Position::before(oldest),
        (None, None) => bounds.head,
    };
    Record::Topic {
        user: user.clone(),
        origin: id_at(bounds.origin),
        after: id_at(after.max(bounds.origin)),
    }
}
