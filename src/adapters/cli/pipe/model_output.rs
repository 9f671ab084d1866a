//! What a language model says, piece by piece: the events of a provider's stream as they came, or
//! plain text.
//!
//! Invariants: no event is changed, and none is held back but one with which the answer may end,
//! until it is clear whether it did; the texts, joined, are what the model wrote, and a character
//! whose bytes come in two pieces is kept whole.

use clap::ValueEnum;
use serde_json::{Value, json};

use super::protocol::{Head, Outcome, Protocol, Seen};
use crate::domain::{
    event::EventType,
    frame_decoder::{Decoded, FrameDecoder},
};

/// How standard input is to be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// As its first characters say.
    #[default]
    Auto,
    /// Server-Sent Events of OpenAI (chat completions, Responses), Anthropic or the AI SDK.
    Events,
    /// Plain text, as it comes.
    Text,
}

/// What becomes of the input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Carry {
    /// Each event of a provider's stream as it came; plain text as events of type `chunk`.
    #[default]
    Events,
    /// The text alone, as events of type `chunk`.
    Text,
}

/// An event for the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piped {
    /// Its type.
    pub(super) event_type: String,
    /// What it carries.
    pub(super) content: PipedContent,
}

/// What an event carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PipedContent {
    /// JSON, on one line.
    Payload(String),
    /// JSON whose type has no place as the type of an event, as a text.
    Data(String),
    /// Nothing.
    Nothing,
}

/// A piece of what the model says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// An event.
    Event(Piped),
    /// Some text, which an event before it has, or which is to become one.
    Text(String),
    /// The event with which the answer ends, and how.
    Last(Piped, Outcome),
    /// The answer ends without an event that says so.
    Over,
    /// The answer is not whole, and this is why.
    Broken(String),
}

impl Piped {
    fn of(event_type: &str, payload: &Value) -> Self {
        Self {
            event_type: event_type.to_owned(),
            content: PipedContent::Payload(payload.to_string()),
        }
    }

    /// An event of a text.
    pub(super) fn chunk(text: &str) -> Self {
        Self::of("chunk", &json!({ "text": text }))
    }

    /// An event that a protocol has its own words for.
    fn made_up(payload: &Value) -> Self {
        Self::of(payload["type"].as_str().unwrap_or("error"), payload)
    }
}

/// Reads what a model says.
#[derive(Debug)]
pub(super) struct ModelOutput {
    format: Format,
    carry: Carry,
    /// What has come while the format is not yet known, or the beginning of a character.
    held: Vec<u8>,
    decoder: FrameDecoder,
    protocol: Option<Protocol>,
    /// The event with which the answer may have ended.
    last: Option<(Piped, Outcome)>,
    finish_reason: Option<String>,
    error_text: Option<String>,
    seen: Seen,
    is_over: bool,
}

impl ModelOutput {
    pub(super) fn new(format: Format, carry: Carry) -> Self {
        Self {
            format,
            carry,
            held: Vec::new(),
            decoder: FrameDecoder::default(),
            protocol: None,
            last: None,
            finish_reason: None,
            error_text: None,
            seen: Seen::default(),
            is_over: false,
        }
    }

