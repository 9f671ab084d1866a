//! The streams of AI providers: how each is recognised, what in it is text, and how it ends.
//!
//! Sources: the API references of OpenAI ("The chat completion chunk object", "Streaming events" of
//! Responses) and Anthropic ("Streaming messages"), and the AI SDK's "UI message stream protocol".
//!
//! Invariant: what is made up here, where an answer breaks off or is stopped, is an event of the
//! same protocol, so that the protocol's own clients understand it.

use serde::Deserialize;
use serde_json::{Value, json};

/// How a message ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Complete,
    Failed,
}

/// What stands in the JSON of an event that matters here.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Head {
    pub(super) r#type: Option<String>,
    #[serde(default)]
    choices: Option<Vec<Choice>>,
    #[serde(default)]
    delta: Option<Value>,
    #[serde(default)]
    pub(super) error: Option<Value>,
    #[serde(default)]
    message: Option<Value>,
    #[serde(default)]
    response: Option<Value>,
    #[serde(default)]
    sequence_number: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct Choice {
    #[serde(default)]
    delta: ChoiceDelta,
    finish_reason: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct ChoiceDelta {
    content: Option<String>,
}

/// A provider's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// OpenAI chat completions: events without a type.
    ChatCompletions,
    /// OpenAI Responses.
    Responses,
    /// Anthropic Messages.
    Anthropic,
    /// UI messages of the AI SDK.
    UiMessages,
    /// Another one, whose events have a `type`.
    Other,
}

/// The type that events of chat completions get, which have none: what their `object` says.
const CHAT_CHUNK: &str = "chat.completion.chunk";

impl Protocol {
    /// The protocol that an event is of, where it is the first one that says so.
    pub(super) fn of(head: &Head) -> Self {
        const ANTHROPIC: [&str; 7] = [
            "message_start",
            "content_block_start",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop",
            "ping",
        ];
        const UI_MESSAGES: [&str; 8] = [
            "start",
            "start-step",
            "text-start",
            "text-delta",
            "reasoning-start",
            "tool-input-start",
            "message-metadata",
            "abort",
        ];
        match head.r#type.as_deref() {
            None => Self::ChatCompletions,
            Some(event_type) if event_type.starts_with("response.") => Self::Responses,
            Some("error") if head.error.is_some() => Self::Anthropic,
            Some(event_type) if ANTHROPIC.contains(&event_type) => Self::Anthropic,
            Some(event_type)
                if UI_MESSAGES.contains(&event_type) || event_type.starts_with("data-") =>
            {
                Self::UiMessages
            }
            Some(_) => Self::Other,
        }
    }

    /// The event's type.
    pub(super) fn type_of(self, head: &Head) -> &str {
        match (&head.r#type, self) {
            (Some(event_type), _) => event_type,
            (None, _) if head.error.is_some() => "error",
            (None, _) => CHAT_CHUNK,
        }
    }

    /// What the model wrote with this event.
    pub(super) fn text(self, head: &Head) -> Option<String> {
        let event_type = head.r#type.as_deref().unwrap_or_default();
        let delta = head.delta.as_ref();
        let text = match self {
            Self::ChatCompletions => head.choices.as_ref()?.first()?.delta.content.as_deref(),
            Self::Responses if event_type == "response.output_text.delta" => delta?.as_str(),
            Self::Anthropic if event_type == "content_block_delta" => delta?.get("text")?.as_str(),
            Self::UiMessages if event_type == "text-delta" => delta?.as_str(),
            _ => None,
        };
        text.filter(|text| !text.is_empty()).map(str::to_owned)
    }

    /// How the answer ends with this event, if it is the last: another one may follow it all the
    /// same, as what a completion cost follows the chunk that finishes it.
    pub(super) fn may_end_with(self, head: &Head) -> Option<Outcome> {
        let (complete, failed): (&[&str], &[&str]) = match self {
            Self::ChatCompletions if head.error.is_some() => return Some(Outcome::Failed),
            Self::ChatCompletions => {
                return head.finish_reason().is_some().then_some(Outcome::Complete);
            }
            Self::Responses => {
                (&["response.completed", "response.incomplete"], &["response.failed", "error"])
            }
            Self::Anthropic => (&["message_stop"], &["error"]),
            Self::UiMessages => (&["finish", "abort"], &["error"]),
            Self::Other => (&["end"], &["error"]),
        };
        let event_type = head.r#type.as_deref().unwrap_or_default();
        if complete.contains(&event_type) {
            Some(Outcome::Complete)
        } else {
            failed.contains(&event_type).then_some(Outcome::Failed)
        }
    }

    /// The event that says that the answer is not whole, and why.
    pub(super) fn broken(self, why: &str, seen: &Seen) -> Value {
        const CODE: &str = "producer_broke_off";
        match self {
            Self::ChatCompletions => {
                json!({ "error": { "message": why, "type": "server_error", "code": CODE } })
            }
            Self::Responses => json!({
                "type": "error", "code": CODE, "message": why, "param": null,
                "sequence_number": seen.next_number(),
            }),
            Self::Anthropic => {
                json!({ "type": "error", "error": { "type": "api_error", "message": why } })
            }
            Self::UiMessages => json!({ "type": "error", "errorText": why }),
            Self::Other => json!({ "type": "error", "code": CODE, "error": why }),
        }
    }

    /// The event that ends an answer of which the reader wanted no more; none where the protocol
    /// has none for that.
    pub(super) fn stopped(self, seen: &Seen) -> Option<Value> {
        match self {
            Self::ChatCompletions | Self::Other => None,
            Self::Responses => {
                let mut response = seen.response.clone().unwrap_or_else(|| json!({}));
                response["status"] = json!("incomplete");
                response["incomplete_details"] = json!({ "reason": "stopped" });
                Some(json!({
                    "type": "response.incomplete", "response": response,
                    "sequence_number": seen.next_number(),
                }))
            }
            Self::Anthropic => Some(json!({ "type": "message_stop" })),
            Self::UiMessages => Some(json!({ "type": "abort" })),
        }
    }
}

impl Head {
    /// Why the model stopped, in a chat completion.
    pub(super) fn finish_reason(&self) -> Option<&str> {
        self.choices.iter().flatten().find_map(|choice| choice.finish_reason.as_deref())
    }

    /// What an error says, in words.
    pub(super) fn error_text(&self) -> String {
        let error = self.error.as_ref().or(self.message.as_ref());
        error.map_or_else(|| "the provider failed".to_owned(), words_of)
    }
}

/// An error is usually an object with a message.
fn words_of(error: &Value) -> String {
    error.get("message").unwrap_or(error).as_str().map_or_else(|| error.to_string(), str::to_owned)
}

/// What the events until now said that one of ours has to go on with.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Of a Responses stream: the number of the last event.
    number: Option<u64>,
    /// Of a Responses stream: the response as it was last.
    response: Option<Value>,
}

impl Seen {
    pub(super) fn note(&mut self, head: &mut Head) {
        self.number = head.sequence_number.or(self.number);
        if let Some(response) = head.response.take().filter(Value::is_object) {
            self.response = Some(response);
        }
    }

    fn next_number(&self) -> u64 {
        self.number.map_or(0, |number| number + 1)
    }
}
