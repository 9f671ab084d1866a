//! Files of each format that there ever was are opened by this version, and those of a later one
//! are refused.
//!
//! `tests/disk/formats/<n>` is a store as the version that introduced format `n` left it:
//! `WRITE_FORMAT=1 cargo test --test backends disk::format` writes one of the present format, where
//! there is none yet.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use rejoin::{
    adapters::disk::{Disk, FORMAT},
    domain::{
        event::{Content, Event, EventName, Last, Terminal},
        idempotency_key::IdempotencyKey,
        message::MessageAppend,
        position::Position,
        topic::{MessageId, Topic},
    },
    ports::journal::Append,
    testing::{event, event_of_type, user},
};
use tempfile::TempDir;
use uuid::Uuid;

use super::{context, crash::read_all, open, options, released};

/// The message in each store.
fn message() -> MessageId {
    Uuid::from_u128(0x67e5_5044_10b1_426f_9247_bb68_0e5f_e0c8).into()
}

fn stores() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/disk/formats")
}

fn append(number: usize) -> Append {
    let key = IdempotencyKey::parse(&format!("key {number}").replace(' ', "-")).ok();
    Append { user: user("u1"), event: event(&number.to_string()), idempotency_key: key }
}

/// What is in each store: half of it in the table, half in the log.
async fn write(path: &Path) {
    let disk = open(path).await;
    let ports = disk.ports();
    for number in 0..6 {
        ports.journal.append(vec![append(number)]).await.unwrap()[0].as_ref().unwrap();
        if number == 2 {
            ports.messages.open(&message(), &user("u1"), false).await.unwrap().unwrap();
            disk.checkpoint().await.unwrap();
        }
    }
    ports.messages.open(&text_message(), &user("u1"), false).await.unwrap().unwrap();
    for (id, event) in [
        (message(), event("7")),
        (message(), event_of_type("end", "{}")),
        (text_message(), text_that_ends()),
    ] {
        let append = MessageAppend { event, sequence_no: None, idempotency_key: None };
        ports.messages.append(&id, None, vec![append]).await.unwrap()[0].as_ref().unwrap();
    }
}

/// What stores have since format 2.
fn text_message() -> MessageId {
    MessageId::parse("fifteen-letters").unwrap()
}

fn text_that_ends() -> Arc<Event> {
    let content =
        Content::Data { text: "a\r\nb\0".into(), event: Some(EventName::parse("patch").unwrap()) };
    let last = Last::Yes(Terminal::Error);
    Arc::new(Event { content, last, ..(*event("0")).clone() })
}

fn copy(from: &Path, to: &Path) {
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_4_stores_of_every_format_are_opened_with_all_that_they_hold() {
    let present = stores().join(FORMAT.to_string());
    if std::env::var_os("WRITE_FORMAT").is_some() && !present.exists() {
        write(&present).await;
        released(&present).await;
        fs::remove_file(present.join("rejoin.lock")).unwrap();
    }
    let mut formats = 0;
    for store in fs::read_dir(stores()).unwrap().map(|store| store.unwrap().path()) {
        let folder = TempDir::new().unwrap();
        copy(&store, folder.path());
        let disk = open(folder.path()).await;
        let ports = disk.ports();
        let numbers: Vec<usize> =
            read_all(&ports.journal, "u1").await.into_iter().map(|(_, number)| number).collect();
        assert_eq!(numbers, [0, 1, 2, 3, 4, 5], "{}", store.display());
        let page = ports
            .messages
            .read(&Topic::Message(message()), Position::Start, super::crash::AMPLE)
            .await
            .unwrap();
        assert_eq!(page.entries.len(), 2);
        assert!(ports.messages.observe(&message()).await.unwrap().unwrap().message.end.is_some());
        if !store.ends_with("1") {
            let topic = Topic::Message(text_message());
            let page = ports.messages.read(&topic, Position::Start, super::crash::AMPLE).await;
            let events: Vec<_> =
                page.unwrap().entries.into_iter().map(|entry| entry.event).collect();
            assert_eq!(events, [text_that_ends()], "{}", store.display());
        }
        ports.archive.check().await.unwrap();
        drop((ports, disk));
        released(folder.path()).await;
        assert_eq!(format_of(&folder.path().join("rejoin.mark")), FORMAT, "it has this one now");
        formats += 1;
    }
    assert_eq!(formats, FORMAT, "there is a store of each format");
}

/// The format that a mark names: the latest of its two places for checkpoints.
fn format_of(mark: &Path) -> u64 {
    let bytes = fs::read(mark).unwrap();
    let number = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap());
    let latest = [0, 4_096].into_iter().max_by_key(|place| number(place + 8)).unwrap();
    number(latest + 16)
}

/// Has a mark say that its store has another format: its two places for checkpoints lie 4096 bytes
/// apart, and are a text of 8 bytes, five numbers, of which the format is the second, and a
/// checksum.
fn write_format(mark: &Path, format: u64) {
    let mut bytes = fs::read(mark).unwrap();
    for place in [0, 4_096] {
        let slot = &mut bytes[place..place + 56];
        slot[16..24].copy_from_slice(&format.to_be_bytes());
        let checksum = u64::from(crc32fast::hash(&slot[..48]));
        slot[48..].copy_from_slice(&checksum.to_be_bytes());
    }
    fs::write(mark, bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_of_a_newer_format_is_refused_and_not_changed() {
    let folder = TempDir::new().unwrap();
    copy(&stores().join(FORMAT.to_string()), folder.path());
    write_format(&folder.path().join("rejoin.mark"), FORMAT + 1);
    let before: Vec<Vec<u8>> = ["rejoin.redb", "rejoin.mark"]
        .iter()
        .map(|file| fs::read(folder.path().join(file)).unwrap())
        .collect();
    let refused = Disk::open(&options(folder.path()), &context()).err().unwrap().to_string();
    assert!(
        refused.contains(&format!("has format {}", FORMAT + 1))
            && refused.contains("use the version that wrote it"),
        "{refused}"
    );
    let after: Vec<Vec<u8>> = ["rejoin.redb", "rejoin.mark"]
        .iter()
        .map(|file| fs::read(folder.path().join(file)).unwrap())
        .collect();
    assert!(before == after);
}
