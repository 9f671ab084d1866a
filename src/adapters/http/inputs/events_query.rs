//! What a subscribe request says in its query and headers.

use std::{borrow::Cow, collections::BTreeSet};

use axum::http::{HeaderMap, Uri};
use utoipa::{
    IntoParams, PartialSchema,
    openapi::{
        ArrayBuilder,
        path::{Parameter, ParameterIn, ParameterStyle},
    },
};

use super::{
    choice::Choice,
    parameter::{header, parameter, query},
};
use crate::{
    adapters::http::{problem::Problem, problem_code::Code},
    app::subscriptions::SubscribeRequest,
    domain::{
        category::{Category, Registry},
        cursor::{Cursor, MessageStart},
        frame::{Format, KeepaliveStyle, StreamStyle},
        topic::Channel,
    },
};

/// The query's parameters, as they came.
#[derive(Debug, Default)]
pub(in crate::adapters::http) struct EventsQuery<'a> {
    pub(in crate::adapters::http) access_token: Option<Cow<'a, str>>,
    cursors: Vec<Cow<'a, str>>,
    starting_after: Vec<Cow<'a, str>>,
    start_index: Option<Cow<'a, str>>,
    categories: Vec<Cow<'a, str>>,
    format: Option<Cow<'a, str>>,
    errors: Option<Cow<'a, str>>,
    keepalive: Option<Cow<'a, str>>,
}

/// How a refusal reaches the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::adapters::http) enum ErrorsAs {
    /// As an HTTP status.
    #[default]
    Status,
    /// As an event in a stream that then closes.
    Stream,
}

const ERRORS: Choice<ErrorsAs> = Choice {
    name: "errors",
    words: &[("status", ErrorsAs::Status), ("stream", ErrorsAs::Stream)],
    refusal: Code::InvalidErrors,
    about: "How a refusal comes. `status` (the default): as an HTTP status. `stream`: as a 200 stream of `retry:` and one event `stream.refused`, since a browser's `EventSource` gives up for good on any other status.",
};
/// A query parameter of a client's that is the cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CursorParameter {
    /// It names the last event that the client has.
    LastSeen(String),
    /// It names the first event of a message that is wanted.
    FirstWanted(String),
}

/// The formats that a path offers.
#[derive(Clone, Copy)]
pub(in crate::adapters::http) enum Formats {
    /// One, whatever the query says.
    Fixed(Format),
    /// Those of a user's events, and what the path writes where the query names none.
    OfEvents(Format),
    /// Those of a message's.
    OfMessage,
}

impl Formats {
    /// What the path writes where the query names no format.
    pub(in crate::adapters::http) const fn default(self) -> Format {
        match self {
            Self::OfEvents(default) | Self::Fixed(default) => default,
            Self::OfMessage => Format::Whole,
        }
    }

    fn read(self, word: Option<&str>) -> Result<Format, Problem> {
        match self {
            Self::Fixed(format) => Ok(format),
            Self::OfEvents(default) => EVENTS_FORMAT.read(word, default),
            Self::OfMessage => MESSAGE_FORMAT.read(word, self.default()),
        }
    }
}

/// How a user's events are written.
const EVENTS_FORMAT: Choice<Format> = Choice {
    name: "format",
    words: &[
        (Format::Whole.as_str(Channel::Users), Format::Whole),
        (Format::Named.as_str(Channel::Users), Format::Named),
        (Format::Data.as_str(Channel::Users), Format::Data),
    ],
    refusal: Code::InvalidFormat,
    about: "How events are written. `envelope` (the default, but for `/api/v1/events`): no `event:` line, `data:` is the whole envelope. `named`: `event:` is the type, `data:` the payload or the text. `data`: the payload or the text alone, and `event:` only where the publisher gave a name.",
};
/// How a message's events are written.
const MESSAGE_FORMAT: Choice<Format> = Choice {
    name: "format",
    words: &[
        (Format::Whole.as_str(Channel::Messages), Format::Whole),
        (Format::Named.as_str(Channel::Messages), Format::Named),
        (Format::Data.as_str(Channel::Messages), Format::Data),
    ],
    refusal: Code::InvalidFormat,
    about: "How events are written. `payload` (the default): no `event:` line, `data:` is the payload with the event's type in it. `named`: `event:` is the type, `data:` the payload or the text. `data`: the payload or the text alone, `event:` only where the producer gave a name, and `data: [DONE]` at the end.",
};
const KEEPALIVE: Choice<KeepaliveStyle> = Choice {
    name: "keepalive",
    words: &[("comment", KeepaliveStyle::Comment), ("event", KeepaliveStyle::Event)],
    refusal: Code::InvalidKeepalive,
    about: "How silence is filled. `comment` (the default): `: keepalive`, which clients don't show. `event`: an event of type `stream.keepalive`, so that a page can notice that its connection is dead.",
};

