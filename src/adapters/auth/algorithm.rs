//! The signature algorithms that tokens may use.
//!
//! Invariant: what is not in this list can't be allowed by any setting: `none` has no value here.

use jsonwebtoken::Algorithm as Jws;

/// A signature algorithm, as a token's `alg` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// HMAC with SHA-256: one secret signs and checks.
    Hs256,
    /// RSA, PKCS #1 v1.5, with SHA-256.
    Rs256,
    /// ECDSA on the curve P-256, with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Self; 4] = [Self::Hs256, Self::Rs256, Self::Es256, Self::EdDsa];

    /// Those whose keys may be published.
    pub const PUBLIC: [Self; 3] = [Self::Rs256, Self::Es256, Self::EdDsa];

    /// Its name in tokens and settings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }

    /// The algorithm of that name, spelt exactly so.
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == name)
    }

    /// The library's word for it.
    pub(super) const fn jws(self) -> Jws {
        match self {
            Self::Hs256 => Jws::HS256,
            Self::Rs256 => Jws::RS256,
            Self::Es256 => Jws::ES256,
            Self::EdDsa => Jws::EdDSA,
        }
    }

    /// From the library's word, if it is one of ours.
    pub(super) fn of_jws(jws: Jws) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.jws() == jws)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_exact() {
        for algorithm in Algorithm::ALL {
            assert_eq!(Algorithm::find(algorithm.as_str()), Some(algorithm));
            assert_eq!(Algorithm::of_jws(algorithm.jws()), Some(algorithm));
        }
        for name in ["none", "None", "", "hs256", "RS512", "HS256 "] {
            assert_eq!(Algorithm::find(name), None);
        }
        assert_eq!(Algorithm::of_jws(Jws::PS256), None);
    }
}
