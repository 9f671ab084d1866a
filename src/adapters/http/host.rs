//! The host that a request is for, as RFC 9112, section 3.2, and RFC 9113, section 8.3.1, have it.
//!
//! Invariant: there is one host, or the request is refused: servers and proxies that read different
//! ones out of a request can be played off against each other.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use axum::http::{HeaderMap, Uri, Version, header};

/// A host and a port, as an authority without a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Host<'a> {
    name: &'a str,
    port: Option<u16>,
}

/// Missing, there twice, or malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InvalidHost;

/// The host of a request: that of its target where it has one, else its `Host`. HTTP/1.0 may come
/// without.
pub(super) fn of<'a>(
    version: Version,
    uri: &'a Uri,
    headers: &'a HeaderMap,
) -> Result<Option<Host<'a>>, InvalidHost> {
    let parse = |text: &'a str| Host::parse(text).ok_or(InvalidHost);
    let mut in_headers = headers.get_all(header::HOST).iter();
    let in_header = match (in_headers.next(), in_headers.next()) {
        (None, _) => None,
        (Some(value), None) => Some(parse(value.to_str().map_err(|_| InvalidHost)?)?),
        (Some(_), Some(_)) => return Err(InvalidHost),
    };
    let in_target = uri.authority().map(|authority| parse(authority.as_str())).transpose()?;
    match (in_target, in_header) {
        // HTTP/1.1 needs both, and the target counts; in HTTP/2 the target is all that is needed,
        // but they must not differ.
        (Some(target), Some(header)) if version >= Version::HTTP_2 && !target.is_same(header) => {
            Err(InvalidHost)
        }
        (Some(_), None) if version == Version::HTTP_11 => Err(InvalidHost),
        (None, None) if version >= Version::HTTP_11 => Err(InvalidHost),
        (target, header) => Ok(target.or(header)),
    }
}

impl<'a> Host<'a> {
    /// A host, and a port behind it if there is one.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        // What is in brackets may hold colons.
        let name_end = if text.starts_with('[') {
            text.find(']')? + 1
        } else {
            text.find(':').unwrap_or(text.len())
        };
        let (name, port) = text.split_at(name_end);
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => None,
            Some("") => None,
            Some(port) if port.bytes().all(|b| b.is_ascii_digit()) => Some(port.parse().ok()?),
            _ => return None,
        };
        let is_good = match name.strip_prefix('[') {
            Some(address) => {
                address.strip_suffix(']').is_some_and(|address| address.parse::<Ipv6Addr>().is_ok())
            }
            None => is_name(name),
        };
        is_good.then_some(Self { name, port })
    }

    /// Whether it can only mean the machine that asks: a browser resolves such a name by itself, so
    /// that no DNS server can make it mean another.
    pub(super) fn is_loopback(self) -> bool {
        let address = match self.name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
            Some(address) => address.parse().map(IpAddr::V6).ok(),
            None => self.plain_name().parse::<Ipv4Addr>().map(IpAddr::V4).ok(),
        };
        let is_localhost = || {
            self.plain_name()
                .rsplit('.')
                .next()
                .is_some_and(|last| last.eq_ignore_ascii_case("localhost"))
        };
        address.map_or_else(is_localhost, |address| address.to_canonical().is_loopback())
    }

    fn is_same(self, other: Self) -> bool {
        self.name.eq_ignore_ascii_case(other.name) && self.port == other.port
    }

    /// Without the dot that ends a complete name.
    fn plain_name(self) -> &'a str {
        self.name.strip_suffix('.').unwrap_or(self.name)
    }
}

/// RFC 3986's `reg-name`, which an IPv4 address is too; never empty in `http`.
fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    while let Some(byte) = bytes.next() {
        let good = match byte {
            b'%' => {
                bytes.next().is_some_and(|b| b.is_ascii_hexdigit())
                    && bytes.next().is_some_and(|b| b.is_ascii_hexdigit())
            }
            _ => byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&byte),
        };
        if !good {
            return false;
        }
    }
    !name.is_empty()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn loopback_is_what_no_name_server_can_make_another() {
        for host in [
            "localhost",
            "LOCALHOST:8080",
            "localhost.",
            "localhost.:80",
            "localhost:",
            "app.localhost",
            "a.b.localhost.:3000",
            "127.0.0.1",
            "127.0.0.1.:1",
            "127.255.255.254:65535",
            "[::1]",
            "[::1]:8080",
            "[0:0:0:0:0:0:0:1]",
            "[::ffff:127.0.0.1]:1",
        ] {
            assert!(Host::parse(host).unwrap().is_loopback(), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "notlocalhost",
            "localhost..",
            "127.0.0.1.evil.example",
            "127.0.0.1.nip.io:8080",
            "128.0.0.1",
            "0.0.0.0:8080",
            "2130706433",
            "0x7f.1",
            "127.1",
            "[::]",
            "[::2]",
            "[fe80::1]:80",
            "%6cocalhost",
            "localhost,evil.example",
            "rejoin:8080",
        ] {
            assert!(!Host::parse(host).unwrap().is_loopback(), "{host}");
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for text in [
            "",
            ":80",
            "a b",
            "a:b",
            "a:1:2",
            "a:65536",
            "a:-1",
            "a:+1",
            "u@a",
            "a/b",
            "a?b",
            "[::1",
            "::1",
            "[1.2.3.4]",
            "[::1]x",
            "[]",
            "é",
            "a%",
            "a%4",
            "a%zz",
            "http://a",
            "a\tb",
            "\"a\"",
        ] {
            assert_eq!(Host::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_request_has_one_host_as_its_version_demands() {
        let name = |text| Some(Host::parse(text).unwrap());
        for (version, target, hosts, expected) in [
            (Version::HTTP_11, "/", vec!["a:1"], Ok(name("a:1"))),
            (Version::HTTP_11, "/", vec![], Err(InvalidHost)),
            (Version::HTTP_11, "/", vec!["a", "a"], Err(InvalidHost)),
            (Version::HTTP_11, "/", vec!["a b"], Err(InvalidHost)),
            (Version::HTTP_11, "http://b/", vec!["a"], Ok(name("b"))),
            (Version::HTTP_11, "http://b/", vec![], Err(InvalidHost)),
            (Version::HTTP_11, "http://u@b/", vec!["a"], Err(InvalidHost)),
            (Version::HTTP_10, "/", vec![], Ok(None)),
            (Version::HTTP_10, "/", vec!["a"], Ok(name("a"))),
            (Version::HTTP_10, "/", vec!["a", "b"], Err(InvalidHost)),
            (Version::HTTP_2, "http://b/", vec![], Ok(name("b"))),
            (Version::HTTP_2, "http://b/", vec!["B"], Ok(name("b"))),
            (Version::HTTP_2, "http://b/", vec!["a"], Err(InvalidHost)),
            (Version::HTTP_2, "/", vec!["a"], Ok(name("a"))),
            (Version::HTTP_2, "/", vec![], Err(InvalidHost)),
        ] {
            let mut headers = HeaderMap::new();
            for host in &hosts {
                headers.append(header::HOST, HeaderValue::from_str(host).unwrap());
            }
            assert_eq!(
                of(version, &target.parse().unwrap(), &headers),
                expected,
                "{version:?} {target} {hosts:?}"
            );
        }
    }
}
