//! Another server becomes the primary, or a replica is reached by mistake, and connections stay
//! open meanwhile.

use std::{net::SocketAddr, time::Duration};

use rejoin_test_support::{CuttingProxy, RedisServer, eventually};
use tokio::time::Instant;

use crate::redis::{
    caller::{Caller, server},
    listener::Listener,
    program::Program,
};

const REPLICA: &str = "can't use Redis: the server is a replica";
const AGAIN: &str = "Redis can be used again";
/// A publish is to succeed again within so long, on a busy machine.
const RECOVERED_WITHIN: Duration = Duration::from_secs(5);

/// A primary, a replica that has what it has, and the address that clients know.
struct Pair {
    first: RedisServer,
    second: RedisServer,
    proxy: CuttingProxy,
}

fn address(redis: &RedisServer) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], redis.port()))
}

async fn replicate(replica: &RedisServer, primary: &RedisServer) {
    replica.command(&["REPLICAOF", "127.0.0.1", &primary.port().to_string()]).await;
    eventually("the replica to be up to date", async || {
        replica
            .ask::<String>(redis::cmd("INFO").arg("replication"))
            .await
            .contains("master_link_status:up")
    })
    .await;
}

impl Pair {
    async fn start() -> Self {
        // Pinned, since the futures of two servers at a time are large.
        let (first, second) =
            tokio::join!(Box::pin(RedisServer::start()), Box::pin(RedisServer::start()));
        replicate(&second, &first).await;
        let proxy = CuttingProxy::start_uncut(address(&first)).await;
        Self { first, second, proxy }
    }

    fn url(&self) -> String {
        format!("redis://{}", self.proxy.address())
    }

    async fn program(&self) -> Program {
        Program::start(&self.url(), &[("REJOIN_SSE__KEEPALIVE_SECONDS", "1")]).await
    }
}

/// Publishes until it succeeds, which must not take long, and gives the id.
async fn publish_soon(caller: &Caller, payload: u64) -> String {
    let (since, key) = (Instant::now(), payload.to_string());
    loop {
        let answer = caller.try_publish(payload, Some(&key)).await;
        if let 200 | 201 = answer.status {
            return answer.body["id"].as_str().unwrap().to_owned();
        }
        answer.assert_told_to_come_back();
        assert!(since.elapsed() < RECOVERED_WITHIN, "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_9_a_fail_over_whose_connections_survive_costs_a_delay() {
    let pair = Pair::start().await;
    let program = pair.program().await;
    let caller = program.caller();
    let stream = Listener::placed(caller.follow(None).await).await;
    let mut told = vec![caller.publish(0).await];
    eventually("the replica has it", async || {
        pair.second.ask::<u64>(redis::cmd("XLEN").arg("user:local:stream")).await == 1
    })
    .await;

    pair.second.command(&["REPLICAOF", "NO", "ONE"]).await;
    pair.first.command(&["REPLICAOF", "127.0.0.1", &pair.second.port().to_string()]).await;
    pair.proxy.retarget(address(&pair.second));
    told.push(publish_soon(caller, 1).await);
    for number in 2..6 {
        told.push(caller.publish(number).await);
    }
    assert!(caller.is_ready().await);
    assert_eq!(stream.ids(told.len()).await, told);
    assert_eq!(Listener::of(caller.follow(Some("0")).await).ids(told.len()).await, told);
    assert_eq!(
        pair.second.ask::<usize>(redis::cmd("XLEN").arg("user:local:stream")).await,
        told.len()
    );
    assert_eq!(stream.events().len(), told.len(), "nobody was told of a loss");
    eventually("all connections are back", async || program.logged(&[AGAIN]) == 1).await;
    assert_eq!(program.logged(&[REPLICA]), 1, "{:#?}", program.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promises_1_and_2_nobody_reads_from_an_old_primary_that_lags_behind() {
    let pair = Pair::start().await;
    let program = pair.program().await;
    let caller = program.caller();
    let stream = Listener::placed(caller.follow(None).await).await;
    let first = caller.publish(0).await;
    eventually("the replica has it", async || {
        pair.second.ask::<u64>(redis::cmd("XLEN").arg("user:local:stream")).await == 1
    })
    .await;
    let nobody = RedisServer::start().await.port();
    // The old primary gets nothing more, and still answers.
    pair.second.command(&["REPLICAOF", "NO", "ONE"]).await;
    pair.first.command(&["REPLICAOF", "127.0.0.1", &nobody.to_string()]).await;
    pair.proxy.retarget(address(&pair.second));
    let (_server, elsewhere) = server(&pair.second, "").await;
    let second = elsewhere.publish(1).await;
    for (cursor, rest) in [(&second, &[][..]), (&first, std::slice::from_ref(&second))] {
        let listener = Listener::of(caller.follow(Some(cursor)).await);
        let third = elsewhere.publish("live").await;
        eventually("the live event", async || {
            listener.entries().last().is_some_and(|(id, _)| *id == third)
        })
        .await;
        assert_eq!(listener.ids(rest.len()).await[..rest.len()], *rest);
        assert_eq!(listener.events().len(), listener.entries().len(), "{:?}", listener.events());
    }
    assert_eq!(stream.ids(4).await[..2], [first, second]);
    assert_eq!(stream.events().len(), 4, "nobody was told of a loss");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_9_a_replica_that_is_reached_by_mistake_is_not_used() {
    let pair = Pair::start().await;
    // At the start, for good.
    let misled = Program::start(&pair.second.url(), &[]).await;
    // At the start, for a while.
    pair.proxy.retarget(address(&pair.second));
    let program = pair.program().await;
    for program in [&misled, &program] {
        let caller = program.caller();
        let (publish, subscribe, ready) = tokio::join!(
            caller.try_publish(0, None),
            caller.subscribe("/api/events", Some("0")),
            caller.call(reqwest::Method::GET, "/readyz")
        );
        for answer in [publish, subscribe, ready] {
            answer.assert_told_to_come_back();
        }
        assert_eq!(program.logged(&[REPLICA]), 1, "{:#?}", program.log());
    }
    pair.proxy.retarget(address(&pair.first));
    let caller = program.caller();
    eventually("it is ready", async || caller.is_ready().await).await;
    eventually("all connections are back", async || program.logged(&[AGAIN]) == 1).await;

    // While it runs.
    let stream = Listener::placed(caller.follow(None).await).await;
    let mut told = vec![caller.publish(1).await];
    pair.proxy.retarget(address(&pair.second));
    pair.first.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    pair.first.command(&["CLIENT", "KILL", "TYPE", "normal"]).await;
    let lost_at = Instant::now();
    caller.try_publish(2, Some("k")).await.assert_told_to_come_back();
    eventually("a keepalive", async || stream.comments_since(lost_at, "keepalive") > 1).await;
    pair.proxy.retarget(address(&pair.first));
    told.push(publish_soon(caller, 3).await);
    assert_eq!(stream.ids(2).await, told);
    assert_eq!(stream.events().len(), 2, "nobody was told of a loss");
    assert_eq!(program.logged(&[REPLICA]), 2, "{:#?}", program.log());
    misled.caller().try_publish(4, None).await.assert_told_to_come_back();
    assert_eq!(misled.logged(&[REPLICA]), 1, "{:#?}", misled.log());
}
