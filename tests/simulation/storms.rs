//! What an interruption or a burst of reconnects costs, with many connections on a topic.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use rejoin::{
    domain::{
        cursor::Cursor,
        topic::{Topic, UserId},
    },
    ports::feed::Feed,
    testing::event,
};
use tokio::{task::JoinHandle, time::sleep};

use crate::{
    client::Client,
    dice::Dice,
    faults::{FeedFault, Switches},
    process::Process,
    world::{Sizes, World},
};

const CONNECTIONS: usize = 50;
/// Catching up reads until nothing is new: once for what was missed, and at most once more for what
/// came meanwhile.
const READS_OF_ONE_CATCH_UP: usize = 2;

struct Crowd {
    world: Arc<World>,
    process: Arc<Process>,
    clients: Vec<Arc<Client>>,
    connections: Vec<JoinHandle<()>>,
}

impl Crowd {
    /// A calm world, with so many connections to each of so many users' topics.
    async fn gather(users: usize, connections: usize) -> Self {
        let world = World::new(&Sizes::ample(), Dice::of(7));
        world.calm.store(true, Ordering::Relaxed);
        let process = Arc::clone(&world.processes()[0]);
        let mut crowd = Self { world, process, clients: Vec::new(), connections: Vec::new() };
        for n in 0..users * connections {
            let user = UserId::parse(&format!("u{}", n % users)).unwrap();
            let client = Client::new(
                &crowd.world,
                &user,
                BTreeSet::new(),
                Cursor::Absent,
                crowd.world.dice.fork(),
            );
            crowd.connections.push(crowd.connect(&client));
            crowd.clients.push(client);
        }
        sleep(Duration::from_secs(1)).await;
        assert_eq!(crowd.process.limits.connections(), users * connections);
        crowd
    }

    fn connect(&self, client: &Arc<Client>) -> JoinHandle<()> {
        let (client, process) = (Arc::clone(client), Arc::clone(&self.process));
        tokio::spawn(async move { client.connect(&process).await })
    }

    fn topic(&self, n: usize) -> Topic {
        self.clients[n].topic.clone()
    }

    fn set_feed(&self, feed: FeedFault) {
        self.process.faults.set(Switches { feed, ..Switches::default() });
    }

    /// Waits until everybody has seen so many entries, and tells how often the journal was read
    /// since.
    async fn reads_until(&self, entries: usize, reads_before: usize) -> usize {
        for client in &self.clients {
            tokio::time::timeout(Duration::from_secs(30), client.has_seen(entries))
                .await
                .expect("everybody gets everything");
        }
        sleep(Duration::from_secs(1)).await;
        for client in &self.clients {
            client.judge().await.unwrap_or_else(|failure| panic!("{failure}"));
        }
        self.process.reads() - reads_before
    }
}

#[tokio::test(start_paused = true)]
async fn what_comes_live_is_never_read() {
    let crowd = Crowd::gather(1, CONNECTIONS).await;
    for _ in 0..20 {
        crowd.world.publish(&crowd.topic(0), 5).await;
    }
    assert_eq!(crowd.reads_until(100, 0).await, 0);
}

#[tokio::test(start_paused = true)]
async fn an_interruption_is_caught_up_once_for_all_connections() {
    let crowd = Crowd::gather(1, CONNECTIONS).await;
    let before = crowd.process.reads();
    crowd.set_feed(FeedFault::Deaf);
    crowd.world.publish(&crowd.topic(0), 20).await;
    sleep(Duration::from_secs(1)).await;
    crowd.set_feed(FeedFault::None);
    let reads = crowd.reads_until(20, before).await;
    assert!(reads <= READS_OF_ONE_CATCH_UP, "{reads} reads for {CONNECTIONS} connections");
    // Interruptions without need, and several at once, cost no more.
    let before = crowd.process.reads();
    for _ in 0..10 {
        crowd.process.faults.interrupt();
    }
    let reads = crowd.reads_until(20, before).await;
    assert!(reads <= READS_OF_ONE_CATCH_UP, "{reads} reads for {CONNECTIONS} connections");
}

