//! What happens to a world: faults, then calm, then judgement.

use std::{collections::BTreeSet, sync::Arc, sync::atomic::Ordering, time::Duration};

use rejoin::{
    domain::{
        category::Category,
        cursor::Cursor,
        position::EventId,
        topic::{Topic, UserId},
    },
    ports::{journal::Journal, messages::Messages},
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{
    checker::judge_log,
    client::Client,
    dice::Dice,
    faults::{FeedFault, JournalFault, Switches},
    producer::{Answer, produce},
    reader::Reader,
    world::{Sizes, World},
};

/// Within so long after the last fault every client has everything. Leases of the dead take 30
/// seconds, and so does a write that stalls.
const CALM: Duration = Duration::from_mins(3);

/// Runs the world of a seed.
pub(crate) async fn run(seed: u64) -> Result<(), String> {
    run_with_history(seed, false).await.map(drop)
}

/// The same, and gives its history if that is to be kept.
pub(crate) async fn run_with_history(seed: u64, is_kept: bool) -> Result<Vec<String>, String> {
    let dice = Dice::of(seed);
    let sizes = Sizes::tight(&dice);
    let world = World::with_history(&sizes, dice, is_kept);
    let users: Vec<_> =
        (0..world.dice.number(1..4)).map(|n| UserId::parse(&format!("u{n}")).unwrap()).collect();
    let topics: Vec<_> = users.iter().cloned().map(Topic::User).collect();
    let mut living = JoinSet::new();
    let mut clients = Vec::new();
    for user in &users {
        for _ in 0..world.dice.number(1..5) {
            let client = Client::new(
                &world,
                user,
                any_categories(&world.dice),
                any_cursor(&world.dice),
                world.dice.fork(),
            );
            living.spawn(Arc::clone(&client).live(Arc::clone(&world)));
            clients.push(client);
        }
    }

    let (mut answers, mut readers) = (Vec::new(), Vec::new());
    for _ in 0..world.dice.number(0..4) {
        let answer = Answer::new(world.dice.pick(&users).clone(), &world.dice);
        living.spawn(produce(Arc::clone(&world), Arc::clone(&answer), world.dice.fork(), false));
        for _ in 0..world.dice.number(1..4) {
            let reader = Reader::new(&world, &answer);
            living.spawn(Arc::clone(&reader).live());
            readers.push(reader);
        }
        answers.push(answer);
    }

    for _ in 0..world.dice.number(40..120) {
        if let Some(answer) = answers.get(world.dice.number(0..answers.len() * 20 + 1)) {
            happen_to(&world, answer, &mut living).await;
        }
        happen(&world, &topics).await;
        world.judge_memory()?;
        sleep(world.dice.ms(0..300)).await;
    }

    flurry(&world, &topics).await;

    world.calm.store(true, Ordering::Relaxed);
    world.processes().iter().for_each(|process| process.faults.set(Switches::default()));
    if world.dice.chance(0.3) {
        for topic in &topics {
            world.publish(topic, 2).await;
        }
    }
    let outcome = come_to_rest(&world, &clients, &readers).await;
    world.over.cancel();
    living.join_all().await;
    outcome.map_err(|failure| format!("{failure}\nin a world of {sizes:?}"))?;
    for topic in &topics {
        judge_log(&world.setup.backend.log_of(topic), &world.acknowledged(topic))?;
    }
    for answer in &answers {
        answer.judge(&world)?;
    }
    sleep(Duration::from_secs(40)).await;
    world.judge_emptiness(&users).await?;
    Ok(world.setup.backend.history.lines())
}

/// The last that happens is much at once: clients that come back while hints and entries come in,
/// over a slow journal. Nothing comes after it that could show what it made somebody miss.
async fn flurry(world: &Arc<World>, topics: &[Topic]) {
    let dice = &world.dice;
    for process in world.processes() {
        let feed = *dice.pick(&[FeedFault::None, FeedFault::Hints, FeedFault::Foreign]);
        let journal_delay_ms = *dice.pick(&[0, 20, 200]);
        process.faults.set(Switches {
            feed,
            journal: JournalFault::None,
            journal_delay_ms,
            signal_delay_ms: *dice.pick(&[0, 10, 50]),
        });
    }
    for _ in 0..dice.number(0..8) {
        if dice.chance(0.3) {
            world.replace_any_process().crash();
        }
        world.publish_elsewhere(dice.pick(topics), dice.number(1..4)).await;
        sleep(dice.ms(0..300)).await;
    }
}

/// Waits until every client has everything.
async fn come_to_rest(
    world: &World,
    clients: &[Arc<Client>],
    readers: &[Arc<Reader>],
) -> Result<(), String> {
    let deadline = Instant::now() + CALM;
    loop {
        sleep(Duration::from_secs(1)).await;
        world.judge_memory()?;
        let mut outcome = Ok(());
        for client in clients {
            outcome = outcome.and(client.judge().await);
        }
        for reader in readers {
            outcome = outcome.and(reader.judge().await);
        }
        if outcome.is_ok() || Instant::now() > deadline {
            return outcome;
        }
    }
}

/// One thing that happens.
async fn happen(world: &Arc<World>, topics: &[Topic]) {
    let dice = &world.dice;
    let topic = dice.pick(topics);
    let process = world.any_process(dice);
    match dice.number(0..100) {
        0..35 => publish(world, topic, dice.number(1..6)),
        // More than a ring holds, and often more than the topic does.
        35..42 => publish(world, topic, dice.number(20..70)),
        42..70 => process.faults.set(any_switches(dice)),
        70..78 => process.faults.interrupt(),
        78..82 => {
            let _ = process.journal.purge(topic.user().unwrap()).await;
        }
        82..86 => world.replace_any_process().crash(),
        86..90 => {
            let leaving = world.replace_any_process();
            leaving.drain(dice.ms(0..2_000));
            tokio::spawn(async move {
                sleep(Duration::from_secs(4)).await;
                leaving.stop().await;
            });
        }
        90..93 => world.setup.backend.clock.step_back(dice.ms(0..5_000)),
        93..96 => world.setup.backend.clock.step_forward(dice.ms(0..5_000)),
        96..98 => world.setup.backend.wipe(),
        _ => sleep(dice.ms(0..5_000)).await,
    }
}

/// One thing that happens to a message.
async fn happen_to(world: &Arc<World>, answer: &Arc<Answer>, living: &mut JoinSet<()>) {
    let dice = &world.dice;
    let messages = Arc::clone(&world.any_process(dice).messages);
    match dice.number(0..10) {
        0..4 => {
            drop(living.spawn(produce(Arc::clone(world), Arc::clone(answer), dice.fork(), true)));
        }
        4..7 => answer.stop(&*messages).await,
        7..9 => drop(messages.sweep(dice.ms(30_000..120_000), 10).await),
        _ => drop(messages.delete(&answer.id).await),
    }
}

/// Publishers don't wait for each other.
fn publish(world: &Arc<World>, topic: &Topic, count: usize) {
    let (world, topic) = (Arc::clone(world), topic.clone());
    tokio::spawn(async move { world.publish(&topic, count).await });
}

fn any_switches(dice: &Dice) -> Switches {
    let journal = [
        JournalFault::None,
        JournalFault::None,
        JournalFault::Down,
        JournalFault::AnswersLost,
        JournalFault::Foreign,
    ];
    let feed = [
        FeedFault::None,
        FeedFault::Down,
        FeedFault::Deaf,
        FeedFault::Foreign,
        FeedFault::Hints,
        FeedFault::Shuffled,
        FeedFault::Doubled,
    ];
    Switches {
        journal: *dice.pick(&journal),
        feed: *dice.pick(&feed),
        journal_delay_ms: *dice.pick(&[0, 0, 10, 200, 1_500]),
        signal_delay_ms: *dice.pick(&[0, 0, 10, 100]),
    }
}

fn any_categories(dice: &Dice) -> BTreeSet<Category> {
    let wanted: &[&str] = match dice.number(0..4) {
        0 => &["a"],
        1 => &["a", "b"],
        _ => &[],
    };
    wanted.iter().map(|name| Category::parse(name).unwrap()).collect()
}

fn any_cursor(dice: &Dice) -> Cursor {
    let far = Cursor::After(EventId::timed(u64::MAX, 7));
    *dice.pick(&[
        Cursor::Absent,
        Cursor::Absent,
        Cursor::Oldest,
        Cursor::Oldest,
        Cursor::Unreadable,
        far,
        Cursor::After(EventId::timed(1, 0)),
    ])
}
