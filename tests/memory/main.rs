//! What the backend in memory holds of the process' memory, by the allocator's own count.
//!
//! It is a binary of its own, with one test: the allocator counts for the whole process.

#![expect(clippy::unwrap_used, reason = "a test that can't go on says so by panicking")]

mod shapes;

use std::sync::Arc;

use rejoin::adapters::{
    memory::{MemoryJournal, MemoryOptions},
    system_clock::SystemClock,
};

use crate::shapes::{SHAPES, Shape};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The setting, at a scale that a test can fill.
const BYTES_MAX: usize = 24 * 1024 * 1024;
/// How often the allocator is asked, at least, while a journal is filled.
const LOOKS: usize = 200;

/// What the program has allocated, in bytes.
fn allocated() -> usize {
    tikv_jemalloc_ctl::epoch::advance().unwrap();
    tikv_jemalloc_ctl::stats::allocated::read().unwrap()
}

/// The most that a journal of this shape held, and what it held in the end, as parts of the
/// setting.
async fn filled(shape: &Shape) -> (f64, f64) {
    let options = MemoryOptions {
        stream_maxlen: shape.stream_maxlen,
        replay_max_age: None,
        idempotency_window: std::time::Duration::from_hours(1),
        max_bytes: BYTES_MAX,
    };
    let before = allocated();
    let journal = Arc::new(MemoryJournal::new(options, Arc::new(SystemClock)));
    let (mut most, mut last) = (0, 0);
    for n in 0..shape.steps {
        (shape.step)(&journal, n).await;
        if n % (shape.steps / LOOKS).max(1) == 0 || n + 1 == shape.steps {
            last = allocated().saturating_sub(before);
            most = most.max(last);
        }
    }
    let part = |bytes: usize| {
        f64::from(u32::try_from(bytes).unwrap()) / f64::from(u32::try_from(BYTES_MAX).unwrap())
    };
    (part(most), part(last))
}

#[tokio::test]
async fn promise_7_the_backend_in_memory_holds_what_its_setting_says_whatever_the_shape() {
    let mut wrong = Vec::new();
    for shape in SHAPES {
        let (most, last) = filled(shape).await;
        println!("{}: {most:.2} of the setting at most, {last:.2} in the end", shape.name);
        if most > 1.2 || last > 1.2 || last < shape.least {
            wrong.push(format!(
                "{}: {most:.2} of the setting at most, {last:.2} in the end",
                shape.name
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
