//! Publishers' static keys: a random text, of which the configuration holds the SHA-256 only.
//!
//! Invariant: a key is compared by its digest, never as text. What a lookup's duration could reveal
//! is then about the digest of a guess; whoever guesses can't steer that towards a digest that is
//! configured, so it leads nowhere. An unsalted, fast hash is enough, because keys are random (see
//! [`super::mint`]) and not chosen by people.

use std::collections::{BTreeSet, HashMap};

use sha2::{Digest, Sha256};

use super::TOKEN_BYTES_MAX;
use crate::domain::access::{Principal, Scope};

/// How keys made by Rejoin begin, so that people, and scanners for leaked secrets, recognise one.
pub const KEY_PREFIX: &str = "rejoin_pk_";

/// One publisher's key, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticKey {
    /// Whose it is, for messages and logs.
    pub name: String,
    /// The SHA-256 of the key's text.
    pub sha256: [u8; 32],
    /// What its holder may do.
    pub scopes: BTreeSet<Scope>,
}

/// All configured keys.
#[derive(Clone, Debug, Default)]
pub struct StaticKeys {
    by_digest: HashMap<[u8; 32], (String, Principal)>,
}

/// One key is configured twice, so that its rights would be a matter of order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "publisher keys `{first}` and `{second}` are the same key: make one with `rejoin token key`"
)]
pub struct DuplicateKey {
    /// The name that has the key.
    pub first: String,
    /// The name that has it too.
    pub second: String,
}

impl StaticKeys {
    /// Takes the configured keys.
    ///
    /// # Errors
    /// Two of them are the same key.
    pub fn new(keys: impl IntoIterator<Item = StaticKey>) -> Result<Self, DuplicateKey> {
        let mut by_digest: HashMap<[u8; 32], (String, Principal)> = HashMap::new();
        for key in keys {
            let principal =
                Principal { user: None, scopes: key.scopes, categories: None, expires_at: None };
            if let Some((first, _)) = by_digest.get(&key.sha256) {
                return Err(DuplicateKey { first: first.clone(), second: key.name });
            }
            by_digest.insert(key.sha256, (key.name, principal));
        }
        Ok(Self { by_digest })
    }

    /// The publisher whose key this is.
    pub fn find(&self, token: &str) -> Option<&Principal> {
        // Nothing is no key, whatever is configured; and nothing that long is one.
        if self.by_digest.is_empty() || token.is_empty() || token.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let (name, principal) = self.by_digest.get(&digest(token))?;
        tracing::debug!(key = name, "a publisher's key was used");
        Some(principal)
    }
}

/// Whether this can only be meant as a key, so that there is no point in reading it as anything
/// else.
pub fn looks_like_key(token: &str) -> bool {
    token.starts_with(KEY_PREFIX)
}

/// What stands for a key in the configuration.
pub fn digest(key: &str) -> [u8; 32] {
    Sha256::digest(key).into()
}

/// Writes a digest as the configuration has it.
pub fn digest_to_hex(digest: [u8; 32]) -> String {
    hex::encode(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str, text: &str, scopes: &[Scope]) -> StaticKey {
        StaticKey {
            name: name.into(),
            sha256: digest(text),
            scopes: scopes.iter().copied().collect(),
        }
    }

    #[test]
    fn a_key_is_its_publisher_and_nobody_else() {
        let keys = StaticKeys::new([
            key("crm", "one", &[Scope::EventsPublish]),
            key("ops", "two", &[Scope::Admin]),
        ])
        .unwrap();
        let crm = keys.find("one").unwrap();
        assert_eq!(crm.scopes, BTreeSet::from([Scope::EventsPublish]));
        assert_eq!((&crm.user, &crm.categories, crm.expires_at), (&None, &None, None));
        assert_eq!(keys.find("two").unwrap().scopes, BTreeSet::from([Scope::Admin]));
    }

    #[test]
    fn nothing_but_the_key_itself_is_the_key() {
        let keys = StaticKeys::new([key("crm", "one", &[])]).unwrap();
        let hex = digest_to_hex(digest("one"));
        for token in ["", "on", "One", "one ", " one", "crm", &hex, &"one".repeat(TOKEN_BYTES_MAX)]
        {
            assert_eq!(keys.find(token), None, "{token:.80}");
        }
        assert_eq!(StaticKeys::default().find(""), None);
        assert_eq!(StaticKeys::new([key("nobody", "", &[])]).unwrap().find(""), None);
    }

    #[test]
    fn one_key_under_two_names_is_refused() {
        let error =
            StaticKeys::new([key("a", "one", &[]), key("b", "one", &[Scope::Admin])]).unwrap_err();
        assert_eq!(error, DuplicateKey { first: "a".into(), second: "b".into() });
    }

    #[test]
    fn a_digest_is_written_in_lower_case() {
        let text = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";
        assert_eq!(digest_to_hex(digest("foo")), text);
    }
}
