//! What a message's events carry, and which of them is the last.

use std::sync::Arc;

use rejoin::{
    domain::{
        event::{Content, Event, EventName, EventType, Last, Terminal},
        json::Json,
        message::{AppendRefusal, MessageAppend},
        position::Position,
    },
    ports::feed::Signal,
};
use rejoin_test_support::soon;

use crate::contract::{
    backend::{Fixture, Options},
    feed::next_of,
    given::event,
    messages::given::{repeated, taken, topic},
};

/// Texts that parsers and databases like to rewrite.
const DELICATE: [&str; 6] =
    ["", "a\r\nb\rc\n", "\0", "\u{2028}\u{feff}é😀", "\"\\u0000\" '; --", "{\"a\":1.0}"];

/// One of each kind.
pub(crate) fn contents() -> Vec<Content> {
    let named = |name| EventName::parse(name).ok();
    let texts = DELICATE.iter().flat_map(|text| {
        [None, named("patch"), named("é \"x\"")]
            .map(|event| Content::Data { text: (*text).into(), event })
    });
    let payloads =
        ["{}", "null", "\"text\""].map(|json| Content::Payload(Json::parse(json).unwrap()));
    texts.chain(payloads).chain([Content::Nothing]).collect()
}

fn of(event_type: &str, content: Content, last: Last) -> MessageAppend {
    let event_type = EventType::parse(event_type).unwrap();
    let event = Event { event_type, content, last, ..(*event(0)).clone() };
    MessageAppend { event: Arc::new(event), sequence_no: None, idempotency_key: None }
}

fn at(sequence_no: u64, append: &MessageAppend) -> MessageAppend {
    MessageAppend { sequence_no: Some(sequence_no), ..append.clone() }
}

pub(crate) async fn what_an_event_of_a_message_carries_is_kept(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let (process, other) = (backend.process().await, backend.process().await);
    let id = process.open_message().await;
    let topic = topic(&id);
    let mut signals = other.feed.signals();
    other.feed.watch(&topic).await.unwrap();
    let appends: Vec<_> =
        contents().into_iter().map(|content| of("chunk", content, Last::AsItsType)).collect();
    for append in &appends {
        assert!(process.append_to(&id, [append.clone()]).await[0].is_ok());
        let signal = soon("the signal", next_of(&mut signals, &topic)).await;
        if let Signal::Appended(_, entry) = signal {
            assert_eq!(entry.event.content, append.event.content, "as the feed has it");
        }
    }
    let read = other.read_all(&topic, Position::Start).await;
    for (entry, append) in read.iter().zip(&appends) {
        assert_eq!(entry.event.content, append.event.content);
    }
    assert_eq!(read.len(), appends.len());
}

pub(crate) async fn a_repeat_carries_the_same_in_every_part(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let (one, two) = (backend.process().await, backend.process().await);
    let id = one.open_message().await;
    let contents = contents();
    let appends = contents.iter().map(|content| of("chunk", content.clone(), Last::AsItsType));
    one.append_to(&id, appends.clone()).await;
    for (number, append) in (0..).zip(appends) {
        assert_eq!(two.append_to(&id, [at(number, &append)]).await, [repeated(number)]);
        let other = of("chunk", contents[usize::from(number == 0)].clone(), Last::AsItsType);
        let as_last = of("chunk", append.event.content.clone(), Last::Yes(Terminal::End));
        for another in [other, as_last] {
            assert_eq!(
                two.append_to(&id, [at(number, &another)]).await,
                [Err(AppendRefusal::Conflict { sequence_no: number })],
                "{append:?}"
            );
        }
    }
}

pub(crate) async fn an_event_of_any_type_ends_a_message_if_it_is_the_last(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let (one, two) = (backend.process().await, backend.process().await);
    for (event_type, last, terminal) in [
        ("response.completed", Last::Yes(Terminal::End), Terminal::End),
        ("response.failed", Last::Yes(Terminal::Error), Terminal::Error),
        ("end", Last::AsItsType, Terminal::End),
        ("error", Last::AsItsType, Terminal::Error),
        ("end", Last::Yes(Terminal::Error), Terminal::Error),
    ] {
        let id = one.open_message().await;
        let not_yet = of("error", Content::Nothing, Last::No);
        let end = of(event_type, Content::Nothing, last);
        let behind = of("chunk", Content::Nothing, Last::AsItsType);
        let answers = one.append_to(&id, [not_yet, end.clone(), behind]).await;
        assert_eq!(answers, [taken(0), taken(1), Err(AppendRefusal::Complete)]);
        let ended = two.observe(&id).await.unwrap().message.end.unwrap();
        assert_eq!(ended.terminal, terminal, "{event_type}");
        assert_eq!(two.append_to(&id, [at(1, &end)]).await, [repeated(1)]);
        let read = two.read_all(&topic(&id), Position::Start).await;
        let terminals: Vec<_> = read.iter().map(|entry| entry.event.terminal()).collect();
        assert_eq!(terminals, [None, Some(terminal)], "as its readers see it");
    }
}
