//! A published set of keys (JWKS, RFC 7517), and the choice of the key that a token names.
//!
//! Invariant: a key is found by its `kid` and the token's algorithm together. Where that leaves a
//! doubt, none is found: keys are never tried one after the other.

use std::sync::Arc;

use jsonwebtoken::jwk::Jwk;
use serde::Deserialize;
use serde_json::Value;

use super::{
    algorithm::Algorithm,
    verifying_key::{UnusableKey, VerifyingKey},
};

/// The keys of a set that are of use.
#[derive(Debug, Default)]
pub(super) struct KeySet {
    keys: Vec<Arc<VerifyingKey>>,
}

/// The text is no set of keys.
#[derive(Debug, thiserror::Error)]
#[error("this is not a set of keys, a JSON object with `keys`")]
pub struct InvalidKeySet(#[from] serde_json::Error);

/// Why no key is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Miss {
    /// No key has the name.
    #[error("no key of the issuer has its `kid`")]
    UnknownKid,
    /// The key of that name is of another type.
    #[error("the key of its `kid` is not for its `alg`")]
    OtherAlgorithm,
    /// No name, and no key for the algorithm.
    #[error("no key of the issuer fits its `alg`")]
    NoneFits,
    /// No name, and several keys for the algorithm.
    #[error("it has no `kid`, and several keys fit its `alg`")]
    Ambiguous,
}

impl Miss {
    /// Whether a newer set could have the key.
    pub(super) const fn may_be_new(self) -> bool {
        matches!(self, Self::UnknownKid | Self::NoneFits)
    }
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

impl KeySet {
    /// Reads a set. Keys that can't be used are left out, with a warning: issuers publish keys for
    /// other purposes, and one that is broken must not take the others with it. The set may turn
    /// out empty, which revokes everything.
    pub(super) fn parse(text: &[u8]) -> Result<Self, InvalidKeySet> {
        let document: Document = serde_json::from_slice(text)?;
        let mut keys: Vec<Arc<VerifyingKey>> = Vec::new();
        for value in document.keys {
            let kid = value.get("kid").and_then(Value::as_str).map(str::to_owned);
            let key = serde_json::from_value::<Jwk>(value).map_err(|_| UnusableKey::Malformed);
            match key.and_then(|jwk| VerifyingKey::from_jwk(&jwk)) {
                Ok(key)
                    if keys.iter().any(|known| {
                        kid.is_some() && known.kid == kid && known.algorithm == key.algorithm
                    }) =>
                {
                    tracing::warn!(?kid, "left out a key: an earlier one of the set has its kid");
                }
                Ok(key) => keys.push(Arc::new(key)),
                // Nothing is wrong with a set that also has keys for encryption.
                Err(reason @ UnusableKey::NotForSignatures) => {
                    tracing::debug!(?kid, %reason, "left out a key");
                }
                Err(reason) => tracing::warn!(?kid, %reason, "left out a key"),
            }
        }
        Ok(Self { keys })
    }

