//! Promise 4 over a disk that loses power, fails, fills up or is damaged.

mod lossy_disk;

use std::{collections::BTreeMap, panic::AssertUnwindSafe};

use bytes::Bytes;

use self::lossy_disk::{Fault, LossyDisk, Remains};
use super::*;
use crate::adapters::disk::rows::Rows;

const WRITES: usize = 60;

fn options(syncs_each: bool) -> StoreOptions {
    // A checkpoint every few writes.
    StoreOptions { syncs_each, cache_bytes: 1 << 20, new_store_id: 7, changes_bytes_max: 4_000 }
}

fn open(disk: &LossyDisk) -> Result<Opened, Failure> {
    Store::open(Arc::new(disk.clone()), options(true))
}

fn key(number: usize) -> Bytes {
    format!("k{number:04}").into()
}

fn value(number: usize) -> Bytes {
    vec![u8::try_from(number % 251).unwrap(); 50 + number * 37 % 400].into()
}

/// What a run had acknowledged: the rows, and the writes behind the last of them that failed.
#[derive(Default)]
struct Run {
    acknowledged: BTreeMap<usize, Option<Bytes>>,
    in_doubt: Vec<usize>,
}

fn put(store: &Store, number: usize) -> Result<(), Failure> {
    store.write(
        |rows| {
            rows.put(key(number), value(number));
            // Older ones go, as trimming has it.
            if number >= 20 {
                rows.remove(key(number - 20));
            }
            Ok(())
        },
        |()| {},
    )
}

fn put_one(store: &Store, number: usize) -> Result<(), Failure> {
    store.write(
        |rows| {
            rows.put(key(number), value(number));
            Ok(())
        },
        |()| {},
    )
}

/// Writes row after row, with checkpoints where they are wanted, over failures of the disk, until
/// the power is gone.
fn run(disk: &LossyDisk) -> Run {
    let mut run = Run::default();
    let Ok(Opened { store, .. }) = open(disk) else { return run };
    for number in 0..WRITES {
        match put(&store, number) {
            Ok(()) => {
                run.in_doubt.clear();
                run.acknowledged.insert(number, Some(value(number)));
                if number >= 20 {
                    run.acknowledged.insert(number - 20, None);
                }
            }
            // It may come back as long as nothing was written behind it.
            Err(_) => run.in_doubt.push(number),
        }
        let _ = store.checkpoint();
    }
    run
}

/// Whether a store holds what was acknowledged, and nothing else.
fn holds(disk: &LossyDisk, run: &Run) -> Result<(), String> {
    let opened = match open(disk) {
        Ok(opened) => opened,
        Err(_)
            if run.acknowledged.is_empty()
                && run.in_doubt.is_empty()
                && disk.lengths().is_empty() =>
        {
            return Ok(());
        }
        Err(failure) => return Err(format!("it is not opened: {failure}")),
    };
    let read = |number: usize| {
        opened.store.read(|rows| rows.get(&key(number))).map_err(|failure| failure.to_string())
    };
    for number in 0..WRITES {
        let expected = run.acknowledged.get(&number).cloned().flatten();
        let found = read(number)?;
        let of_doubt = run.in_doubt.contains(&number) || run.in_doubt.contains(&(number + 20));
        if found != expected && !of_doubt {
            return Err(format!(
                "row {number} is {:?} and not {:?}",
                found.map(|row| row.len()),
                expected.map(|row| row.len())
            ));
        }
    }
    // It goes on.
    put(&opened.store, WRITES + 50).map_err(|failure| failure.to_string())?;
    opened.store.checkpoint_all().map_err(|failure| failure.to_string())
}

/// What goes wrong when the power goes at each operation of a run, by the operation.
fn losses(fault: Fault, every: usize) -> Vec<String> {
    let whole = LossyDisk::new(fault, None);
    run(&whole);
    let mut losses = Vec::new();
    for last in (0..=whole.operations()).step_by(every) {
        let disk = LossyDisk::new(fault, Some(last));
        let run = run(&disk);
        for remains in [
            Remains::Nothing,
            Remains::All,
            Remains::Some(last as u64 * 2 + 1),
            Remains::Some(last as u64 * 2 + 2),
        ] {
            // The table may panic where a program forgot to sync it.
            let held = std::panic::catch_unwind(AssertUnwindSafe(|| {
                holds(&disk.after_loss_of_power(remains), &run)
            }));
            if let Err(loss) = held.unwrap_or_else(|_| Err("it panicked".to_owned())) {
                losses.push(format!("power lost at operation {last}, {remains:?} remains: {loss}"));
            }
        }
    }
    losses
}

#[test]
fn promise_4_what_was_acknowledged_outlives_a_loss_of_power_at_every_operation() {
    assert_eq!(losses(Fault::None, 1), Vec::<String>::new());
}

