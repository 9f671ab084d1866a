//! Reads Server-Sent Events, for the terminal client and for tests.
//!
//! Source: WHATWG HTML, section 9.2.6 "Interpreting an event stream". Differences: comments are
//! returned too, and what only moves the cursor, a position frame or a block without data, is
//! returned as [`Decoded::Position`], since both carry meaning here.
//!
//! Invariant: how the bytes were cut into pieces on their way makes no difference, and an
//! unfinished block is nothing.

/// One thing that the stream said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// An event was dispatched.
    Event {
        /// The id that its own block set, if it did.
        id: Option<String>,
        /// `event:`, or `message`.
        event_type: String,
        /// The `data:` lines, joined by LF.
        data: String,
    },
    /// The cursor moves, and there is no event; an empty id takes it away.
    Position(String),
    /// `retry:`, in milliseconds.
    Retry(u64),
    /// A comment, without its colon and one space.
    Comment(String),
}

/// The type of a position frame's event.
const POSITION: &str = "stream.position";

/// An incremental decoder.
#[derive(Debug, Default)]
pub struct FrameDecoder {
    line: Vec<u8>,
    after_cr: bool,
    begun: bool,
    id: Option<String>,
    event_type: String,
    data: Option<String>,
}

impl FrameDecoder {
    /// Takes the next bytes of the stream, and returns what they completed.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Decoded> {
        let mut out = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            if std::mem::take(&mut self.after_cr) && rest[0] == b'\n' {
                rest = &rest[1..];
                continue;
            }
            let Some(at) = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else {
                self.line.extend_from_slice(rest);
                break;
            };
            self.line.extend_from_slice(&rest[..at]);
            self.after_cr = rest[at] == b'\r';
            rest = &rest[at + 1..];
            let line = std::mem::take(&mut self.line);
            self.end_line(&String::from_utf8_lossy(&line), &mut out);
        }
        out
    }

    /// How many bytes wait for the rest of their line or block, so that a caller can bound them.
    pub fn pending_bytes(&self) -> usize {
        self.line.len() + self.data.as_ref().map_or(0, String::len)
    }

    fn end_line(&mut self, line: &str, out: &mut Vec<Decoded>) {
        let line = if std::mem::replace(&mut self.begun, true) {
            line
        } else {
            line.strip_prefix('\u{feff}').unwrap_or(line)
        };
        if line.is_empty() {
            return self.end_block(out);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "" => out.push(Decoded::Comment(value.to_owned())),
            "event" => value.clone_into(&mut self.event_type),
            "id" if !value.contains('\0') => self.id = Some(value.to_owned()),
            "retry" if value.bytes().all(|b| b.is_ascii_digit()) => {
                out.extend(value.parse().map(Decoded::Retry));
            }
            "data" => match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            },
            _ => {}
        }
    }

    fn end_block(&mut self, out: &mut Vec<Decoded>) {
        let event_type = std::mem::take(&mut self.event_type);
        match (self.data.take(), self.id.take()) {
            (Some(_), Some(id)) if event_type == POSITION => out.push(Decoded::Position(id)),
            (Some(data), id) => {
                let event_type =
                    if event_type.is_empty() { "message".to_owned() } else { event_type };
                out.push(Decoded::Event { id, event_type, data });
            }
            (None, Some(id)) => out.push(Decoded::Position(id)),
            (None, None) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode(text: &str) -> Vec<Decoded> {
        FrameDecoder::default().feed(text.as_bytes())
    }

    fn event(id: Option<&str>, event_type: &str, data: &str) -> Decoded {
        Decoded::Event {
            id: id.map(str::to_owned),
            event_type: event_type.to_owned(),
            data: data.to_owned(),
        }
    }

    #[test]
    fn reads_what_the_specification_shows() {
        assert_eq!(
            decode("data: YHOO\ndata: +2\ndata: 10\n\n"),
            [event(None, "message", "YHOO\n+2\n10")]
        );
        assert_eq!(
            decode(": test stream\n\ndata: first event\nid: 1\n\n"),
            [Decoded::Comment("test stream".into()), event(Some("1"), "message", "first event")]
        );
        assert_eq!(
            decode("data\n\ndata\ndata\n\ndata:"),
            [event(None, "message", ""), event(None, "message", "\n")]
        );
        assert_eq!(
            decode("data:test\n\ndata: test\n\n"),
            [event(None, "message", "test"), event(None, "message", "test")]
        );
        assert_eq!(decode("\u{feff}event:add\r\ndata:7\r\r\n"), [event(None, "add", "7")]);
        assert_eq!(
            decode("id: 5-1\n\nretry: 100\n\nretry: x\n\nid: a\0b\n\nnonsense\n\n"),
            [Decoded::Position("5-1".into()), Decoded::Retry(100)]
        );
        assert_eq!(
            decode("event: stream.position\ndata: {}\nid: 5-1\n\n"),
            [Decoded::Position("5-1".into())]
        );
        assert_eq!(decode("data: unfinished\n"), []);
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(text in "(data|id|event|retry|:|x|\u{feff})?[: a0\r\n]{0,6}([a-z:\r\n ]|data: |id: ){0,60}", cuts in proptest::collection::vec(0_usize..80, 0..8)) {
            let whole = decode(&text);
            let mut decoder = FrameDecoder::default();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let pieces: Vec<Decoded> = cuts.windows(2).flat_map(|pair| decoder.feed(&text.as_bytes()[pair[0]..pair[1]])).collect();
            prop_assert_eq!(pieces, whole);
        }

        #[test]
        fn rubbish_is_read_without_a_panic(bytes: Vec<u8>) {
            FrameDecoder::default().feed(&bytes);
        }
    }
}
