//! Three processes, a hundred users, readers and publishers through proxies that cut; the backend
//! is killed three times, and one process once.
//!
//! It lasts for `STORM_SECONDS`.

use std::{collections::BTreeSet, time::Duration};

use rejoin::{
    domain::access::Scope,
    testing::{SECRET, token},
};
use rejoin_test_support::{CuttingProxy, EventClient, ServerProcess, eventually};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

use crate::cluster::{
    engine::Engine,
    publisher::{Acknowledged, EVERYBODYS, Publisher},
    witness::{events, saw_all_in_order},
};

const SECONDS_DEFAULT: u64 = 15;
const USERS: usize = 100;
/// How many follow the user that all publish to.
const READERS_OF_EVERYBODYS: usize = 10;
const READERS: usize = USERS + READERS_OF_EVERYBODYS;
/// A proxy cuts each connection before it has passed so many bytes.
const CUT_WITHIN_BYTES: u64 = 6_000;
/// How long the backend is away each time.
const AWAY: Duration = Duration::from_secs(1);
/// How long the last reader may need once all is calm.
const PATIENCE: Duration = Duration::from_mins(1);

fn duration() -> Duration {
    let seconds = std::env::var("STORM_SECONDS")
        .ok()
        .map(|seconds| seconds.parse().expect("a number of seconds"));
    Duration::from_secs(seconds.unwrap_or(SECONDS_DEFAULT))
}

/// The processes, each behind a proxy of its own.
struct Processes {
    servers: Vec<Option<ServerProcess>>,
    proxies: Vec<CuttingProxy>,
}

impl Processes {
    async fn start(engine: &dyn Engine) -> Self {
        let mut environment = engine.environment();
        let settings = [
            ("REJOIN_AUTH__MODE", "jwt"),
            ("REJOIN_AUTH__JWT__SECRET", SECRET),
            ("REJOIN_AUTH__QUERY_TOKEN", "true"),
            ("REJOIN_LOG__LEVEL", "warn"),
            ("REJOIN_SSE__KEEPALIVE_SECONDS", "2"),
            // Nobody is to be told of a truncation, or to be turned away: all is to be there.
            ("REJOIN_EVENTS__STREAM_MAXLEN", "1000000"),
            ("REJOIN_SSE__MAX_CONCURRENT_PER_USER", "100"),
            ("REJOIN_EVENTS__REPLAY_BUDGET_REQUESTS_PER_WINDOW", "100000"),
        ];
        environment.extend(settings.map(|(key, value)| (key, value.to_owned())));
        let environment: Vec<(&str, &str)> =
            environment.iter().map(|(key, value)| (*key, value.as_str())).collect();
        let (mut servers, mut proxies) = (Vec::new(), Vec::new());
        for seed in 1..=3 {
            let server = ServerProcess::start(env!("CARGO_BIN_EXE_rejoin"), &environment).await;
            proxies.push(CuttingProxy::start(server.address(), seed, CUT_WITHIN_BYTES).await);
            servers.push(Some(server));
        }
        Self { servers, proxies }
    }

    /// A path's URL at each process, beginning with another one for each `first`.
    fn urls(&self, path: &str, first: usize) -> Vec<String> {
        let mut urls: Vec<String> =
            self.proxies.iter().map(|proxy| format!("http://{}{path}", proxy.address())).collect();
        let first = first % urls.len();
        urls.rotate_left(first);
        urls
    }

    fn cuts(&self) -> usize {
        self.proxies.iter().map(CuttingProxy::cuts).sum()
    }
}

