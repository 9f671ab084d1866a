//! What of a stream depends on time, with a clock that the test moves.

use std::{collections::BTreeSet, sync::Arc};

use super::*;
use crate::{
    domain::{
        category::{Category, CategoryFilter},
        cursor::Cursor,
        event::Event,
        frame::KeepaliveStyle,
        position::EventId,
        timestamp::Timestamp,
        topic::UserId,
    },
    testing,
};

/// A position frame up to its id.
const POSITION: &str =
    "event: stream.position\ndata: {\"type\":\"stream.position\",\"payload\":{}}\nid: ";
const POLICY: StreamPolicy = StreamPolicy {
    keepalive: Duration::from_secs(15),
    retry_ms: 3_000,
    replay_max_per_request: 200,
    producer_idle: Duration::from_secs(90),
};

struct Stream {
    session: Session,
    now: Instant,
}

impl Stream {
    fn open(cursor: Cursor, filter: CategoryFilter, expires_in: Option<Duration>) -> Self {
        let now = any_instant();
        let topic = Topic::User(UserId::parse("u1").unwrap());
        Self {
            session: Session::open(
                topic,
                StreamStyle::default(),
                cursor,
                filter,
                &POLICY,
                now,
                expires_in.map(|after| now + after),
            ),
            now,
        }
    }

    fn following(filter: CategoryFilter, expires_in: Option<Duration>) -> Self {
        let mut stream = Self::open(Cursor::Absent, filter, expires_in);
        stream.session.handle_bounds(&bounds(5), &mut Vec::new());
        stream
    }

    /// Lets time pass, and takes what the session then has to say.
    fn pass(&mut self, seconds: u64) -> String {
        self.now += Duration::from_secs(seconds);
        let mut out = Vec::new();
        self.session.handle_timeout(self.now, &mut out);
        if !out.is_empty() {
            self.session.handle_written(self.now);
        }
        text(&out)
    }
}

#[expect(clippy::disallowed_methods, reason = "any instant will do: the test moves it")]
pub(super) fn any_instant() -> Instant {
    Instant::now()
}

fn text(frames: &[Frame]) -> String {
    frames.iter().map(|frame| String::from_utf8(frame.body().to_vec()).unwrap()).collect()
}

fn at(ms: u64) -> Position {
    Position::After(EventId::timed(ms, 0))
}

fn bounds(head: u64) -> Bounds {
    Bounds {
        origin: at(1),
        floor: Some(at(1)),
        oldest: None,
        head: at(head),
        shares_positions: false,
    }
}

fn entry(ms: u64, prev: u64, category: &str) -> Entry {
    let event = Event {
        ts: Timestamp::from_ms(ms),
        category: Category::parse(category).ok(),
        ..(*testing::event("{}")).clone()
    };
    Entry { id: EventId::timed(ms, 0), prev: Some(at(prev)), event: Arc::new(event) }
}

fn only(category: &str) -> CategoryFilter {
    CategoryFilter::Only(Arc::new(BTreeSet::from([Category::parse(category).unwrap()])))
}

#[test]
fn a_new_client_is_told_the_head_before_anything_happens() {
    let mut stream = Stream::open(Cursor::Absent, CategoryFilter::All, None);
    assert_eq!(stream.session.poll(), Action::Ask(Ask::Locate));
    let mut out = Vec::new();
    stream.session.greet(&mut out);
    stream.session.handle_bounds(&bounds(5), &mut out);
    assert_eq!(text(&out), format!(": connected\nretry: 3000\n{POSITION}5-0\n\n"));
    assert_eq!(stream.session.poll(), Action::Follow(at(5)));
}

#[test]
fn keepalives_follow_silence_on_the_wire_not_input() {
    let mut stream = Stream::following(only("a"), None);
    assert_eq!(stream.pass(14), "");
    // An entry that the filter hides writes nothing, so the silence goes on.
    assert_eq!(stream.session.handle_live(&entry(6, 5, "b"), &mut Vec::new()), Live::Skip);
    assert!(stream.pass(1).starts_with(": keepalive\n"));
    stream.session.handle_written(stream.now + Duration::from_secs(10));
    assert_eq!(stream.pass(15), "");
    assert_eq!(stream.pass(10), ": keepalive\n");
}

#[test]
fn promise_1_a_filtered_clients_cursor_stays_fresh() {
    let mut stream = Stream::following(only("a"), None);
    stream.session.handle_live(&entry(6, 5, "b"), &mut Vec::new());
    stream.session.handle_live(&entry(7, 6, "b"), &mut Vec::new());
    assert_eq!(stream.pass(15), format!(": keepalive\n{POSITION}7-0\n\n"));
    assert_eq!(stream.pass(15), ": keepalive\n");
}

#[test]
fn a_stream_ends_with_its_token() {
    let mut stream = Stream::following(CategoryFilter::All, Some(Duration::from_secs(7)));
    assert_eq!(stream.session.poll_timeout(), stream.now + Duration::from_secs(7));
    assert_eq!(stream.pass(6), "");
    assert_eq!(stream.pass(1), ": token expired\n");
    assert_eq!(stream.session.poll(), Action::Close(Ending::TokenExpired));
    assert_eq!(stream.pass(60), "");
}

#[test]
fn promise_10_a_draining_client_is_told_when_to_come_back() {
    let mut stream = Stream::following(only("a"), None);
    stream.session.handle_live(&entry(6, 5, "b"), &mut Vec::new());
    stream.session.handle_drain(stream.now + Duration::from_secs(3), 4_321);
    stream.session.handle_drain(stream.now, 1);
    assert_eq!(stream.pass(2), "");
    assert_eq!(stream.pass(1), format!("{POSITION}6-0\n\nretry: 4321\n: draining\n"));
    assert_eq!(stream.session.poll(), Action::Close(Ending::Draining));
}

