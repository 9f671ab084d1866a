//! Promises 1, 2, 3 and 6 as properties of the replay machine, over arbitrary interleavings.
//!
//! The world appends, trims, wipes, reads pages of any size (and delivers them late), signals live
//! entries late, doubled, out of order or not at all, and cuts the client anywhere.

mod judge;
mod world;

use std::{collections::BTreeSet, sync::Arc};

use proptest::prelude::*;

use self::{
    judge::judge,
    world::{Act, Seen, World},
};
use crate::domain::{
    category::{Category, CategoryFilter},
    cursor::Cursor,
    position::EventId,
};

fn act() -> impl Strategy<Value = Act> {
    let category = prop_oneof![Just(None), Just(Some("a")), Just(Some("b"))];
    let foreign = prop_oneof![
        Just(Cursor::Oldest),
        Just(Cursor::Unreadable),
        Just(Cursor::Absent),
        Just(Cursor::After(EventId::timed(1, 0))),
        Just(Cursor::After(EventId::timed(u64::MAX, 0)))
    ];
    prop_oneof![
        8 => (category, proptest::bool::weighted(0.15), 0_u64..3).prop_map(|(category, foreign, ms)| Act::Append { category, foreign, ms }),
        2 => (1_usize..6).prop_map(Act::Trim),
        1 => Just(Act::Wipe),
        6 => (1_usize..5).prop_map(Act::Read),
        6 => Just(Act::Deliver),
        8 => (0_usize..4, proptest::bool::weighted(0.2)).prop_map(|(index, keep)| Act::Signal { index, keep }),
        2 => Just(Act::Cover),
        1 => Just(Act::Interrupt),
        6 => (0_usize..4).prop_map(Act::Take),
        3 => Just(Act::Cut),
        1 => foreign.prop_map(Act::ForgetCursor),
    ]
}

fn filter() -> impl Strategy<Value = CategoryFilter> {
    let only = |names: &[&str]| {
        CategoryFilter::Only(Arc::new(
            names.iter().map(|name| Category::parse(name).unwrap()).collect::<BTreeSet<_>>(),
        ))
    };
    prop_oneof![3 => Just(CategoryFilter::All), 2 => Just(only(&["a"])), 1 => Just(only(&["a", "b"]))]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, max_shrink_iters: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn promises_1_2_and_6_hold_under_any_interleaving(
        acts in proptest::collection::vec(act(), 1..120), filter in filter(), cap in 1_u32..5,
        cursor in prop_oneof![Just(Cursor::Absent), Just(Cursor::Oldest)],
    ) {
        let mut world = World::new(filter, cap, cursor);
        for act in acts {
            world.act(&act);
        }
        world.settle();
        judge(&world)?;
    }

    #[test]
    fn promise_3_all_clients_see_one_order(acts in proptest::collection::vec(act(), 1..80), other in proptest::collection::vec(act(), 1..80)) {
        // Two clients with different fates on the same log: what both saw comes in the same order.
        let ids = |acts: &[Act]| {
            let mut world = World::new(CategoryFilter::All, 3, Cursor::Oldest);
            for ms in [0, 1, 0, 2, 1, 0, 0, 3, 1, 0] {
                world.append(None, false, ms);
            }
            let quiet = acts.iter().filter(|act| !matches!(act, Act::Append { .. } | Act::Wipe | Act::Trim(_) | Act::ForgetCursor(_)));
            quiet.for_each(|act| world.act(act));
            world.settle();
            world.seen.iter().filter_map(|seen| if let Seen::Entry(id) = seen { Some(*id) } else { None }).collect::<Vec<_>>()
        };
        let (one, two) = (ids(&acts), ids(&other));
        prop_assert_eq!(one.len(), 10);
        prop_assert_eq!(one, two);
    }
}
