//! `docs/moving/dashtam.md`.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::moving::{
    environment::Environment,
    page::{self, Step},
    walk::walk,
};

const PAGE: &str = "docs/moving/dashtam.md";
/// Of Redis, a Postgres that the page has no use for, and the API that nginx passes to.
const PORTS: [u16; 3] = [6379, 5432, 8001];
/// Rejoin, and nginx in front of both.
const STARTED: [u16; 2] = [8080, 8000];
/// That of the page's `.env`.
const SECRET: &str = "9b1f0c7de2a84f5593c6d8017e4ab2f69b1f0c7de2a84f55";

/// Every type of Dashtam's `SSEEventType`, with the category that it gives it.
const TYPES: [(&str, &[&str]); 6] = [
    (
        "data_sync",
        &[
            "sync.accounts.started",
            "sync.accounts.completed",
            "sync.accounts.failed",
            "sync.transactions.started",
            "sync.transactions.completed",
            "sync.transactions.failed",
            "sync.holdings.started",
            "sync.holdings.completed",
            "sync.holdings.failed",
        ],
    ),
    (
        "provider",
        &[
            "provider.token.expiring",
            "provider.token.refreshed",
            "provider.token.failed",
            "provider.disconnected",
        ],
    ),
    ("ai", &["ai.response.chunk", "ai.tool.executing", "ai.response.complete"]),
    ("import", &["import.started", "import.progress", "import.completed", "import.failed"]),
    (
        "portfolio",
        &["portfolio.balance.updated", "portfolio.holdings.updated", "portfolio.networth.updated"],
    ),
    (
        "security",
        &[
            "security.session.new",
            "security.session.suspicious",
            "security.session.expiring",
            "security.session.revoked",
            "security.password.changed",
            "security.login.failed",
        ],
    ),
];

async fn environment() -> Environment {
    Environment::start(PORTS, &STARTED, SECRET).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_works_word_for_word() {
    walk(PAGE, &page::steps(PAGE, None), &environment().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_of_their_types_has_the_same_category_here() {
    let types: Vec<(&str, &str)> = TYPES
        .iter()
        .flat_map(|(category, types)| types.iter().map(|name| (*name, *category)))
        .collect();
    assert_eq!(types.len(), 29);
    let events: Vec<String> = types
        .iter()
        .map(|(name, _)| format!("{{\"user_id\": \"'$WHO'\", \"type\": \"{name}\"}}"))
        .collect();
    let mut steps = page::steps(PAGE, Some("### 4."));
    steps.push(Step {
        line: line!() as usize,
        script: format!(
            "printf '%s\\n' '{}' | rejoin publish --ndjson --token $(cat dashtam.key) > /dev/null\n\
             rejoin tail --quiet --json --token $TOKEN --from 0 --count 29",
            events.join("' '"),
        ),
        output: None,
    });
    let printed = walk(PAGE, &steps, &environment().await).await.pop().unwrap();
    let events: Vec<Value> =
        printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let seen: BTreeMap<&str, &str> = events
        .iter()
        .map(|event| {
            (event["type"].as_str().unwrap(), event["category"].as_str().unwrap_or("none"))
        })
        .collect();
    assert_eq!(seen, types.into_iter().collect());
}
