//! What a language model says, piece by piece: the chunks of the OpenAI chat-completion stream, or
//! plain text.
//!
//! Source of the chunks: OpenAI API reference, "The chat completion chunk object".
//!
//! Invariant: the texts, joined, are what the model wrote. A character whose bytes come in two
//! pieces is kept whole.

use clap::ValueEnum;
use serde::Deserialize;

use crate::domain::frame_decoder::{Decoded, FrameDecoder};

/// How standard input is to be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// As its first characters say.
    #[default]
    Auto,
    /// Server-Sent Events with chat-completion chunks.
    Openai,
    /// Plain text, as it comes.
    Text,
}

/// A piece of what the model says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Some text.
    Text(String),
    /// The answer is whole; why the model stopped, if it said so.
    End(Option<String>),
    /// The answer is not whole, and this is why.
    Broken(String),
}

/// Reads what a model says.
#[derive(Debug)]
pub(super) struct ModelOutput {
    format: Format,
    /// What has come while the format is not yet known, or the beginning of a character.
    held: Vec<u8>,
    decoder: FrameDecoder,
    finish_reason: Option<String>,
    is_over: bool,
}

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Vec<Choice>,
    error: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    delta: Delta,
    finish_reason: Option<String>,
}

#[derive(Default, Deserialize)]
struct Delta {
    content: Option<String>,
}