/// What a subscription to a user's events names.
pub(in crate::adapters::http) enum UserEventsQuery {}

impl IntoParams for UserEventsQuery {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let cursor = "The cursor: the id of the last event that the client has. `0` asks for all that is retained; without one the stream begins with what comes next.";
        vec![
            cursor_in_header(cursor),
            cursor_in_query(),
            categories(),
            EVENTS_FORMAT.parameter(),
            ERRORS.parameter(),
            KEEPALIVE.parameter(),
        ]
    }
}

/// What a subscription to a message names.
pub(in crate::adapters::http) enum MessageEventsQuery {}

impl IntoParams for MessageEventsQuery {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let cursor = "The number of the last event that the client has. Without one, or with what is no number, the stream begins at the message's start.";
        let same = "The same as `last_event_id`.";
        let first = "The number of the first event that is wanted, where no cursor is given; a negative number counts from the end. With what is no number, the stream begins at the message's start.";
        vec![
            cursor_in_header(cursor),
            cursor_in_query(),
            query("starting_after", i64::schema(), same),
            query("start_index", i64::schema(), first),
            MESSAGE_FORMAT.parameter(),
            ERRORS.parameter(),
            KEEPALIVE.parameter(),
        ]
    }
}

fn cursor_in_header(about: &str) -> Parameter {
    header("Last-Event-ID", String::schema(), about)
}

fn cursor_in_query() -> Parameter {
    let about = "The same, where the header is missing or empty. Every spelling of the name is understood, as `lastEventId` and `Last-Event-ID`. Of several cursors, in one header or parameter with commas or in several, the greatest counts; one that can't be read counts only where it is alone.";
    query("last_event_id", String::schema(), about)
}

fn categories() -> Parameter {
    let about = "Only events of these categories, named with commas or by repeating the parameter.";
    let names = ArrayBuilder::new().items(String::schema());
    let parameter = parameter(ParameterIn::Query, "categories", names, about);
    parameter.style(Some(ParameterStyle::Form)).explode(Some(false)).build()
}

