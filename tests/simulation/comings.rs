//! Clients that come and go at every moment of a topic's being watched, read and left.
//!
//! A round ends without anything that could show what somebody missed: then everybody comes, and
//! must have it all.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use rejoin::domain::{
    cursor::Cursor,
    topic::{Topic, UserId},
};
use tokio::{task::JoinHandle, time::sleep};

use crate::{
    client::Client,
    dice::Dice,
    faults::{FeedFault, Switches},
    process::Process,
    world::{Sizes, World},
};

const ROUNDS: u64 = 150;
const CLIENTS: usize = 3;

/// One topic, and clients that may be connected.
struct Round {
    world: Arc<World>,
    process: Arc<Process>,
    topic: Topic,
    clients: Vec<(Arc<Client>, Option<JoinHandle<()>>)>,
}

impl Round {
    fn begin(seed: u64, feed: FeedFault) -> Self {
        let world = World::new(&Sizes::ample(), Dice::of(seed));
        world.calm.store(true, std::sync::atomic::Ordering::Relaxed);
        let process = Arc::clone(&world.processes()[0]);
        let (journal_delay_ms, signal_delay_ms) =
            *world.dice.pick(&[(200, 100), (200, 700), (1, 700)]);
        process.faults.set(Switches {
            feed,
            journal_delay_ms,
            signal_delay_ms,
            ..Switches::default()
        });
        let user = UserId::parse("u1").unwrap();
        let client =
            || Client::new(&world, &user, BTreeSet::new(), Cursor::Absent, world.dice.fork());
        let clients = (0..CLIENTS).map(|_| (client(), None)).collect();
        Self { topic: Topic::User(user.clone()), clients, process, world }
    }

    fn come(&mut self, n: usize) {
        let (client, process) = (Arc::clone(&self.clients[n].0), Arc::clone(&self.process));
        self.clients[n]
            .1
            .get_or_insert_with(|| tokio::spawn(async move { client.connect(&process).await }));
    }

    async fn go(&mut self, n: usize) {
        if let Some(connection) = self.clients[n].1.take() {
            connection.abort();
            let _ = connection.await;
        }
    }

    async fn play(&mut self) {
        let dice = self.world.dice.fork();
        for _ in 0..dice.number(3..16) {
            let n = dice.number(0..CLIENTS);
            match dice.number(0..5) {
                0 | 1 => self.come(n),
                2 | 3 => self.go(n).await,
                _ => self.world.publish_elsewhere(&self.topic, 1).await,
            }
            sleep(dice.ms(0..150)).await;
        }
        for n in 0..CLIENTS {
            self.come(n);
            sleep(dice.ms(0..300)).await;
        }
        sleep(Duration::from_secs(20)).await;
    }
}

async fn play(feed: FeedFault) {
    for seed in 0..ROUNDS {
        let mut round = Round::begin(seed, feed);
        round.play().await;
        for n in 0..CLIENTS {
            round.clients[n]
                .0
                .judge()
                .await
                .unwrap_or_else(|failure| panic!("with seed {seed}: {failure}"));
            round.go(n).await;
        }
        sleep(Duration::from_secs(5)).await;
        round.world.judge_emptiness(&[]).await.unwrap();
        round.process.crash();
    }
}

#[tokio::test(start_paused = true)]
async fn who_comes_and_goes_lacks_nothing() {
    play(FeedFault::None).await;
}

#[tokio::test(start_paused = true)]
async fn who_comes_and_goes_while_hints_come_lacks_nothing() {
    play(FeedFault::Hints).await;
}

#[tokio::test(start_paused = true)]
async fn who_comes_and_goes_while_others_write_lacks_nothing() {
    play(FeedFault::Foreign).await;
}

#[tokio::test(start_paused = true)]
async fn who_returns_while_its_topic_is_being_left_lacks_nothing() {
    let mut round = Round::begin(1, FeedFault::None);
    let dice = round.world.dice.fork();
    round.process.faults.set(Switches { signal_delay_ms: 700, ..Switches::default() });
    for _ in 0..100 {
        round.come(0);
        sleep(Duration::from_secs(3)).await;
        round.go(0).await;
        sleep(dice.ms(0..50)).await;
        round.come(0);
        sleep(dice.ms(0..1_000)).await;
        round.world.publish_elsewhere(&round.topic, 1).await;
        sleep(Duration::from_secs(3)).await;
        round.clients[0].0.judge().await.unwrap_or_else(|failure| panic!("{failure}"));
    }
}
