//! `[[routes]]`: paths of a deployment's own, for clients that have their own habits.
//!
//! Invariant: a [`RouteSettings`] of the settings has what its profile says already, and passed
//! [`RouteSettings::check`]: its path has `{id}` where, and only where, it is a message's, and no
//! key is given that its channel has no use for.

use std::{collections::BTreeMap, sync::LazyLock};

use figment::providers::{Format as _, Toml};
use http::{HeaderName, HeaderValue};
use serde::{Deserialize, Deserializer};

use crate::domain::{
    event::{EventName, InvalidEventName},
    frame::Format,
    topic::Channel,
};

/// The part of a path that is a message's id.
const ID: &str = "{id}";
/// The text of a header's value that stands for the path and query of the request.
pub const REQUEST_PATH: &str = "{path}";

/// The ready profiles, by name.
static PROFILES: LazyLock<BTreeMap<String, RouteSettings>> = LazyLock::new(|| {
    Toml::from_str(include_str!("../../../config/profiles.toml"))
        .expect("the file is compiled in, and a test reads it")
});

/// One of `[[routes]]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteSettings {
    /// The path: with `{id}` as one of its parts for a message, without for the user's events.
    #[serde(default)]
    pub path: String,
    /// Where the other keys come from that are not given.
    profile: Option<String>,
    /// How events are written: `envelope` or `payload`, `named`, or `data`.
    format: Option<String>,
    /// The name of the query parameter that is the cursor, beside `Last-Event-ID`.
    pub cursor: Option<String>,
    /// What that parameter names: `last_seen` or `first_wanted`.
    cursor_names: Option<String>,
    /// The status of a message that is not there: 404 or 204.
    pub unknown: Option<u16>,
    /// The status of a message that has ended: 200 (it is sent again), 204 or 404.
    pub finished: Option<u16>,
    /// Headers of the response, each with its value.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// The name of a header that has the number of the message's last event.
    last_index_header: Option<String>,
    /// What is sent behind the last event of a message, as `data:`; empty for nothing.
    pub closing: Option<String>,
    /// What is sent where a message's producer is silent.
    stale: Option<StaleSettings>,
}

/// What is sent where a message's producer is silent.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct StaleSettings {
    event: Option<String>,
    data: String,
}

/// What a cursor parameter names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CursorNames {
    /// The last event that the client has.
    LastSeen,
    /// The first that it wants.
    FirstWanted,
}

/// What is wrong with a route.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRoute {
    /// There is no such profile.
    #[error("`profile` is \"{found}\", but must be one of {}", profile_names().join(", "))]
    UnknownProfile {
        /// What it is.
        found: String,
    },
    /// The path is none.
    #[error(
        "`path` must begin with `/` and have parts of A-Z, a-z, 0-9, '.', '_', '~' and '-', or names in braces"
    )]
    Path,
    /// The profile is for messages, and the path names none.
    #[error("`path` needs `{{id}}` as one of its parts: profile \"{profile}\" is for messages")]
    PathWithoutId {
        /// The profile.
        profile: String,
    },
    /// A name in braces that means nothing where there is no message.
    #[error(
        "`path` has a name in braces, but no `{{id}}`: that of a message, or none for the user's events"
    )]
    StrayName,
    /// A key of messages on a route of the user's events.
    #[error("`{key}` is for messages: the path needs `{{id}}` as one of its parts")]
    ForMessages {
        /// The key.
        key: &'static str,
    },
    /// A value that the key can't have.
    #[error("`{key}` must be {allowed}")]
    Value {
        /// The key.
        key: &'static str,
        /// What it may be.
        allowed: String,
    },
    /// A header that can't be set.
    #[error("`headers` can't set `{name}`: {why}")]
    Header {
        /// Its name.
        name: String,
        /// Why.
        why: &'static str,
    },
    /// An event's name that breaks the rules.
    #[error("`stale.event`: {0}")]
    StaleEvent(#[from] InvalidEventName),
}

fn profile_names() -> Vec<&'static str> {
    PROFILES.keys().map(String::as_str).collect()
}