impl<'a> EventsQuery<'a> {
    /// Reads the query. Unknown parameters are ignored; of repeated ones the last
    /// counts, but for the cursor and the categories, which are all kept.
    pub(in crate::adapters::http) fn of(uri: &'a Uri) -> Self {
        let mut query = Self::default();
        for (key, value) in form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
            match &*key {
                "access_token" => query.access_token = Some(value),
                "categories" => query.categories.push(value),
                "starting_after" => query.starting_after.push(value),
                "start_index" => query.start_index = Some(value),
                name if name == EVENTS_FORMAT.name => query.format = Some(value),
                name if name == ERRORS.name => query.errors = Some(value),
                name if name == KEEPALIVE.name => query.keepalive = Some(value),
                name if names_cursor(name) => query.cursors.push(value),
                _ => {}
            }
        }
        query
    }

    /// Takes a parameter for the cursor that has another name. Of several of it the last counts.
    pub(in crate::adapters::http) fn with_cursor(
        mut self,
        uri: &'a Uri,
        parameter: &CursorParameter,
    ) -> Self {
        let (CursorParameter::LastSeen(name) | CursorParameter::FirstWanted(name)) = parameter;
        let pairs = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
        let Some((_, value)) = pairs.filter(|(key, _)| key == name).last() else { return self };
        match parameter {
            CursorParameter::LastSeen(_) => self.cursors.push(value),
            CursorParameter::FirstWanted(_) => self.start_index = Some(value),
        }
        self
    }

    /// How the client wants to hear of a refusal.
    pub(in crate::adapters::http) fn errors_as(&self) -> Result<ErrorsAs, Problem> {
        ERRORS.read(self.errors.as_deref(), ErrorsAs::default())
    }

    /// How the client wants events written, where it may choose.
    pub(in crate::adapters::http) fn format(&self, formats: Formats) -> Result<Format, Problem> {
        formats.read(self.format.as_deref())
    }

    /// How the client wants its stream written.
    pub(in crate::adapters::http) fn style(
        &self,
        formats: Formats,
    ) -> Result<StreamStyle, Problem> {
        let keepalive = KEEPALIVE.read(self.keepalive.as_deref(), KeepaliveStyle::default())?;
        Ok(StreamStyle { format: self.format(formats)?, keepalive, endings: None })
    }

    /// The whole request for a user's events.
    pub(in crate::adapters::http) fn request(
        &self,
        headers: &HeaderMap,
        style: StreamStyle,
        registry: &Registry,
    ) -> Result<SubscribeRequest, Problem> {
        Ok(SubscribeRequest {
            cursor: self.cursor(headers),
            categories: self.categories(registry)?,
            style,
        })
    }

    fn cursor(&self, headers: &HeaderMap) -> Cursor {
        Cursor::of_user_events(self.cursors(headers).iter().map(|text| &**text))
    }

    /// Where the reader of a message begins. A cursor goes before the number of the first event
    /// that is wanted: a client that reconnects by itself sends the query that it began with.
    pub(in crate::adapters::http) fn message_start(&self, headers: &HeaderMap) -> MessageStart {
        let mut cursors = self.cursors(headers);
        if cursors.is_empty() {
            cursors = self.starting_after.iter().map(|text| Cow::Borrowed(&**text)).collect();
        }
        match &self.start_index {
            Some(first) if cursors.is_empty() => {
                first.parse().map_or(MessageStart::Behind(Cursor::Oldest), MessageStart::At)
            }
            _ => MessageStart::Behind(Cursor::of_message(cursors.iter().map(|text| &**text))),
        }
    }

    /// What the client presents as its cursor. The header goes before the query: a browser sends it
    /// when it reconnects with the query it began with.
    fn cursors<'b>(&'b self, headers: &'b HeaderMap) -> Vec<Cow<'b, str>> {
        let in_headers = headers
            .get_all("last-event-id")
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()));
        let in_headers: Vec<_> =
            in_headers.filter(|text| Cursor::listed(text).next().is_some()).collect();
        if in_headers.is_empty() {
            self.cursors.iter().map(|text| Cow::Borrowed(&**text)).collect()
        } else {
            in_headers
        }
    }

    fn categories(&self, registry: &Registry) -> Result<BTreeSet<Category>, Problem> {
        let names = self
            .categories
            .iter()
            .flat_map(|list| list.split(','))
            .map(str::trim)
            .filter(|name| !name.is_empty());
        names
            .map(|name| registry.find(name).cloned().ok_or_else(|| unknown_category(registry)))
            .collect()
    }
}

/// Whether a parameter of that name is the cursor: clients have many spellings of `last_event_id`.
fn names_cursor(name: &str) -> bool {
    name.chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .eq("lasteventid".chars())
}