    /// Takes what has come. Behind an end nothing is read any more.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Vec<Piece> {
        self.held.extend_from_slice(bytes);
        if self.format == Format::Auto {
            let Some(format) = guess(&self.held) else { return Vec::new() };
            self.format = format;
        }
        let mut pieces = Vec::new();
        match self.format {
            Format::Events => {
                let held = std::mem::take(&mut self.held);
                let decoded = self.decoder.feed(&held);
                self.take_events(decoded, &mut pieces);
            }
            Format::Text | Format::Auto => pieces.extend(self.take_text()),
        }
        pieces
    }

    /// Nothing more will come.
    pub(super) fn finish(&mut self) -> Vec<Piece> {
        let mut pieces = Vec::new();
        if self.format == Format::Events {
            // The last event may lack its blank line.
            let decoded = self.decoder.feed(b"\n\n");
            self.take_events(decoded, &mut pieces);
            if !self.is_over {
                let is_whole = self.last.is_some()
                    || self.finish_reason.is_some()
                    || self.protocol == Some(Protocol::Other);
                if is_whole {
                    self.end(&mut pieces);
                } else {
                    let why = "the model's output broke off before its end";
                    pieces.push(Piece::Broken(why.to_owned()));
                }
            }
            return pieces;
        }
        let rest = std::mem::take(&mut self.held);
        if !rest.is_empty() {
            pieces.push(Piece::Text(String::from_utf8_lossy(&rest).into_owned()));
        }
        pieces.push(Piece::Over);
        pieces
    }

    /// Whether texts are to become events of their own.
    pub(super) fn carries_text(&self) -> bool {
        self.carry == Carry::Text || self.format == Format::Text
    }

    /// The event that was held back, since the answer may end with it, where no other came.
    pub(super) fn take_last(&mut self) -> Option<(Piped, Outcome)> {
        self.last.take().filter(|_| self.carry == Carry::Events)
    }

    /// The event that ends an answer that is whole and did not say so itself.
    pub(super) fn whole(&self) -> Piped {
        match &self.finish_reason {
            Some(reason) if self.carries_text() => {
                Piped::of("end", &json!({ "finish_reason": reason }))
            }
            _ => Piped { event_type: "end".to_owned(), content: PipedContent::Nothing },
        }
    }

    /// The event that ends an answer of which the reader wanted no more.
    pub(super) fn stopped(&self) -> Piped {
        if self.carries_text() {
            return Piped::of("end", &json!({ "reason": "stopped" }));
        }
        let made_up = self.protocol.and_then(|protocol| protocol.stopped(&self.seen));
        made_up.map_or_else(|| self.whole(), |payload| Piped::made_up(&payload))
    }

    /// The event that ends an answer that broke off.
    pub(super) fn broken(&self, why: &str) -> Piped {
        let protocol = self.protocol.filter(|_| !self.carries_text()).unwrap_or(Protocol::Other);
        Piped::made_up(&protocol.broken(why, &self.seen))
    }

    fn take_events(&mut self, decoded: Vec<Decoded>, pieces: &mut Vec<Piece>) {
        for decoded in decoded {
            let Decoded::Event { data, .. } = decoded else { continue };
            if self.is_over {
                return;
            }
            if data.trim() == "[DONE]" {
                self.end(pieces);
                return;
            }
            match serde_json::from_str::<Head>(&data) {
                Ok(head) => self.take_event(head, &data, pieces),
                Err(error) => {
                    self.is_over = true;
                    pieces.extend(self.release());
                    pieces.push(Piece::Broken(format!(
                        "an event of the model's output is not valid JSON: {error}"
                    )));
                }
            }
        }
    }

    fn take_event(&mut self, mut head: Head, data: &str, pieces: &mut Vec<Piece>) {
        // Another event follows, so that the one before was not the last.
        pieces.extend(self.release());
        let protocol = *self.protocol.get_or_insert_with(|| Protocol::of(&head));
        self.seen.note(&mut head);
        let event = passed_through(protocol, &head, data);
        if let Some(reason) = head.finish_reason() {
            self.finish_reason = Some(reason.to_owned());
        }
        let text = protocol.text(&head);
        match protocol.may_end_with(&head) {
            Some(outcome) => {
                self.error_text = (outcome == Outcome::Failed).then(|| head.error_text());
                self.last = Some((event, outcome));
            }
            // What a completion cost comes behind the chunk that finished it.
            None if self.finish_reason.is_some() => {
                self.last = Some((event, Outcome::Complete));
            }
            None => pieces.extend((self.carry == Carry::Events).then_some(Piece::Event(event))),
        }
        pieces.extend(text.map(Piece::Text));
    }

    /// The event that was held back.
    fn release(&mut self) -> Option<Piece> {
        let (event, _) = self.last.take()?;
        (self.carry == Carry::Events).then_some(Piece::Event(event))
    }

    /// The answer ends here.
    fn end(&mut self, pieces: &mut Vec<Piece>) {
        self.is_over = true;
        pieces.push(match self.last.take() {
            Some((event, outcome)) if self.carry == Carry::Events => Piece::Last(event, outcome),
            Some((_, Outcome::Failed)) => Piece::Broken(self.error_text.take().unwrap_or_default()),
            _ => Piece::Over,
        });
    }

    /// The whole characters that have come.
    fn take_text(&mut self) -> Option<Piece> {
        let whole = match std::str::from_utf8(&self.held) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            Ok(_) | Err(_) => self.held.len(),
        };
        let rest = self.held.split_off(whole);
        let text = std::mem::replace(&mut self.held, rest);
        (!text.is_empty()).then(|| Piece::Text(String::from_utf8_lossy(&text).into_owned()))
    }
}

/// An event as it came.
fn passed_through(protocol: Protocol, head: &Head, data: &str) -> Piped {
    // Line breaks stand between tokens only: in strings JSON has none.
    let json = data.replace(['\r', '\n'], " ");
    let event_type = protocol.type_of(head);
    if EventType::parse(event_type).is_ok() {
        Piped {
            event_type: event_type.to_owned(),
            content: PipedContent::Payload(json.trim().to_owned()),
        }
    } else {
        Piped { event_type: "data".to_owned(), content: PipedContent::Data(data.to_owned()) }
    }
}

/// What the first characters say, once there are enough of them.
fn guess(beginning: &[u8]) -> Option<Format> {
    const STARTS: [&[u8]; 4] = [b"data:", b"event:", b"id:", b":"];
    let text = beginning.trim_ascii_start();
    if STARTS.iter().any(|start| text.starts_with(start)) {
        return Some(Format::Events);
    }
    let may_become = STARTS.iter().any(|start| start.starts_with(text));
    (!may_become).then_some(Format::Text)
}

#[cfg(test)]
mod tests;
