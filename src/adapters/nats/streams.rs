//! The streams: how they must be, and what is done where one is not.
//!
//! Invariants: a stream that another program made is left alone, and stops the start; so does one
//! of ours whose settings break a promise and can't be changed where it stands; what an operator
//! may choose (limits of bytes and messages, placement, compression) is left as it is; several
//! processes may start at once.

use std::{collections::HashMap, time::Duration};

use async_nats::jetstream::stream::{
    Config, DiscardPolicy, PersistenceMode, Republish, RetentionPolicy, StorageType,
};
use serde_json::json;

use super::{
    Storage, connection::Connection, failure::Failure, stream_info::Info, subjects::Subjects,
};
use crate::adapters::backend_kit::{
    Retention,
    feed::{ANNOUNCEMENTS_BYTES_MAX, ANNOUNCEMENTS_KEPT},
};

/// The oldest server that can do what is needed here: atomic batches came with it.
pub(super) const OLDEST_VERSION: (u64, u64) = (2, 12);
/// What marks a stream as one of ours, with what it holds.
const MARK: &str = "rejoin";
/// The format of what streams hold.
const FORMAT: &str = "1";
/// Streams of events that don't age out live as long.
const FOR_EVER: Duration = Duration::ZERO;

/// How streams are made.
#[derive(Clone, Copy, Debug)]
pub(super) struct StreamOptions {
    pub(super) replicas: usize,
    pub(super) storage: Storage,
    pub(super) retention: Retention,
}

/// The streams of a process, as they must be.
#[derive(Debug)]
pub(super) struct Streams {
    wanted: Vec<Config>,
}

/// Why the streams can't be used as the settings say. Waiting does not help.
#[derive(Debug, thiserror::Error)]
pub enum StreamProblem {
    /// The server can't do what is needed.
    #[error("NATS server {found} is too old: {} or later is needed", version_text(OLDEST_VERSION))]
    Version {
        /// Its version.
        found: String,
    },
    /// Another program made it.
    #[error(
        "the stream {stream} is there, and not Rejoin's: rename it, or set nats.stream_prefix to another name"
    )]
    NotOurs {
        /// Its name.
        stream: String,
    },
    /// A later version of this program made it.
    #[error(
        "the stream {stream} has the format {found:?}; this version of Rejoin knows {FORMAT:?}: use a later one"
    )]
    Format {
        /// Its name.
        stream: String,
        /// What it has.
        found: String,
    },
    /// A setting that can't be changed where it stands.
    #[error(
        "the stream {stream} has {setting} {found}, and must have {wanted}: change it (or the settings), or remove the stream"
    )]
    Setting {
        /// Its name.
        stream: String,
        /// Which setting.
        setting: &'static str,
        /// What it has.
        found: String,
        /// What is needed.
        wanted: String,
    },
    /// It can't be made or changed.
    #[error("can't make or change the stream {stream}: {reason}")]
    Refused {
        /// Its name.
        stream: String,
        /// The server's word.
        reason: String,
    },
}

