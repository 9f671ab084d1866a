//! How messages' ids stand in the tables.
//!
//! Invariant: an id that is a UUID stands as it is; any other as the UUID version 5 of its text,
//! with the text beside it. Who knows that UUID does not reach the message by it: every statement
//! looks at the text too.

use uuid::{Uuid, uuid};

use crate::domain::topic::MessageId;

/// The namespace of texts. It is never changed: it is how messages are found.
const NAMESPACE: Uuid = uuid!("b3b8a9f4-2f7e-4b51-9d0e-6c2f6c6a5a10");

/// A message's columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MessageKey {
    pub(super) uuid: Uuid,
    /// The id, where it is no UUID.
    pub(super) text: Option<String>,
}

impl MessageKey {
    pub(super) fn of(id: &MessageId) -> Self {
        id.uuid().map_or_else(
            || Self {
                uuid: Uuid::new_v5(&NAMESPACE, id.as_str().as_bytes()),
                text: Some(id.as_str().to_owned()),
            },
            |uuid| Self { uuid, text: None },
        )
    }

    /// The id that these columns are of, if they are of any: nothing else writes texts.
    pub(super) fn id(uuid: Uuid, text: Option<&str>) -> Option<MessageId> {
        match text {
            Some(text) => MessageId::parse(text).ok(),
            None => Some(MessageId::from(uuid)),
        }
    }

    /// The columns of several.
    pub(super) fn columns<'a>(
        ids: impl IntoIterator<Item = &'a MessageId>,
    ) -> (Vec<Uuid>, Vec<Option<String>>) {
        ids.into_iter().map(Self::of).map(|Self { uuid, text }| (uuid, text)).unzip()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promise_8_an_id_that_is_anothers_stored_form_is_another_message() {
        let text = MessageId::parse("chat-1").unwrap();
        let stored = MessageKey::of(&text);
        assert_eq!(
            stored.uuid,
            uuid!("73846a4d-2605-52fd-bc7d-2cf10592ea29"),
            "messages that are there are found by it"
        );
        let uuid = MessageId::from(stored.uuid);
        assert_eq!(MessageKey::of(&uuid), MessageKey { uuid: stored.uuid, text: None });
        assert_eq!(MessageKey::id(stored.uuid, stored.text.as_deref()), Some(text));
        assert_eq!(MessageKey::id(stored.uuid, None), Some(uuid));
    }
}
