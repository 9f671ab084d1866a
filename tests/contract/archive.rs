//! The laws of [`rejoin::ports::archive`]: what a backend holds as a whole, how it leaves and how
//! it comes in.

use std::{collections::BTreeSet, sync::Arc};

use rejoin::{
    adapters::export_lines::{LineReader, LineWriter},
    app::archive::{Archives, Exporter, Imported, Importer, Problem, Record, Verifier},
    domain::{
        cursor::Continuity,
        event::Entry,
        message::MessageAppend,
        position::{EventId, Position},
        timestamp::Timestamp,
        topic::{MessageId, Topic, UserId},
    },
    ports::archive::{ListPlace, Listing, Part, Restored},
};
use uuid::Uuid;

use crate::contract::{
    backend::{Backend, Fixture, Options, Process},
    disk::DiskFixture,
    given::{assert_unbroken, event, ids, number, numbers, to_append, topic, user},
    memory::MemoryFixture,
    nats::NatsFixture,
    postgres::PostgresFixture,
    redis::RedisFixture,
};

/// Before the time of every backend.
const BEFORE_MS: u64 = 1_700_000_000_000;

fn at(ms: u64, counter: u64) -> EventId {
    EventId::timed(BEFORE_MS + ms, counter)
}

/// A part with entries of these ids, numbered by their counters.
fn part(user_id: &str, after: EventId, ids: &[EventId]) -> Part {
    let prevs = std::iter::once(after).chain(ids.iter().copied());
    let entries = ids.iter().zip(prevs).map(|(id, prev)| Entry {
        id: *id,
        prev: Some(prev.into()),
        event: event(usize::try_from(id.minor().unwrap()).unwrap()),
    });
    Part {
        user: user(user_id),
        origin: at(0, 0),
        after,
        is_first: true,
        entries: entries.collect(),
    }
}

/// The first is a UUID, the others are texts.
fn message_id(number: u128) -> MessageId {
    if number == 1 {
        MessageId::from(Uuid::from_u128(number))
    } else {
        MessageId::parse(&format!("chat:{number}")).unwrap()
    }
}

async fn append_to_message(process: &Process, id: MessageId, count: usize) {
    process.messages.open(&id, &user("owner"), false).await.unwrap().unwrap();
    let append =
        |number| MessageAppend { event: event(number), sequence_no: None, idempotency_key: None };
    for appended in
        process.messages.append(&id, None, (0..count).map(append).collect()).await.unwrap()
    {
        appended.unwrap();
    }
}

/// A whole list.
pub(crate) async fn listed<T: Ord>(
    part: impl AsyncFn(Option<&ListPlace>) -> Listing<T>,
) -> BTreeSet<T> {
    let (mut names, mut place) = (BTreeSet::new(), None);
    loop {
        let Listing { items, next, may_repeat } = part(place.as_ref()).await;
        for name in items {
            assert!(names.insert(name) || may_repeat, "a name came twice");
        }
        match next {
            None => return names,
            next => place = next,
        }
    }
}

impl Process {
    pub(crate) fn archives(&self) -> Archives {
        Archives {
            journal: Arc::clone(&self.journal),
            messages: Arc::clone(&self.messages),
            of_events: Arc::clone(&self.archive),
            of_messages: Arc::clone(&self.archive),
        }
    }

    /// All that the backend holds, as the lines of a file.
    pub(crate) async fn export(&self) -> Vec<String> {
        let (mut exporter, mut writer) =
            (Exporter::new(self.archives(), Timestamp::from_ms(BEFORE_MS)), LineWriter::default());
        let mut lines = Vec::new();
        while let Some(record) = exporter.next().await.unwrap() {
            lines.push(writer.line(&record).unwrap());
        }
        lines
    }

    pub(crate) async fn import(&self, lines: &[String]) -> Imported {
        let (mut reader, mut importer) =
            (LineReader::new(Arc::default()), Importer::new(self.archives()));
        for line in lines {
            if let Some(record) = reader.record(line).unwrap() {
                importer.take(record).await.unwrap();
            }
        }
        importer.finish().await.unwrap()
    }

    async fn problems(&self) -> Vec<Problem> {
        let mut verifier = Verifier::new(self.archives(), Timestamp::from_ms(BEFORE_MS));
        let mut problems = Vec::new();
        while let Some(problem) = verifier.next(|_| {}).await.unwrap() {
            problems.push(problem);
        }
        problems.extend(verifier.of_backends().await.unwrap());
        problems
    }

    async fn restore(&self, part: Part) -> Restored {
        let restored = self.archive.restore(vec![part]).await.unwrap();
        assert_eq!(restored.len(), 1);
        restored[0]
    }
}

