//! How fields of the settings become types that say what they mean.

use std::{net::SocketAddr, time::Duration};

use serde::{Deserialize, Deserializer, de::Error};

use super::secret::Secret;

/// A number of seconds.
pub(super) fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_secs)
}

/// A number of days.
pub(super) fn days<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(|days| Duration::from_secs(days.saturating_mul(24 * 3600)))
}

/// A number of hours; none of them for no limit.
pub(super) fn hours<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    let hours: Option<u64> = not_zero(deserializer)?;
    Ok(hours.map(|hours| Duration::from_secs(hours.saturating_mul(3600))))
}

/// A number of which zero means that there is no such bound.
pub(super) fn not_zero<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default + PartialEq>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    let number = T::deserialize(deserializer)?;
    Ok((number != T::default()).then_some(number))
}

/// An address; nothing when it is empty.
pub(super) fn optional_address<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<SocketAddr>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(D::Error::custom) }
}

/// A text that means nothing when it is empty.
pub(super) fn not_empty<'de, D: Deserializer<'de>, T: From<String>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    let text = String::deserialize(deserializer)?;
    Ok((!text.is_empty()).then(|| T::from(text)))
}

/// A text that is not shown.
pub(super) fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
    String::deserialize(deserializer).map(Secret::from)
}
