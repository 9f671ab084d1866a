//! Who produces a message: it opens it, appends, falls silent, is taken over from, is stopped, and
//! ends it.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rejoin::{
    domain::{
        idempotency_key::IdempotencyKey,
        message::{AppendRefusal, MessageAppend, MessageAppended},
        topic::{MessageId, UserId},
    },
    ports::messages::Messages,
    testing::event_of_type,
};
use tokio::time::sleep;
use uuid::Uuid;

use crate::{dice::Dice, world::World};

/// Longer than a producer may be silent.
const SILENCE: Duration = Duration::from_secs(100);

/// One message of a world.
pub(crate) struct Answer {
    pub(crate) id: MessageId,
    pub(crate) owner: UserId,
    /// What a producer was told is there: number and payload.
    acknowledged: Mutex<Vec<(u64, String)>>,
    /// Whether it was stopped, and the stop acknowledged before a producer's last append began.
    stopped: AtomicBool,
}

impl Answer {
    pub(crate) fn new(owner: UserId, dice: &Dice) -> Arc<Self> {
        let id = MessageId::from(Uuid::from_u64_pair(dice.seed(), dice.seed()));
        Arc::new(Self {
            id,
            owner,
            acknowledged: Mutex::default(),
            stopped: AtomicBool::new(false),
        })
    }

    /// The reader wants no more.
    pub(crate) async fn stop(&self, messages: &dyn Messages) {
        if let Ok(Some(_)) = messages.request_stop(&self.id).await {
            self.stopped.store(true, Ordering::Relaxed);
        }
    }

    /// Promise 4: what was acknowledged is there, unless it was lost with all the journal.
    pub(crate) fn judge(&self, world: &World) -> Result<(), String> {
        let events = world.setup.backend.appends.of(&self.id);
        let lost = self.acknowledged.lock().unwrap().iter().find_map(|(number, payload)| {
            let there = usize::try_from(*number).ok().and_then(|number| events.get(number)).map(|(_, payload)| payload);
            (there != Some(payload))
                .then(|| format!("promise 4: number {number} of {:?} was acknowledged as {payload}, and is {there:?}", self.id))
        });
        lost.map_or(Ok(()), Err)
    }
}

/// Produces, until the message has ended, is gone, or is another's.
pub(crate) async fn produce(world: Arc<World>, answer: Arc<Answer>, dice: Dice, takeover: bool) {
    let Some((epoch, mut next)) = open(&world, &answer, &dice, takeover).await else { return };
    let is_numbered = dice.chance(0.5);
    // A producer that does not say its epoch is never fenced.
    let epoch = dice.chance(0.8).then_some(epoch);
    for _ in 0..dice.number(1..12) {
        sleep(if dice.chance(0.05) { SILENCE } else { dice.ms(0..3_000) }).await;
        if dice.chance(0.1) {
            let _ = world.any_process(&dice).messages.heartbeat(&answer.id, epoch).await;
        }
        let batch = (0..dice.number(1..5))
            .map(|_| chunk(&dice, "chunk", is_numbered.then(|| take(&mut next))))
            .collect();
        let was_stopped = answer.stopped.load(Ordering::Relaxed);
        match append(&world, &answer, &dice, epoch, batch).await {
            Some(stop_requested) => {
                assert!(!was_stopped || stop_requested, "a stop was not reported to the producer");
                if stop_requested {
                    break;
                }
            }
            None => return,
        }
    }
    let end = *dice.pick(&["end", "end", "error"]);
    let _ =
        append(&world, &answer, &dice, epoch, vec![chunk(&dice, end, is_numbered.then_some(next))])
            .await;
}

fn take(next: &mut u64) -> u64 {
    *next += 1;
    *next - 1
}

/// An event whose payload is unique in the world.
fn chunk(dice: &Dice, event_type: &str, sequence_no: Option<u64>) -> MessageAppend {
    let unique = dice.seed();
    let event = event_of_type(
        event_type,
        &format!(r#"{{"n":"{unique}{}"}}"#, ".".repeat(*dice.pick(&[0, 0, 200]))),
    );
    let idempotency_key =
        sequence_no.is_none().then(|| IdempotencyKey::parse(&unique.to_string()).unwrap());
    MessageAppend { event, sequence_no, idempotency_key }
}

/// The epoch and the next number.
async fn open(world: &World, answer: &Answer, dice: &Dice, takeover: bool) -> Option<(u64, u64)> {
    while !world.over.is_cancelled() {
        match world.any_process(dice).messages.open(&answer.id, &answer.owner, takeover).await {
            Ok(Ok(opened)) => {
                return Some((
                    opened.observed.message.epoch,
                    opened.observed.message.next_sequence_no,
                ));
            }
            Ok(Err(_)) => return None,
            Err(_) => sleep(dice.ms(1..500)).await,
        }
    }
    None
}

/// Appends a batch, and again if no answer comes. Whether a stop was requested; nothing if this
/// producer can't go on.
async fn append(
    world: &World,
    answer: &Answer,
    dice: &Dice,
    epoch: Option<u64>,
    batch: Vec<MessageAppend>,
) -> Option<bool> {
    while !world.over.is_cancelled() {
        let Ok(answers) =
            world.any_process(dice).messages.append(&answer.id, epoch, batch.clone()).await
        else {
            sleep(dice.ms(1..500)).await;
            continue;
        };
        let taken: Vec<MessageAppended> = answers.iter().flatten().copied().collect();
        let told = taken.iter().zip(&batch).map(|(taken, append)| {
            (taken.sequence_no, append.event.content.payload().unwrap().as_str().to_owned())
        });
        answer.acknowledged.lock().unwrap().extend(told);
        return match answers.last() {
            // Fenced, ended, gone, or in conflict with the producer that took over.
            Some(Err(AppendRefusal::TooLarge)) | None => unreachable!("nothing here is too large"),
            Some(Err(_)) => None,
            Some(Ok(last)) => Some(last.stop_requested),
        };
    }
    None
}
