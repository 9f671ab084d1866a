//! One event as the server sent it, and as one line for people or for programs.
//!
//! Invariant: what an event holds never reaches the output as it came where it could act on a
//! terminal; an event is one line, whatever it holds.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::line::{Line, Look, Style};
use crate::adapters::cli::printable::Printable;

/// The parts of an envelope that are shown. Payload and scope stay text.
#[derive(Debug, Deserialize)]
pub(super) struct Envelope<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    #[serde(borrow)]
    ts: Option<Cow<'a, str>>,
    #[serde(borrow)]
    category: Option<Cow<'a, str>>,
    #[serde(borrow)]
    scope: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    payload: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<Cow<'a, str>>,
}

/// A payload of `null` is one: what is missing is something else.
fn present<'de: 'a, 'a, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// A scope in its usual form.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UsualScope<'a> {
    #[serde(borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    id: Cow<'a, str>,
}

impl<'a> Envelope<'a> {
    /// Reads an event's data; `None` if that is nothing that Rejoin sends.
    pub(super) fn read(data: &'a str) -> Option<Self> {
        serde_json::from_str(data).ok()
    }

    /// The event's type.
    pub(super) fn event_type(&self) -> &str {
        &self.r#type
    }

    /// Whether the event is the server's own.
    pub(super) fn is_control(&self) -> bool {
        self.r#type.starts_with("backlog.") || self.r#type.starts_with("stream.")
    }

    /// The event for people: time, type, category, scope, payload.
    pub(super) fn readable(&self, look: Look) -> String {
        let mut line = Line::new(look);
        line.word(Style::Faint, self.ts.as_deref().unwrap_or("-").chars());
        line.word(Style::Strong, self.r#type.chars());
        if let Some(category) = &self.category {
            line.word(Style::Coloured, format!("[{category}]").chars());
        }
        if let Some(scope) = self.scope.filter(|scope| !matches!(scope.get(), "{}" | "null")) {
            match serde_json::from_str::<UsualScope<'_>>(scope.get()) {
                Ok(UsualScope { kind, id }) => {
                    line.word(Style::Faint, format!("({kind}/{id})").chars());
                }
                Err(_) => line.word(Style::Faint, compact(scope.get())),
            }
        }
        if let Some(payload) = self.payload {
            line.word(Style::Plain, compact(payload.get()));
        } else if let Some(data) = &self.data {
            line.word(Style::Plain, data.chars());
        }
        line.end()
    }
}

/// The event for programs: its JSON on one line.
pub(super) fn json_line(data: &str) -> String {
    // Line breaks stand between tokens only: in strings JSON has none.
    let one_line = data.replace(['\r', '\n', '\t'], " ");
    format!("{}\n", Printable(one_line.trim()))
}

