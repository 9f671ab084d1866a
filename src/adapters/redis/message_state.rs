//! A message's state, as the fields of a hash.

use std::collections::HashMap;

use crate::{
    domain::{
        message::{End, Message, Terminal},
        timestamp::Timestamp,
        topic::UserId,
    },
    ports::entropy::Entropy,
};

/// A message as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MessageState {
    /// Changes with every change.
    pub(super) version: String,
    /// Distinguishes it from a message that had the same id before it was deleted.
    pub(super) incarnation: String,
    pub(super) message: Message,
}

impl MessageState {
    /// A message that was not there before.
    pub(super) fn new(message: Message, entropy: &dyn Entropy) -> Self {
        Self { version: unique(entropy), incarnation: unique(entropy), message }
    }

    /// The state of a message whose fields were read.
    pub(super) fn read(fields: &HashMap<String, String>) -> Option<Self> {
        let number = |name: &str| fields.get(name)?.parse::<u64>().ok();
        let end = fields.get("end").and_then(|terminal| Terminal::named(terminal));
        Some(Self {
            version: fields.get("version")?.clone(),
            incarnation: fields.get("incarnation")?.clone(),
            message: Message {
                owner: UserId::parse(fields.get("owner")?).ok()?,
                epoch: number("epoch")?,
                next_sequence_no: number("next_sequence_no")?,
                stop_requested: number("stop_requested")? != 0,
                end: end
                    .zip(number("ended_at"))
                    .map(|(terminal, at)| End { terminal, at: Timestamp::from_ms(at) }),
                created_at: Timestamp::from_ms(number("created_at")?),
                producer_seen_at: Timestamp::from_ms(number("producer_seen_at")?),
            },
        })
    }

    /// Its fields but for the version.
    pub(super) fn fields(&self) -> [(&'static str, String); 9] {
        let Message {
            owner,
            epoch,
            next_sequence_no,
            stop_requested,
            end,
            created_at,
            producer_seen_at,
        } = &self.message;
        let terminal = end.map_or("", |end| end.terminal.as_str());
        [
            ("incarnation", self.incarnation.clone()),
            ("owner", owner.to_string()),
            ("epoch", epoch.to_string()),
            ("next_sequence_no", next_sequence_no.to_string()),
            ("stop_requested", u8::from(*stop_requested).to_string()),
            ("end", terminal.to_owned()),
            ("ended_at", end.map_or(0, |end| end.at.as_ms()).to_string()),
            ("created_at", created_at.as_ms().to_string()),
            ("producer_seen_at", producer_seen_at.as_ms().to_string()),
        ]
    }
}

/// A text that was never used before.
pub(super) fn unique(entropy: &dyn Entropy) -> String {
    entropy.uuid().simple().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::SeededEntropy;

    #[test]
    fn a_state_reads_as_it_was_written() {
        let owner = UserId::parse("u:1").unwrap();
        let mut state = MessageState::new(
            Message::open(None, &owner, false, Timestamp::from_ms(7)).unwrap().observed.message,
            &SeededEntropy::of(1),
        );
        let read = |state: &MessageState| {
            let fields = state.fields().into_iter().map(|(name, value)| (name.to_owned(), value));
            MessageState::read(
                &fields.chain([("version".to_owned(), state.version.clone())]).collect(),
            )
        };
        assert_eq!(read(&state), Some(state.clone()));
        state.message = Message::open(Some(state.message), &owner, true, Timestamp::from_ms(8))
            .unwrap()
            .observed
            .message;
        state.message.request_stop();
        for terminal in [Terminal::End, Terminal::Error] {
            state.message.end = Some(End { terminal, at: Timestamp::from_ms(9) });
            assert_eq!(read(&state), Some(state.clone()));
        }
        assert_eq!(MessageState::read(&HashMap::new()), None);
    }
}