pub(crate) async fn every_topic_and_message_is_listed(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let process = backend.process().await;
    let users: BTreeSet<UserId> = (0..1_100)
        .map(|n| format!("u{n}"))
        .chain(["a:stream", "x y", "*", "a.b", "\u{e9}", "user:", "{b}"].map(str::to_owned))
        .map(|id| user(&id))
        .collect();
    let batch = users.iter().map(|user| to_append(&Topic::User(user.clone()), 1));
    for chunk in batch.collect::<Vec<_>>().chunks(200) {
        process.append(chunk.to_vec()).await;
    }
    // Who is only asked for has no topic.
    process.bounds(&topic("nobody")).await;
    let messages: BTreeSet<MessageId> = (1..40).map(message_id).collect();
    for id in &messages {
        append_to_message(&process, id.clone(), 1).await;
    }
    assert_eq!(listed(async |place| process.archive.users(place).await.unwrap()).await, users);
    assert_eq!(
        listed(async |place| process.archive.messages(place).await.unwrap()).await,
        messages
    );
}

pub(crate) async fn a_restored_topic_goes_on_where_it_was(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let (process, other) = (backend.process().await, backend.process().await);
    let (first, second) =
        (part("u", at(5, 2), &[at(6, 1), at(6, 2)]), part("u", at(6, 2), &[at(9, 3)]));
    let second = Part { is_first: false, ..second };
    let restored = process.restore(first.clone()).await;
    assert_eq!(process.restore(second.clone()).await, restored);
    let entries = other.read_all(&topic("u"), Position::Start).await;
    assert_eq!(numbers(&entries), [1, 2, 3]);
    assert_unbroken(&entries);
    match restored {
        Restored::Another => panic!("there was nothing"),
        Restored::Renumbered => {
            let bounds = other.bounds(&topic("u")).await;
            assert_eq!(
                bounds.continuity(at(6, 1).into()),
                Continuity::Truncated,
                "a cursor of before is told"
            );
        }
        Restored::Kept => {
            assert_eq!(ids(&entries), [at(6, 1), at(6, 2), at(9, 3)]);
            assert_eq!(entries[0].prev, Some(at(5, 2).into()));
            let bounds = other.bounds(&topic("u")).await;
            assert_eq!(
                (bounds.floor, bounds.oldest, bounds.head),
                (Some(at(5, 2).into()), Some(at(6, 1)), at(9, 3).into())
            );
            for cursor in [at(5, 2), at(6, 1), at(6, 2), at(9, 3)] {
                assert_eq!(bounds.continuity(cursor.into()), Continuity::Whole, "{cursor}");
            }
            assert_eq!(bounds.continuity(at(5, 1).into()), Continuity::Truncated);
            assert_eq!(process.restore(second).await, Restored::Kept, "once more");
            assert_eq!(other.read_all(&topic("u"), Position::Start).await, entries);
            // One of which nothing is left.
            assert_eq!(process.restore(part("empty", at(7, 7), &[])).await, Restored::Kept);
            let bounds = other.bounds(&topic("empty")).await;
            assert_eq!(bounds.oldest, None);
            assert_eq!(bounds.continuity(at(7, 7).into()), Continuity::Whole);
            assert_eq!(bounds.continuity(at(7, 6).into()), Continuity::Truncated);
        }
    }
    let appended = other.append_one(to_append(&topic("u"), 4)).await.id;
    let all = process.read_all(&topic("u"), Position::Start).await;
    assert_eq!(numbers(&all), [1, 2, 3, 4]);
    assert_unbroken(&all);
    assert_eq!(all.last().map(|last| last.id), Some(appended));
    assert_eq!(process.journal.length(&user("u")).await.unwrap(), 4);
}

pub(crate) async fn what_is_there_is_never_changed_by_a_restore(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let process = backend.process().await;
    process.append_each(&topic("u"), [7, 8]).await;
    let before = process.read_all(&topic("u"), Position::Start).await;
    assert_eq!(process.restore(part("u", at(5, 2), &[at(6, 1)])).await, Restored::Another);
    let parts = vec![part("u", at(5, 2), &[at(6, 1)]), part("v", at(5, 2), &[at(6, 1)])];
    let restored = process.archive.restore(parts).await.unwrap();
    assert_eq!(restored[0], Restored::Another);
    assert_ne!(restored[1], Restored::Another, "the others are restored");
    assert_eq!(process.read_all(&topic("u"), Position::Start).await, before);
    assert_eq!(numbers(&process.read_all(&topic("v"), Position::Start).await), [1]);
}

/// What is in each backend that is exported: topics with many entries, few, none left, and messages
/// that ended and that did not.
async fn fill(process: &Process) {
    process.append_batch(&topic("many"), 0..600).await;
    process.append_each(&topic("few \u{e9}\"{*}"), [1, 2, 3]).await;
    process.append_each(&topic("purged"), [1, 2]).await;
    process.journal.purge(&user("purged")).await.unwrap();
    append_to_message(process, message_id(1), 3).await;
    append_to_message(process, message_id(2), 700).await;
    process.messages.open(&message_id(2), &user("owner"), true).await.unwrap().unwrap();
    process.messages.request_stop(&message_id(2)).await.unwrap();
    let end = MessageAppend {
        event: rejoin::testing::event_of_type("end", "{}"),
        sequence_no: None,
        idempotency_key: None,
    };
    process.messages.append(&message_id(1), None, vec![end]).await.unwrap()[0].unwrap();
}

