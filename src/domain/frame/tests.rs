//! How frames read on the wire.

use super::*;
use crate::domain::{
    category::Category,
    event::{EventType, InvalidEventType},
    frame_decoder::{Decoded, FrameDecoder},
    json::Json,
    topic::UserId,
};
use proptest::prelude::*;

fn event(event_type: &str, payload: &str) -> Event {
    (*crate::testing::event_of_type(event_type, payload)).clone()
}

fn body_text(frame: &Frame) -> String {
    String::from_utf8(frame.body().to_vec()).unwrap()
}

/// A text with this name for the format `data`.
fn text_event(event_type: &str, text: &str, name: Option<&str>) -> Event {
    let name = name.map(|name| EventName::parse(name).unwrap());
    let content = Content::Data { text: text.into(), event: name };
    Event { content, ..event(event_type, "{}") }
}

fn style(format: Format) -> StreamStyle {
    StreamStyle { format, ..StreamStyle::default() }
}

fn some_message() -> MessageId {
    uuid::Uuid::nil().into()
}

fn user(id: &str) -> Topic {
    Topic::User(UserId::parse(id).unwrap())
}

#[test]
fn control_frames_read_as_the_contract_says() {
    const POSITION: &str =
        "event: stream.position\ndata: {\"type\":\"stream.position\",\"payload\":{}}\nid:";
    let (id, style) = (EventId::timed(7, 1), StreamStyle::default());
    assert_eq!(body_text(&Frame::greeting(3000)), ": connected\nretry: 3000\n");
    assert_eq!(body_text(&Frame::keepalive(&style, None)), ": keepalive\n");
    assert_eq!(
        body_text(&Frame::keepalive(&style, Some(id))),
        format!(": keepalive\n{POSITION} 7-1\n\n")
    );
    let event = StreamStyle { keepalive: KeepaliveStyle::Event, ..style.clone() };
    assert_eq!(
        body_text(&Frame::keepalive(&event, None)),
        "data: {\"type\":\"stream.keepalive\",\"payload\":{}}\n\n"
    );
    let named = StreamStyle { format: Format::Named, ..event.clone() };
    assert_eq!(
        body_text(&Frame::keepalive(&named, Some(id))),
        format!("event: stream.keepalive\ndata: {{}}\n\n{POSITION} 7-1\n\n")
    );
    assert_eq!(body_text(&Frame::position(Position::After(id))), format!("{POSITION} 7-1\n\n"));
    assert_eq!(body_text(&Frame::position(Position::Start)), format!("{POSITION}\n\n"));
    assert_eq!(
        body_text(&Frame::farewell(None, Some(100), "snapshot capped")),
        "retry: 100\n: snapshot capped\n"
    );
    assert_eq!(
        body_text(&Frame::farewell(Some(id), None, "draining")),
        format!("{POSITION} 7-1\n\n: draining\n")
    );
    let silent = body_text(&Frame::producer_stale(&style, &some_message(), 30_000));
    assert!(
        silent.starts_with("retry: 30000\ndata: {\"type\":\"error\",\"code\":\"producer_stale\""),
        "{silent}"
    );
    let truncated = Control::BacklogTruncated { oldest_retained_id: Some(EventId::timed(5, 1)) };
    assert_eq!(
        body_text(&Frame::control(Format::Whole, &truncated)),
        "data: {\"type\":\"backlog.truncated\",\"payload\":{\"oldest_retained_id\":\"5-1\"}}\n\n"
    );
    assert_eq!(
        body_text(&Frame::control(Format::Named, &truncated)),
        "event: backlog.truncated\ndata: {\"oldest_retained_id\":\"5-1\"}\n\n"
    );
}

/// Every control event. A new one has to be added here: the compiler asks for it.
fn every_control() -> Vec<Control> {
    let next = |control: &Control| match control {
        Control::BacklogTruncated { .. } => Some(Control::StreamKeepalive {}),
        Control::StreamKeepalive {} => Some(Control::StreamPosition {}),
        Control::StreamPosition {} => Some(Control::StreamRefused {
            status: 429,
            code: "a_code",
            message: "why".to_owned(),
            retry_after_seconds: Some(1),
        }),
        Control::StreamRefused { .. } => None,
    };
    std::iter::successors(Some(Control::BacklogTruncated { oldest_retained_id: None }), next)
        .collect()
}

#[test]
fn a_control_event_never_has_a_name_that_a_publisher_or_a_browser_has() {
    let id = EventId::timed(7, 1);
    let mut frames = vec![
        Frame::greeting(1),
        Frame::position(id.into()),
        Frame::retry(1),
        Frame::farewell(Some(id), Some(1), "reason"),
        Frame::producer_stale(&StreamStyle::default(), &some_message(), 1),
    ];
    for format in Format::ALL {
        let style = StreamStyle { keepalive: KeepaliveStyle::Event, ..style(format) };
        frames.extend(every_control().iter().map(|control| Frame::control(format, control)));
        frames.extend([
            Frame::keepalive(&style.clone(), Some(id)),
            Frame::keepalive(
                &StreamStyle { keepalive: KeepaliveStyle::Comment, ..style },
                Some(id),
            ),
        ]);
    }
    let names: Vec<String> = frames
        .iter()
        .flat_map(|frame| {
            body_text(frame)
                .lines()
                .filter_map(|line| line.strip_prefix("event: ").map(str::to_owned))
                .collect::<Vec<_>>()
        })
        .chain(every_control().iter().map(|control| control.event_type().to_owned()))
        .collect();
    assert!(names.len() > every_control().len());
    for name in names {
        assert_eq!(EventType::parse(&name), Err(InvalidEventType::Reserved), "{name}");
        assert_eq!(EventType::parse_for_user(&name), Err(InvalidEventType::Reserved), "{name}");
    }
}

