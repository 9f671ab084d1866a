//! What becomes of a model's output, and how it ends.

use proptest::prelude::*;

use super::*;

const CHAT: &str = include_str!("../../../../../tests/messages/recordings/openai-chat.sse");
const RESPONSES: &str =
    include_str!("../../../../../tests/messages/recordings/openai-responses.sse");
const ANTHROPIC: &str = include_str!("../../../../../tests/messages/recordings/anthropic.sse");
const AI_SDK: &str = include_str!("../../../../../tests/messages/recordings/ai-sdk.sse");
const RECORDINGS: [&str; 4] = [CHAT, RESPONSES, ANTHROPIC, AI_SDK];
const WROTE: &str = "Grüße, 🌍!\n";

fn read_as(carry: Carry, format: Format, pieces: &[&[u8]]) -> (Vec<Piece>, ModelOutput) {
    let mut output = ModelOutput::new(format, carry);
    let mut all: Vec<Piece> = pieces.iter().flat_map(|piece| output.feed(piece)).collect();
    let is_over = |piece: &Piece| !matches!(piece, Piece::Text(_) | Piece::Event(_));
    if !all.iter().any(is_over) {
        all.extend(output.finish());
    }
    (all, output)
}

fn read(format: Format, pieces: &[&[u8]]) -> Vec<Piece> {
    read_as(Carry::Events, format, pieces).0
}

fn text(pieces: &[Piece]) -> String {
    let of = |piece: &Piece| match piece {
        Piece::Text(text) => Some(text.clone()),
        _ => None,
    };
    pieces.iter().filter_map(of).collect()
}

/// The JSON of the events, in their order.
fn events(pieces: &[Piece]) -> Vec<String> {
    let of = |piece: &Piece| match piece {
        Piece::Event(event) | Piece::Last(event, _) => match &event.content {
            PipedContent::Payload(json) => Some(json.clone()),
            PipedContent::Data(text) => Some(text.clone()),
            PipedContent::Nothing => None,
        },
        _ => None,
    };
    pieces.iter().filter_map(of).collect()
}

/// The `data:` lines of a recording.
fn data_of(recording: &str) -> Vec<&str> {
    let lines = recording.lines().filter_map(|line| line.strip_prefix("data: "));
    lines.filter(|data| *data != "[DONE]").collect()
}

/// A recording without its last event, and what follows that.
fn cut_off(recording: &str) -> &str {
    let without_done = recording.trim_end().trim_end_matches("data: [DONE]").trim_end();
    &without_done[..without_done.rfind("\n\n").unwrap() + 2]
}

#[test]
fn each_event_is_passed_through_as_it_came_and_the_last_one_is_the_end() {
    for recording in RECORDINGS {
        let pieces = read(Format::Auto, &[recording.as_bytes()]);
        assert_eq!(events(&pieces), data_of(recording));
        assert!(matches!(pieces.last(), Some(Piece::Last(_, Outcome::Complete))), "{pieces:?}");
        assert_eq!(text(&pieces), WROTE);
        assert_eq!(read(Format::Auto, &[recording.trim_end().as_bytes()]), pieces);
    }
}

#[test]
fn the_type_of_an_event_is_its_own() {
    let types = |recording: &str| {
        let of = |piece: Piece| match piece {
            Piece::Event(event) | Piece::Last(event, _) => Some(event.event_type),
            _ => None,
        };
        read(Format::Auto, &[recording.as_bytes()]).into_iter().filter_map(of).collect::<Vec<_>>()
    };
    assert_eq!(types(CHAT), ["chat.completion.chunk"; 5]);
    assert_eq!(types(ANTHROPIC)[..3], ["message_start", "content_block_start", "ping"]);
    assert_eq!(types(AI_SDK)[3..5], ["text-delta", "data-weather"]);
    let odd = "data: {\"type\":\"start\"}\n\ndata: {\"type\":\"data-a/b\",\"data\":1}\n\n";
    let pieces = read(Format::Auto, &[odd.as_bytes()]);
    let carried = PipedContent::Data("{\"type\":\"data-a/b\",\"data\":1}".to_owned());
    assert_eq!(pieces[1], Piece::Event(Piped { event_type: "data".into(), content: carried }));
}