/// Why streams are not there as they must be.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotReady {
    #[error(transparent)]
    Problem(#[from] StreamProblem),
    #[error(transparent)]
    Failure(#[from] Failure),
}

fn version_text((major, minor): (u64, u64)) -> String {
    format!("{major}.{minor}")
}

/// Whether a server of this version can be used. One that can't be read is taken for one that can:
/// what its streams lack is noticed.
pub(super) fn is_new_enough(version: &str) -> bool {
    let mut parts = version.split('.').map(str::parse::<u64>);
    match (parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= OLDEST_VERSION,
        _ => true,
    }
}

impl Streams {
    pub(super) fn new(subjects: &Subjects, options: StreamOptions) -> Self {
        let StreamOptions { replicas, storage, retention } = options;
        let base = |(name, taken): (String, String), kind: &str| Config {
            name,
            subjects: vec![taken],
            retention: RetentionPolicy::Limits,
            discard: DiscardPolicy::New,
            max_bytes: -1,
            max_messages: -1,
            max_messages_per_subject: -1,
            max_message_size: -1,
            max_consumers: -1,
            storage: storage.into(),
            num_replicas: replicas,
            // What is appended once is recognised again for as long.
            duplicate_window: retention.idempotency_window.max(Duration::from_millis(100)),
            allow_direct: true,
            metadata: HashMap::from([(MARK.to_owned(), format!("{kind}/{FORMAT}"))]),
            ..Config::default()
        };
        let told = |config: Config| {
            let source = config.subjects[0].clone();
            let republish = Republish {
                destination: subjects.live_of_all(&source),
                source,
                headers_only: false,
            };
            Config { republish: Some(republish), ..config }
        };
        let entries_max = i64::try_from(retention.stream_maxlen).unwrap_or(i64::MAX);
        let events = told(Config {
            max_messages_per_subject: entries_max,
            max_age: retention.replay_max_age.map_or(FOR_EVER, |replay_max_age| {
                (replay_max_age + margin(replay_max_age)).max(retention.idempotency_window)
            }),
            allow_atomic_publish: true,
            ..base(subjects.events(), "events")
        });
        let messages =
            told(Config { allow_atomic_publish: true, ..base(subjects.messages(), "messages") });
        let announcements = told(Config {
            max_age: ANNOUNCEMENTS_KEPT,
            max_bytes: i64::try_from(ANNOUNCEMENTS_BYTES_MAX).unwrap_or(i64::MAX),
            duplicate_window: ANNOUNCEMENTS_KEPT,
            ..base(subjects.announcements(), "announcements")
        });
        let limits = Config {
            max_messages_per_subject: 1,
            allow_message_ttl: true,
            ..base(subjects.limits(), "limits")
        };
        Self { wanted: vec![events, messages, announcements, limits] }
    }

    /// What is known of a stream.
    pub(super) async fn info(&self, connection: &Connection, name: &str) -> Result<Info, Failure> {
        connection.ask(&format!("STREAM.INFO.{name}"), &json!({})).await
    }

    /// Makes the streams that are not there, and changes those that are not as they must be, where
    /// that is safe.
    pub(super) async fn make_ready(&self, connection: &Connection) -> Result<(), NotReady> {
        let version = connection.server().version;
        if !is_new_enough(&version) {
            return Err(StreamProblem::Version { found: version }.into());
        }
        for wanted in &self.wanted {
            self.make_one_ready(connection, wanted).await?;
        }
        Ok(())
    }

    /// Makes the streams that are gone. What else is wrong with one was reported at the start.
    pub(super) async fn make_again(&self, connection: &Connection) -> Result<(), Failure> {
        match self.make_ready(connection).await {
            Ok(()) => Ok(()),
            Err(NotReady::Failure(failure)) => Err(failure),
            Err(NotReady::Problem(problem)) => Err(Failure::Denied(problem.to_string())),
        }
    }

    async fn make_one_ready(
        &self,
        connection: &Connection,
        wanted: &Config,
    ) -> Result<(), NotReady> {
        let found = match self.info(connection, &wanted.name).await {
            Ok(info) => info.config,
            Err(failure) if failure.is_known_to_have_no_stream() => {
                match self.create(connection, wanted).await? {
                    Some(created) => created,
                    // Another process was faster.
                    None => self.info(connection, &wanted.name).await?.config,
                }
            }
            Err(failure) => return Err(failure.into()),
        };
        check(&found, wanted)?;
        let changed = changed(&found, wanted);
        if changed == found {
            return Ok(());
        }
        let updated: Info = self.change(connection, "UPDATE", &changed).await?;
        differences(&updated.config, wanted)
    }

    /// Makes a stream. Nothing, where one of that name is there by now.
    async fn create(
        &self,
        connection: &Connection,
        wanted: &Config,
    ) -> Result<Option<Config>, NotReady> {
        match self.change(connection, "CREATE", wanted).await {
            Ok(info) => Ok(Some(info.config)),
            Err(NotReady::Failure(failure)) if failure.is_taken_name() => Ok(None),
            Err(other) => Err(other),
        }
    }

    async fn change(
        &self,
        connection: &Connection,
        how: &str,
        config: &Config,
    ) -> Result<Info, NotReady> {
        match connection.ask(&format!("STREAM.{how}.{}", config.name), config).await {
            Err(failure @ Failure::Refused(_)) if !failure.is_taken_name() => {
                Err(StreamProblem::Refused {
                    stream: config.name.clone(),
                    reason: failure.to_string(),
                }
                .into())
            }
            answer => Ok(answer?),
        }
    }
}

/// What streams outlive what is in them by.
fn margin(replay_max_age: Duration) -> Duration {
    (replay_max_age / 8).clamp(Duration::from_secs(1), Duration::from_hours(1))
}

/// The configuration with what must be so; what an operator may choose stays.
fn changed(found: &Config, wanted: &Config) -> Config {
    Config {
        discard: wanted.discard,
        discard_new_per_subject: false,
        max_messages_per_subject: wanted.max_messages_per_subject,
        max_age: wanted.max_age,
        // An operator may have raised it by hand.
        num_replicas: wanted.num_replicas.max(found.num_replicas),
        duplicate_window: wanted.duplicate_window,
        republish: wanted.republish.clone(),
        allow_direct: true,
        allow_message_ttl: wanted.allow_message_ttl,
        allow_atomic_publish: wanted.allow_atomic_publish,
        deny_purge: false,
        ..found.clone()
    }
}

/// Whether a stream that is there can be used, once it was changed.
fn check(found: &Config, wanted: &Config) -> Result<(), StreamProblem> {
    let stream = || found.name.clone();
    let mark = |config: &Config| config.metadata.get(MARK).cloned();
    match mark(found) {
        mark_found if mark_found == mark(wanted) => {}
        Some(other)
            if other.split('/').next() == mark(wanted).unwrap_or_default().split('/').next() =>
        {
            return Err(StreamProblem::Format { stream: stream(), found: other });
        }
        _ => return Err(StreamProblem::NotOurs { stream: stream() }),
    }
    let is_whole = found.mirror.is_none()
        && found.sources.as_ref().is_none_or(Vec::is_empty)
        && found.subject_transform.is_none();
    let writes_at_once = found.persist_mode.is_none_or(|mode| mode == PersistenceMode::Default);
    let settings = [
        ("subjects", found.subjects.join(" "), wanted.subjects.join(" ")),
        ("retention", format!("{:?}", found.retention), format!("{:?}", wanted.retention)),
        ("storage", format!("{:?}", found.storage), format!("{:?}", wanted.storage)),
        ("sealed", found.sealed.to_string(), false.to_string()),
        ("no_ack", found.no_ack.to_string(), false.to_string()),
        ("mirror, sources or transform", (!is_whole).to_string(), false.to_string()),
        (
            "persist_mode",
            if writes_at_once { "default" } else { "async" }.to_owned(),
            "default".to_owned(),
        ),
    ];
    for (setting, found, wanted) in settings {
        if found != wanted {
            return Err(StreamProblem::Setting { stream: stream(), setting, found, wanted });
        }
    }
    Ok(())
}

/// Whether a stream is as it was asked for: servers pass over what they don't know.
fn differences(found: &Config, wanted: &Config) -> Result<(), NotReady> {
    let again = changed(found, wanted);
    if again == *found {
        return Ok(());
    }
    let settings = [
        (
            "allow_atomic",
            found.allow_atomic_publish.to_string(),
            wanted.allow_atomic_publish.to_string(),
        ),
        (
            "allow_msg_ttl",
            found.allow_message_ttl.to_string(),
            wanted.allow_message_ttl.to_string(),
        ),
        ("num_replicas", found.num_replicas.to_string(), wanted.num_replicas.to_string()),
        ("max_age", format!("{:?}", found.max_age), format!("{:?}", wanted.max_age)),
        (
            "max_msgs_per_subject",
            found.max_messages_per_subject.to_string(),
            wanted.max_messages_per_subject.to_string(),
        ),
        ("republish", format!("{:?}", found.republish), format!("{:?}", wanted.republish)),
        ("settings", format!("{found:?}"), format!("{again:?}")),
    ];
    let different = settings.into_iter().find(|(_, found, wanted)| found != wanted);
    let Some((setting, found_value, wanted)) = different else { return Ok(()) };
    Err(StreamProblem::Setting { stream: found.name.clone(), setting, found: found_value, wanted }
        .into())
}

impl From<Storage> for StorageType {
    fn from(storage: Storage) -> Self {
        match storage {
            Storage::File => Self::File,
            Storage::Memory => Self::Memory,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_their_numbers() {
        for (version, expected) in [
            ("2.12.0", true),
            ("2.15.1", true),
            ("3.0.0", true),
            ("2.12.0-RC.1", true),
            ("2.9.10", false),
            ("2.11.11", false),
            ("dev", true),
        ] {
            assert_eq!(is_new_enough(version), expected, "{version}");
        }
    }
}