#[test]
fn an_entry_is_the_envelope_or_its_payload() {
    let mut event = event("source.ingest.queued", r#"{"n":1.0}"#);
    let topic = user("u\"1");
    let envelope = concat!(
        "data: {\"id\":\"7-1\",\"type\":\"source.ingest.queued\",\"ts\":\"2024-06-20T16:13:20.000Z\",",
        "\"user_id\":\"u\\\"1\",\"topic\":\"user:u\\\"1\",\"scope\":{},\"payload\":{\"n\":1.0}}\nid: 7-1\n\n"
    );
    assert_eq!(
        body_text(&Frame::entry(Format::Whole, &topic, EventId::timed(7, 1), &event)),
        envelope
    );
    let named = "event: source.ingest.queued\ndata: {\"n\":1.0}\nid: 7-1\n\n";
    assert_eq!(
        body_text(&Frame::entry(Format::Named, &topic, EventId::timed(7, 1), &event)),
        named
    );
    event.category = Category::parse("import").ok();
    event.scope = Json::parse(r#"{"kind":"source"}"#).unwrap();
    let frame = body_text(&Frame::entry(Format::Whole, &topic, EventId::timed(7, 1), &event));
    assert!(
        frame.contains(r#""scope":{"kind":"source"},"payload":{"n":1.0},"category":"import"}"#),
        "{frame}"
    );
}

#[test]
fn each_format_shows_a_payload_a_text_and_nothing() {
    let (topic, id) = (Topic::Message(some_message()), EventId::sequence(7));
    let nothing = Event { content: Content::Nothing, ..event("end", "{}") };
    let html = text_event("row", "<tr>\r\n<td>é</td>\r</tr>\n", Some("patch"));
    let shown = |format, event: &Event| body_text(&Frame::entry(format, &topic, id, event));
    for (format, payload, text, no_content) in [
        (
            Format::Whole,
            "data: {\"type\":\"t\",\"n\":1.0}\n",
            "data: {\"type\":\"row\",\"data\":\"<tr>\\r\\n<td>é</td>\\r</tr>\\n\",\"event\":\"patch\"}\n",
            "data: {\"type\":\"end\"}\n",
        ),
        (
            Format::Named,
            "event: t\ndata: {\"n\":1.0}\n",
            "event: row\ndata: <tr>\ndata: <td>é</td>\ndata: </tr>\ndata: \n",
            "event: end\ndata: {}\n",
        ),
        (
            Format::Data,
            "data: {\"n\":1.0}\n",
            "event: patch\ndata: <tr>\ndata: <td>é</td>\ndata: </tr>\ndata: \n",
            "",
        ),
    ] {
        let with_id = |block: &str| format!("{block}id: 7\n\n");
        assert_eq!(shown(format, &event("t", r#"{"n":1.0}"#)), with_id(payload));
        assert_eq!(shown(format, &html), with_id(text));
        assert_eq!(shown(format, &nothing), with_id(no_content));
    }
    let enveloped = |event| body_text(&Frame::entry(Format::Whole, &user("u"), id, event));
    let envelope = enveloped(&html);
    assert!(envelope.contains(r#""scope":{},"data":"<tr>\r\n<td>"#), "{envelope}");
    assert!(enveloped(&nothing).contains(r#""scope":{},"payload":{}}"#));
    let unnamed = text_event("row", "x", None);
    assert_eq!(shown(Format::Data, &unnamed), "data: x\nid: 7\n\n");
}

#[test]
fn a_message_ends_as_its_format_or_its_route_has_it() {
    let closing = |style: &StreamStyle| Frame::closing(style).map(|frame| body_text(&frame));
    for format in [Format::Whole, Format::Named] {
        assert_eq!(closing(&style(format)), None);
    }
    assert_eq!(closing(&style(Format::Data)).as_deref(), Some("data: [DONE]\n\n"));
    let endings = Endings {
        closing: Some("bye".into()),
        stale: Some(StaleFrame { event: EventName::parse("error").ok(), data: "gone".into() }),
    };
    let own = StreamStyle { endings: Some(endings.into()), ..style(Format::Data) };
    assert_eq!(closing(&own).as_deref(), Some("data: bye\n\n"));
    let silent = body_text(&Frame::producer_stale(&own, &some_message(), 1));
    assert_eq!(silent, "retry: 1\nevent: error\ndata: gone\n\n");
    let none = StreamStyle { endings: Some(Endings::default().into()), ..style(Format::Data) };
    assert_eq!(closing(&none), None);
    for format in [Format::Named, Format::Data] {
        let silent = body_text(&Frame::producer_stale(&style(format), &some_message(), 1));
        assert!(
            silent.starts_with("retry: 1\nevent: error\ndata: {\"type\":\"error\""),
            "{silent}"
        );
    }
}

#[test]
fn a_broadcast_that_carries_nothing_fires_nothing_in_the_format_data() {
    let nothing = Event { content: Content::Nothing, ..event("notice", "{}") };
    assert_eq!(body_text(&Frame::broadcast(Format::Data, &nothing)), ": broadcast\n");
    assert_eq!(
        body_text(&Frame::broadcast(Format::Named, &nothing)),
        "event: notice\ndata: {}\n\n"
    );
}

#[test]
fn a_broadcast_has_no_id_and_no_topic() {
    let frame = body_text(&Frame::broadcast(Format::Whole, &event("notice", "1")));
    assert_eq!(
        frame,
        "data: {\"type\":\"notice\",\"ts\":\"2024-06-20T16:13:20.000Z\",\"scope\":{},\"payload\":1}\n\n"
    );
}

proptest! {
    #[test]
    fn the_chunk_is_the_length_and_the_body(payload in "[a-z]{0,5000}") {
        let frame = Frame::entry(Format::Named, &user("u"), EventId::timed(1, 1), &event("t", &format!("\"{payload}\"")));
        let body = frame.body();
        let mut expected = format!("{:x}\r\n", body.len()).into_bytes();
        expected.extend_from_slice(&body);
        expected.extend_from_slice(b"\r\n");
        prop_assert_eq!(frame.chunk().to_vec(), expected);
    }

    #[test]
    fn any_text_comes_out_line_by_line_as_it_went_in(text: String) {
        let frame = Blocks::new().event("t").data(&text).end().into_frame();
        let mut decoder = FrameDecoder::default();
        let decoded = decoder.feed(&frame.body());
        let expected = text.replace("\r\n", "\n").replace('\r', "\n");
        prop_assert_eq!(&decoded[..], &[Decoded::Event { id: None, event_type: "t".to_owned(), data: expected }][..]);
    }

    #[test]
    fn any_payload_comes_out_as_the_publisher_wrote_it(strings: Vec<String>, number: f64) {
        let payload = serde_json::to_string(&(strings, number)).unwrap();
        let frame = Frame::entry(Format::Named, &user("u"), EventId::timed(1, 1), &event("t", &payload));
        let decoded = FrameDecoder::default().feed(&frame.body());
        prop_assert_eq!(&decoded[..], &[Decoded::Event { id: Some("1-1".to_owned()), event_type: "t".to_owned(), data: payload }][..]);
    }
}

/// What a client that takes an id at its line, and shows a block at each blank line, makes of the
/// bytes.
fn read_like_the_simplest_clients(bytes: &[u8]) -> Result<(), String> {
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    let (mut has_data, mut has_id) = (false, false);
    for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
        match line.split_once(':').map_or(line, |(field, _)| field) {
            "" if line.is_empty() && !has_data => {
                return Err(format!("a blank line ends a block without data: {text:?}"));
            }
            "" if line.is_empty() => (has_data, has_id) = (false, false),
            _ if has_id => {
                return Err(format!("a line stands between an id and its blank line: {text:?}"));
            }
            "data" => has_data = true,
            "id" => has_id = true,
            _ => {}
        }
    }
    if has_data { Err(format!("the last block has no end: {text:?}")) } else { Ok(()) }
}

proptest! {
    #[test]
    fn promise_1_no_cut_in_a_frame_makes_a_client_lose_its_event(
        payload in "[a-z]{0,20}", n in 1_u64.., format in proptest::sample::select(&Format::ALL[..]), message: bool, as_event: bool, at: Option<u64>, retry_ms: Option<u64>,
    ) {
        let keepalive = if as_event { KeepaliveStyle::Event } else { KeepaliveStyle::Comment };
        let topic = if message { Topic::Message(some_message()) } else { user("u") };
        let (event, position) = (event("t", &format!("\"{payload}\"")), at.map(|n| EventId::timed(7, n)));
        let frames = [
            Frame::greeting(n),
            Frame::entry(format, &topic, EventId::timed(n, 1), &event),
            Frame::broadcast(format, &event),
            Frame::keepalive(&StreamStyle { keepalive, ..style(format) }, position),
            Frame::position(position.map_or(Position::Start, Position::After)),
            Frame::retry(n),
            Frame::farewell(position, retry_ms, "reason"),
            Frame::control(format, &Control::BacklogTruncated { oldest_retained_id: position }),
            Frame::producer_stale(&style(format), &some_message(), n),
            Frame::entry(format, &topic, EventId::timed(n, 1), &text_event("t", &payload, Some("name"))),
        ];
        for frame in frames {
            prop_assert_eq!(read_like_the_simplest_clients(&frame.body()), Ok(()));
        }
    }
}