/// The routes, with what their profiles say.
pub(super) fn routes<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<RouteSettings>, D::Error> {
    let routes = Vec::<RouteSettings>::deserialize(deserializer)?;
    Ok(routes.into_iter().map(RouteSettings::with_profile).collect())
}

impl RouteSettings {
    /// What is given counts, then what the profile says.
    fn with_profile(self) -> Self {
        let profile = self.profile.as_deref().and_then(|name| PROFILES.get(name));
        let Some(profile) = profile.cloned() else { return self };
        let mut headers = profile.headers;
        for (name, value) in self.headers {
            headers.retain(|other, _| !other.eq_ignore_ascii_case(&name));
            headers.insert(name, value);
        }
        Self {
            path: self.path,
            profile: self.profile,
            format: self.format.or(profile.format),
            cursor: self.cursor.or(profile.cursor),
            cursor_names: self.cursor_names.or(profile.cursor_names),
            unknown: self.unknown.or(profile.unknown),
            finished: self.finished.or(profile.finished),
            headers,
            last_index_header: self.last_index_header.or(profile.last_index_header),
            closing: self.closing.or(profile.closing),
            stale: self.stale.or(profile.stale),
        }
    }

    /// Which channel the route reads.
    pub fn channel(&self) -> Channel {
        let has_id = self.path.split('/').any(|part| part == ID);
        if has_id { Channel::Messages } else { Channel::Users }
    }

    /// How events are written.
    pub fn format(&self) -> Format {
        self.format.as_deref().and_then(|name| self.format_named(name)).unwrap_or_default()
    }

    fn format_named(&self, name: &str) -> Option<Format> {
        let channel = self.channel();
        Format::ALL.into_iter().find(|format| format.as_str(channel) == name)
    }

    /// What the cursor parameter names.
    pub fn cursor_names(&self) -> CursorNames {
        match self.cursor_names.as_deref() {
            Some("first_wanted") => CursorNames::FirstWanted,
            _ => CursorNames::LastSeen,
        }
    }

    /// The response's headers. [`REQUEST_PATH`] in a value stands for the request's path.
    pub fn headers(&self) -> impl Iterator<Item = (HeaderName, &str)> {
        let parsed =
            |(name, value)| Some((HeaderName::try_from(name).ok()?, String::as_str(value)));
        self.headers.iter().filter_map(parsed)
    }

    /// The header that has the number of the message's last event.
    pub fn last_index_header(&self) -> Option<HeaderName> {
        self.last_index_header.as_ref().and_then(|name| HeaderName::try_from(name).ok())
    }

    /// Name and text of the event that says that the producer is silent.
    pub fn stale(&self) -> Option<(Option<EventName>, &str)> {
        let stale = self.stale.as_ref()?;
        let event = stale.event.as_deref().and_then(|name| EventName::parse(name).ok());
        Some((event, &stale.data))
    }

    /// Checks what can be known of a route by itself.
    ///
    /// # Errors
    /// [`InvalidRoute`].
    pub(super) fn check(&self) -> Result<(), InvalidRoute> {
        if let Some(name) = self.profile.as_ref().filter(|name| !PROFILES.contains_key(*name)) {
            return Err(InvalidRoute::UnknownProfile { found: name.clone() });
        }
        self.check_path()?;
        self.check_channel()?;
        self.check_words()?;
        self.check_headers()?;
        if let Some(name) = self.stale.as_ref().and_then(|stale| stale.event.as_deref()) {
            EventName::parse(name)?;
        }
        Ok(())
    }

