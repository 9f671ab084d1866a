//! A URL as anybody may see it: the one way to show one, in the listing of settings, in errors and
//! in the log.
//!
//! Invariant: no user, no password and nothing of a query or fragment is shown. People put odd
//! characters into passwords without encoding them, and then it is not clear where the password
//! ends: whatever is not plainly scheme, host, port and path is masked, if need be all of it.

/// What stands where something is not shown.
pub const MASK: &str = "********";

/// A URL, or several with commas between, without what may be secret.
pub fn shown(urls: &str) -> String {
    // A password may hold a comma too: if one part is unclear, so is where the others begin.
    let parts: Option<Vec<String>> = urls.split(',').map(|url| shown_one(url.trim())).collect();
    parts.map_or_else(|| MASK.to_owned(), |parts| parts.join(","))
}

/// Whether it is unclear where user and password end: an `@` may be in a path or a query, or end
/// a password with such characters. A program that takes the one for the other looks for a host of
/// that name.
pub fn is_ambiguous(url: &str) -> bool {
    let before =
        url.split_once("://").and_then(|(_, rest)| rest.rsplit_once('@')).map(|(before, _)| before);
    before.is_some_and(|before| before.contains(['/', '\\', '?', '#']))
}

fn shown_one(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    if is_ambiguous(url) {
        return is_scheme(scheme).then(|| format!("{scheme}://{MASK}"));
    }
    let (user, rest) = match rest.rsplit_once('@') {
        Some((_, rest)) => (format!("{MASK}@"), rest),
        None => (String::new(), rest),
    };
    let (place, hidden) = match rest.find(['?', '#']) {
        Some(at) => (&rest[..at], format!("{}{MASK}", &rest[at..=at])),
        None => (rest, String::new()),
    };
    let (authority, path) = place.find('/').map_or((place, ""), |at| place.split_at(at));
    let is_clear = is_scheme(scheme) && is_authority(authority) && path.bytes().all(is_of_path);
    is_clear.then(|| format!("{scheme}://{user}{place}{hidden}"))
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
}

/// A host and a port, or neither where the path names a socket. `user:password` without a host is
/// none, unless the password is a number.
fn is_authority(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port),
        _ => (text, ""),
    };
    is_host(host) && port.len() <= 5 && port.bytes().all(|b| b.is_ascii_digit())
}

fn is_host(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[') {
        return address.strip_suffix(']').is_some_and(|address| {
            address.bytes().all(|b| b.is_ascii_hexdigit() || b":.".contains(&b))
        });
    }
    // The folder of a Postgres socket may stand here, its slashes encoded. Any other escape may be
    // part of a password.
    let plain = host.replace("%2F", "").replace("%2f", "");
    plain.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
}

const fn is_of_path(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'.' | b'_' | b'~')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_secret_is_shown() {
        for url in [
            "redis://127.0.0.1:6379",
            "rediss://redis.internal:6379/0",
            "redis://[::1]:6379/0",
            "redis://a:1,redis://b:2",
            "unix:///run/redis.sock",
            "postgres://localhost:5432/rejoin",
            "postgresql+psycopg://%2Fvar%2Frun%2Fpostgresql/rejoin",
            "https://issuer.example.com/.well-known/jwks.json",
            "http://127.0.0.1:4318",
        ] {
            assert_eq!(shown(url), url);
        }
    }

    #[test]
    fn user_password_query_and_fragment_are_masked() {
        for (url, expected) in [
            ("redis://user:pa:s@s@host:1/2", "redis://********@host:1/2"),
            ("rediss://:pass@a,redis://b?password=pass", "rediss://********@a,redis://b?********"),
            ("rediss://host#pass", "rediss://host#********"),
            ("https://pass@host/keys?key=pass#pass", "https://********@host/keys?********"),
            ("postgres:///db?user=u&password=pass", "postgres:///db?********"),
        ] {
            assert_eq!(shown(url), expected, "{url}");
        }
    }

    #[test]
    fn what_is_not_clear_is_masked() {
        for (url, expected) in [
            ("redis://user:pa?ss@host/0", "redis://********"),
            ("redis://user:pa#ss@host/0", "redis://********"),
            ("redis://user:pa/ss@host/0", "redis://********"),
            ("http://host\\pass@host", "http://********"),
            ("https://host/keys?key=a@pass", "https://********"),
            ("redis://user:pa,ss@host", MASK),
            ("redis://user:12,ss@host", MASK),
            ("redis://user:pass", MASK),
            ("redis://user%3Apass%40host", MASK),
            ("redis://user: pass@ho st", MASK),
            ("redis://[pass", MASK),
            ("pa ss://host", MASK),
            ("pass", MASK),
            ("", MASK),
        ] {
            assert_eq!(shown(url), expected, "{url}");
        }
    }

    proptest! {
        /// Whatever a password holds, and wherever a secret stands behind the host.
        #[test]
        fn no_secret_is_shown(odd in "[ -~]{0,4}", more in "[ -~]{0,4}", at in 0_usize..4) {
            // It has letters that nothing else of these URLs has.
            let secret = format!("{odd}QZ{more}QZ");
            let url = match at {
                0 => format!("redis://user:{secret}@host:6379/0"),
                1 => format!("redis://{secret}@host:6379/0"),
                2 => format!("https://host/keys?key={secret}"),
                _ => format!("https://host/keys#{secret}"),
            };
            let text = shown(&url);
            // A comma and another scheme begin another URL: that much is sure to be one.
            prop_assume!(!secret.contains("://"));
            prop_assert!(!text.contains("QZ"), "{url}: {text}");
        }
    }
}
