//! What a test opens a backend with.

use std::{sync::Arc, time::Duration};

use super::{ManualClock, tasks};
use crate::adapters::{
    backend_kit::{BackendContext, Retention},
    system_entropy::SystemEntropy,
};

/// Retention as in the defaults, and a panic where there is trouble to report.
pub fn backend_context() -> BackendContext {
    let retention = Retention {
        stream_maxlen: 1_000,
        replay_max_age: Some(Duration::from_hours(48)),
        idempotency_window: Duration::from_mins(10),
    };
    backend_context_with(retention)
}

/// The same with another retention.
#[expect(clippy::panic, reason = "a test that expects trouble takes it")]
pub fn backend_context_with(retention: Retention) -> BackendContext {
    BackendContext {
        clock: Arc::new(ManualClock::at_ms(1_718_900_000_000)),
        entropy: Arc::new(SystemEntropy),
        tasks: tasks(),
        registry: Arc::default(),
        retention,
        on_malformed: Arc::new(|malformed| panic!("{malformed}")),
        on_stray_hint: Arc::new(|hint| panic!("{hint}")),
        on_missed_broadcasts: Arc::new(|missed| panic!("{missed}")),
    }
}