/// JSON without the white space between its tokens.
fn compact(json: &str) -> impl Iterator<Item = char> {
    let mut in_string = false;
    let mut escaped = false;
    json.chars().filter(move |char| {
        match char {
            _ if escaped => escaped = false,
            '\\' if in_string => escaped = true,
            '"' => in_string = !in_string,
            _ => {}
        }
        in_string || !matches!(char, ' ' | '\t' | '\r' | '\n')
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PLAIN: Look = Look { colour: false, columns: None };

    fn readable(data: &str) -> String {
        Envelope::read(data).unwrap().readable(PLAIN)
    }

    #[test]
    fn an_event_is_one_line() {
        let data = r#"{"id":"7-0","type":"source.ingest.queued","ts":"2026-01-02T03:04:05.678Z","user_id":"u","topic":"user:u",
            "scope":{"kind":"source","id":"s1"},"payload":{ "n": [1, 2],  "text": "a  b\" c" },"category":"import"}"#;
        let expected = "2026-01-02T03:04:05.678Z source.ingest.queued [import] (source/s1) {\"n\":[1,2],\"text\":\"a  b\\\" c\"}\n";
        assert_eq!(readable(data), expected);
    }

    #[test]
    fn what_is_missing_is_left_out() {
        assert_eq!(readable(r#"{"type":"t","scope":null,"payload":null}"#), "- t null\n");
        assert_eq!(
            readable(r#"{"type":"t","ts":"x","scope":{"kind":"a","id":"b","more":1}}"#),
            "x t {\"kind\":\"a\",\"id\":\"b\",\"more\":1}\n"
        );
        assert_eq!(
            readable(r#"{"type":"t","ts":"x","scope":{"kind":"a","id":1},"payload":7}"#),
            "x t {\"kind\":\"a\",\"id\":1} 7\n"
        );
    }

    #[test]
    fn what_is_no_event_is_none() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        for data in [
            "",
            "x",
            "7",
            "null",
            "{}",
            r#"{"type":7}"#,
            r#"{"type":"t"} x"#,
            r#"{"type":"t","type":"u"}"#,
            &deep,
        ] {
            assert!(Envelope::read(data).is_none(), "{data:.80}");
        }
        let nested = format!(r#"{{"type":"t","payload":{deep}}}"#);
        assert!(Envelope::read(&nested).is_some(), "a payload is text, however deep");
    }

    #[test]
    fn escapes_of_a_terminal_are_disarmed_wherever_they_are() {
        let data = "{\"type\":\"a\\u001b[31m\",\"ts\":\"\\u0007\",\"category\":\"\\n\\u202e\",\
                    \"scope\":{\"kind\":\"\\u009b\",\"id\":\"x\"},\"payload\":\"\u{7f}\u{9b}2J\u{202e}\"}";
        let expected = r#"\u0007 a\u001b[31m [\u000a\u202e] (\u009b/x) "\u007f\u009b2J\u202e""#;
        assert_eq!(readable(data), format!("{expected}\n"));
        assert_eq!(json_line("{\"a\":\r\n\t\"\u{9b}\"}\n"), "{\"a\":   \"\\u009b\"}\n");
    }

    #[test]
    fn a_line_is_cut_to_the_terminal() {
        let data = r#"{"type":"type","ts":"ts","payload":"漢字漢字漢字"}"#;
        let cut = |columns| {
            Envelope::read(data).unwrap().readable(Look { colour: false, columns: Some(columns) })
        };
        assert_eq!(cut(80), "ts type \"漢字漢字漢字\"\n");
        assert_eq!(cut(14), "ts type \"漢字…\n");
        assert_eq!(cut(13), "ts type \"漢…\n");
        assert_eq!(cut(3), "ts…\n");
        assert_eq!(cut(1), "…\n");
    }

    #[test]
    fn colours_end_where_they_should() {
        let look = Look { colour: true, columns: Some(6) };
        let line =
            Envelope::read(r#"{"type":"type","ts":"ts","payload":1}"#).unwrap().readable(look);
        assert_eq!(line, "\u{1b}[2mts\u{1b}[0m \u{1b}[1mty…\u{1b}[0m\n");
    }

    proptest! {
        #[test]
        fn any_data_is_one_harmless_line(event_type: String, ts: Option<String>, payload: String, columns in proptest::option::of(0_usize..40)) {
            let data = serde_json::json!({ "type": event_type, "ts": ts, "scope": { "x": payload }, "payload": payload }).to_string();
            let line = Envelope::read(&data).unwrap().readable(Look { colour: false, columns });
            prop_assert!(line.ends_with('\n') && !line[..line.len() - 1].contains(char::is_control));
            let json = json_line(&data);
            prop_assert!(json.ends_with('\n') && !json[..json.len() - 1].contains(char::is_control));
            let same: serde_json::Value = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(same, serde_json::from_str::<serde_json::Value>(&data).unwrap());
        }

        #[test]
        fn any_text_is_read_without_a_panic(data: String) {
            let _ = (Envelope::read(&data).map(|envelope| envelope.readable(PLAIN)), json_line(&data));
        }
    }
}