    fn check_path(&self) -> Result<(), InvalidRoute> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'~' | b'-');
        let is_name = |part: &str| {
            let name = part.strip_prefix('{').and_then(|part| part.strip_suffix('}'));
            name.is_some_and(|name| {
                !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
            })
        };
        let parts: Vec<&str> = self.path.split('/').collect();
        let [first, rest @ ..] = parts.as_slice() else { return Err(InvalidRoute::Path) };
        let is_part = |part: &&str| {
            !["", ".", ".."].contains(part) && (part.bytes().all(plain) || is_name(part))
        };
        if !first.is_empty() || rest.is_empty() || !rest.iter().all(is_part) {
            return Err(InvalidRoute::Path);
        }
        let names: Vec<&&str> = rest.iter().filter(|part| part.starts_with('{')).collect();
        let repeats = names.iter().enumerate().any(|(place, name)| names[..place].contains(name));
        if repeats {
            return Err(InvalidRoute::Path);
        }
        match (self.channel(), &self.profile) {
            (Channel::Users, Some(profile)) => {
                Err(InvalidRoute::PathWithoutId { profile: profile.clone() })
            }
            (Channel::Users, None) if !names.is_empty() => Err(InvalidRoute::StrayName),
            _ => Ok(()),
        }
    }

    fn check_channel(&self) -> Result<(), InvalidRoute> {
        if self.channel() == Channel::Messages {
            return Ok(());
        }
        let given = [
            ("unknown", self.unknown.is_some()),
            ("finished", self.finished.is_some()),
            ("last_index_header", self.last_index_header.is_some()),
            ("closing", self.closing.is_some()),
            ("stale", self.stale.is_some()),
            ("cursor_names", self.cursor_names() == CursorNames::FirstWanted),
        ];
        let stray = given.into_iter().find(|(_, is_given)| *is_given);
        stray.map_or(Ok(()), |(key, _)| Err(InvalidRoute::ForMessages { key }))
    }

    fn check_words(&self) -> Result<(), InvalidRoute> {
        let allowed = |key, allowed: &str| InvalidRoute::Value { key, allowed: allowed.to_owned() };
        if self.format.as_deref().is_some_and(|name| self.format_named(name).is_none()) {
            let channel = self.channel();
            let names = Format::ALL.map(|format| format!("\"{}\"", format.as_str(channel)));
            return Err(allowed("format", &names.join(", ")));
        }
        if !matches!(self.cursor_names.as_deref(), None | Some("last_seen" | "first_wanted")) {
            return Err(allowed("cursor_names", "\"last_seen\" or \"first_wanted\""));
        }
        if self.cursor_names() == CursorNames::FirstWanted && self.cursor.is_none() {
            return Err(allowed("cursor", "given where `cursor_names` is"));
        }
        if self.cursor.as_ref().is_some_and(String::is_empty) {
            return Err(allowed("cursor", "the name of a query parameter"));
        }
        if !matches!(self.unknown, None | Some(404 | 204)) {
            return Err(allowed("unknown", "404 or 204"));
        }
        if !matches!(self.finished, None | Some(200 | 404 | 204)) {
            return Err(allowed("finished", "200, 404 or 204"));
        }
        if self.closing.as_ref().is_some_and(|text| text.contains('\0')) {
            return Err(allowed("closing", "a text without NUL"));
        }
        Ok(())
    }

    fn check_headers(&self) -> Result<(), InvalidRoute> {
        /// Those that say how the body comes are the server's.
        const OURS: [&str; 6] = [
            "connection",
            "content-encoding",
            "content-length",
            "content-type",
            "transfer-encoding",
            "upgrade",
        ];
        let named = self.headers.iter().map(|(name, value)| (name, value.as_str()));
        let index = self.last_index_header.iter().map(|name| (name, "0"));
        for (name, value) in named.chain(index) {
            let refused = |why| InvalidRoute::Header { name: name.clone(), why };
            let parsed =
                HeaderName::try_from(name).map_err(|_| refused("that is no name of a header"))?;
            if OURS.contains(&parsed.as_str()) {
                return Err(refused("it says how the stream comes, which the server decides"));
            }
            HeaderValue::from_str(value)
                .map_err(|_| refused("its value has characters that a header can't have"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(text: &str) -> Result<RouteSettings, InvalidRoute> {
        let route: RouteSettings = Toml::from_str(text).unwrap();
        let route = route.with_profile();
        route.check().map(|()| route)
    }

    #[test]
    fn every_profile_is_good_for_a_message() {
        assert_eq!(PROFILES.len(), 5);
        for name in PROFILES.keys() {
            let route = route(&format!("path = \"/x/{{id}}\"\nprofile = \"{name}\"")).unwrap();
            assert_eq!(route.channel(), Channel::Messages);
            assert!(route.stale().is_some(), "{name}");
            assert!(matches!(route.format(), Format::Data | Format::Named), "{name}");
        }
    }

    #[test]
    fn what_a_route_says_goes_before_what_its_profile_says() {
        let route = route(
            "path = \"/chat/{id}\"\nprofile = \"ai-sdk\"\nfinished = 200\nclosing = \"\"\n\
             headers = { X-Vercel-AI-UI-Message-Stream = \"v2\", x-more = \"1\" }",
        )
        .unwrap();
        assert_eq!((route.unknown, route.finished), (Some(204), Some(200)));
        assert_eq!(route.closing.as_deref(), Some(""));
        let headers: Vec<_> =
            route.headers().map(|(name, value)| format!("{name}: {value}")).collect();
        assert_eq!(headers, ["x-vercel-ai-ui-message-stream: v2", "x-more: 1"]);
    }

    #[test]
    fn what_is_wrong_with_a_route_is_named() {
        for (text, words) in [
            ("path = \"/x/{id}\"\nprofile = \"gpt\"", "`profile` is \"gpt\""),
            ("path = \"/x\"\nprofile = \"ai-sdk\"", "needs `{id}`"),
            ("profile = \"ai-sdk\"", "`path` must begin"),
            ("path = \"x/{id}\"", "`path` must begin"),
            ("path = \"/\"", "`path` must begin"),
            ("path = \"/x/../{id}\"", "`path` must begin"),
            ("path = \"/x/{*rest}\"", "`path` must begin"),
            ("path = \"/x/{id}.json\"", "`path` must begin"),
            ("path = \"/x/{id}/{id}\"", "`path` must begin"),
            ("path = \"/x y\"", "`path` must begin"),
            ("path = \"/x/{user}\"", "no `{id}`"),
            ("path = \"/x/{id}\"\nformat = \"envelope\"", "\"payload\", \"named\", \"data\""),
            ("path = \"/x\"\nformat = \"payload\"", "\"envelope\", \"named\", \"data\""),
            ("path = \"/x\"\nclosing = \"bye\"", "`closing` is for messages"),
            ("path = \"/x\"\nunknown = 204", "`unknown` is for messages"),
            ("path = \"/x\"\ncursor = \"a\"\ncursor_names = \"first_wanted\"", "is for messages"),
            ("path = \"/x/{id}\"\ncursor_names = \"next\"", "`cursor_names` must be"),
            ("path = \"/x/{id}\"\ncursor_names = \"first_wanted\"", "`cursor` must be given"),
            ("path = \"/x/{id}\"\ncursor = \"\"", "`cursor` must be"),
            ("path = \"/x/{id}\"\nunknown = 200", "404 or 204"),
            ("path = \"/x/{id}\"\nfinished = 500", "200, 404 or 204"),
            ("path = \"/x/{id}\"\nheaders = { \"a b\" = \"1\" }", "no name of a header"),
            ("path = \"/x/{id}\"\nheaders = { a = \"1\\n2\" }", "can't have"),
            (
                "path = \"/x/{id}\"\nheaders = { Content-Type = \"text/html\" }",
                "the server decides",
            ),
            ("path = \"/x/{id}\"\nlast_index_header = \"\"", "no name of a header"),
            ("path = \"/x/{id}\"\nstale = { data = \"x\", event = \"a\\nb\" }", "`stale.event`"),
        ] {
            let problem = route(text).unwrap_err().to_string();
            assert!(problem.contains(words), "{text}: {problem}");
        }
    }

    #[test]
    fn the_user_events_and_messages_have_routes() {
        let events = route("path = \"/stream\"\nformat = \"data\"\ncursor = \"since\"").unwrap();
        assert_eq!((events.channel(), events.format()), (Channel::Users, Format::Data));
        let run = route("path = \"/threads/{thread}/runs/{id}/stream\"").unwrap();
        assert_eq!((run.channel(), run.format()), (Channel::Messages, Format::Whole));
    }
}
