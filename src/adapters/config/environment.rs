//! The environment's layers: one for each variable, so that its exact name is remembered.

use std::ffi::{OsStr, OsString};

use super::{allowed::Allowed, error::ConfigError, keys, layer, layer::Layer, origin::Origin};

/// How the names of our variables begin.
const PREFIX: &str = "REJOIN_";

/// What the command line takes from the environment: not settings of the server.
const NOT_SETTINGS: [&str; 3] = ["REJOIN_CONFIG", "REJOIN_URL", "REJOIN_TOKEN"];

/// What Kubernetes puts into the environment of every pod beside a service that is called `rejoin`: these names, and what
/// begins with them and an underscore.
const SERVICE_LINKS: [&str; 3] = ["REJOIN_SERVICE_HOST", "REJOIN_SERVICE_PORT", "REJOIN_PORT"];

fn is_setting(name: &str) -> bool {
    let is_of = |link: &str| name.strip_prefix(link).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'));
    !NOT_SETTINGS.contains(&name) && !SERVICE_LINKS.into_iter().any(is_of)
}

/// The layers of an environment, in the order in which they override: legacy names first.
pub(super) fn layers(environment: impl IntoIterator<Item = (OsString, OsString)>) -> Result<Vec<Layer>, ConfigError> {
    let mut variables: Vec<(OsString, OsString)> = environment.into_iter().collect();
    // An environment has no order: with one, the same mistakes always give the same message.
    variables.sort();
    let (mut legacy, mut own) = (Vec::new(), Vec::new());
    for (name, value) in &variables {
        let Some((name, key, allowed)) = setting(name)? else { continue };
        let Some(value) = value.to_str() else { return Err(ConfigError::NotUtf8 { name: name.to_owned() }) };
        let layer = Layer::variable(name, &key, allowed, value)?;
        if name.starts_with(PREFIX) { own.push(layer) } else { legacy.push(layer) }
    }
    legacy.append(&mut own);
    Ok(legacy)
}

/// Which key a variable sets, and what that may be; `None` if the variable is none of ours.
fn setting(name: &OsStr) -> Result<Option<(&str, String, &'static Allowed)>, ConfigError> {
    let Some(text) = name.to_str() else {
        let ours = name.as_encoded_bytes().starts_with(PREFIX.as_bytes());
        return if ours { Err(ConfigError::NotUtf8 { name: name.to_string_lossy().into_owned() }) } else { Ok(None) };
    };
    if let Some(key) = keys::KEYS.iter().find(|key| key.legacy == Some(text)) {
        return Ok(Some((text, key.name.to_owned(), &key.allowed)));
    }
    let Some(rest) = text.strip_prefix(PREFIX).filter(|_| is_setting(text)) else { return Ok(None) };
    let key = rest.to_ascii_lowercase().replace("__", ".");
    match keys::allowed(&key) {
        // The way back shows that the name was spelled in capitals.
        Some(allowed) if keys::variable(&key) == text => Ok(Some((text, key, allowed))),
        _ => Err(layer::unknown_key(key, Origin::Environment(text.to_owned()))),
    }
}
