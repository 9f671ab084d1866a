//! What operations take beside their bodies. The parameters are read by hand, so they are described by hand.

use utoipa::{
    IntoParams, PartialSchema,
    openapi::{
        ArrayBuilder, ObjectBuilder, RefOr, Required, Schema, SchemaFormat,
        path::{Parameter, ParameterBuilder, ParameterIn, ParameterStyle},
        schema::KnownFormat,
    },
};

use super::{recipients::UserIdText, text_schema};
use crate::adapters::http::admin::{SHOWN, SHOWN_MAX};

/// Names what operations take.
macro_rules! inputs {
    ($($(#[$docs:meta])* $name:ident = [$($parameter:expr),+ $(,)?];)+) => {$(
        $(#[$docs])*
        pub(in crate::adapters::http) enum $name {}

        impl IntoParams for $name {
            fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
                vec![$($parameter),+]
            }
        }
    )+};
}

inputs! {
    /// A subscription to a user's events.
    Subscribing = [cursor_of_events(), cursor_in_query(), categories(), format(), errors(), keepalive()];
    /// A subscription to a message.
    SubscribingToMessage = [
        message_id(),
        last_event_id("The number of the last event that the client has. Without one, or with what is no number, the stream begins at the message's start."),
        cursor_in_query(),
        errors(),
        keepalive(),
    ];
    /// A publish.
    Publishing = [idempotency_key(), results()];
    /// A message by its id.
    OneMessage = [message_id()];
    /// What a producer says of itself.
    Producing = [message_id(), producer_epoch()];
    /// An append.
    Appending = [message_id(), producer_epoch(), idempotency_key(), results()];
    /// A test event.
    PublishingTo = [user_id(), idempotency_key()];
    /// An operator's look at what comes.
    LookingOn = [user_id(), cursor_of_events(), cursor_in_query(), categories(), format(), errors(), keepalive()];
    /// A user by their id.
    OneUser = [user_id()];
    /// A part of a user's backlog.
    OneBacklog = [
        user_id(),
        query("after", event_id(), "The id behind which the part begins; without it the part begins at the oldest event."),
        query("limit", limit(), "Most events of the answer."),
    ];
}

/// The id that every request may bring along.
pub(super) fn request_id() -> Parameter {
    let description = "An id for the request, which its answer and the log's line about it carry: 1 to 128 visible ASCII characters. Another is replaced.";
    header("X-Request-Id", String::schema(), description)
}

fn parameter(place: ParameterIn, name: &str, schema: RefOr<Schema>, description: &str) -> ParameterBuilder {
    let required = if matches!(place, ParameterIn::Path) { Required::True } else { Required::False };
    ParameterBuilder::new().name(name).parameter_in(place).required(required).schema(Some(schema)).description(Some(description))
}

fn header(name: &str, schema: RefOr<Schema>, description: &str) -> Parameter {
    parameter(ParameterIn::Header, name, schema, description).build()
}

fn query(name: &str, schema: RefOr<Schema>, description: &str) -> Parameter {
    parameter(ParameterIn::Query, name, schema, description).build()
}

fn path(name: &str, schema: RefOr<Schema>, description: &str) -> Parameter {
    parameter(ParameterIn::Path, name, schema, description).build()
}

fn choice(name: &str, choices: &'static [&'static str], description: &str) -> Parameter {
    query(name, text_schema(|text| text.enum_values(Some(choices.iter().copied()))), description)
}

fn errors() -> Parameter {
    let description = "How a refusal comes. `status` (the default): as an HTTP status. `stream`: as a 200 stream of `retry:` and one event `stream.refused`, since a browser's `EventSource` gives up for good on any other status.";
    choice("errors", &["status", "stream"], description)
}

fn results() -> Parameter {
    let description = "Which results an upload is answered with. `all` (the default): one for each line; the client has to read them while it sends, or the upload ends with `results_not_read`. `failures`: those of lines that failed, and a last line that sums up.";
    choice("results", &["all", "failures"], description)
}

fn keepalive() -> Parameter {
    let description = "How silence is filled. `comment` (the default): `: keepalive`, which clients don't show. `event`: an event of type `stream.keepalive`, so that a page can notice that its connection is dead.";
    choice("keepalive", &["comment", "event"], description)
}

fn last_event_id(description: &str) -> Parameter {
    header("Last-Event-ID", String::schema(), description)
}

fn cursor_of_events() -> Parameter {
    last_event_id(
        "The cursor: the id of the last event that the client has. `0` asks for all that is retained; without one the stream begins with what comes next.",
    )
}

fn format() -> Parameter {
    let description = "How events are written. `envelope` (the default, but for `/api/v1/events`): no `event:` line, `data:` is the whole envelope. `named`: `event:` is the type, `data:` the payload.";
    choice("format", &["envelope", "named"], description)
}

fn cursor_in_query() -> Parameter {
    query(
        "last_event_id",
        String::schema(),
        "The same, where the header is missing or empty. Every spelling of the name is understood, as `lastEventId` and `Last-Event-ID`. Of several cursors, in one header or parameter with commas or in several, the greatest counts; one that can't be read counts only where it is alone.",
    )
}

fn categories() -> Parameter {
    let description = "Only events of these categories, named with commas or by repeating the parameter.";
    let schema = ArrayBuilder::new().items(RefOr::T(Schema::from(ObjectBuilder::new().schema_type(utoipa::openapi::Type::String))));
    parameter(ParameterIn::Query, "categories", schema.into(), description).style(Some(ParameterStyle::Form)).explode(Some(false)).build()
}

fn idempotency_key() -> Parameter {
    let schema = text_schema(|text| text.min_length(Some(1)).max_length(Some(256)).pattern(Some("^[!-~]+$")));
    header(
        "Idempotency-Key",
        schema,
        "Makes a repeat recognisable: the same key on the same topic appends once, for `events.idempotency_window_seconds`. In an upload each line has a key of its own, made of this and its number.",
    )
}

fn producer_epoch() -> Parameter {
    header(
        "Producer-Epoch",
        u64::schema(),
        "The `epoch` that opening the message answered. A producer that was taken over from is refused; without the header none is.",
    )
}

fn message_id() -> Parameter {
    path("id", text_schema(|text| text.format(Some(SchemaFormat::KnownFormat(KnownFormat::Uuid)))), "The message: a UUID with its dashes.")
}

fn user_id() -> Parameter {
    path("id", UserIdText::schema(), "The user, percent-encoded.")
}

pub(super) fn user_in_query() -> Parameter {
    let description = "The user. In the query every id can be named; in the path clients and proxies change some, as `.` and `..`.";
    parameter(ParameterIn::Query, "user_id", UserIdText::schema(), description).required(Required::True).build()
}

fn event_id() -> RefOr<Schema> {
    text_schema(|text| text.pattern(Some(r"^\d{1,19}(-\d{1,19})?$")))
}

fn limit() -> RefOr<Schema> {
    let limit = ObjectBuilder::new().schema_type(utoipa::openapi::Type::Integer).minimum(Some(1)).maximum(Some(SHOWN_MAX));
    limit.default(Some(SHOWN.into())).into()
}
