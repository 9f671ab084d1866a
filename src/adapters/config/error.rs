//! What can be wrong with settings.
//!
//! Invariant: every message names the key, where its value came from, and what is allowed; none
//! shows a secret.

use std::{io, net::SocketAddr, path::PathBuf};

use super::{auth::Algorithm, origin::Origin, routes::InvalidRoute};
use crate::domain::{category::InvalidRegistry, secret::Weakness};

/// What is wrong with the settings, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file can't be read.
    #[error("the configuration file {} can't be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is no TOML. The offending line isn't quoted: it may hold a secret.
    #[error("{origin}, line {line}: {message}")]
    Syntax {
        /// The file.
        origin: Origin,
        /// The line, from 1.
        line: usize,
        /// What the parser says.
        message: String,
    },
    /// The name or the value of a variable that is ours is not UTF-8.
    #[error("environment {name}: name and value must be UTF-8")]
    NotUtf8 {
        /// The variable, as far as it can be shown.
        name: String,
    },
    /// There is no such key.
    #[error("`{key}` ({origin}) is not a setting{}; known are: {}", suggested(suggestion.as_deref()), known.join(", "))]
    UnknownKey {
        /// The key, dotted.
        key: String,
        /// Where it stands.
        origin: Origin,
        /// The keys of the innermost section of that name, or the sections.
        known: Vec<String>,
        /// What may have been meant: a key, or for a variable a variable.
        suggestion: Option<String>,
    },
    /// The value is not one of those that the key may have.
    #[error("`{key}` is {found} ({origin}), but must be {allowed}")]
    BadValue {
        /// The key, dotted.
        key: String,
        /// Where the value came from.
        origin: Origin,
        /// The value, masked if it is a secret.
        found: String,
        /// What it may be.
        allowed: String,
    },
    /// Every caller on the network would be let in.
    #[error(
        "`auth.mode` is \"none\" ({mode_origin}), which lets everybody in, and `{key}` is \"{address}\" ({address_origin}), which others \
         can reach: set `auth.mode` to \"jwt\", `{key}` to a loopback address such as 127.0.0.1:8080, or `auth.allow_insecure` to true"
    )]
    Insecure {
        /// The listener.
        key: &'static str,
        /// Its address.
        address: SocketAddr,
        /// Where the address came from.
        address_origin: Origin,
        /// Where the mode came from.
        mode_origin: Origin,
    },
    /// Mode `jwt` without a key to check tokens with, or with several.
    #[error(
        "`auth.mode` is \"jwt\" ({mode_origin}), which needs exactly one of {allowed}, but {found} set"
    )]
    KeySources {
        /// Where the mode came from.
        mode_origin: Origin,
        /// The keys of which one must be set.
        allowed: String,
        /// Those that are, with where they came from.
        found: String,
    },
    /// A secret that can be guessed.
    #[error(
        "`auth.jwt.secret` ({origin}) can be guessed: {weakness}. Make one with `rejoin token secret`; where that is not possible yet, set \
         `auth.jwt.allow_weak_secret` to true"
    )]
    WeakSecret {
        /// Where the secret came from.
        origin: Origin,
        /// What is wrong with it.
        weakness: Weakness,
    },
    /// An algorithm that the configured key can't be used with.
    #[error("`auth.jwt.algorithms` ({origin}) has {algorithm}, but with `{key_source}` set it may only have {allowed}", algorithm = algorithm.as_str())]
    Algorithm {
        /// The algorithm.
        algorithm: Algorithm,
        /// Where the list came from.
        origin: Origin,
        /// The key that says what tokens are checked with.
        key_source: &'static str,
        /// The algorithms that fit.
        allowed: &'static str,
    },
    /// Two static keys of one name: the log couldn't distinguish them.
    #[error(
        "`auth.keys` ({origin}) has two keys of the name \"{name}\": each needs a name of its own"
    )]
    DuplicateKeyName {
        /// The name.
        name: String,
        /// Where the list came from.
        origin: Origin,
    },
    /// A route that can't be.
    #[error("`routes` ({origin}), the route of path \"{path}\": {source}")]
    Route {
        /// Its path.
        path: String,
        /// Where the list came from.
        origin: Origin,
        /// What is wrong with it.
        source: InvalidRoute,
    },
    /// The categories contradict each other.
    #[error("`categories` ({origins}): {source}; an empty list removes a category")]
    Categories {
        /// Where the categories came from that are at odds.
        origins: String,
        /// What is wrong with them.
        source: InvalidRegistry,
    },
    /// A value passed its check and still has no place in the settings, as a number that this
    /// machine's words can't hold.
    #[error("the settings don't fit this machine: {0}")]
    Extract(#[from] Box<figment::Error>),
}

fn suggested(suggestion: Option<&str>) -> String {
    suggestion.map(|name| format!(" (did you mean `{name}`?)")).unwrap_or_default()
}