impl ModelOutput {
    pub(super) fn new(format: Format) -> Self {
        Self {
            format,
            held: Vec::new(),
            decoder: FrameDecoder::default(),
            finish_reason: None,
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
            Format::Openai => {
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
        if self.format == Format::Openai {
            // The last event may lack its blank line.
            let decoded = self.decoder.feed(b"\n\n");
            self.take_events(decoded, &mut pieces);
            if !self.is_over {
                pieces.push(match self.finish_reason.take() {
                    Some(reason) => Piece::End(Some(reason)),
                    None => Piece::Broken("the model's output broke off before its end".to_owned()),
                });
            }
            return pieces;
        }
        let rest = std::mem::take(&mut self.held);
        if !rest.is_empty() {
            pieces.push(Piece::Text(String::from_utf8_lossy(&rest).into_owned()));
        }
        pieces.push(Piece::End(None));
        pieces
    }

    fn take_events(&mut self, decoded: Vec<Decoded>, pieces: &mut Vec<Piece>) {
        for decoded in decoded {
            let Decoded::Event { data, .. } = decoded else { continue };
            if self.is_over {
                return;
            }
            if data.trim() == "[DONE]" {
                self.is_over = true;
                pieces.push(Piece::End(self.finish_reason.take()));
                return;
            }
            match serde_json::from_str::<Chunk>(&data) {
                Ok(Chunk { error: Some(error), .. }) => self.break_off(&words_of(&error), pieces),
                Ok(Chunk { choices, .. }) => self.take_choice(choices, pieces),
                Err(error) => self.break_off(
                    &format!("a chunk of the model's output is not valid JSON: {error}"),
                    pieces,
                ),
            }
        }
    }

    fn take_choice(&mut self, choices: Vec<Choice>, pieces: &mut Vec<Piece>) {
        let Some(choice) = choices.into_iter().next() else { return };
        if let Some(text) = choice.delta.content.filter(|text| !text.is_empty()) {
            pieces.push(Piece::Text(text));
        }
        self.finish_reason = choice.finish_reason.or(self.finish_reason.take());
    }

    fn break_off(&mut self, why: &str, pieces: &mut Vec<Piece>) {
        self.is_over = true;
        pieces.push(Piece::Broken(why.to_owned()));
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

/// What the first characters say, once there are enough of them.
fn guess(beginning: &[u8]) -> Option<Format> {
    const STARTS: [&[u8]; 4] = [b"data:", b"event:", b"id:", b":"];
    let text = beginning.trim_ascii_start();
    if STARTS.iter().any(|start| text.starts_with(start)) {
        return Some(Format::Openai);
    }
    let may_become = STARTS.iter().any(|start| start.starts_with(text));
    (!may_become).then_some(Format::Text)
}

/// An error is usually an object with a message.
fn words_of(error: &serde_json::Value) -> String {
    error.get("message").unwrap_or(error).as_str().map_or_else(|| error.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STREAM: &str = concat!(
        "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\"}}]}\n\n",
        "data: {\"choices\":[{\"delta\":{\"content\":\"Grüße\"},\"finish_reason\":null}]}\n\n",
        ": ping\n\n",
        "data: {\"choices\":[{\"delta\":{\"content\":\"\"}}]}\n\n",
        "data: {\"choices\":[{\"delta\":{\"content\":\", 🌍!\\n\"}}]}\n\n",
        "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
        "data: {\"choices\":[],\"usage\":{\"total_tokens\":7}}\n\n",
        "data: [DONE]\n\n",
    );

    fn read(format: Format, pieces: &[&[u8]]) -> Vec<Piece> {
        let mut output = ModelOutput::new(format);
        let mut all: Vec<Piece> = pieces.iter().flat_map(|piece| output.feed(piece)).collect();
        if !all.iter().any(|piece| !matches!(piece, Piece::Text(_))) {
            all.extend(output.finish());
        }
        all
    }

    fn text(pieces: &[Piece]) -> String {
        pieces
            .iter()
            .filter_map(
                |piece| if let Piece::Text(text) = piece { Some(text.as_str()) } else { None },
            )
            .collect()
    }

    #[test]
    fn a_chat_completion_is_its_text_and_its_end() {
        let pieces = read(Format::Auto, &[STREAM.as_bytes()]);
        assert_eq!(
            pieces,
            [
                Piece::Text("Grüße".into()),
                Piece::Text(", 🌍!\n".into()),
                Piece::End(Some("stop".into()))
            ]
        );
    }

    #[test]
    fn a_stream_that_breaks_off_is_broken_unless_the_model_had_finished() {
        let cut = |marker: &str| &STREAM.as_bytes()[..STREAM.find(marker).unwrap()];
        assert!(matches!(
            read(Format::Auto, &[cut("data: {\"choices\":[{\"delta\":{},")]).last(),
            Some(Piece::Broken(_))
        ));
        assert_eq!(
            read(Format::Auto, &[cut("data: {\"choices\":[],")]).last(),
            Some(&Piece::End(Some("stop".into())))
        );
        assert_eq!(
            read(Format::Auto, &[STREAM.trim_end().as_bytes()]).last(),
            Some(&Piece::End(Some("stop".into())))
        );
    }

    #[test]
    fn an_error_in_the_stream_ends_it() {
        for (data, words) in
            [(r#"{"error":{"message":"overloaded"}}"#, "overloaded"), (r#"{"error":"no"}"#, "no")]
        {
            let stream = format!("data: {data}\n\ndata: [DONE]\n\n");
            assert_eq!(read(Format::Auto, &[stream.as_bytes()]), [Piece::Broken(words.into())]);
        }
        assert!(matches!(&read(Format::Openai, &[b"data: {nonsense\n\n"])[..], [Piece::Broken(_)]));
    }

    #[test]
    fn the_format_is_guessed_by_the_first_characters() {
        for text in ["hello", "d", "dat", "\n\n  data", "data is plural", "{\"a\":1}"] {
            assert_eq!(
                read(Format::Auto, &[text.as_bytes()]),
                [Piece::Text(text.into()), Piece::End(None)],
                "{text:?}"
            );
        }
        assert_eq!(read(Format::Auto, &[b""]), [Piece::End(None)]);
        assert_eq!(text(&read(Format::Text, &[STREAM.as_bytes()])), STREAM);
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
        fn a_chat_completion_may_be_cut_anywhere(cut in 0..STREAM.len()) {
            let (first, second) = STREAM.as_bytes().split_at(cut);
            prop_assert_eq!(text(&read(Format::Auto, &[first, second])), "Grüße, 🌍!\n");
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(pieces in proptest::collection::vec(any::<Vec<u8>>(), 0..5)) {
            for format in [Format::Auto, Format::Openai, Format::Text] {
                let mut output = ModelOutput::new(format);
                for piece in &pieces {
                    output.feed(piece);
                }
                output.finish();
            }
        }
    }
}
