//! Publishers that insist: what was not acknowledged is sent again with its key, to the next
//! process, until it is.

use std::time::Duration;

use reqwest::Client;
use serde_json::{Value, json};
use tokio::sync::watch;

/// Everybody's pause between two events of one publisher, and between two attempts.
const PAUSE: Duration = Duration::from_millis(400);
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// No request may hang, whatever is killed.
const ANSWERED_WITHIN: Duration = Duration::from_secs(15);

/// The user to whom all publishers publish.
pub(crate) const EVERYBODYS: &str = "everybodys";
/// Each publisher's every so many-th event goes there too.
const TO_EVERYBODYS_EVERY: usize = 5;

/// What was acknowledged to a publisher.
#[derive(Default)]
pub(crate) struct Acknowledged {
    /// How many events its own user got: those from 0.
    pub(crate) own: usize,
    /// The ids of its events to everybody's user.
    pub(crate) to_everybodys: Vec<String>,
    /// How often it had to send something again.
    pub(crate) repeats: usize,
}

pub(crate) struct Publisher {
    /// It publishes to the user of its own name.
    pub(crate) name: String,
    pub(crate) token: String,
    pub(crate) urls: Vec<String>,
    pub(crate) client: Client,
}

impl Publisher {
    /// Publishes until it is told to stop, and has what it last sent acknowledged.
    pub(crate) async fn run(self, stop: watch::Receiver<bool>) -> Acknowledged {
        let mut acknowledged = Acknowledged::default();
        while !*stop.borrow() {
            let number = acknowledged.own;
            self.insist(&self.name, number, &mut acknowledged.repeats).await;
            acknowledged.own += 1;
            if number.is_multiple_of(TO_EVERYBODYS_EVERY) {
                let id = self.insist(EVERYBODYS, number, &mut acknowledged.repeats).await;
                acknowledged.to_everybodys.push(id);
            }
            tokio::time::sleep(PAUSE).await;
        }
        acknowledged
    }

    async fn insist(&self, user: &str, number: usize, repeats: &mut usize) -> String {
        let key = format!("{}:{user}:{number}", self.name);
        let body = json!({ "user_id": user, "type": "storm", "payload": { "from": self.name, "number": number } });
        for attempt in 0.. {
            let url = &self.urls[attempt % self.urls.len()];
            let request = self
                .client
                .post(url)
                .bearer_auth(&self.token)
                .header("idempotency-key", &key)
                .json(&body)
                .timeout(ANSWERED_WITHIN);
            match request.send().await {
                Ok(response) if response.status().is_success() => {
                    if let Ok(answer) = response.json::<Value>().await {
                        return answer["id"].as_str().expect("an id").to_owned();
                    }
                }
                Ok(response) => assert_eq!(response.status(), 503, "{:?}", response.text().await),
                Err(error) => {
                    assert!(!error.is_timeout(), "{key} hung at attempt {attempt}: {error:?}");
                }
            }
            *repeats += 1;
            tokio::time::sleep(RETRY_PAUSE).await;
        }
        unreachable!("it insists")
    }
}
