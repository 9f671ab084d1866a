//! Faults that a test causes: a task that fails when the test asks for it.

use futures_util::future::BoxFuture;
use tokio::signal::unix::{SignalKind, signal};

/// Names a task and how it fails: `<name>:panic`, or `<name>:end`. It does so when the process
/// receives SIGUSR1.
const VARIABLE: &str = "REJOIN_TEST_FAIL_TASK";

/// The task, which fails on request if it is the one that is named.
pub(super) fn failing_on_request(
    name: &str,
    task: BoxFuture<'static, ()>,
) -> BoxFuture<'static, ()> {
    let Some(how) = std::env::var(VARIABLE)
        .ok()
        .and_then(|fault| Some(fault.strip_prefix(name)?.strip_prefix(':')?.to_owned()))
    else {
        return task;
    };
    // Before the task begins, so that the signal can't come too early.
    let Ok(mut request) = signal(SignalKind::user_defined1()) else { return task };
    Box::pin(async move {
        tokio::select! {
            () = task => {}
            _ = request.recv() => assert_ne!(how, "panic", "a test wants this task to panic"),
        }
    })
}
