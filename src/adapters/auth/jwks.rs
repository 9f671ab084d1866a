//! An issuer's key set, fetched from its URL and kept.
//!
//! Invariant: a fetch is one for all who wait for it, begins at most every [`PAUSE`], and ends
//! within [`FETCH_TIMEOUT`], whatever tokens come. Whoever needs a key that is at hand doesn't
//! wait, unless nobody has asked the issuer for so long ([`STALE_KEYS_TTL`]) that the key may well
//! be revoked. While the issuer can't be reached, the keys that it published last stay valid.

use std::{
    error::Error,
    iter,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::FutureExt;
use reqwest::{Client, StatusCode, Url, header, redirect};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

use super::{
    algorithm::Algorithm,
    key_set::{InvalidKeySet, KeySet},
    verifying_key::VerifyingKey,
};
use crate::ports::{authenticator::AuthError, tasks::Tasks};

/// Between the beginnings of two fetches, at least.
const PAUSE: Duration = Duration::from_secs(10);
/// For a whole fetch.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// Keys older than this are fetched anew while they go on being used.
const REFRESH_AFTER: Duration = Duration::from_hours(1);
/// If nothing was even tried for this long (no token came), the next token waits for a fetch.
const STALE_KEYS_TTL: Duration = Duration::from_hours(2);
/// Longest set that is read.
const BODY_BYTES_MAX: usize = 1024 * 1024;

/// The key set at a URL. Clones share it.
#[derive(Clone)]
pub(super) struct RemoteKeys(Arc<Inner>);

struct Inner {
    client: Client,
    url: Url,
    tasks: Arc<dyn Tasks>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The keys that the issuer published last, and when they were fetched.
    keys: Option<(Arc<KeySet>, Instant)>,
    begun_at: Option<Instant>,
    ended_at: Option<Instant>,
    /// Whether the last fetch failed.
    failed: bool,
    /// Closed when the fetch under way has ended.
    under_way: Option<watch::Receiver<()>>,
}

#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("the request failed")]
    Http(#[source] reqwest::Error),
    #[error("the issuer answered {0}")]
    Status(StatusCode),
    #[error("the answer is longer than {BODY_BYTES_MAX} bytes")]
    TooLong,
    #[error("the answer is of no use")]
    Content(#[from] InvalidKeySet),
    #[error("the answer did not come in time")]
    Timeout,
}

impl From<reqwest::Error> for FetchError {
    fn from(error: reqwest::Error) -> Self {
        // The URL may carry credentials.
        Self::Http(error.without_url())
    }
}

impl RemoteKeys {
    /// Nothing is fetched yet.
    pub(super) fn new(url: Url, tasks: Arc<dyn Tasks>) -> Result<Self, reqwest::Error> {
        // The configured address is what is trusted; where it redirects to is not.
        let client = Client::builder().redirect(redirect::Policy::none()).build()?;
        Ok(Self(Arc::new(Inner { client, url, tasks, state: Mutex::default() })))
    }

    /// The key for a token's `alg` and `kid`.
    pub(super) async fn find(
        &self,
        algorithm: Algorithm,
        kid: Option<&str>,
    ) -> Result<Arc<VerifyingKey>, AuthError> {
        if self.0.must_ask_first() {
            self.refreshed().await;
        } else if self.0.is_stale() {
            drop(self.refresh());
        }
        let cached = self.0.state().keys.as_ref().map(|(keys, _)| Arc::clone(keys));
        match cached.map(|keys| keys.find(algorithm, kid)) {
            Some(Ok(key)) => return Ok(key),
            Some(Err(miss)) if !miss.may_be_new() => {
                return Err(AuthError::Invalid(miss.to_string()));
            }
            Some(Err(_)) | None => self.refreshed().await,
        }
        let state = self.0.state();
        let Some((keys, _)) = &state.keys else { return Err(state.unavailable()) };
        keys.find(algorithm, kid).map_err(|miss| {
            // While the issuer is unreachable, an invented key can't be distinguished from a new
            // one.
            if miss.may_be_new() && state.failed {
                state.unavailable()
            } else {
                AuthError::Invalid(miss.to_string())
            }
        })
    }

    /// Waits for a fetch, if one is under way or may begin.
    async fn refreshed(&self) {
        if let Some(mut under_way) = self.refresh() {
            while under_way.changed().await.is_ok() {}
        }
    }

    /// The fetch that is under way, else a new one, unless the last one began a moment ago.
    fn refresh(&self) -> Option<watch::Receiver<()>> {
        let mut state = self.0.state();
        if let Some(under_way) =
            state.under_way.as_ref().filter(|fetch| fetch.has_changed().is_ok())
        {
            return Some(under_way.clone());
        }
        if state.begun_at.is_some_and(|begun| begun.elapsed() < PAUSE) {
            return None;
        }
        let (end, under_way) = watch::channel(());
        state.begun_at = Some(Instant::now());
        state.under_way = Some(under_way.clone());
        drop(state);
        let inner = Arc::clone(&self.0);
        // A task of its own: whoever began it may hang up, and others wait too.
        let fetching = async move {
            let outcome =
                timeout(FETCH_TIMEOUT, inner.fetch()).await.unwrap_or(Err(FetchError::Timeout));
            inner.settle(outcome);
            drop(end);
        };
        self.0.tasks.spawn("key fetch", fetching.boxed()).detach();
        Some(under_way)
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        // Each change of the state is a few plain assignments: there is no broken state to inherit.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn must_ask_first(&self) -> bool {
        let state = self.state();
        state.keys.is_none() || state.ended_at.is_none_or(|ended| ended.elapsed() >= STALE_KEYS_TTL)
    }

    fn is_stale(&self) -> bool {
        self.state()
            .keys
            .as_ref()
            .is_some_and(|(_, fetched_at)| fetched_at.elapsed() >= REFRESH_AFTER)
    }

    async fn fetch(&self) -> Result<KeySet, FetchError> {
        let request = self.client.get(self.url.clone()).header(header::ACCEPT, "application/json");
        let mut response = request.send().await?;
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status(response.status()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if body.len() + chunk.len() > BODY_BYTES_MAX {
                return Err(FetchError::TooLong);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(KeySet::parse(&body)?)
    }

    fn settle(&self, outcome: Result<KeySet, FetchError>) {
        let issuer = self.url.host_str().unwrap_or_default();
        let mut state = self.state();
        let now = Instant::now();
        state.ended_at = Some(now);
        state.failed = outcome.is_err();
        match outcome {
            Ok(keys) => {
                if keys.is_empty() {
                    tracing::warn!(
                        issuer,
                        "the issuer publishes no key of use: every token is refused"
                    );
                }
                state.keys = Some((Arc::new(keys), now));
            }
            Err(error) => {
                // The last in the chain is what happened, such as a refused connection.
                let cause = iter::successors(error.source(), |&error| error.source())
                    .last()
                    .map(ToString::to_string);
                tracing::warn!(issuer, %error, cause, kept = state.keys.is_some(), "the issuer's keys could not be fetched");
            }
        }
    }
}

impl State {
    fn unavailable(&self) -> AuthError {
        let waited = self.begun_at.map_or(PAUSE, |begun| begun.elapsed());
        AuthError::Unavailable {
            retry_after: PAUSE.saturating_sub(waited).max(Duration::from_secs(1)),
        }
    }
}
