//! What an operator should know of the server they chose, and of the user they gave to us: logged
//! once, at the start.

use std::{collections::HashMap, sync::Arc};

use super::{connection::Connection, failure::Cause, scripts::TRY_RIGHTS};
use crate::{adapters::backend_kit::reconnect::Reconnect, ports::backend_error::BackendError};

/// The first versions with all that is needed.
const REDIS_MIN: (u32, u32) = (6, 2);
const VALKEY_MIN: (u32, u32) = (7, 2);

/// Warns of each thing that the server is not set up for, once it answers. `probe` is a key, and a
/// channel, of nobody else.
pub(super) async fn warn_about_unsafe_server_settings(
    connection: Arc<Connection>,
    probe: String,
    mut reconnect: Reconnect,
) {
    if let Some(lacking) =
        until_answered(&mut reconnect, || lacking_rights(&connection, &probe)).await
    {
        tracing::warn!("{lacking}");
    }
    for warning in until_answered(&mut reconnect, || warnings(&connection)).await {
        tracing::warn!("{warning}");
    }
}

async fn until_answered<T, Asking: Future<Output = Result<T, BackendError>>>(
    reconnect: &mut Reconnect,
    ask: impl Fn() -> Asking,
) -> T {
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(_) => reconnect.pause(None).await,
        }
    }
}

/// What the user in redis.url may not do, in one sentence.
async fn lacking_rights(
    connection: &Connection,
    probe: &str,
) -> Result<Option<String>, BackendError> {
    let lacking: Vec<String> =
        connection.run("try the user's rights", &TRY_RIGHTS, &[probe], &[probe]).await?;
    Ok((!lacking.is_empty()).then(|| {
        format!(
            "{}: it may not call {} on the keys and channels of the prefix, and what needs that will fail",
            Cause::MissingRight.advice(),
            lacking.join(", ")
        )
    }))
}

async fn warnings(connection: &Connection) -> Result<Vec<String>, BackendError> {
    let command = redis::cmd("INFO");
    let info: redis::InfoDict = match connection {
        Connection::One(_) => connection.send("ask for the server's state", &command).await?,
        // Every node of a cluster answers for itself; any of them stands for all.
        Connection::Cluster(_) => {
            let by_node: HashMap<String, redis::InfoDict> =
                connection.send("ask for the servers' state", &command).await?;
            let Some(info) = by_node.into_values().next() else { return Ok(Vec::new()) };
            info
        }
    };
    // Without the right to read the configuration the warning says a little less.
    let mut save = redis::cmd("CONFIG");
    save.arg("GET").arg("save");
    let configured: HashMap<String, String> =
        connection.send("ask for the server's configuration", &save).await.unwrap_or_default();
    Ok(warnings_of(|name| configured.get(name).cloned().or_else(|| info.get(name))))
}

/// The warnings that follow from what `INFO` and `CONFIG GET save` say.
fn warnings_of(info: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut warnings = Vec::new();
    let (name, version, (major, minor)) = match info("valkey_version") {
        Some(version) => ("Valkey", version, VALKEY_MIN),
        None => ("Redis", info("redis_version").unwrap_or_default(), REDIS_MIN),
    };
    if version_of(&version) < (major, minor) {
        warnings.push(format!("{name} {version} is too old: {major}.{minor} or later is needed, and some calls will fail"));
    }
    let policy = info("maxmemory_policy").unwrap_or_default();
    if !policy.is_empty() && policy != "noeviction" {
        warnings.push(format!(
            "{name} may drop events when its memory is full, and no client would be notified (maxmemory-policy is {policy}): set it to noeviction"
        ));
    }
    if info("aof_enabled").is_none_or(|enabled| enabled != "1") {
        let costs = if info("save").is_some_and(|save| save.is_empty()) {
            "loses all events"
        } else {
            "goes back to the last snapshot"
        };
        warnings.push(format!(
            "{name} has no append-only file, so that a restart {costs}, whatever was acknowledged: set appendonly yes, and appendfsync always or everysec"
        ));
    }
    warnings
}

fn version_of(text: &str) -> (u32, u32) {
    let mut parts = text.split('.').map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warned(facts: &[(&str, &str)]) -> Vec<String> {
        warnings_of(|name| {
            facts.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    const SAFE: [(&str, &str); 3] =
        [("redis_version", "7.0.15"), ("maxmemory_policy", "noeviction"), ("aof_enabled", "1")];

    #[test]
    fn nothing_is_told_of_a_safe_server() {
        assert_eq!(warned(&SAFE), [""; 0]);
        assert_eq!(
            warned(&[
                ("valkey_version", "8.1.0"),
                ("redis_version", "7.2.4"),
                ("aof_enabled", "1")
            ]),
            [""; 0]
        );
    }

    #[test]
    fn each_danger_is_told_once() {
        for (fact, word) in [
            (("redis_version", "6.0.16"), "too old"),
            (("redis_version", ""), "too old"),
            (("maxmemory_policy", "allkeys-lru"), "noeviction"),
            (("maxmemory_policy", "volatile-ttl"), "noeviction"),
            (("aof_enabled", "0"), "snapshot"),
        ] {
            let facts: Vec<_> = [fact].into_iter().chain(SAFE).collect();
            let warnings = warned(&facts);
            assert!(warnings.len() == 1 && warnings[0].contains(word), "{fact:?}: {warnings:?}");
        }
        assert!(
            warned(&[("save", ""), ("aof_enabled", "0"), SAFE[0], SAFE[1]])[0]
                .contains("loses all")
        );
    }
}