    /// Whether no key is of use.
    pub(super) const fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The key for a token's `alg` and `kid`; without a `kid`, the only key that fits.
    pub(super) fn find(
        &self,
        algorithm: Algorithm,
        kid: Option<&str>,
    ) -> Result<Arc<VerifyingKey>, Miss> {
        let named = || self.keys.iter().filter(|key| kid.is_none() || key.kid.as_deref() == kid);
        let mut fitting = named().filter(|key| key.algorithm == algorithm);
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => Ok(Arc::clone(key)),
            (Some(_), Some(_)) => Err(Miss::Ambiguous),
            (None, _) if kid.is_none() => Err(Miss::NoneFits),
            (None, _) if named().next().is_some() => Err(Miss::OtherAlgorithm),
            (None, _) => Err(Miss::UnknownKid),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    // The public keys of RFC 7517, appendix A.1, and RFC 8037, appendix A.2.
    const EC_X: &str = "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4";
    const EC_Y: &str = "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM";
    const ED_X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

    fn ec(kid: &str) -> Value {
        json!({"kty": "EC", "crv": "P-256", "x": EC_X, "y": EC_Y, "kid": kid})
    }

    fn with(mut key: Value, member: &str, value: Value) -> Value {
        key[member] = value;
        key
    }

    fn parse(keys: &[Value]) -> KeySet {
        KeySet::parse(json!({"keys": keys, "more": 1}).to_string().as_bytes()).unwrap()
    }

    #[test]
    fn a_key_is_found_by_kid_and_algorithm_together() {
        let rsa = json!({"kty": "RSA", "n": "A".repeat(342) + "w", "e": "AQAB", "kid": "both"});
        let set = parse(&[ec("a"), ec("b"), rsa, with(ec("both"), "use", json!("sig"))]);
        assert_eq!(set.find(Algorithm::Es256, Some("b")).unwrap().kid.as_deref(), Some("b"));
        assert_eq!(set.find(Algorithm::Rs256, Some("both")).unwrap().algorithm, Algorithm::Rs256);
        assert_eq!(set.find(Algorithm::Es256, Some("both")).unwrap().algorithm, Algorithm::Es256);
        assert_eq!(set.find(Algorithm::Rs256, Some("a")).unwrap_err(), Miss::OtherAlgorithm);
        assert_eq!(set.find(Algorithm::Es256, Some("c")).unwrap_err(), Miss::UnknownKid);
        assert_eq!(set.find(Algorithm::Es256, Some("")).unwrap_err(), Miss::UnknownKid);
    }

    #[test]
    fn without_a_kid_only_the_only_fitting_key_will_do() {
        let ed = json!({"kty": "OKP", "crv": "Ed25519", "x": ED_X});
        let set = parse(&[ec("a"), ec("b"), ed]);
        assert_eq!(set.find(Algorithm::EdDsa, None).unwrap().kid, None);
        assert_eq!(set.find(Algorithm::Es256, None).unwrap_err(), Miss::Ambiguous);
        assert_eq!(set.find(Algorithm::Rs256, None).unwrap_err(), Miss::NoneFits);
        assert_eq!(
            set.find(Algorithm::EdDsa, Some("x")).unwrap_err(),
            Miss::UnknownKid,
            "a key without a name has none"
        );
    }

    #[test]
    fn keys_of_no_use_are_left_out_and_the_others_stay() {
        let useless = [
            json!(null),
            json!("key"),
            json!({}),
            json!({"kty": "EC"}),
            json!({"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0", "kid": "u"}),
            json!({"kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "small"}),
            json!({"kty": "RSA", "n": "!", "e": "AQAB"}),
            json!({"kty": "OKP", "crv": "X25519", "x": ED_X}),
            json!({"kty": "OKP", "crv": "Ed25519", "x": "AAAA"}),
            json!({"kty": "EC", "crv": "P-384", "x": EC_X, "y": EC_Y}),
            json!({"kty": "EC", "crv": "P-256", "x": EC_X, "y": "AAAA"}),
            with(ec("u"), "kid", json!(7)),
            with(ec("u"), "use", json!("enc")),
            with(ec("u"), "key_ops", json!(["sign"])),
            with(ec("u"), "alg", json!("ES384")),
            with(ec("u"), "alg", json!("none")),
            with(ec("good"), "x", json!(EC_Y)),
        ];
        let mut keys = vec![ec("good")];
        keys.extend(useless.clone());
        assert_eq!(parse(&keys).keys.len(), 1);
        assert!(parse(&useless[..16]).is_empty());
    }

    #[test]
    fn what_is_no_set_is_refused() {
        for text in ["", "[]", "{}", "null", "<html>", r#"{"keys":{}}"#, r#"{"keys":[]"#] {
            assert!(KeySet::parse(text.as_bytes()).is_err(), "{text}");
        }
        assert!(KeySet::parse(&[0xff, 0xfe]).is_err());
        assert!(KeySet::parse("[".repeat(100_000).as_bytes()).is_err());
    }
}
