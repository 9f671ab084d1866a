//! The ring against a list that forgets nothing.

use proptest::prelude::*;

use std::sync::MutexGuard;

use super::{
    tests::{Held, at, entry},
    *,
};

#[derive(Clone, Debug)]
enum Act {
    /// Offer an entry with a payload of so many bytes. `prev` may be unknown, and entries may have
    /// been missed.
    Push {
        missed: u64,
        prev_known: bool,
        payload_bytes: usize,
    },
    /// Offer the last entry once more.
    PushAgain,
    /// An entry read from the journal behind the head.
    Extend {
        payload_bytes: usize,
    },
    Anchor,
    /// Begin anew: at the newest entry, or nowhere.
    Restart {
        known: bool,
    },
    /// Another ring of the process takes so many bytes, or gives up all it has.
    Elsewhere {
        payload_bytes: Option<usize>,
    },
}

fn act() -> impl Strategy<Value = Act> {
    let payload_bytes = || prop_oneof![9 => 0_usize..60, 1 => 500_usize..3_000];
    let missed = prop_oneof![6 => Just(0_u64), 1 => 1_u64..3];
    let push = (missed, proptest::bool::weighted(0.9), payload_bytes());
    prop_oneof![
        12 => push.prop_map(|(missed, prev_known, payload_bytes)| Act::Push { missed, prev_known, payload_bytes }),
        1 => Just(Act::PushAgain),
        3 => payload_bytes().prop_map(|payload_bytes| Act::Extend { payload_bytes }),
        1 => Just(Act::Anchor),
        1 => any::<bool>().prop_map(|known| Act::Restart { known }),
        1 => proptest::option::of(payload_bytes()).prop_map(|payload_bytes| Act::Elsewhere { payload_bytes }),
    ]
}

/// What the ring was given, and what of it has to be there.
struct World {
    ring: Arc<Held>,
    other: Arc<Held>,
    rings: Arc<Rings>,
    options: RingOptions,
    /// The newest entry of the topic, whether or not the ring got it.
    newest: u64,
    /// The newest entry of the other ring's topic.
    elsewhere: u64,
    /// Everything the ring took, by number: the position behind it.
    taken: Vec<Position>,
    /// The number of the first since the ring began, and the position it began at.
    began: usize,
    floor: Option<Position>,
}

impl World {
    fn new(options: RingOptions) -> Self {
        let rings = Arc::new(Rings::new(options.rings_max_bytes));
        let (ring, other) = (Held::new(&rings), Held::new(&rings));
        Self {
            ring,
            other,
            rings,
            options,
            newest: 10,
            elsewhere: 0,
            taken: Vec::new(),
            began: 0,
            floor: None,
        }
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.0.lock().unwrap()
    }

    fn change<T>(&self, change: impl FnOnce(&mut Ring) -> T) -> T {
        self.ring.change(&self.rings, change)
    }

    fn head(&self) -> Option<Position> {
        self.taken[self.began..].last().copied().or(self.floor)
    }

    fn push(&mut self, entry: &Entry) -> Result<(), TestCaseError> {
        let expected = match (self.head(), entry.prev) {
            (Some(head), _) if head >= at(entry.id.major()) => Step::Old,
            (Some(head), Some(prev)) if prev <= head => Step::Next,
            (None, Some(prev)) => {
                self.floor = Some(prev);
                Step::Next
            }
            _ => Step::Gap,
        };
        prop_assert_eq!(self.change(|ring| ring.push(entry, &self.options)), expected);
        if expected == Step::Next {
            self.taken.push(at(entry.id.major()));
        }
        Ok(())
    }

