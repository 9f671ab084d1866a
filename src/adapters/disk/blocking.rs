//! Work that may wait for the disk, away from the threads that serve connections.
//!
//! Invariant: a caller is answered within the time of a call, whatever the disk does.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;

use super::{failure::Failure, store::Store};
use crate::{
    domain::topic::Topic,
    ports::backend_error::{BackendError, BackendErrorKind},
};

/// How long a call may take.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(4);

/// Has something done with the store. `topic` is the one that it is about.
///
/// # Errors
/// Those of the store; or it took too long, and may have been done.
pub(super) async fn with_store<T: Send + 'static>(
    store: &Arc<Store>,
    context: &'static str,
    topic: Option<&Topic>,
    work: impl FnOnce(&Store) -> Result<T, Failure> + Send + 'static,
) -> Result<T, BackendError> {
    with_store_for(Some(CALL_TIMEOUT), store, context, topic, work).await
}

/// The same for work that may take another time, or as long as it wants.
///
/// # Errors
/// As [`with_store`]'s.
pub(super) async fn with_store_for<T: Send + 'static>(
    longest: Option<Duration>,
    store: &Arc<Store>,
    context: &'static str,
    topic: Option<&Topic>,
    work: impl FnOnce(&Store) -> Result<T, Failure> + Send + 'static,
) -> Result<T, BackendError> {
    let store = Arc::clone(store);
    let working = tokio::task::spawn_blocking(move || work(&store));
    let done = match longest {
        Some(longest) => timeout(longest, working).await,
        None => Ok(working.await),
    };
    match done {
        Ok(Ok(done)) => done.map_err(|failure| failure.into_backend_error(context, topic)),
        Ok(Err(failed)) => match failed.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The process ends.
            Err(_) => Err(BackendError::new(BackendErrorKind::Unavailable, context)),
        },
        Err(_) => Err(BackendError::new(BackendErrorKind::Timeout, context)),
    }
}