#[test]
fn promise_4_what_was_acknowledged_outlives_a_sync_that_failed_and_a_loss_of_power_later() {
    let whole = LossyDisk::new(Fault::None, None);
    run(&whole);
    for failed in (1..=whole.syncs()).step_by(3) {
        assert_eq!(
            losses(Fault::FailedSync(failed), 17),
            Vec::<String>::new(),
            "sync {failed} failed"
        );
    }
}

/// Puts rows from several threads. Tells which were acknowledged.
fn put_at_the_same_time(store: &Store) -> Vec<usize> {
    const THREADS: usize = 6;
    let acknowledged = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let acknowledged = &acknowledged;
            scope.spawn(move || {
                for number in (thread..WRITES).step_by(THREADS) {
                    if put_one(store, number).is_ok() {
                        lock(acknowledged).push(number);
                    }
                    let _ = store.checkpoint();
                }
            });
        }
    });
    let mut acknowledged = acknowledged.into_inner().unwrap();
    acknowledged.sort_unstable();
    acknowledged
}

fn rows_of(store: &Store) -> Vec<usize> {
    (0..WRITES)
        .filter(|number| {
            store.read(|rows| rows.get(&key(*number))).unwrap() == Some(value(*number))
        })
        .collect()
}

/// A write whose sync failed leaves nothing behind, for those who wait with it either.
#[test]
fn promise_4_writers_at_the_same_time_are_acknowledged_or_leave_nothing_when_a_sync_fails() {
    for failed in 1..60 {
        let disk = LossyDisk::new(Fault::FailedSync(failed), None);
        let Ok(Opened { store, .. }) = open(&disk) else { continue };
        let acknowledged = put_at_the_same_time(&store);
        assert_eq!(rows_of(&store), acknowledged, "sync {failed} failed");
        put(&store, 900).unwrap();
        for remains in [Remains::Nothing, Remains::All, Remains::Some(failed as u64)] {
            let again = open(&disk.after_loss_of_power(remains)).unwrap();
            assert_eq!(
                rows_of(&again.store),
                acknowledged,
                "sync {failed} failed, {remains:?} remains"
            );
        }
    }
}

#[test]
fn promise_4_writers_at_the_same_time_keep_what_was_acknowledged_when_the_power_goes() {
    for last in 10..300 {
        let disk = LossyDisk::new(Fault::None, Some(last));
        let Ok(Opened { store, .. }) = open(&disk) else { continue };
        let acknowledged = put_at_the_same_time(&store);
        let again = open(&disk.after_loss_of_power(Remains::Some(last as u64))).unwrap();
        let there = rows_of(&again.store);
        assert!(
            acknowledged.iter().all(|number| there.contains(number)),
            "power lost at operation {last}"
        );
    }
}

/// The tests above see what they are there for: a program that forgets a sync is caught.
#[test]
fn a_sync_that_is_forgotten_shows() {
    for fault in [
        Fault::ForgottenSync("log-"),
        Fault::ForgottenSync(TABLE),
        Fault::ForgottenSync(mark::NAME),
        Fault::ForgottenDirectory,
    ] {
        assert!(!losses(fault, 5).is_empty(), "{fault:?}");
    }
}

/// A byte that was changed is told when the store is opened, or when what it is part of is read; or
/// else nothing is missing.
#[test]
fn damage_is_told_and_never_passed_over() {
    let disk = LossyDisk::new(Fault::None, None);
    let run = run(&disk);
    let mut told = 0;
    for (name, len) in disk.lengths() {
        // Every byte of what is small, and many of what is large.
        for at in (0..len).step_by(1 + len / 700) {
            let damaged = disk.copy();
            damaged.flip(&name, at, 1 << (at % 8));
            let opened = open(&damaged);
            let Ok(opened) = opened else {
                told += 1;
                continue;
            };
            for number in 0..WRITES {
                let expected = run.acknowledged.get(&number).cloned().flatten();
                match opened.store.read(|rows| rows.get(&key(number))) {
                    Ok(found) if opened.torn_bytes == 0 => {
                        assert_eq!(
                            found, expected,
                            "byte {at} of {name} was changed: row {number}"
                        );
                    }
                    Ok(_) => panic!(
                        "byte {at} of {name}: a record that was acknowledged is taken for one that was torn"
                    ),
                    Err(_) => told += 1,
                }
            }
        }
    }
    assert!(told > 100, "{told}");
}

#[test]
fn a_store_that_lost_a_file_is_not_opened_as_an_empty_one() {
    let disk = LossyDisk::new(Fault::None, None);
    let run = run(&disk);
    for (name, _) in
        disk.lengths().into_iter().filter(|(name, _)| name != mark::NAME && name != "log-spare")
    {
        let without = disk.copy();
        without.lose(&name);
        let refused = open(&without).err().map(|failure| failure.to_string());
        assert!(
            refused.is_some_and(
                |refused| refused.contains(&name) || refused.contains("the log ends before")
            ),
            "without {name}"
        );
    }
    let without_mark = disk.copy();
    without_mark.lose(mark::NAME);
    assert!(open(&without_mark).unwrap().lacked_mark);
    assert_eq!(holds(&without_mark, &run), Ok(()));
}

