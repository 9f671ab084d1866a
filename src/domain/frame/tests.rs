//! How frames read on the wire.

use super::*;
use crate::domain::{
    event::EventType,
    frame_decoder::{Decoded, FrameDecoder},
    topic::UserId,
};
use proptest::prelude::*;

fn event(event_type: &str, payload: &str) -> Event {
    Event {
        event_type: EventType::parse(event_type).unwrap(),
        ts: Timestamp::from_ms(1_718_900_000_000),
        category: None,
        scope: Json::empty_object(),
        payload: Json::parse(payload).unwrap(),
    }
}

fn body_text(frame: &Frame) -> String {
    String::from_utf8(frame.body().to_vec()).unwrap()
}

fn user(id: &str) -> Topic {
    Topic::User(UserId::parse(id).unwrap())
}

#[test]
fn control_frames_read_as_the_contract_says() {
    assert_eq!(body_text(&Frame::greeting(3000)), ": connected\n\nretry: 3000\n\n");
    assert_eq!(body_text(&Frame::keepalive(None)), ": keepalive\n\n");
    assert_eq!(body_text(&Frame::keepalive(Some(EventId::timed(7, 1)))), ": keepalive\n\nid: 7-1\n\n");
    assert_eq!(body_text(&Frame::position(EventId::timed(7, 0))), "id: 7-0\n\n");
    assert_eq!(body_text(&Frame::farewell(None, Some(100), "snapshot capped")), "retry: 100\n\n: snapshot capped\n\n");
    let truncated = Control::BacklogTruncated { oldest_retained_id: Some(EventId::timed(5, 1)) };
    assert_eq!(
        body_text(&Frame::control(Format::Envelope, &truncated)),
        "data: {\"type\":\"backlog.truncated\",\"payload\":{\"oldest_retained_id\":\"5-1\"}}\n\n"
    );
    assert_eq!(
        body_text(&Frame::control(Format::Named, &truncated)),
        "event: backlog.truncated\ndata: {\"oldest_retained_id\":\"5-1\"}\n\n"
    );
}

#[test]
fn an_entry_is_the_envelope_or_its_payload() {
    let mut event = event("source.ingest.queued", r#"{"n":1.0}"#);
    let topic = user("u\"1");
    let envelope = concat!(
        "id: 7-1\ndata: {\"id\":\"7-1\",\"type\":\"source.ingest.queued\",\"ts\":\"2024-06-20T16:13:20.000Z\",",
        "\"user_id\":\"u\\\"1\",\"topic\":\"user:u\\\"1\",\"scope\":{},\"payload\":{\"n\":1.0}}\n\n"
    );
    assert_eq!(body_text(&Frame::entry(Format::Envelope, &topic, EventId::timed(7, 1), &event)), envelope);
    let named = "event: source.ingest.queued\nid: 7-1\ndata: {\"n\":1.0}\n\n";
    assert_eq!(body_text(&Frame::entry(Format::Named, &topic, EventId::timed(7, 1), &event)), named);
    event.category = Category::parse("import").ok();
    event.scope = Json::parse(r#"{"kind":"source"}"#).unwrap();
    let frame = body_text(&Frame::entry(Format::Envelope, &topic, EventId::timed(7, 1), &event));
    assert!(frame.contains(r#""scope":{"kind":"source"},"payload":{"n":1.0},"category":"import"}"#), "{frame}");
}

#[test]
fn a_broadcast_has_no_id_and_no_topic() {
    let frame = body_text(&Frame::broadcast(Format::Envelope, &event("notice", "1")));
    assert_eq!(frame, "data: {\"type\":\"notice\",\"ts\":\"2024-06-20T16:13:20.000Z\",\"scope\":{},\"payload\":1}\n\n");
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