#[tokio::test(start_paused = true)]
async fn an_interruption_is_caught_up_once_for_each_topic() {
    const TOPICS: usize = 40;
    let crowd = Crowd::gather(TOPICS, 3).await;
    let before = crowd.process.reads();
    crowd.set_feed(FeedFault::Down);
    for n in 0..TOPICS {
        crowd.world.publish(&crowd.topic(n), 3).await;
    }
    sleep(Duration::from_secs(1)).await;
    crowd.set_feed(FeedFault::None);
    let reads = crowd.reads_until(3, before).await;
    assert!(reads <= TOPICS * READS_OF_ONE_CATCH_UP, "{reads} reads for {TOPICS} topics");
}

#[tokio::test(start_paused = true)]
async fn hints_are_caught_up_once_for_all_connections() {
    let crowd = Crowd::gather(1, CONNECTIONS).await;
    let before = crowd.process.reads();
    crowd.set_feed(FeedFault::Hints);
    for _ in 0..10 {
        crowd.world.publish(&crowd.topic(0), 10).await;
        sleep(Duration::from_millis(50)).await;
    }
    let reads = crowd.reads_until(100, before).await;
    assert!(reads <= 10 * READS_OF_ONE_CATCH_UP, "{reads} reads for 10 batches");
}

#[tokio::test(start_paused = true)]
async fn a_hint_that_comes_during_a_read_is_not_lost() {
    let crowd = Crowd::gather(1, 3).await;
    crowd.process.faults.set(Switches {
        feed: FeedFault::Hints,
        journal_delay_ms: 500,
        ..Switches::default()
    });
    for round in 1..=20 {
        crowd.world.publish_elsewhere(&crowd.topic(0), 1).await;
        sleep(crowd.world.dice.ms(0..800)).await;
        crowd.world.publish_elsewhere(&crowd.topic(0), 1).await;
        crowd.reads_until(2 * round, 0).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_reconnects_is_served_from_the_ring() {
    let mut crowd = Crowd::gather(1, CONNECTIONS).await;
    crowd.world.publish(&crowd.topic(0), 10).await;
    crowd.reads_until(10, 0).await;
    // All but one are cut, miss something, and come back at once.
    for connection in &crowd.connections[1..] {
        connection.abort();
    }
    crowd.world.publish(&crowd.topic(0), 10).await;
    sleep(Duration::from_secs(1)).await;
    let before = crowd.process.reads();
    let connections: Vec<_> =
        crowd.clients[1..].iter().map(|client| crowd.connect(client)).collect();
    crowd.connections.extend(connections);
    assert_eq!(crowd.reads_until(20, before).await, 0);
    assert!(crowd.clients[1..].iter().all(|client| client.connections() == 2));
}

#[tokio::test(start_paused = true)]
async fn a_broadcast_reaches_everybody_once() {
    let crowd = Crowd::gather(3, 10).await;
    let event = event("{}");
    for _ in 0..3 {
        crowd.process.feed.broadcast(Arc::clone(&event)).await.unwrap();
    }
    sleep(Duration::from_secs(1)).await;
    assert!(crowd.clients.iter().all(|client| client.broadcasts.load(Ordering::Relaxed) == 3));
    assert_eq!(crowd.process.reads(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_leaves_leaves_nothing_behind() {
    let crowd = Crowd::gather(20, 3).await;
    for n in 0..20 {
        crowd.world.publish(&crowd.topic(n), 10).await;
    }
    crowd.reads_until(10, 0).await;
    assert!(crowd.process.hub.ring_bytes() > 0);
    assert_eq!(crowd.process.hub.topics_followed(), 20);
    crowd.connections.iter().for_each(JoinHandle::abort);
    sleep(Duration::from_secs(1)).await;
    crowd.world.judge_emptiness(&[]).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_leaves_while_a_topic_is_about_to_be_watched_leaves_nothing_behind() {
    let crowd = Crowd::gather(1, 1).await;
    crowd.process.faults.set(Switches { signal_delay_ms: 100, ..Switches::default() });
    for n in 0..50 {
        let user = UserId::parse(&format!("late{n}")).unwrap();
        let client = Client::new(
            &crowd.world,
            &user,
            BTreeSet::new(),
            Cursor::Absent,
            crowd.world.dice.fork(),
        );
        let connection = crowd.connect(&client);
        sleep(crowd.world.dice.ms(0..200)).await;
        connection.abort();
    }
    crowd.connections[0].abort();
    sleep(Duration::from_mins(1)).await;
    crowd.world.judge_emptiness(&[]).await.unwrap();
}
