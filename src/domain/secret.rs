//! Whether a shared secret is fit to sign with: the one rule, for settings, for checking and for
//! making tokens.
//!
//! It can't say that a secret is good. It finds those that a search would try first.

/// Fewest bytes: RFC 7518 demands the size of the hash for HS256. A shorter one can be found by
/// trying.
pub const SECRET_BYTES_MIN: usize = 32;

/// Fewest different bytes. Of random secrets of 32 characters, hexadecimal ones have 14 on average;
/// a short word that is repeated has fewer.
pub const SECRET_DISTINCT_BYTES_MIN: usize = 8;

/// Why a secret can be guessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Weakness {
    /// Nothing, or white space only: no secret at all.
    #[error("it is blank")]
    Blank,
    /// Found by trying.
    #[error("it has fewer than {SECRET_BYTES_MIN} bytes")]
    Short,
    /// One letter, or a few, repeated.
    #[error("it has fewer than {SECRET_DISTINCT_BYTES_MIN} different characters")]
    Repetitive,
}

/// What is wrong with a secret, if anything is.
pub fn weakness(secret: &str) -> Option<Weakness> {
    if secret.trim().is_empty() {
        return Some(Weakness::Blank);
    }
    if secret.len() < SECRET_BYTES_MIN {
        return Some(Weakness::Short);
    }
    let mut seen = [false; 256];
    for byte in secret.bytes() {
        seen[usize::from(byte)] = true;
    }
    let distinct = seen.into_iter().filter(|seen| *seen).count();
    (distinct < SECRET_DISTINCT_BYTES_MIN).then_some(Weakness::Repetitive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_search_would_try_first_is_weak() {
        for (secret, expected) in [
            (String::new(), Some(Weakness::Blank)),
            (" ".repeat(64), Some(Weakness::Blank)),
            (" \t\r\n\u{a0}".repeat(16), Some(Weakness::Blank)),
            ("changeme".to_owned(), Some(Weakness::Short)),
            ("x".repeat(31), Some(Weakness::Short)),
            ("x".repeat(32), Some(Weakness::Repetitive)),
            ("0".repeat(4_096), Some(Weakness::Repetitive)),
            ("password".repeat(8), Some(Weakness::Repetitive)),
            ("secret-".repeat(8), Some(Weakness::Repetitive)),
            (format!("{}x", " ".repeat(63)), Some(Weakness::Repetitive)),
            ("0123456789abcdef0123456789abcdef".to_owned(), None),
            ("9f86d081884c7d659a2feaa0c55ad015".to_owned(), None),
            ("a secret of thirty-two bytes, at least".to_owned(), None),
        ] {
            assert_eq!(weakness(&secret), expected, "{secret:?}");
        }
    }
}