pub(crate) async fn an_export_holds_all_that_there_is(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let process = backend.process().await;
    fill(&process).await;
    assert_eq!(process.problems().await, []);
    let lines = process.export().await;
    let here = MemoryFixture.open(Options::default()).await;
    let imported_to = here.process().await;
    let imported = imported_to.import(&lines).await;
    assert_eq!(
        (imported.topics_left, imported.messages, imported.messages_left, imported.is_whole),
        (0, 2, 0, true)
    );
    compare(&process, &imported_to).await;
    assert_eq!(imported_to.problems().await, []);
    // A file that was cut short is not taken for a whole one.
    let cut = imported_to.import(&lines[..lines.len() - 1]).await;
    assert!(!cut.is_whole);
}

/// Entries are the same, ids where they are kept; a client that was anywhere goes on, or is told.
async fn compare(from: &Process, to: &Process) {
    for topic in [topic("many"), topic("few \u{e9}\"{*}"), topic("purged")] {
        let (before, after) = (
            from.read_all(&topic, Position::Start).await,
            to.read_all(&topic, Position::Start).await,
        );
        assert_eq!(numbers(&before), numbers(&after), "{topic}");
        assert_unbroken(&after);
        let bounds = to.bounds(&topic).await;
        let are_kept = ids(&before) == ids(&after);
        for (place, entry) in before.iter().enumerate() {
            match bounds.continuity(entry.id.into()) {
                Continuity::Whole => {
                    let next = to.read_all(&topic, entry.id.into()).await;
                    assert_eq!(
                        next.first().map(number),
                        before.get(place + 1).map(number),
                        "behind {} of {topic}",
                        entry.id
                    );
                }
                Continuity::Truncated | Continuity::Ahead => {
                    assert!(!are_kept, "{} of {topic} was kept, and is truncated", entry.id);
                }
            }
        }
    }
    for id in [message_id(1), message_id(2)] {
        let read = |process: &Process| {
            let process = process.clone();
            let topic = Topic::Message(id.clone());
            async move { process.read_all(&topic, Position::Start).await }
        };
        let (before, after) = (read(from).await, read(to).await);
        assert_eq!((ids(&before), numbers_or_end(&before)), (ids(&after), numbers_or_end(&after)));
        let state = |process: &Process| {
            let (process, id) = (process.clone(), id.clone());
            async move {
                let message = process.messages.observe(&id).await.unwrap().unwrap().message;
                (
                    message.owner,
                    message.epoch,
                    message.next_sequence_no,
                    message.stop_requested,
                    message.end.map(|end| end.terminal),
                )
            }
        };
        assert_eq!(state(from).await, state(to).await);
    }
}

fn numbers_or_end(entries: &[Entry]) -> Vec<String> {
    entries
        .iter()
        .map(|entry| {
            format!(
                "{} {}",
                entry.event.event_type,
                entry.event.content.payload().unwrap().as_str()
            )
        })
        .collect()
}

/// One backend of each kind.
async fn one_of_each() -> Vec<(&'static str, Box<dyn Backend>)> {
    let options = Options::default;
    vec![
        ("memory", MemoryFixture.open(options()).await),
        ("disk", DiskFixture.open(options()).await),
        ("redis", RedisFixture.open(options()).await),
        ("postgres", PostgresFixture.open(options()).await),
        ("nats", NatsFixture { is_oldest: false }.open(options()).await),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_backend_takes_over_what_each_other_has_exported() {
    for (from_name, from) in one_of_each().await {
        let from = from.process().await;
        fill(&from).await;
        let lines = from.export().await;
        assert!(lines.iter().any(|line| line.contains("\"end\":{")), "{from_name}");
        for (to_name, to) in one_of_each().await {
            let to = to.process().await;
            let imported = to.import(&lines).await;
            let kept =
                if to_name == "nats" { imported.topics_renumbered } else { imported.topics_kept };
            assert_eq!((kept, imported.messages), (3, 2), "{from_name} to {to_name}");
            compare(&from, &to).await;
            assert_eq!(to.problems().await, [], "{from_name} to {to_name}");
            let again = to.import(&lines).await;
            if to_name != "nats" {
                assert_eq!(
                    (again.topics_kept, again.topics_left, again.messages_left),
                    (imported.topics_kept, 0, 0),
                    "once more"
                );
            }
        }
    }
}

#[tokio::test]
async fn an_entry_that_does_not_follow_is_not_imported() {
    let backend = MemoryFixture.open(Options::default()).await;
    let process = backend.process().await;
    let broken = part("u", at(5, 2), &[at(6, 1), at(6, 3)]);
    let mut importer = Importer::new(process.archives());
    importer
        .take(Record::Topic { user: user("u"), origin: at(0, 0), after: at(6, 1) })
        .await
        .unwrap();
    let out_of_order = importer.take(Record::Entry(broken.entries[0].clone())).await;
    assert!(out_of_order.unwrap_err().to_string().contains("does not follow"));
}
