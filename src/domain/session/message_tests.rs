//! The stream of a message: its end, and the silence of its producer.

use super::{tests::any_instant, *};
use crate::{
    domain::{
        cursor::Cursor,
        event::{Event, Last, Terminal},
        message::{Message, Observed},
        position::EventId,
        timestamp::Timestamp,
        topic::UserId,
    },
    testing,
};

const POLICY: StreamPolicy = StreamPolicy {
    keepalive: Duration::from_secs(15),
    retry_ms: 3_000,
    replay_max_per_request: 2,
    producer_idle: Duration::from_secs(90),
};

struct Stream {
    session: Session,
    now: Instant,
    appended: u64,
    silent_for: Duration,
}

impl Stream {
    /// A stream of a message of three chunks.
    fn open(cursor: Cursor, silent_for: Duration) -> Self {
        Self::open_as(Format::Whole, cursor, silent_for)
    }

    fn open_as(format: Format, cursor: Cursor, silent_for: Duration) -> Self {
        let now = any_instant();
        let session = Session::open_message(
            uuid::Uuid::nil().into(),
            StreamStyle { format, ..StreamStyle::default() },
            cursor,
            &POLICY,
            silent_for,
            now,
            None,
        );
        Self { session, now, appended: 3, silent_for }
    }

    fn page(&mut self, numbers: impl IntoIterator<Item = u64>) -> String {
        let head = self
            .appended
            .checked_sub(1)
            .map_or(Position::Start, |last| EventId::sequence(last).into());
        let entries: Vec<_> = numbers.into_iter().map(|number| entry(number, "chunk")).collect();
        let oldest = (self.appended > 0).then(|| EventId::sequence(0));
        let bounds = Bounds {
            origin: Position::Start,
            floor: Some(Position::Start),
            oldest,
            head,
            shares_positions: false,
        };
        let mut out = Vec::new();
        self.session.handle_page(&Page { entries, more: false, bounds }, &mut out);
        text(&out)
    }

    /// Lets time pass, in which the producer is silent, and answers what the session then asks.
    fn pass(&mut self, seconds: u64) -> String {
        self.now += Duration::from_secs(seconds);
        self.silent_for += Duration::from_secs(seconds);
        let mut out = Vec::new();
        self.session.handle_timeout(self.now, &mut out);
        if self.session.poll() == Action::Ask(Ask::Producer) {
            self.session.handle_producer(
                &ProducerSign::Observed(self.observed()),
                self.now,
                &mut out,
            );
        }
        self.session.handle_written(self.now);
        text(&out)
    }

    fn observed(&self) -> Observed {
        let owner = UserId::parse("u1").unwrap();
        let message = Message {
            next_sequence_no: self.appended,
            ..Message::open(None, &owner, false, Timestamp::from_ms(0)).unwrap().observed.message
        };
        Observed { message, silent_for: self.silent_for }
    }
}

