//! A stop under load.

use std::{collections::BTreeSet, time::Duration};

use rejoin::{
    domain::{access::Scope, frame_decoder::Decoded},
    testing::{SECRET, token},
};
use rejoin_test_support::{Connection, ServerProcess, soon};
use reqwest::Client;
use serde_json::{Value, json};
use tokio::{sync::watch, task::JoinSet, time::Instant};

const STREAMS: usize = 500;
/// So few that each has streams that are told late in the drain.
const USERS: usize = 5;
const DRAIN: Duration = Duration::from_secs(4);
/// How long publishers go on after the signal: the last stream of each user ends later.
const PUBLISH_ON: Duration = Duration::from_millis(1_500);

/// What one stream said until its end, and when that was.
struct Heard {
    user: usize,
    ids: BTreeSet<String>,
    retry_ms: u64,
    farewell: String,
    ended_at: Instant,
}

async fn hear_out(user: usize, mut stream: Connection) -> Heard {
    let mut heard = Heard {
        user,
        ids: BTreeSet::new(),
        retry_ms: 0,
        farewell: String::new(),
        ended_at: Instant::now(),
    };
    while let Some(decoded) = stream.next().await {
        match decoded {
            Decoded::Event { id: Some(id), .. } => drop(heard.ids.insert(id)),
            Decoded::Retry(ms) => heard.retry_ms = ms,
            Decoded::Comment(comment) => heard.farewell = comment,
            Decoded::Event { .. } | Decoded::Position(_) => {}
        }
    }
    heard.ended_at = Instant::now();
    heard
}

/// Publishes to one user until it is told to stop, counts what was acknowledged, and tells the ids.
async fn publish_on(
    url: String,
    client: Client,
    user: usize,
    count: watch::Sender<usize>,
    stop: watch::Receiver<bool>,
) -> Vec<(usize, String)> {
    let mut acknowledged = Vec::new();
    while !*stop.borrow() {
        let body = json!({ "user_id": format!("u{user}"), "type": "t" });
        // A connection that is closed under a request may have done it or not: that is no
        // acknowledgement. The client library may wait for ever where the server closes what it has
        // just accepted.
        if let Ok(response) = client.post(&url).json(&body).send().await
            && response.status() == 201
            && let Ok(answer) = response.json::<Value>().await
        {
            acknowledged.push((user, answer["id"].as_str().unwrap().to_owned()));
            count.send_modify(|count| *count += 1);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    acknowledged
}

/// What memory keeps dies with the process, so what was acknowledged is looked for with those who
/// were connected for longest: the last stream of each user must have had everything that was
/// acknowledged, before and during the drain.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_10_sigterm_under_load_tells_all_500_clients_loses_nothing_and_exits_with_0() {
    let environment = [
        ("REJOIN_SERVER__DRAIN_SECONDS", "4"),
        ("REJOIN_SSE__MAX_CONCURRENT_PER_USER", "0"),
        ("REJOIN_AUTH__JWT__SECRET", SECRET),
        ("REJOIN_AUTH__MODE", "jwt"),
        ("REJOIN_AUTH__QUERY_TOKEN", "true"),
        ("REJOIN_LOG__LEVEL", "warn"),
    ];
    let process = ServerProcess::start(env!("CARGO_BIN_EXE_rejoin"), &environment).await;
    let events = format!("http://{}/api/events", process.address());
    let token = |user: Option<usize>| {
        token(user.map(|user| format!("u{user}")).as_deref(), &[Scope::EventsPublish])
    };
    let mut streams = JoinSet::new();
    for n in 0..STREAMS {
        let user = n % USERS;
        let mut stream =
            Connection::open(&format!("{events}?access_token={}", token(Some(user))), None).await;
        assert_eq!(stream.expect().await, Decoded::Comment("connected".into()));
        streams.spawn(hear_out(user, stream));
    }
    let mut headers = reqwest::header::HeaderMap::new();
    headers.insert("authorization", format!("Bearer {}", token(None)).parse().unwrap());
    let client = Client::builder().default_headers(headers).timeout(DRAIN).build().unwrap();
    let (mut publishers, count, stop) =
        (JoinSet::new(), watch::Sender::new(0), watch::Sender::new(false));
    for user in 0..USERS {
        publishers.spawn(publish_on(
            events.clone(),
            client.clone(),
            user,
            count.clone(),
            stop.subscribe(),
        ));
    }
    soon("publishes to be under way", count.subscribe().wait_for(|count| *count > 100))
        .await
        .unwrap();
    let stopping_at = Instant::now();
    process.signal("TERM").await;
    tokio::time::sleep(PUBLISH_ON).await;
    stop.send_replace(true);
    let acknowledged = soon("the publishers' end", publishers.join_all()).await.concat();
    let heard = soon("the streams' end", streams.join_all()).await;
    assert_eq!(process.ended().await.code(), Some(0));
    assert!(
        heard.iter().all(|heard| heard.farewell == "draining" && heard.retry_ms > 0),
        "everybody was told"
    );
    assert!(
        heard.iter().map(|heard| heard.retry_ms).collect::<BTreeSet<_>>().len() > 100,
        "and not to come back together"
    );
    let mut ended: Vec<Duration> = heard.iter().map(|heard| heard.ended_at - stopping_at).collect();
    ended.sort_unstable();
    assert!(
        ended[STREAMS - 1] < DRAIN + Duration::from_secs(1)
            && ended[STREAMS * 3 / 4] > ended[STREAMS / 4] + DRAIN / 10,
        "spread: {ended:?}"
    );
    for (user, id) in &acknowledged {
        let of_user = heard.iter().filter(|heard| heard.user == *user);
        let last = of_user.max_by_key(|heard| heard.ended_at).unwrap();
        assert!(last.ids.contains(id), "u{user} was never told of {id}");
    }
}
