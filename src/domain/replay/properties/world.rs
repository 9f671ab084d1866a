//! A journal, a feed and one client's connection, all of which may fail in every order.

use std::{collections::VecDeque, sync::Arc};

use crate::{
    domain::{
        category::{Category, CategoryFilter},
        cursor::{Bounds, Continuity, Cursor},
        event::{Entry, Event},
        page::Page,
        position::{EventId, Position},
        replay::{Live, Next, Output, Replay},
        timestamp::Timestamp,
    },
    testing,
};

#[derive(Clone, Debug)]
pub(super) enum Act {
    /// Append an entry of a category; a foreign one comes without `prev`. Time advances by so many
    /// ms.
    Append { category: Option<&'static str>, foreign: bool, ms: u64 },
    /// Remove so many of the oldest entries.
    Trim(usize),
    /// Lose everything; a new incarnation begins.
    Wipe,
    /// If the machine wants to read, read a page of at most so many entries, to be delivered later.
    Read(usize),
    /// Deliver the page that was read.
    Deliver,
    /// Signal the pending live entry at this index (modulo their number), and keep or drop it
    /// afterwards.
    Signal { index: usize, keep: bool },
    /// If the machine wants to read and nothing was removed behind it, hand it what it lacks as
    /// live entries instead.
    Cover,
    /// The feed lost what it held; the shell says so.
    Interrupt,
    /// The client takes so many of the frames that are under way.
    Take(usize),
    /// The connection is cut, and the client comes back with the cursor it has.
    Cut,
    /// The client comes back with a cursor that nobody issued.
    ForgetCursor(Cursor),
}

/// What a client saw, in order.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Seen {
    /// A connection began, with this cursor.
    Connected(Cursor),
    /// A client that asked for all that is retained met the journal of this origin.
    MetOrigin(Position),
    Entry(EventId),
    MovedTo(EventId),
    /// Entries up to `excuses` were gone when the notice was made; `justified` says whether any
    /// behind the cursor was.
    Truncated {
        excuses: Position,
        justified: bool,
    },
    /// A page showed that entries behind the cursor were gone, or that nobody issued it, and no
    /// notice came of it.
    NotTold,
}

pub(super) struct Appended {
    pub(super) entry: Entry,
    removed: bool,
}

pub(super) struct World {
    pub(super) log: Vec<Appended>,
    origin: u64,
    now_ms: u64,
    pub(super) filter: CategoryFilter,
    cap: u32,
    machine: Replay,
    /// A page under way to the machine, with what was gone when it was read.
    page: Option<(Page, Seen)>,
    live: Vec<Entry>,
    under_way: VecDeque<Seen>,
    pub(super) seen: Vec<Seen>,
    cursor: Cursor,
}

impl World {
    pub(super) fn new(filter: CategoryFilter, cap: u32, cursor: Cursor) -> Self {
        let machine = Replay::open(cursor, filter.clone(), cap);
        Self {
            log: Vec::new(),
            origin: 1_000,
            now_ms: 1_000,
            filter,
            cap,
            machine,
            page: None,
            live: Vec::new(),
            under_way: VecDeque::new(),
            seen: vec![Seen::Connected(cursor)],
            cursor,
        }
    }

    fn origin(&self) -> Position {
        Position::After(EventId::timed(self.origin, 0))
    }

    fn retained(&self) -> impl Iterator<Item = &Entry> {
        self.log.iter().filter(|appended| !appended.removed).map(|appended| &appended.entry)
    }

    fn last_id_of_this_incarnation(&self) -> Option<Position> {
        self.log
            .last()
            .map(|appended| Position::After(appended.entry.id))
            .filter(|last| *last > self.origin())
    }

    fn bounds(&self) -> Bounds {
        let head = self
            .last_id_of_this_incarnation()
            .unwrap_or(Position::After(EventId::timed(self.now_ms, 0)));
        let last_removed = self
            .log
            .iter()
            .rev()
            .find(|appended| appended.removed)
            .map(|appended| Position::After(appended.entry.id));
        let floor =
            last_removed.filter(|removed| *removed > self.origin()).unwrap_or(self.origin());
        Bounds {
            origin: self.origin(),
            floor: Some(floor),
            oldest: self.retained().next().map(|entry| entry.id),
            head,
            shares_positions: false,
        }
    }

    pub(super) fn append(&mut self, category: Option<&'static str>, foreign: bool, ms: u64) {
        self.now_ms += ms;
        let prev = self.last_id_of_this_incarnation().unwrap_or(self.origin());
        let n = match prev {
            Position::After(id) if id.major() == self.now_ms => id.minor().unwrap_or(0) + 1,
            _ => 1,
        };
        let category = category.map(|name| Category::parse(name).unwrap());
        let event = Event {
            ts: Timestamp::from_ms(self.now_ms),
            category,
            ..(*testing::event("{}")).clone()
        };
        let entry = Entry {
            id: EventId::timed(self.now_ms, n),
            prev: (!foreign).then_some(prev),
            event: Arc::new(event),
        };
        self.live.push(entry.clone());
        self.log.push(Appended { entry, removed: false });
    }

    fn trim(&mut self, count: usize) {
        self.log
            .iter_mut()
            .filter(|appended| !appended.removed)
            .take(count)
            .for_each(|appended| appended.removed = true);
    }

    fn wipe(&mut self) {
        self.log.iter_mut().for_each(|appended| appended.removed = true);
        self.now_ms += 1;
        self.origin = self.now_ms;
        // The shell notices and reads again, as it does after any interruption.
        self.interrupt();
    }

