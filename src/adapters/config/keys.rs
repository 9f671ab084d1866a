//! All keys: which there are, and what they are called.

use super::{
    allowed::{Allowed, texts},
    auth::{AuthSettings, JwtSettings},
    routes::RouteSettings,
    section::{Key, Section},
    settings::{
        DiskSettings, EventsSettings, HubSettings, LimitsSettings, LogSettings, MemorySettings,
        MessagesSettings, NatsSettings, PostgresSettings, RedisSettings, ServerSettings,
        SseSettings, TelemetrySettings,
    },
    validators,
};
use crate::domain::category::{CATEGORY_BYTES_MAX, Category};

/// What a category may be.
const PATTERNS: Allowed = texts(
    "a list of event types, or beginnings of event types followed by `*`, each once",
    validators::patterns,
);

/// The section whose keys are the operator's own, with those that are there by default.
pub(super) static CATEGORIES: Section = Section {
    name: "categories",
    about: &[
        "Categories of event types, for clients that want only some. A pattern is a type, or the beginning of one followed by",
        "`*`; an exact one wins, then the longest. Categories of your file or environment join these; one of the same name",
        "replaces the one here, and an empty list removes it: `portfolio = []`. A pattern may stand in one category only.",
    ],
    keys: &[
        category("categories.data_sync", r#"["sync.*"]"#),
        category("categories.provider", r#"["provider.*"]"#),
        category("categories.ai", r#"["ai.*"]"#),
        category("categories.import", r#"["import.*", "source.*", "attachment.*"]"#),
        category("categories.portfolio", r#"["portfolio.*"]"#),
        category("categories.security", r#"["security.*"]"#),
    ],
};

/// The list of routes, which has no default, and no keys of its own.
pub(super) static ROUTES: Key = Key {
    name: "routes",
    legacy: None,
    default: "[]",
    about: &[
        "Paths of your own, for clients that have their own habits: one table each. `path` with `{id}` as one of its parts",
        "reads a message, without it the user's events. A `profile` fills in the rest: ai-sdk, ai-sdk-workflow,",
        "openai-responses, anthropic or langgraph (config/profiles.toml has them). Or by hand: `format`, `cursor` (the name of",
        "a query parameter), `cursor_names` (\"last_seen\" or \"first_wanted\"), `unknown` and `finished` (the status of such a",
        "message), `headers`, `last_index_header`, `closing` (a text behind the last event), and `stale` (`{ event, data }`,",
        "sent where the producer is silent).",
    ],
    allowed: Allowed::Tables {
        what: "a list of tables with `path`, and `profile` or keys of a route",
        check: |routes| Ok(routes.deserialize::<Vec<RouteSettings>>().map(drop)?),
        shown: true,
    },
};

const fn category(name: &'static str, default: &'static str) -> Key {
    Key { name, legacy: None, default, about: &[], allowed: PATTERNS }
}

/// Every section but `[categories]`, in the order of `config/default.toml`.
pub(super) static SECTIONS: &[Section] = &[
    ServerSettings::SECTION,
    SseSettings::SECTION,
    EventsSettings::SECTION,
    MessagesSettings::SECTION,
    LimitsSettings::SECTION,
    MemorySettings::SECTION,
    DiskSettings::SECTION,
    RedisSettings::SECTION,
    NatsSettings::SECTION,
    PostgresSettings::SECTION,
    HubSettings::SECTION,
    AuthSettings::SECTION,
    JwtSettings::SECTION,
    LogSettings::SECTION,
    TelemetrySettings::SECTION,
];

/// Every key but those of `[categories]`, in the order of `config/default.toml`.
pub(super) fn all() -> impl Iterator<Item = &'static Key> + Clone {
    SECTIONS.iter().flat_map(|section| section.keys)
}

/// What the key of that name may be, if there is one.
pub(super) fn allowed(name: &str) -> Option<&'static Allowed> {
    match name.split_once('.') {
        Some((section, category)) if section == CATEGORIES.name => {
            Category::parse(category).is_ok().then_some(&PATTERNS)
        }
        _ if name == ROUTES.name => Some(&ROUTES.allowed),
        _ => all().find(|key| key.name == name).map(|key| &key.allowed),
    }
}

/// Whether that is the name of a section.
pub(super) fn is_section(name: &str) -> bool {
    name == CATEGORIES.name || all().any(|key| within(key.name, name).is_some())
}

/// What there is in the innermost section that a key of that name would be in.
pub(super) fn known_beside(name: &str) -> Vec<String> {
    let mut section = name;
    loop {
        section = section.rsplit_once('.').map_or("", |(outer, _)| outer);
        if section == CATEGORIES.name {
            return vec![format!(
                "names of 1 to {CATEGORY_BYTES_MAX} characters of a-z, 0-9, '_' and '-'"
            )];
        }
        if section.is_empty() || is_section(section) {
            break;
        }
    }
    let mut known: Vec<String> = Vec::new();
    for name in all().map(|key| key.name).chain([CATEGORIES.name, ROUTES.name]) {
        let inside = if section.is_empty() { Some(name) } else { within(name, section) };
        if let Some(part) = inside.and_then(|rest| rest.split('.').next())
            && !known.iter().any(|other| other == part)
        {
            known.push(part.to_owned());
        }
    }
    known
}

/// What the environment calls a key.
pub(super) fn variable(name: &str) -> String {
    format!("REJOIN_{}", name.to_ascii_uppercase().replace('.', "__"))
}

fn within<'a>(name: &'a str, section: &str) -> Option<&'a str> {
    name.strip_prefix(section)?.strip_prefix('.')
}
