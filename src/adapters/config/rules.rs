//! Rules between keys. What one key may be is said in `keys`.

use std::collections::{BTreeMap, BTreeSet};

use figment::Figment;

use super::{
    auth::{Algorithm, AuthMode, KeySource},
    error::ConfigError,
    keys,
    origin::Origin,
    secret::Secret,
    settings::{Settings, build_registry},
};
use crate::domain::{category::InvalidRegistry, secret::weakness};

/// Checks that the categories of all layers go together. It comes before the settings are typed,
/// which would hide whose mistake it is.
pub(super) fn check_categories(figment: &Figment) -> Result<(), ConfigError> {
    let categories: BTreeMap<String, Vec<String>> =
        figment.extract_inner(keys::CATEGORIES.name).map_err(Box::new)?;
    let Err(source) = build_registry(&categories) else { return Ok(()) };
    let culprits = match &source {
        InvalidRegistry::Name(name) => vec![name],
        InvalidRegistry::Pattern { category, .. } => vec![category],
        InvalidRegistry::Ambiguous { first, second, .. } => vec![first, second],
    };
    let origins = culprits.into_iter().map(|name| {
        format!("{name}: {}", Origin::of(figment, &format!("{}.{name}", keys::CATEGORIES.name)))
    });
    Err(ConfigError::Categories { origins: origins.collect::<Vec<_>>().join(", "), source })
}

/// Checks every other rule.
pub(super) fn check(settings: &Settings, figment: &Figment) -> Result<(), ConfigError> {
    check_secret(settings, figment)?;
    match settings.auth.mode {
        AuthMode::None => check_open(settings, figment)?,
        AuthMode::Jwt => check_jwt(settings, figment)?,
    }
    if let Some((route, source)) =
        settings.routes.iter().find_map(|route| Some((route, route.check().err()?)))
    {
        return Err(ConfigError::Route {
            path: route.path.clone(),
            origin: Origin::of(figment, keys::ROUTES.name),
            source,
        });
    }
    let mut names = BTreeSet::new();
    match settings.auth.keys.iter().find(|key| !names.insert(&key.name)) {
        Some(key) => Err(ConfigError::DuplicateKeyName {
            name: key.name.clone(),
            origin: Origin::of(figment, "auth.keys"),
        }),
        None => Ok(()),
    }
}

fn check_open(settings: &Settings, figment: &Figment) -> Result<(), ConfigError> {
    if settings.auth.allow_insecure {
        return Ok(());
    }
    let server = &settings.server;
    let listeners =
        [("server.listen", Some(server.listen)), ("server.ops_listen", server.ops_listen)];
    for (key, address) in listeners {
        // An IPv4 address may be written as an IPv6 one.
        if let Some(address) = address.filter(|address| !address.ip().to_canonical().is_loopback())
        {
            let address_origin = Origin::of(figment, key);
            return Err(ConfigError::Insecure {
                key,
                address,
                address_origin,
                mode_origin: Origin::of(figment, "auth.mode"),
            });
        }
    }
    Ok(())
}

/// In every mode: tokens may be made with it for a server that is in mode `jwt`.
fn check_secret(settings: &Settings, figment: &Figment) -> Result<(), ConfigError> {
    let jwt = &settings.auth.jwt;
    match jwt.secret.as_ref().map(Secret::reveal).and_then(weakness) {
        Some(weakness) if !jwt.allow_weak_secret => Err(ConfigError::WeakSecret {
            origin: Origin::of(figment, "auth.jwt.secret"),
            weakness,
        }),
        _ => Ok(()),
    }
}

fn check_jwt(settings: &Settings, figment: &Figment) -> Result<(), ConfigError> {
    let jwt = &settings.auth.jwt;
    let sources: Vec<KeySource<'_>> = jwt.key_sources().collect();
    let [source] = sources.as_slice() else {
        let found: Vec<String> = sources
            .iter()
            .map(|source| format!("`{}` ({})", source.key(), Origin::of(figment, source.key())))
            .collect();
        return Err(ConfigError::KeySources {
            mode_origin: Origin::of(figment, "auth.mode"),
            allowed: KeySource::KEYS.map(|key| format!("`{key}`")).join(", "),
            found: if found.is_empty() {
                "none is".to_owned()
            } else {
                format!("{} are", found.join(" and "))
            },
        });
    };
    // A public key taken for a secret would let anybody sign.
    let (fits, allowed): (fn(&Algorithm) -> bool, _) = match source {
        KeySource::Secret(_) => (|algorithm| matches!(algorithm, Algorithm::Hs256), "HS256"),
        KeySource::PublicKeyFile(_) | KeySource::JwksFile(_) | KeySource::JwksUrl(_) => {
            (|algorithm| !matches!(algorithm, Algorithm::Hs256), "RS256, ES256 and EdDSA")
        }
    };
    match jwt.algorithms.iter().find(|algorithm| !fits(algorithm)) {
        Some(algorithm) => Err(ConfigError::Algorithm {
            algorithm: *algorithm,
            origin: Origin::of(figment, "auth.jwt.algorithms"),
            key_source: source.key(),
            allowed,
        }),
        None => Ok(()),
    }
}