/// Everything that was acknowledged is seen by every reader, once, in one order.
pub(crate) async fn storm(engine: &mut dyn Engine) {
    let mut processes = Processes::start(engine).await;
    let (stop, stopped) = watch::channel(false);
    let (counts, counted) = watch::channel(None);
    let mut publishers = JoinSet::new();
    let mut readers = JoinSet::new();
    let client = reqwest::Client::new();
    let publishing = token(None, &[Scope::EventsPublish]);
    for number in 0..USERS {
        let name = format!("u{number}");
        readers.spawn(follow(reader(&processes, &name, number), name.clone(), counted.clone()));
        let urls = processes.urls("/api/events", number);
        let publisher = Publisher {
            name: name.clone(),
            token: publishing.clone(),
            urls,
            client: client.clone(),
        };
        let stopped = stopped.clone();
        publishers.spawn(async move { (name, publisher.run(stopped).await) });
    }
    for number in 0..READERS_OF_EVERYBODYS {
        readers.spawn(follow(
            reader(&processes, EVERYBODYS, number),
            EVERYBODYS.to_owned(),
            counted.clone(),
        ));
    }

    kill_one_after_another(engine, &mut processes).await;
    // A slow machine takes longer for a storm with faults.
    eventually("the proxies to cut as often as there are readers", async || {
        processes.cuts() > READERS
    })
    .await;
    stop.send_replace(true);
    let acknowledged: Vec<(String, Acknowledged)> =
        timeout(PATIENCE, publishers.join_all()).await.expect("publishers come to an end");
    processes.proxies.iter().for_each(CuttingProxy::calm_down);

    let repeats: usize = acknowledged.iter().map(|(_, acknowledged)| acknowledged.repeats).sum();
    let to_everybodys: BTreeSet<String> = acknowledged
        .iter()
        .flat_map(|(_, acknowledged)| acknowledged.to_everybodys.clone())
        .collect();
    let mut expected: Vec<(String, usize)> =
        acknowledged.iter().map(|(name, acknowledged)| (name.clone(), acknowledged.own)).collect();
    expected.push((EVERYBODYS.to_owned(), to_everybodys.len()));
    let published: usize = expected.iter().map(|(_, count)| count).sum();
    counts.send_replace(Some(expected.clone()));
    let followed =
        timeout(PATIENCE, readers.join_all()).await.expect("every reader gets everything");

    let mut order_of_everybodys: Option<Vec<String>> = None;
    for (user, reader) in &followed {
        let count = expected.iter().find(|(name, _)| name == user).unwrap().1;
        if user != EVERYBODYS {
            saw_all_in_order(&reader.seen, count);
            continue;
        }
        let order: Vec<String> =
            events(&reader.seen).into_iter().map(|(id, _)| id.to_owned()).collect();
        assert_eq!(
            order.iter().cloned().collect::<BTreeSet<_>>(),
            to_everybodys,
            "what was acknowledged is what is there"
        );
        assert_eq!(order_of_everybodys.get_or_insert(order.clone()), &order, "all see one order");
    }
    let connections: usize = followed.iter().map(|(_, reader)| reader.connections).sum();
    println!(
        "{published} events acknowledged, {repeats} attempts repeated, {} readers on {connections} connections, {} cuts",
        followed.len(),
        processes.cuts()
    );
    assert!(processes.cuts() > READERS && repeats > 0, "a storm without faults shows nothing");
}

/// A client that begins at the very beginning, since a cursor is what it has to lose nothing with.
fn reader(processes: &Processes, user: &str, number: usize) -> EventClient {
    let path = format!("/api/events?access_token={}", token(Some(user), &[]));
    EventClient::in_turn(processes.urls(&path, number)).with_cursor("0")
}

/// Follows until it has as many events as its user was sent.
async fn follow(
    mut reader: EventClient,
    user: String,
    counted: watch::Receiver<Option<Vec<(String, usize)>>>,
) -> (String, EventClient) {
    let enough = |seen: usize| {
        let counts = counted.borrow();
        counts.as_ref().is_some_and(|counts| {
            counts.iter().any(|(name, count)| *name == user && seen >= *count)
        })
    };
    let mut later = counted.clone();
    // Who has everything already hears of no event that would let them look again.
    let counts_known = async { drop(later.wait_for(Option::is_some).await) };
    tokio::select! {
        () = reader.follow_until(|seen| enough(seen.len())) => return (user, reader),
        () = counts_known => {}
    }
    reader.follow_until(|seen| enough(seen.len())).await;
    (user, reader)
}

async fn kill_one_after_another(engine: &mut dyn Engine, processes: &mut Processes) {
    let (began, duration) = (Instant::now(), duration());
    for percent in [20, 45, 70] {
        sleep_until(began + duration * percent / 100).await;
        engine.kill().await;
        tokio::time::sleep(AWAY).await;
        engine.start_again().await;
        if percent == 45 {
            let killed = processes.servers[1].take().expect("it runs until now");
            killed.signal("KILL").await;
            killed.ended().await;
            // Its clients find nobody at its address any more. Its port may become that of another
            // test's server.
            processes.proxies[1].refuse().await;
        }
    }
    sleep_until(began + duration).await;
}