    fn interrupt(&mut self) {
        self.live.clear();
        self.machine.fall_behind();
    }

    /// What a truncation notice for a client at `position` would have to mean, if it were made now.
    fn truth(&self, position: Option<Position>, bounds: &Bounds) -> Seen {
        let Some(position) = position else {
            return Seen::Truncated { excuses: bounds.head, justified: true };
        };
        let position = if position == Position::Start { bounds.origin } else { position };
        let ahead = position > bounds.head;
        let gone = self
            .log
            .iter()
            .any(|appended| appended.removed && position.is_before(appended.entry.id));
        let excuses = if ahead { bounds.head } else { bounds.floor.unwrap() };
        Seen::Truncated { excuses, justified: ahead || position < bounds.origin || gone }
    }

    fn read(&mut self, limit: usize) {
        match self.machine.next() {
            Next::Locate => {
                let bounds = self.bounds();
                let notice = self.truth(None, &bounds);
                let machine = &mut self.machine;
                let mut outputs = Vec::new();
                machine.located(&bounds, &mut |output| outputs.push(output));
                self.send(outputs, &notice);
            }
            Next::Read(after) if self.page.is_none() => {
                let bounds = self.bounds();
                let mut behind = self.retained().filter(|entry| after.is_before(entry.id)).cloned();
                let entries: Vec<Entry> = behind.by_ref().take(limit).collect();
                let more = behind.next().is_some();
                drop(behind);
                let notice = self.truth(Some(after), &bounds);
                self.page = Some((Page { entries, more, bounds }, notice));
            }
            Next::Read(_) | Next::Follow(_) => {}
            Next::CloseCapped => self.reconnect(),
        }
    }

    fn deliver(&mut self) {
        if let Some((page, notice)) = self.page.take() {
            if self.machine.position() == Position::Start {
                self.seen.push(Seen::MetOrigin(page.bounds.origin));
            }
            let mut outputs = Vec::new();
            self.machine.page(&page, &mut |output| outputs.push(output));
            let told = outputs.iter().any(|output| matches!(output, Output::Truncated(_)));
            if matches!(notice, Seen::Truncated { justified: true, .. }) && !told {
                self.seen.push(Seen::NotTold);
            }
            self.send(outputs, &notice);
        }
    }

    fn cover(&mut self) {
        let bounds = self.bounds();
        if let Next::Read(after @ Position::After(_)) = self.machine.next()
            && self.page.is_none()
            && bounds.continuity(after) == Continuity::Whole
        {
            self.live =
                self.retained().filter(|entry| after.is_before(entry.id)).cloned().collect();
            self.machine.covered_until(bounds.head);
        }
    }

    fn signal(&mut self, index: usize, keep: bool) {
        if self.live.is_empty() {
            return;
        }
        let index = index % self.live.len();
        let entry = self.live[index].clone();
        match self.machine.live(&entry) {
            Live::Send => {
                self.under_way.push_back(Seen::Entry(entry.id));
            }
            Live::Skip => {}
            Live::Stop => return,
        }
        if !keep {
            self.live.remove(index);
        }
    }

    fn send(&mut self, outputs: Vec<Output>, notice: &Seen) {
        self.under_way.extend(outputs.into_iter().map(|output| match output {
            Output::Entry(entry) => Seen::Entry(entry.id),
            Output::MoveTo(position) => {
                Seen::MovedTo(position.id().expect("a user's topic has no start"))
            }
            Output::Truncated(_) => notice.clone(),
        }));
    }

    fn take(&mut self, count: usize) {
        for seen in self.under_way.drain(..count.min(self.under_way.len())) {
            if let Seen::Entry(id) | Seen::MovedTo(id) = seen {
                self.cursor = Cursor::After(id);
            }
            self.seen.push(seen);
        }
    }

    fn reconnect(&mut self) {
        if self.machine.next() == Next::CloseCapped {
            self.take(usize::MAX);
        }
        self.connect_with(self.cursor);
    }

    fn connect_with(&mut self, cursor: Cursor) {
        self.cursor = cursor;
        self.machine = Replay::open(cursor, self.filter.clone(), self.cap);
        self.page = None;
        self.live.clear();
        self.under_way.clear();
        self.seen.push(Seen::Connected(cursor));
    }

    pub(super) fn act(&mut self, act: &Act) {
        match *act {
            Act::Append { category, foreign, ms } => self.append(category, foreign, ms),
            Act::Trim(count) => self.trim(count),
            Act::Wipe => self.wipe(),
            Act::Read(limit) => self.read(limit),
            Act::Deliver => self.deliver(),
            Act::Signal { index, keep } => self.signal(index, keep),
            Act::Cover => self.cover(),
            Act::Interrupt => self.interrupt(),
            Act::Take(count) => self.take(count),
            Act::Cut => self.reconnect(),
            Act::ForgetCursor(cursor) => self.connect_with(cursor),
        }
    }

    /// Faults end: the machine must come to rest at the head within a bounded number of steps.
    pub(super) fn settle(&mut self) {
        for _ in 0..1_000 {
            self.take(usize::MAX);
            match self.machine.next() {
                Next::Follow(_) if self.live.is_empty() => return,
                Next::Follow(_) => self.signal(0, false),
                _ => {
                    self.deliver();
                    self.read(2);
                }
            }
        }
        panic!("never came to rest: {:?}", self.machine);
    }
}
