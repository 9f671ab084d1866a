//! What a subscribe request says in its query and headers.

use std::{borrow::Cow, collections::BTreeSet};

use axum::http::{HeaderMap, Uri};

use super::{problem::Problem, problem_code::Code};
use crate::{
    app::subscriptions::SubscribeRequest,
    domain::{
        category::{Category, Registry},
        cursor::Cursor,
        frame::{Format, KeepaliveStyle, StreamStyle},
    },
};

/// The query's parameters, as they came.
#[derive(Debug, Default)]
pub(super) struct EventsQuery<'a> {
    pub(super) access_token: Option<Cow<'a, str>>,
    last_event_id: Option<Cow<'a, str>>,
    categories: Vec<Cow<'a, str>>,
    format: Option<Cow<'a, str>>,
    errors: Option<Cow<'a, str>>,
    keepalive: Option<Cow<'a, str>>,
}

/// How a refusal reaches the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum ErrorsAs {
    /// As an HTTP status.
    #[default]
    Status,
    /// As an event in a stream that then closes.
    Stream,
}

impl<'a> EventsQuery<'a> {
    /// Reads the query. Parameters that nobody knows are left alone; of repeated ones the last counts.
    pub(super) fn of(uri: &'a Uri) -> Self {
        let mut query = Self::default();
        for (key, value) in form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
            match &*key {
                "access_token" => query.access_token = Some(value),
                "last_event_id" | "Last-Event-ID" => query.last_event_id = Some(value),
                "categories" => query.categories.push(value),
                "format" => query.format = Some(value),
                "errors" => query.errors = Some(value),
                "keepalive" => query.keepalive = Some(value),
                _ => {}
            }
        }
        query
    }

    /// How the client wants to hear of a refusal.
    pub(super) fn errors_as(&self) -> Result<ErrorsAs, Problem> {
        match self.errors.as_deref() {
            None | Some("status") => Ok(ErrorsAs::Status),
            Some("stream") => Ok(ErrorsAs::Stream),
            Some(_) => Err(Problem::new(Code::InvalidErrors, "`errors` is `status` or `stream`")),
        }
    }

    /// How the client wants events written.
    pub(super) fn format(&self, default: Format) -> Result<Format, Problem> {
        match self.format.as_deref() {
            None => Ok(default),
            Some(name) => Format::find(name).ok_or_else(|| Problem::new(Code::InvalidFormat, "`format` is `envelope` or `named`")),
        }
    }

    /// How the client wants its stream written.
    pub(super) fn style(&self, default: Format) -> Result<StreamStyle, Problem> {
        let keepalive = match self.keepalive.as_deref() {
            None => KeepaliveStyle::default(),
            Some(name) => {
                KeepaliveStyle::find(name).ok_or_else(|| Problem::new(Code::InvalidKeepalive, "`keepalive` is `comment` or `event`"))?
            }
        };
        Ok(StreamStyle { format: self.format(default)?, keepalive })
    }

    /// The whole request.
    pub(super) fn request(&self, headers: &HeaderMap, default: Format, registry: &Registry) -> Result<SubscribeRequest, Problem> {
        Ok(SubscribeRequest { cursor: self.cursor(headers), categories: self.categories(registry)?, style: self.style(default)? })
    }

    /// The header goes before the query: a browser sends it when it reconnects with the query it began with.
    fn cursor(&self, headers: &HeaderMap) -> Cursor {
        Cursor::of_user_events(self.last_event_id(headers).as_deref())
    }

    /// The cursor of a message's reader.
    pub(super) fn message_cursor(&self, headers: &HeaderMap) -> Cursor {
        Cursor::of_message(self.last_event_id(headers).as_deref())
    }

    fn last_event_id<'b>(&'b self, headers: &'b HeaderMap) -> Option<Cow<'b, str>> {
        let header = headers.get("last-event-id").map(|value| String::from_utf8_lossy(value.as_bytes()));
        header.filter(|text| !text.trim().is_empty()).or_else(|| self.last_event_id.as_deref().map(Cow::Borrowed))
    }

    fn categories(&self, registry: &Registry) -> Result<BTreeSet<Category>, Problem> {
        let names = self.categories.iter().flat_map(|list| list.split(',')).map(str::trim).filter(|name| !name.is_empty());
        names.map(|name| registry.find(name).cloned().ok_or_else(|| unknown_category(registry))).collect()
    }
}

fn unknown_category(registry: &Registry) -> Problem {
    let valid: Vec<&str> = registry.names().map(Category::as_str).collect();
    Problem::new(Code::InvalidCategory, format!("`categories` has an unknown name; the valid ones are: {}", valid.join(", ")))
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

    fn request(query: &str, last_event_id: Option<&str>) -> Result<SubscribeRequest, Problem> {
        let uri: Uri = format!("/api/events?{query}").parse().unwrap();
        let mut headers = HeaderMap::new();
        if let Some(text) = last_event_id {
            headers.insert("last-event-id", text.parse().unwrap());
        }
        EventsQuery::of(&uri).request(&headers, Format::Envelope, &registry())
    }

    #[test]
    fn the_cursor_comes_from_the_header_or_else_from_the_query() {
        let cursor = |query, header| request(query, header).unwrap().cursor;
        assert_eq!(cursor("", None), Cursor::Absent);
        assert_eq!(cursor("last_event_id=7-1", None), Cursor::After(EventId::timed(7, 1)));
        assert_eq!(cursor("Last-Event-ID=0", None), Cursor::Oldest);
        assert_eq!(cursor("last_event_id=7-1", Some("9-1")), Cursor::After(EventId::timed(9, 1)));
        assert_eq!(cursor("last_event_id=7-1", Some(" ")), Cursor::After(EventId::timed(7, 1)));
        assert_eq!(cursor("last_event_id=%00%ff", None), Cursor::Unreadable);
    }

    #[test]
    fn categories_are_repeated_or_separated_by_commas() {
        let names = |query| request(query, None).map(|request| request.categories.iter().map(Category::to_string).collect::<Vec<_>>());
        assert_eq!(names("categories=ai,import").unwrap(), ["ai", "import"]);
        assert_eq!(names("categories=import&categories=ai&categories=").unwrap(), ["ai", "import"]);
        assert!(names("").unwrap().is_empty());
        let problem = names("categories=ai,nonsense").unwrap_err();
        assert_eq!((problem.code, problem.status().as_u16()), (Code::InvalidCategory, 400));
        assert!(problem.message.ends_with("ai, import"), "{}", problem.message);
    }

    #[test]
    fn what_is_not_a_choice_is_refused() {
        assert_eq!(request("format=xml", None).unwrap_err().code, Code::InvalidFormat);
        let uri: Uri = "/?errors=maybe".parse().unwrap();
        assert_eq!(EventsQuery::of(&uri).errors_as().unwrap_err().code, Code::InvalidErrors);
        assert_eq!(request("keepalive=often", None).unwrap_err().code, Code::InvalidKeepalive);
    }

    proptest! {
        #[test]
        fn any_query_is_read_without_a_panic(query in "([a-zA-Z_=&,%+0-9-]|%[0-9a-f]{2}|categories=|last_event_id=){0,30}") {
            if let Ok(uri) = format!("/?{query}").parse::<Uri>() {
                let _ = EventsQuery::of(&uri).request(&HeaderMap::new(), Format::Envelope, &registry());
            }
        }
    }
}
