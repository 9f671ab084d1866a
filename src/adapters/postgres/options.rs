//! What the operator decides, and what follows from it.

use std::{str::FromStr, time::Duration};

/// Connections that have a task of their own: for appends to users' topics, for messages, to
/// listen, to read what was listened to, and to sweep.
const DEDICATED_CONNECTIONS: usize = 5;
/// Connections for leases and budgets.
const CONNECTIONS_FOR_LIMITS: usize = 2;

/// Fewest connections that a process needs.
pub const CONNECTIONS_MIN: usize = DEDICATED_CONNECTIONS + CONNECTIONS_FOR_LIMITS + 1;

/// Where the server is.
#[derive(Clone)]
pub struct PostgresOptions {
    /// The server, as a `postgres://` URL.
    pub url: String,
    /// The schema that everything is in.
    pub schema: String,
    /// Most connections of this process, at least [`CONNECTIONS_MIN`].
    pub max_connections: usize,
    /// Within this, every call is answered.
    pub timeout: Duration,
}

impl PostgresOptions {
    /// Connections for reads and short calls.
    pub(super) const fn connections_for_reads(&self) -> usize {
        let others = DEDICATED_CONNECTIONS + CONNECTIONS_FOR_LIMITS;
        if self.max_connections > others { self.max_connections - others } else { 1 }
    }

    /// Connections for leases and budgets.
    pub(super) const fn connections_for_limits() -> usize {
        CONNECTIONS_FOR_LIMITS
    }
}

/// The name of a schema: 1 to 48 characters of a-z, 0-9 and `_`, not beginning with a digit or
/// `pg_`.
///
/// So it needs no quotes, and leaves room for a suffix in the names that are made of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SchemaName(String);

/// Longest name of a schema.
const SCHEMA_NAME_BYTES_MAX: usize = 48;

/// The text is no name of a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a schema's name has 1 to {SCHEMA_NAME_BYTES_MAX} characters of a-z, 0-9 and '_', and begins with neither a digit nor `pg_`"
)]
pub struct InvalidSchemaName;

impl SchemaName {
    /// The name's text.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The channel on which processes notify each other of what was appended in this schema.
    pub(super) fn channel(&self) -> String {
        format!("{}_feed", self.0)
    }
}

impl FromStr for SchemaName {
    type Err = InvalidSchemaName;

    fn from_str(text: &str) -> Result<Self, InvalidSchemaName> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        let good = !text.is_empty()
            && text.len() <= SCHEMA_NAME_BYTES_MAX
            && text.bytes().all(allowed)
            && !text.starts_with(|c: char| c.is_ascii_digit())
            && !text.starts_with("pg_");
        if good { Ok(Self(text.to_owned())) } else { Err(InvalidSchemaName) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schemas_name_never_needs_quotes() {
        for good in ["rejoin", "r", "_r2_d2", &"x".repeat(48)] {
            assert_eq!(good.parse::<SchemaName>().as_ref().map(SchemaName::as_str), Ok(good));
        }
        for bad in
            ["", "Rejoin", "2x", "pg_catalog", "a-b", "a\"b", "a.b", "é", "a b", &"x".repeat(49)]
        {
            assert_eq!(bad.parse::<SchemaName>(), Err(InvalidSchemaName), "{bad:?}");
        }
    }
}
