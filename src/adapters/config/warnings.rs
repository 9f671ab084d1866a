//! What does not stop the start, and is better known: one line each, for the log and for `rejoin
//! config`.

use figment::Figment;

use super::{
    auth::AuthMode,
    keys,
    origin::Origin,
    secret::Secret,
    settings::{CorsOrigins, Settings},
};
use crate::domain::secret::weakness;

/// Of `[auth]`, what mode `none` heeds.
const HEEDED_BY_MODE_NONE: [&str; 2] = ["auth.mode", "auth.allow_insecure"];

/// What the operator should know of settings that have passed every rule.
pub(super) fn of(settings: &Settings, figment: &Figment) -> impl Iterator<Item = String> {
    [ignored(settings, figment), every_origin(settings, figment), weak_secret(settings, figment)]
        .into_iter()
        .flatten()
}

/// Settings that say how tokens are checked, where none is.
fn ignored(settings: &Settings, figment: &Figment) -> Option<String> {
    if settings.auth.mode != AuthMode::None {
        return None;
    }
    let of_auth = keys::all()
        .map(|key| key.name)
        .filter(|name| name.starts_with("auth.") && !HEEDED_BY_MODE_NONE.contains(name));
    let set = of_auth
        .map(|name| (name, Origin::of(figment, name)))
        .filter(|(_, origin)| *origin != Origin::Default);
    let names: Vec<String> = set.map(|(name, origin)| format!("`{name}` ({origin})")).collect();
    (!names.is_empty()).then(|| {
        format!(
            "`auth.mode` is \"none\", which checks no token, so these settings have no effect: {}; set `auth.mode` to \"jwt\"",
            names.join(", ")
        )
    })
}

/// Every page that a browser has open could then read and publish as user `local`.
fn every_origin(settings: &Settings, figment: &Figment) -> Option<String> {
    let is_open =
        settings.auth.mode == AuthMode::None && settings.server.cors_origins == CorsOrigins::Any;
    is_open.then(|| {
        format!(
            "`server.cors_origins` is [\"*\"] ({}) and `auth.mode` is \"none\": every page that a browser on this machine has open may read, \
             publish and administer; name the origins that may",
            Origin::of(figment, "server.cors_origins")
        )
    })
}

fn weak_secret(settings: &Settings, figment: &Figment) -> Option<String> {
    let weakness = settings.auth.jwt.secret.as_ref().map(Secret::reveal).and_then(weakness)?;
    Some(format!(
        "`auth.jwt.secret` ({}) can be guessed: {weakness}. `auth.jwt.allow_weak_secret` lets it pass, and anyone who finds it can make any token; \
         replace it by one of `rejoin token secret`",
        Origin::of(figment, "auth.jwt.secret")
    ))
}