    fn act(&mut self, act: &Act) -> Result<(), TestCaseError> {
        match *act {
            Act::Push { missed, prev_known, payload_bytes } => {
                let prev = self.newest + missed;
                self.newest = prev + 1;
                self.push(&entry(self.newest, prev_known.then_some(at(prev)), payload_bytes))?;
            }
            Act::PushAgain => self.push(&entry(self.newest, Some(at(self.newest - 1)), 1))?,
            Act::Extend { payload_bytes } => {
                self.newest += 1;
                self.change(|ring| {
                    ring.extend(&entry(self.newest, None, payload_bytes), &self.options);
                });
                if self.head().is_some() {
                    self.taken.push(at(self.newest));
                }
            }
            Act::Anchor => {
                self.change(|ring| ring.anchor(at(self.newest)));
                self.floor.get_or_insert(at(self.newest));
            }
            Act::Restart { known } => {
                let (position, before) =
                    (known.then_some(at(self.newest)), self.ring().incarnation);
                self.change(|ring| ring.restart(position));
                (self.floor, self.began) = (position, self.taken.len());
                prop_assert_ne!(self.ring().incarnation, before);
            }
            Act::Elsewhere { payload_bytes: Some(payload_bytes) } => {
                self.elsewhere += 1;
                self.other.change(&self.rings, |other| {
                    other.anchor(at(0));
                    other.extend(&entry(self.elsewhere, None, payload_bytes), &self.options);
                });
            }
            Act::Elsewhere { payload_bytes: None } => {
                self.other.change(&self.rings, |other| other.restart(None));
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let Self { options, .. } = self;
        let (ring, other) = (self.ring(), self.other.0.lock().unwrap());
        for ring in [&ring, &other] {
            prop_assert!(ring.slots.len() <= options.ring_entries_max);
            prop_assert!(ring.bytes <= options.ring_max_bytes);
            prop_assert_eq!(ring.bytes, ring.slots.iter().map(Slot::cost_bytes).sum::<usize>());
        }
        let total = self.rings.bytes();
        prop_assert_eq!(total, ring.bytes + other.bytes);
        prop_assert!(total <= options.rings_max_bytes);

        prop_assert_eq!(ring.head(), self.head());
        let first = self.taken.len() - ring.slots.len();
        prop_assert!(first >= self.began, "it holds something from before it began anew");
        let held: Vec<Position> = ring.slots.iter().map(Slot::position).collect();
        prop_assert_eq!(&held, &self.taken[first..]);
        let floor = if first == self.began { self.floor } else { Some(self.taken[first - 1]) };
        prop_assert_eq!(ring.extent.map(|extent| extent.floor), floor);
        drop((ring, other));
        self.check_positions(floor)?;
        self.check_numbers(first)
    }

    /// From each position the ring shows all that lies behind it, or says that it can't.
    fn check_positions(&self, floor: Option<Position>) -> Result<(), TestCaseError> {
        for position in (8..=self.newest + 1).map(at) {
            let behind: Vec<Position> = self.taken[self.began..]
                .iter()
                .copied()
                .filter(|taken| *taken > position)
                .collect();
            let number = self.ring().number_behind(position);
            prop_assert_eq!(number.is_none(), floor.is_some_and(|floor| floor > position));
            if let Some(number) = number {
                prop_assert_eq!(self.positions_from(number), behind.clone());
            }
            let (floor, head) = (floor.unwrap_or(Position::Start), self.head());
            let covered = head.filter(|head| floor <= position && position <= *head);
            let covered = covered.map(|head| Covered { head, has_entries: !behind.is_empty() });
            prop_assert_eq!(self.ring().covers(position, Timestamp::from_ms(0)), covered);
            // The oldest entry that a client at this position would get is the next one.
            if let Some(Position::After(next)) = behind.first() {
                prop_assert_eq!(
                    self.ring().covers(position, Timestamp::from_ms(next.major())),
                    covered
                );
                prop_assert_eq!(
                    self.ring().covers(position, Timestamp::from_ms(next.major() + 1)),
                    None
                );
            }
        }
        Ok(())
    }

    /// A number means the same slot for as long as there is one.
    fn check_numbers(&self, first: usize) -> Result<(), TestCaseError> {
        for number in 0..=self.taken.len() {
            prop_assert_eq!(self.ring().has(number as u64), number >= first);
            if number >= first {
                prop_assert_eq!(self.positions_from(number as u64), &self.taken[number..]);
            }
        }
        Ok(())
    }

    fn positions_from(&self, number: u64) -> Vec<Position> {
        let (mut seen, mut next) = (Vec::new(), number);
        // One by one, as a connection that breaks off behind each.
        loop {
            let shown = seen.len();
            next = self.ring().visit(next, |slot| {
                seen.push(slot.position());
                ControlFlow::Break(())
            });
            if seen.len() == shown {
                return seen;
            }
        }
    }
}

proptest! {
    #[test]
    fn promise_7_a_ring_is_the_end_of_its_list_within_its_bounds(
        acts in proptest::collection::vec(act(), 1..80), entries_max in 1_usize..10, bytes_max in 400_usize..6_000, total_max in 400_usize..8_000,
    ) {
        let mut world = World::new(RingOptions { ring_entries_max: entries_max, ring_max_bytes: bytes_max, rings_max_bytes: total_max });
        for act in acts {
            world.act(&act)?;
            world.check()?;
        }
    }
}
