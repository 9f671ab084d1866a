//! Publishers over HTTP.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::task::JoinSet;

use crate::{readers::PAYLOAD, server::ServerProcess};

/// Publishes so many events, one a request, so many requests at a time, to users in turn.
pub(crate) fn publish(
    rejoin: &ServerProcess,
    publishes: usize,
    users: usize,
    at_once: usize,
) -> impl Future<Output = ()> + use<> {
    let (url, token) =
        (format!("http://{}/api/events", rejoin.address), rejoin.token.clone().unwrap());
    let next = Arc::new(AtomicUsize::new(0));
    async move {
        let (client, mut tasks) = (reqwest::Client::new(), JoinSet::new());
        for _ in 0..at_once {
            let (client, next, url, token) =
                (client.clone(), Arc::clone(&next), url.clone(), token.clone());
            tasks.spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= publishes {
                        return;
                    }
                    let body = format!(
                        r#"{{"user_id":"u{}","type":"load","payload":{PAYLOAD}}}"#,
                        number % users
                    );
                    let request = client
                        .post(&url)
                        .bearer_auth(&token)
                        .header("content-type", "application/json")
                        .body(body);
                    assert_eq!(request.send().await.unwrap().status(), 201);
                }
            });
        }
        tasks.join_all().await;
    }
}