#[test]
fn what_breaks_off_ends_in_the_words_of_its_protocol() {
    for (recording, words) in [
        (
            RESPONSES,
            r#""code":"producer_broke_off","message":"why","param":null,"sequence_number":9"#,
        ),
        (ANTHROPIC, r#""error":{"message":"why","type":"api_error"},"type":"error""#),
        (AI_SDK, r#""errorText":"why","type":"error""#),
    ] {
        let (pieces, output) =
            read_as(Carry::Events, Format::Auto, &[cut_off(recording).as_bytes()]);
        assert!(matches!(pieces.last(), Some(Piece::Broken(_))), "{pieces:?}");
        let broken = output.broken("why");
        assert_eq!(broken.event_type, "error");
        let PipedContent::Payload(json) = broken.content else { panic!("no payload") };
        let sorted: Value = serde_json::from_str(&json).unwrap();
        assert!(sorted.to_string().contains(words), "{sorted}");
    }
    let chat = &CHAT[..CHAT.find("data: {\"id\":\"chatcmpl-9x\",\"object\":\"chat.completion.chunk\",\"created\":1795000000,\"model\":\"gpt-x\",\"choices\":[{\"index\":0,\"delta\":{},").unwrap()];
    let (pieces, output) = read_as(Carry::Events, Format::Auto, &[chat.as_bytes()]);
    assert!(matches!(pieces.last(), Some(Piece::Broken(_))), "{pieces:?}");
    assert!(
        matches!(output.broken("why").content, PipedContent::Payload(json) if json.starts_with("{\"error\":{"))
    );
    let finished = read(Format::Auto, &[cut_off(CHAT).as_bytes()]);
    assert!(matches!(finished.last(), Some(Piece::Last(_, Outcome::Complete))), "{finished:?}");
}

#[test]
fn what_is_stopped_ends_in_the_words_of_its_protocol() {
    for (recording, event_type, words) in [
        (RESPONSES, "response.incomplete", "\"incomplete_details\":{\"reason\":\"stopped\"}"),
        (ANTHROPIC, "message_stop", "message_stop"),
        (AI_SDK, "abort", "abort"),
    ] {
        let (_, output) = read_as(Carry::Events, Format::Auto, &[cut_off(recording).as_bytes()]);
        let stopped = output.stopped();
        assert_eq!(stopped.event_type, event_type);
        assert!(matches!(stopped.content, PipedContent::Payload(json) if json.contains(words)));
    }
    let (_, chat) = read_as(Carry::Events, Format::Auto, &[cut_off(CHAT).as_bytes()]);
    assert_eq!(chat.stopped(), Piped { event_type: "end".into(), content: PipedContent::Nothing });
}

#[test]
fn a_provider_that_fails_ends_the_message_as_failed() {
    for stream in [
        "data: {\"error\":{\"message\":\"overloaded\"}}\n\n",
        "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"overloaded\"}}\n\n",
        "data: {\"type\":\"start\"}\n\ndata: {\"type\":\"error\",\"errorText\":\"overloaded\"}\n\ndata: [DONE]\n\n",
        "data: {\"type\":\"response.created\"}\n\ndata: {\"type\":\"response.failed\",\"response\":{}}\n\n",
        "data: {\"type\":\"response.created\"}\n\ndata: {\"type\":\"error\",\"code\":\"x\",\"message\":\"overloaded\"}\n\n",
    ] {
        let pieces = read(Format::Auto, &[stream.as_bytes()]);
        assert!(matches!(pieces.last(), Some(Piece::Last(_, Outcome::Failed))), "{pieces:?}");
        assert_eq!(events(&pieces), data_of(stream));
    }
    let incomplete = "data: {\"type\":\"response.created\"}\n\ndata: {\"type\":\"response.incomplete\",\"response\":{}}\n\n";
    let pieces = read(Format::Auto, &[incomplete.as_bytes()]);
    assert!(matches!(pieces.last(), Some(Piece::Last(_, Outcome::Complete))), "{pieces:?}");
    let broken = read(Format::Events, &[b"data: {nonsense\n\n"]);
    assert!(matches!(&broken[..], [Piece::Broken(_)]), "{broken:?}");
}

#[test]
fn an_event_that_may_be_the_last_and_is_not_is_one_as_any_other() {
    let stream = "data: {\"type\":\"start\"}\n\ndata: {\"type\":\"error\",\"errorText\":\"a tool failed\"}\n\n\
        data: {\"type\":\"finish\"}\n\ndata: [DONE]\n\n";
    let pieces = read(Format::Auto, &[stream.as_bytes()]);
    assert_eq!(events(&pieces), data_of(stream));
    assert!(matches!(pieces.last(), Some(Piece::Last(_, Outcome::Complete))), "{pieces:?}");
}

#[test]
fn the_text_alone_is_the_text_and_its_end() {
    for recording in RECORDINGS {
        let (pieces, _) = read_as(Carry::Text, Format::Auto, &[recording.as_bytes()]);
        assert_eq!(
            pieces,
            [Piece::Text("Grüße".into()), Piece::Text(", 🌍!\n".into()), Piece::Over]
        );
    }
    let (_, chat) = read_as(Carry::Text, Format::Auto, &[CHAT.as_bytes()]);
    assert_eq!(chat.whole(), Piped::of("end", &json!({ "finish_reason": "stop" })));
    let failed = "data: {\"error\":{\"message\":\"overloaded\"}}\n\ndata: [DONE]\n\n";
    let (pieces, _) = read_as(Carry::Text, Format::Auto, &[failed.as_bytes()]);
    assert_eq!(pieces, [Piece::Broken("overloaded".into())]);
}

#[test]
fn the_format_is_guessed_by_the_first_characters() {
    for text in ["hello", "d", "dat", "\n\n  data", "data is plural", "{\"a\":1}"] {
        assert_eq!(
            read(Format::Auto, &[text.as_bytes()]),
            [Piece::Text(text.into()), Piece::Over],
            "{text:?}"
        );
    }
    assert_eq!(read(Format::Auto, &[b""]), [Piece::Over]);
    assert_eq!(text(&read(Format::Text, &[CHAT.as_bytes()])), CHAT);
}

proptest! {
    #[test]
    fn plain_text_comes_out_byte_by_byte_however_it_is_cut(whole in "\\PC{0,60}", cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6)) {
        let bytes = whole.as_bytes();
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        at.extend([0, bytes.len()]);
        at.sort_unstable();
        let pieces: Vec<&[u8]> = at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
        prop_assert_eq!(text(&read(Format::Text, &pieces)), whole);
    }

    #[test]
    fn a_providers_stream_may_be_cut_into_pieces_anywhere(
        recording in prop::sample::select(&RECORDINGS[..]), cut in any::<prop::sample::Index>(),
    ) {
        let (first, second) = recording.as_bytes().split_at(cut.index(recording.len()));
        prop_assert_eq!(read(Format::Auto, &[first, second]), read(Format::Auto, &[recording.as_bytes()]));
    }

    #[test]
    fn promise_1_wherever_a_stream_breaks_off_what_came_is_passed_through(
        recording in prop::sample::select(&RECORDINGS[..]), cut in any::<prop::sample::Index>(),
    ) {
        let came = &recording.as_bytes()[..cut.index(recording.len())];
        let whole = String::from_utf8_lossy(came);
        let complete: Vec<_> = data_of(recording)
            .into_iter()
            .take_while(|data| whole.contains(&format!("data: {data}")))
            .collect();
        let mut output = ModelOutput::new(Format::Events, Carry::Events);
        let mut pieces = output.feed(came);
        pieces.extend(output.finish());
        let last = output.take_last().map(|(event, outcome)| Piece::Last(event, outcome));
        pieces.extend(last);
        prop_assert_eq!(events(&pieces), complete);
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(pieces in proptest::collection::vec(any::<Vec<u8>>(), 0..5)) {
        for format in [Format::Auto, Format::Events, Format::Text] {
            for carry in [Carry::Events, Carry::Text] {
                let mut output = ModelOutput::new(format, carry);
                for piece in &pieces {
                    output.feed(piece);
                }
                output.finish();
                let _ = (output.whole(), output.stopped(), output.broken("why"));
            }
        }
    }
}
