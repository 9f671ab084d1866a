//! What can't be seen from outside: that the journal counts right, and keeps nothing that it can't
//! find again.

use futures_util::FutureExt;
use proptest::prelude::*;

use super::*;
use crate::testing::{self, ManualClock};

const AGE_MAX: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
enum Act {
    Append { user: usize, payload_bytes: usize },
    Purge { user: usize },
    Pass { ms: u64 },
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0_usize..5, 0_usize..900).prop_map(|(user, payload_bytes)| Act::Append { user, payload_bytes }),
        1 => (0_usize..5).prop_map(|user| Act::Purge { user }),
        2 => (0_u64..500).prop_map(|ms| Act::Pass { ms }),
    ]
}

fn topic(user: usize) -> Topic {
    Topic::User(UserId::parse(&format!("u{user}")).unwrap())
}

fn append(journal: &MemoryJournal, user: usize, payload_bytes: usize) {
    let append = Append {
        user: topic(user).user().unwrap().clone(),
        event: testing::event_of_bytes(payload_bytes),
        idempotency_key: None,
    };
    journal.append(vec![append]).now_or_never().unwrap().unwrap();
}

fn check(journal: &MemoryJournal) -> Result<(), TestCaseError> {
    let state = journal.state();
    let everything = PageLimit { entries_max: usize::MAX, bytes_max: usize::MAX };
    let mut bytes = 0;
    for (user, log) in &state.logs {
        let page = log.read(Position::Start, everything, state.bounds(&Topic::User(user.clone())));
        prop_assert_eq!(page.entries.len(), log.len());
        prop_assert!(log.len() <= journal.options.stream_maxlen);
        let follow = page.entries.windows(2).all(|pair| pair[1].prev == Some(pair[0].id.into()));
        prop_assert!(
            follow && page.entries.first().is_none_or(|first| first.prev == page.bounds.floor)
        );
        bytes += topic_bytes(user) + log.bytes();
        prop_assert!(
            log.bytes()
                >= page.entries.iter().map(|entry| cost::event(&entry.event)).sum::<usize>()
        );
    }
    prop_assert_eq!(state.bytes, bytes);
    prop_assert!(state.bytes + state.seen_keys.bytes() <= journal.options.max_bytes);
    let by_age: BTreeSet<_> =
        state.logs.iter().map(|(user, log)| (log.age_key(), user.clone())).collect();
    prop_assert_eq!(&state.by_age, &by_age, "each topic is found by its oldest entry");
    Ok(())
}

proptest! {
    #[test]
    fn promise_7_the_bytes_are_counted_and_bounded(acts in proptest::collection::vec(act(), 1..80), bytes_max in 2_000_usize..20_000) {
        let clock = Arc::new(ManualClock::default());
        let options = MemoryOptions { stream_maxlen: 6, replay_max_age: Some(AGE_MAX), idempotency_window: AGE_MAX, max_bytes: bytes_max };
        let journal = MemoryJournal::new(options, Arc::clone(&clock) as _);
        for act in acts {
            match act {
                Act::Append { user, payload_bytes } => append(&journal, user, payload_bytes),
                Act::Purge { user } => journal.purge(topic(user).user().unwrap()).now_or_never().unwrap().unwrap(),
                Act::Pass { ms } => {
                    clock.advance(Duration::from_millis(ms));
                }
            }
            check(&journal)?;
        }
        clock.advance(Duration::from_secs(2));
        let state = journal.state();
        prop_assert_eq!((state.logs.len(), state.by_age.len(), state.bytes), (0, 0, 0), "what is over age costs nothing");
    }
}