#[test]
fn promise_9_a_journal_that_fails_is_asked_again_while_keepalives_go_on() {
    let mut stream = Stream::open(Cursor::After(EventId::timed(3, 0)), CategoryFilter::All, None);
    let mut pauses = Vec::new();
    let mut keepalives = 0;
    while pauses.len() < 9 {
        match stream.session.poll() {
            Action::Ask(Ask::Read(after)) => {
                assert_eq!(after, at(3));
                stream.session.handle_read_failed(stream.now, u64::MAX);
                pauses.push(stream.session.timers.get(Timer::ReadAgain).unwrap() - stream.now);
            }
            Action::Pause => {
                stream.now = stream.session.poll_timeout();
                keepalives += usize::from(stream.pass(0).starts_with(": keepalive"));
            }
            other => panic!("{other:?}"),
        }
    }
    let pauses: Vec<u128> = pauses.iter().map(Duration::as_millis).collect();
    let longest = [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000, 5_000];
    assert!(
        pauses.iter().zip(longest).all(|(pause, longest)| (longest / 2..=longest).contains(pause)),
        "{pauses:?}"
    );
    assert_eq!(keepalives, 1);
    stream.pass(5);
    let mut out = Vec::new();
    stream.session.handle_page(
        &Page { entries: vec![entry(6, 3, "a")], more: false, bounds: bounds(6) },
        &mut out,
    );
    assert!(text(&out).ends_with("id: 6-0\n\n"));
}

#[test]
fn promise_1_a_capped_snapshot_closes_and_never_goes_live_over_a_hole() {
    let policy = StreamPolicy { replay_max_per_request: 2, ..POLICY };
    let topic = Topic::User(UserId::parse("u1").unwrap());
    let mut session = Session::open(
        topic,
        StreamStyle::default(),
        Cursor::Oldest,
        CategoryFilter::All,
        &policy,
        any_instant(),
        None,
    );
    let page = Page {
        entries: vec![entry(2, 1, "a"), entry(3, 2, "a"), entry(4, 3, "a")],
        more: false,
        bounds: bounds(4),
    };
    let mut out = Vec::new();
    session.handle_page(&page, &mut out);
    assert_eq!(out.len(), 3);
    assert_eq!(text(&out[2..]), "retry: 100\n: snapshot capped\n");
    assert_eq!(session.poll(), Action::Close(Ending::SnapshotCapped));
    assert_eq!(session.handle_live(&entry(5, 4, "a"), &mut out), Live::Stop);
}

#[test]
fn an_unreadable_cursor_is_told_and_continues_from_the_head() {
    let mut stream = Stream::open(Cursor::Unreadable, CategoryFilter::All, None);
    assert_eq!(stream.session.poll(), Action::Ask(Ask::Locate));
    let mut out = Vec::new();
    stream.session.handle_bounds(&bounds(5), &mut out);
    assert_eq!(text(&out), format!("{TRUNCATED}{POSITION}5-0\n\n"));
}

const TRUNCATED: &str =
    "data: {\"type\":\"backlog.truncated\",\"payload\":{\"oldest_retained_id\":null}}\n\n";

#[test]
fn promise_6_a_notice_is_followed_by_an_id_where_nothing_is_retained() {
    let mut stream = Stream::open(Cursor::After(EventId::timed(2, 0)), CategoryFilter::All, None);
    let emptied = Bounds {
        origin: at(1),
        floor: Some(at(5)),
        oldest: None,
        head: at(5),
        shares_positions: false,
    };
    let mut out = Vec::new();
    stream.session.handle_page(&Page { entries: vec![], more: false, bounds: emptied }, &mut out);
    assert_eq!(text(&out), format!("{TRUNCATED}{POSITION}5-0\n\n"));
    assert_eq!(stream.pass(15), ": keepalive\n", "the client knows its position");
}

#[test]
fn promise_6_a_notice_is_followed_by_an_id_where_a_filter_hides_what_is_retained() {
    let trimmed = Bounds { floor: Some(at(5)), oldest: Some(EventId::timed(6, 0)), ..bounds(7) };
    for (more, position) in [(true, "6-0"), (false, "7-0")] {
        let mut stream = Stream::open(Cursor::After(EventId::timed(2, 0)), only("a"), None);
        let mut out = Vec::new();
        stream.session.handle_page(
            &Page { entries: vec![entry(6, 5, "b")], more, bounds: trimmed },
            &mut out,
        );
        assert!(
            text(&out).contains("backlog.truncated")
                && text(&out).ends_with(&format!("{POSITION}{position}\n\n")),
            "{}",
            text(&out)
        );
    }
    let mut stream = Stream::open(Cursor::After(EventId::timed(2, 0)), only("a"), None);
    let mut out = Vec::new();
    stream.session.handle_page(
        &Page { entries: vec![entry(6, 5, "a")], more: true, bounds: trimmed },
        &mut out,
    );
    assert_eq!(text(&out).matches("id: ").count(), 1, "the next event's id is enough");
}

#[test]
fn keepalives_are_events_where_the_client_wants_them() {
    let now = any_instant();
    let style = StreamStyle { keepalive: KeepaliveStyle::Event, ..StreamStyle::default() };
    let topic = Topic::User(UserId::parse("u1").unwrap());
    let session =
        Session::open(topic, style, Cursor::Absent, CategoryFilter::All, &POLICY, now, None);
    let mut stream = Stream { session, now };
    stream.session.handle_bounds(&bounds(5), &mut Vec::new());
    assert_eq!(stream.pass(15), "data: {\"type\":\"stream.keepalive\",\"payload\":{}}\n\n");
}