/// An older copy of the table beside the mark of today.
#[test]
fn a_table_that_is_older_than_its_mark_is_not_opened() {
    let disk = LossyDisk::new(Fault::None, None);
    let opened = open(&disk).unwrap();
    let put_all = |numbers: std::ops::Range<usize>| {
        for number in numbers {
            put(&opened.store, number).unwrap();
            opened.store.checkpoint().unwrap();
        }
        opened.store.checkpoint_all().unwrap();
    };
    put_all(0..30);
    let older = disk.copy();
    put_all(30..50);
    let mixed = disk.copy();
    mixed.replace(TABLE, &older);
    let refused = open(&mixed).err().map(|failure| failure.to_string()).unwrap_or_default();
    assert!(refused.contains("older than its mark"), "{refused}");
}

#[test]
fn a_full_disk_takes_nothing_and_goes_on_when_there_is_room() {
    let disk = LossyDisk::new(Fault::None, None);
    let opened = open(&disk).unwrap();
    let mut acknowledged = Vec::new();
    for round in 0..6 {
        disk.set_bytes_max(Some(disk.bytes() + 2_000 * round));
        for number in round * 200..round * 200 + 100 {
            match put_one(&opened.store, number) {
                Ok(()) => acknowledged.push(number),
                Err(failure) => {
                    assert!(matches!(failure, Failure::Full | Failure::Behind), "{failure}");
                }
            }
            let _ = opened.store.checkpoint();
            if let Some(first) = acknowledged.first() {
                assert_eq!(
                    opened.store.read(|rows| rows.get(&key(*first))).unwrap(),
                    Some(value(*first)),
                    "reads go on"
                );
            }
        }
        disk.set_bytes_max(None);
        // As it is tried every second.
        opened.store.checkpoint().unwrap();
        for number in round * 200 + 100..round * 200 + 110 {
            put_one(&opened.store, number).unwrap();
            acknowledged.push(number);
            opened.store.checkpoint().unwrap();
        }
    }
    let again = open(&disk.copy()).unwrap();
    for number in 0..1_200 {
        let expected = acknowledged.contains(&number).then(|| value(number));
        assert_eq!(again.store.read(|rows| rows.get(&key(number))).unwrap(), expected, "{number}");
    }
}

/// Without a sync for each write, a loss of power takes the last ones, and of those in the order in
/// which they came.
#[test]
fn what_is_synced_now_and_then_is_lost_from_the_end_only() {
    let disk = LossyDisk::new(Fault::None, None);
    let opened = Store::open(Arc::new(disk.clone()), options(false)).unwrap();
    for number in 0..10 {
        put(&opened.store, number).unwrap();
    }
    opened.store.sync().unwrap();
    for number in 10..15 {
        put(&opened.store, number).unwrap();
    }
    for seed in 0..50 {
        let again = open(&disk.after_loss_of_power(Remains::Some(seed))).unwrap();
        let found: Vec<bool> = (0..15)
            .map(|number| {
                again.store.read(|rows| rows.get(&key(number))).unwrap() == Some(value(number))
            })
            .collect();
        assert!(found[..10].iter().all(|found| *found), "{seed}: what was synced is there");
        assert!(found.is_sorted_by(|before, after| before >= after), "{seed}: no hole: {found:?}");
    }
}

/// A write that fails has the log go on in a new segment: what the one before holds and was not
/// synced yet is not left behind.
#[test]
fn what_is_synced_now_and_then_is_safe_after_the_next_sync_though_a_write_failed_meanwhile() {
    let disk = LossyDisk::new(Fault::None, None);
    let store = Store::open(Arc::new(disk.clone()), options(false)).unwrap().store;
    for number in 0..5 {
        put(&store, number).unwrap();
    }
    disk.set_bytes_max(Some(disk.bytes()));
    assert!(matches!(put(&store, 5), Err(Failure::Full)));
    disk.set_bytes_max(None);
    put(&store, 6).unwrap();
    store.sync().unwrap();
    let again = open(&disk.after_loss_of_power(Remains::Nothing)).unwrap();
    assert_eq!(rows_of(&again.store), [0, 1, 2, 3, 4, 6]);
}

/// What a failed sync lost is logged again, also where the next write has all that is in memory
/// leave for the table first.
#[test]
fn what_is_synced_now_and_then_is_logged_again_after_a_sync_failed() {
    for count in 1..15 {
        let disk = LossyDisk::new(Fault::None, None);
        let store = Store::open(Arc::new(disk.clone()), options(false)).unwrap().store;
        for number in 0..count {
            put_one(&store, number).unwrap();
        }
        disk.fail_next_sync();
        store.sync().unwrap_err();
        put_one(&store, count).unwrap();
        store.sync().unwrap();
        let again = open(&disk.after_loss_of_power(Remains::Nothing)).unwrap();
        assert_eq!(
            rows_of(&again.store),
            (0..=count).collect::<Vec<_>>(),
            "{count} before the sync that failed"
        );
    }
}