fn unknown_category(registry: &Registry) -> Problem {
    let valid: Vec<&str> = registry.names().map(Category::as_str).collect();
    Problem::new(
        Code::InvalidCategory,
        format!("`categories` has an unknown name; the valid ones are: {}", valid.join(", ")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::position::EventId;
    use proptest::prelude::*;

    fn registry() -> Registry {
        let patterns = ["x.*".to_owned()];
        let more = ["y.*".to_owned()];
        Registry::build([("ai", &patterns[..]), ("import", &more[..])]).unwrap()
    }

    fn request(query: &str, last_event_ids: &[&str]) -> Result<SubscribeRequest, Problem> {
        let uri: Uri = format!("/api/events?{query}").parse().unwrap();
        let mut headers = HeaderMap::new();
        for text in last_event_ids {
            headers.append("last-event-id", text.parse().unwrap());
        }
        let query = EventsQuery::of(&uri);
        let style = query.style(Formats::OfEvents(Format::Whole))?;
        query.request(&headers, style, &registry())
    }

    #[test]
    fn the_cursor_comes_from_the_header_or_else_from_the_query() {
        let cursor = |query, headers: &[&str]| request(query, headers).unwrap().cursor;
        assert_eq!(cursor("", &[]), Cursor::Absent);
        assert_eq!(cursor("last_event_id=7-1", &[]), Cursor::After(EventId::timed(7, 1)));
        assert_eq!(cursor("Last-Event-ID=0", &[]), Cursor::Oldest);
        assert_eq!(cursor("last_event_id=7-1", &["5-1"]), Cursor::After(EventId::timed(5, 1)));
        for empty in [&[" "][..], &["", " , "]] {
            assert_eq!(cursor("last_event_id=7-1", empty), Cursor::After(EventId::timed(7, 1)));
            assert_eq!(cursor("", empty), Cursor::Absent);
        }
        assert_eq!(cursor("last_event_id=%00%ff", &[]), Cursor::Unreadable);
    }

    #[test]
    fn promise_1_the_cursor_is_read_in_every_spelling_and_of_several_the_greatest_counts() {
        let after = Cursor::After(EventId::timed(7, 1));
        for name in [
            "last_event_id",
            "lastEventId",
            "lastEventID",
            "Last-Event-ID",
            "LASTEVENTID",
            "last-event-id",
            "LAST_EVENT_ID",
            "last%20event%20id",
        ] {
            assert_eq!(request(&format!("{name}=7-1"), &[]).unwrap().cursor, after, "{name}");
        }
        for name in ["event_id", "last_event", "last_event_ids", "last_event_id2"] {
            assert_eq!(
                request(&format!("{name}=7-1"), &[]).unwrap().cursor,
                Cursor::Absent,
                "{name}"
            );
        }
        assert_eq!(
            request("lastEventId=7-1&last_event_id=5-1&Last-Event-ID=null", &[]).unwrap().cursor,
            after
        );
        assert_eq!(request("lastEventId=9-1", &["5-1, 7-1", "null"]).unwrap().cursor, after);
        assert_eq!(request("lastEventId=9-1", &["5-1", "7-1", "6-1"]).unwrap().cursor, after);
        assert_eq!(request("", &["null, undefined"]).unwrap().cursor, Cursor::Unreadable);
    }

    #[test]
    fn a_message_begins_behind_a_cursor_or_with_a_number() {
        let after = |number| MessageStart::Behind(Cursor::After(EventId::sequence(number)));
        let start = |query: &str, header: Option<&str>| {
            let uri: Uri = format!("/?{query}").parse().unwrap();
            let mut headers = HeaderMap::new();
            if let Some(text) = header {
                headers.append("last-event-id", text.parse().unwrap());
            }
            EventsQuery::of(&uri).message_start(&headers)
        };
        let oldest = MessageStart::Behind(Cursor::Oldest);
        for (query, expected) in [
            ("", oldest),
            ("last_event_id=3", after(3)),
            ("starting_after=3", after(3)),
            ("starting_after=-1", oldest),
            ("starting_after=three", oldest),
            ("last_event_id=4&starting_after=3", after(4)),
            ("start_index=3", MessageStart::At(3)),
            ("start_index=-2", MessageStart::At(-2)),
            ("start_index=x", oldest),
            ("start_index=99999999999999999999", oldest),
            ("start_index=5&starting_after=3", after(3)),
        ] {
            assert_eq!(start(query, None), expected, "{query}");
            assert_eq!(start(query, Some("9")), after(9), "{query}");
        }
    }

    #[test]
    fn categories_are_repeated_or_separated_by_commas() {
        let names = |query| {
            request(query, &[]).map(|request| {
                request.categories.iter().map(Category::to_string).collect::<Vec<_>>()
            })
        };
        assert_eq!(names("categories=ai,import").unwrap(), ["ai", "import"]);
        assert_eq!(names("categories=import&categories=ai&categories=").unwrap(), ["ai", "import"]);
        assert!(names("").unwrap().is_empty());
        let problem = names("categories=ai,nonsense").unwrap_err();
        assert_eq!((problem.code, problem.status().as_u16()), (Code::InvalidCategory, 400));
        assert!(problem.message.ends_with("ai, import"), "{}", problem.message);
    }

    #[test]
    fn what_is_not_a_choice_is_refused() {
        assert_eq!(request("format=xml", &[]).unwrap_err().code, Code::InvalidFormat);
        let uri: Uri = "/?errors=maybe".parse().unwrap();
        assert_eq!(EventsQuery::of(&uri).errors_as().unwrap_err().code, Code::InvalidErrors);
        assert_eq!(request("keepalive=often", &[]).unwrap_err().code, Code::InvalidKeepalive);
    }

    proptest! {
        #[test]
        fn any_query_is_read_without_a_panic(query in "([a-zA-Z_=&,%+0-9-]|%[0-9a-f]{2}|categories=|last_event_id=|start_index=|starting_after=){0,30}") {
            if let Ok(uri) = format!("/?{query}").parse::<Uri>() {
                let query = EventsQuery::of(&uri);
                let _ = query.style(Formats::OfMessage);
                let _ = query.request(&HeaderMap::new(), StreamStyle::default(), &registry());
                query.message_start(&HeaderMap::new());
            }
        }
    }
}
