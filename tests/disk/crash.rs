//! The process is killed under load, again and again.

use std::sync::Arc;

use rejoin::{
    domain::{
        page::PageLimit,
        position::{EventId, Position},
        topic::{Topic, UserId},
    },
    ports::journal::Journal,
};
use rejoin_test_support::soon;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{sync::watch, task::JoinSet};

use super::{open, serve};

const KILLS: u64 = 50;
const USERS: usize = 20;
pub(super) const AMPLE: PageLimit = PageLimit { entries_max: 1_000, bytes_max: 1 << 22 };

/// Publishes numbers to one user, each until it is acknowledged, and tells their ids. Where the
/// server is at the moment, `servers` says; `all` counts what was acknowledged to anybody.
async fn publish(
    user: String,
    mut servers: watch::Receiver<Option<String>>,
    all: Arc<watch::Sender<usize>>,
    mut stop: watch::Receiver<bool>,
) -> (String, Vec<String>) {
    let (client, mut acknowledged) = (reqwest::Client::new(), Vec::new());
    while !*stop.borrow_and_update() {
        let number = acknowledged.len();
        let Ok(url) = servers.wait_for(Option::is_some).await.map(|url| url.clone()) else { break };
        let body = json!({ "user_id": user, "type": "number", "payload": number });
        let request =
            client.post(format!("{}/api/events", url.as_deref().unwrap_or_default())).json(&body);
        let answer = request.header("idempotency-key", format!("{user}:{number}")).send().await;
        match answer {
            Ok(answer) if answer.status().is_success() => {
                if let Ok(answer) = answer.json::<Value>().await {
                    acknowledged.push(answer["id"].as_str().unwrap().to_owned());
                    all.send_modify(|all| *all += 1);
                }
            }
            // It was killed: another one comes, at an address of its own.
            _ => tokio::select! {
                _ = servers.wait_for(|now| *now != url) => {}
                _ = stop.wait_for(|stop| *stop) => {}
            },
        }
    }
    (user, acknowledged)
}

pub(super) async fn read_all(journal: &Arc<dyn Journal>, user: &str) -> Vec<(EventId, usize)> {
    let topic = Topic::User(UserId::parse(user).unwrap());
    let (mut all, mut position) = (Vec::<(EventId, usize)>::new(), Position::Start);
    loop {
        let page = journal.read(&topic, position, AMPLE).await.unwrap();
        all.extend(page.entries.iter().map(|entry| {
            (entry.id, entry.event.content.payload().unwrap().as_str().parse().unwrap())
        }));
        match all.last() {
            Some((last, _)) if page.more => position = (*last).into(),
            _ => return all,
        }
    }
}

/// Every acknowledged event is there, in order, once, each time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_4_a_process_that_is_killed_under_load_again_and_again_loses_nothing_acknowledged()
{
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("data");
    let environment = [("REJOIN_EVENTS__STREAM_MAXLEN", "1000000"), ("REJOIN_LOG__LEVEL", "error")];
    let (servers, stop, all) =
        (watch::Sender::new(None), watch::Sender::new(false), Arc::new(watch::Sender::new(0)));
    let mut publishers = JoinSet::new();
    for number in 0..USERS {
        publishers.spawn(publish(
            format!("u{number}"),
            servers.subscribe(),
            Arc::clone(&all),
            stop.subscribe(),
        ));
    }
    let mut random = 0x9e37_79b9_u64;
    for _ in 0..KILLS {
        let process = serve(&path, &environment).await;
        servers.send_replace(Some(format!("http://{}", process.address())));
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // It is killed somewhere within the load.
        let enough = *all.borrow() + 1 + usize::try_from((random >> 33) % 800).unwrap();
        soon("so many events", all.subscribe().wait_for(|all| *all >= enough)).await.unwrap();
        process.signal("KILL").await;
        process.ended().await;
        servers.send_replace(None);
        let disk = open(&path).await;
        for number in 0..USERS {
            let numbers = read_all(&disk.ports().journal, &format!("u{number}")).await;
            assert!(
                numbers.iter().map(|(_, number)| *number).eq(0..numbers.len()),
                "each once, in order: {numbers:?}"
            );
        }
    }
    let process = serve(&path, &environment).await;
    servers.send_replace(Some(format!("http://{}", process.address())));
    stop.send_replace(true);
    let acknowledged = soon("the publishers' end", publishers.join_all()).await;
    process.signal("KILL").await;
    process.ended().await;
    let disk = open(&path).await;
    let mut all = 0;
    for (user, acknowledged) in acknowledged {
        let kept: Vec<String> = read_all(&disk.ports().journal, &user)
            .await
            .iter()
            .map(|(id, _)| id.to_string())
            .collect();
        assert_eq!(
            kept[..acknowledged.len()],
            acknowledged,
            "what {user} was acknowledged, under the ids that were told"
        );
        all += acknowledged.len();
    }
    println!("{all} events acknowledged over {KILLS} kills");
    assert!(all > 500, "{all}");
}