fn entry(number: u64, event_type: &str) -> Entry {
    let prev =
        number.checked_sub(1).map_or(Position::Start, |before| EventId::sequence(before).into());
    let event = testing::event_of_type(event_type, &format!(r#"{{"n":{number}}}"#));
    Entry { id: EventId::sequence(number), prev: Some(prev), event }
}

fn text(frames: &[Frame]) -> String {
    frames.iter().map(|frame| String::from_utf8(frame.body().to_vec()).unwrap()).collect()
}

#[test]
fn everything_comes_from_the_start_and_is_not_capped() {
    let mut stream = Stream::open(Cursor::Oldest, Duration::ZERO);
    assert_eq!(stream.session.poll(), Action::Ask(Ask::Read(Position::Start)));
    let sent = stream.page(0..3);
    assert!(
        sent.starts_with("data: {\"type\":\"chunk\",\"n\":0}\nid: 0\n\n")
            && sent.ends_with("data: {\"type\":\"chunk\",\"n\":2}\nid: 2\n\n"),
        "{sent}"
    );
    assert_eq!(stream.session.poll(), Action::Follow(EventId::sequence(2).into()));
}

#[test]
fn a_stream_closes_behind_the_terminal_event_live_or_replayed() {
    for terminal in ["end", "error"] {
        let mut live = Stream::open(Cursor::After(EventId::sequence(1)), Duration::ZERO);
        live.page([2]);
        assert_eq!(live.session.handle_live(&entry(3, terminal), &mut Vec::new()), Live::Send);
        assert_eq!(live.session.poll(), Action::Close(Ending::MessageOver));
    }
    let mut replayed = Stream::open(Cursor::Oldest, Duration::ZERO);
    replayed.appended = 4;
    let bounds = Bounds {
        origin: Position::Start,
        floor: Some(Position::Start),
        oldest: None,
        head: EventId::sequence(1).into(),
        shares_positions: false,
    };
    replayed.session.handle_page(
        &Page { entries: vec![entry(0, "chunk"), entry(1, "end")], more: false, bounds },
        &mut Vec::new(),
    );
    assert_eq!(replayed.session.poll(), Action::Close(Ending::MessageOver));
}

#[test]
fn in_the_format_data_a_closing_line_without_an_id_follows_the_terminal_event() {
    const DONE: &str = "data: [DONE]\n\n";
    let mut live = Stream::open_as(Format::Data, Cursor::Oldest, Duration::ZERO);
    assert!(!live.page(0..3).contains(DONE));
    let mut out = Vec::new();
    assert_eq!(live.session.handle_live(&entry(3, "end"), &mut out), Live::Send);
    assert_eq!(text(&out), DONE, "behind the frame that all readers share");
    let mut replayed = Stream::open_as(Format::Data, Cursor::Oldest, Duration::ZERO);
    let entries = vec![entry(0, "chunk"), entry(1, "end")];
    let page = Page { entries, more: false, bounds: Bounds::of_message(2) };
    let mut out = Vec::new();
    replayed.session.handle_page(&page, &mut out);
    assert!(text(&out).ends_with(&format!("id: 1\n\n{DONE}")), "{}", text(&out));
    assert_eq!(replayed.session.poll(), Action::Close(Ending::MessageOver));
}

#[test]
fn an_event_of_any_type_ends_the_stream_if_it_is_the_last() {
    let with = |event_type, last| {
        let Entry { id, prev, event } = entry(3, event_type);
        Entry { id, prev, event: Event { last, ..(*event).clone() }.into() }
    };
    for (event, ends) in [
        (with("response.completed", Last::Yes(Terminal::End)), true),
        (with("response.failed", Last::Yes(Terminal::Error)), true),
        (with("error", Last::No), false),
        (with("end", Last::AsItsType), true),
    ] {
        let mut stream = Stream::open(Cursor::Oldest, Duration::ZERO);
        stream.page(0..3);
        stream.session.handle_live(&event, &mut Vec::new());
        assert_eq!(stream.session.poll() == Action::Close(Ending::MessageOver), ends, "{event:?}");
    }
}

#[test]
fn a_silent_producer_is_told_at_the_configured_time_and_no_id_moves_the_cursor() {
    let mut stream = Stream::open(Cursor::Oldest, Duration::from_mins(1));
    stream.page(0..3);
    assert_eq!(stream.session.poll_timeout(), stream.now + POLICY.keepalive);
    assert!(!stream.pass(29).contains("producer_stale"));
    let told = stream.pass(1);
    assert!(
        told.starts_with("retry: 30000\ndata: {\"type\":\"error\",\"code\":\"producer_stale\",")
            && !told.contains("id: "),
        "{told}"
    );
    assert_eq!(stream.session.poll(), Action::Close(Ending::ProducerStale));
}

#[test]
fn a_producer_that_gives_a_sign_of_life_is_not_given_up() {
    let mut stream = Stream::open(Cursor::Oldest, Duration::ZERO);
    stream.page(0..3);
    stream.pass(80);
    stream.silent_for = Duration::ZERO;
    assert!(!stream.pass(10).contains("producer_stale"), "its heartbeat came ten seconds ago");
    assert!(!stream.pass(79).contains("producer_stale"));
    assert!(stream.pass(1).contains("producer_stale"));
}

#[test]
fn promise_1_what_the_producer_appended_comes_before_the_notice_of_its_silence() {
    let mut stream = Stream::open(Cursor::Oldest, Duration::from_secs(500));
    assert_eq!(stream.pass(1), "", "nobody is asked before everything was read");
    assert_eq!(stream.session.poll(), Action::Ask(Ask::Read(Position::Start)));
    stream.page(0..3);
    stream.appended = 5;
    assert!(!stream.pass(1).contains("producer_stale"), "the stream lacks two events");
    assert_eq!(stream.session.poll(), Action::Ask(Ask::Read(EventId::sequence(2).into())));
    stream.page(3..5);
    assert!(stream.pass(2).contains("producer_stale"));
}

#[test]
fn a_backend_that_does_not_answer_is_asked_again() {
    let mut stream = Stream::open(Cursor::Oldest, Duration::from_secs(89));
    stream.page(0..3);
    stream.now += Duration::from_secs(1);
    stream.session.handle_timeout(stream.now, &mut Vec::new());
    assert_eq!(stream.session.poll(), Action::Ask(Ask::Producer));
    stream.session.handle_producer(&ProducerSign::Unknown, stream.now, &mut Vec::new());
    assert!(matches!(stream.session.poll(), Action::Follow(_)));
    assert!(stream.session.poll_timeout() > stream.now);
    assert!(stream.pass(5).contains("producer_stale"));
}

#[test]
fn promise_6_the_reader_of_a_message_that_was_deleted_is_told() {
    let mut stream = Stream::open(Cursor::Oldest, Duration::ZERO);
    stream.page(0..3);
    stream.session.handle_fallen_behind();
    stream.appended = 0;
    let told = stream.page([]);
    assert!(
        told.contains("backlog.truncated") && told.ends_with("\nid:\n\n"),
        "its cursor means nothing any more: {told}"
    );
    assert_eq!(stream.session.poll(), Action::Ask(Ask::Read(Position::Start)));
    assert_eq!(stream.page([]), "");
    assert_eq!(stream.session.poll(), Action::Ask(Ask::Producer));
    let mut out = Vec::new();
    stream.session.handle_producer(&ProducerSign::Gone, stream.now, &mut out);
    assert!(text(&out).contains(": message deleted"));
    assert_eq!(stream.session.poll(), Action::Close(Ending::MessageGone));
}

#[test]
fn a_message_that_begins_anew_is_told_from_its_start_behind_a_notice() {
    let mut stream = Stream::open(Cursor::After(EventId::sequence(9)), Duration::ZERO);
    let told = stream.page([]);
    assert!(
        told.contains("backlog.truncated") && told.ends_with("\nid:\n\n"),
        "its cursor means nothing any more: {told}"
    );
    assert_eq!(stream.session.poll(), Action::Ask(Ask::Read(Position::Start)));
    assert!(stream.page(0..3).starts_with("data: {\"type\":\"chunk\",\"n\":0}\nid: 0\n"));
}
