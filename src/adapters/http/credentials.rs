//! Where a request carries its token.
//!
//! Invariant: a cookie or a query parameter counts for reading only, and only where the settings
//! say so. What changes something needs the header, which no other site's page can make a browser
//! send.

use axum::http::{HeaderMap, header};

use super::ApiOptions;

/// The token of the `Authorization` header. An empty one is none.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim()).filter(|token| !token.is_empty())
}

/// The token of a subscribe request: a browser's `EventSource` can't set headers.
pub(super) fn of_reader<'a>(
    headers: &'a HeaderMap,
    access_token: Option<&'a str>,
    options: &ApiOptions,
) -> Option<&'a str> {
    let in_cookie = || options.cookie.as_deref().and_then(|name| cookie(headers, name));
    let in_query = || access_token.filter(|token| options.query_token && !token.is_empty());
    bearer(headers).or_else(in_cookie).or_else(in_query)
}

fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let pairs = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'));
    let mut values = pairs
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(key, _)| *key == name)
        .map(|(_, value)| value);
    values.next().map(|value| value.trim_matches('"')).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use proptest::prelude::*;

    fn headers(pairs: &[(header::HeaderName, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name.clone(), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn the_header_is_read_as_its_specification_says() {
        for (value, token) in [
            ("Bearer t", Some("t")),
            ("bearer  t ", Some("t")),
            ("Basic dTpw", None),
            ("Bearer", None),
            ("t", None),
            ("Bearer ", None),
            ("Bearer \t ", None),
        ] {
            assert_eq!(bearer(&headers(&[(header::AUTHORIZATION, value)])), token, "{value:?}");
        }
    }

    #[test]
    fn a_cookie_is_found_among_others() {
        let headers = headers(&[
            (header::COOKIE, "a=1; tok=x"),
            (header::COOKIE, "session=\"the.token\"; b"),
        ]);
        assert_eq!(cookie(&headers, "session"), Some("the.token"));
        assert_eq!(cookie(&headers, "tok"), Some("x"));
        assert_eq!(cookie(&headers, "to"), None);
        assert_eq!(cookie(&headers, ""), None);
    }

    proptest! {
        #[test]
        fn any_header_is_read_without_a_panic(value in proptest::collection::vec(0x20_u8..=0xff, 0..80)) {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                let mut headers = HeaderMap::new();
                headers.insert(header::AUTHORIZATION, value.clone());
                headers.insert(header::COOKIE, value);
                let _ = (bearer(&headers), cookie(&headers, "a"));
            }
        }
    }
}
