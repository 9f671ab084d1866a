//! `postgres.url`, read.
//!
//! Invariant: nothing of it gets into an error or the log, except names of parameters. The driver
//! would log an unknown parameter with its value, show a wrong `sslmode` in its error, and log a
//! malformed line of a password file as it is: it gets neither of the first two, and is not heard
//! while it reads.

use form_urlencoded::Serializer;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use tracing::subscriber::{NoSubscriber, with_default};

use crate::adapters::shown_url::MASK;

/// The parameters that the driver reads, beside `options[..]`.
const KNOWN: [&str; 18] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];

/// Why the URL can't be used. It does not show what stands there, which may be a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "postgres.url is not usable ({0}): write postgres://user:password@host:5432/database, and percent-encode all but letters, digits and \
     '-', '.', '_', '~' in user and password"
)]
pub struct UnusableUrl(String);

/// What the driver needs to know. The scheme says no more than that it is Postgres, and was checked
/// with the settings.
pub(super) fn parse(url: &str) -> Result<PgConnectOptions, UnusableUrl> {
    let unusable = |reason: &str| UnusableUrl(reason.to_owned());
    if url.contains('#') {
        return Err(unusable("it has a '#'"));
    }
    let (place, query) = url.split_once('?').unwrap_or((url, ""));
    let mut unknown: Option<Unknown> = None;
    let mut has_password = false;
    let mut known = Serializer::new(String::new());
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let is_password = name == "password";
        let is_mode = matches!(&*name, "sslmode" | "ssl-mode");
        if is_mode && value.parse::<PgSslMode>().is_err() {
            return Err(unusable(
                "its sslmode is none of disable, allow, prefer, require, verify-ca and verify-full",
            ));
        }
        if KNOWN.contains(&&*name) || name.starts_with("options[") {
            known.append_pair(&name, &value);
        } else if let Some(unknown) = &mut unknown {
            unknown.more += 1;
        } else {
            unknown = Some(Unknown {
                first: name.into_owned(),
                is_sure: !has_password && !value.is_empty(),
                more: 0,
            });
        }
        has_password |= is_password;
    }
    if let Some(Unknown { first, is_sure, more }) = unknown {
        let first = if is_sure && is_name(&first) { first } else { MASK.to_owned() };
        tracing::warn!(
            parameter = first,
            more,
            "postgres.url has parameters that are not known, and have no effect: see docs/backends/postgres.md"
        );
    }
    let url = format!("{place}?{}", known.finish());
    // What is left are the mistakes of addresses and numbers, in the words of their parsers, which
    // don't quote.
    with_default(NoSubscriber::new(), || url.parse()).map_err(|error: sqlx::Error| match error {
        sqlx::Error::Configuration(reason) => UnusableUrl(reason.to_string()),
        _ => unusable("the driver refuses it"),
    })
}

/// What is not read. Behind a password, and behind the first of these, a name may be what follows
/// an `&` in a value.
struct Unknown {
    first: String,
    is_sure: bool,
    more: usize,
}

fn is_name(text: &str) -> bool {
    (1..=40).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scheme_of_postgres_and_every_encoding_is_read() {
        for scheme in [
            "postgres",
            "postgresql",
            "postgresql+psycopg",
            "postgresql+psycopg2",
            "postgres+asyncpg",
        ] {
            let options =
                parse(&format!("{scheme}://us%40er:p%3Fa%23s%2Fs%40w%3A@db.example:6432/events?sslmode=require&ssl=require")).unwrap();
            assert_eq!(
                (options.get_host(), options.get_port(), options.get_username()),
                ("db.example", 6432, "us@er"),
                "{scheme}"
            );
            assert_eq!(options.get_database(), Some("events"));
            assert!(matches!(options.get_ssl_mode(), PgSslMode::Require));
            // The driver has no way to ask for it but this.
            assert!(format!("{options:?}").contains("p?a#s/s@w:"), "{options:?}");
        }
        let options =
            parse("postgres://%2Fvar%2Frun/db?user=a%40b&options[search_path]=x").unwrap();
        assert_eq!(options.get_socket().map(|path| path.to_str().unwrap()), Some("/var/run"));
        assert_eq!(
            (options.get_username(), options.get_options()),
            ("a@b", Some("-c search_path=x"))
        );
    }

    #[test]
    fn a_refusal_shows_nothing_of_the_url() {
        for url in [
            "postgres://u:hushpass?1@host/db?port=hushpass",
            "postgres://u:hush?pass@host/db",
            "postgres://u:hush#pass@host/db",
            "postgres://u:hush/pass@host/db",
            "postgres://u:hush@[hush/db",
            "postgres://u:hush@host:hush/db",
            "postgres://u@host/db?sslmode=hush",
            "postgres://u@host/db?port=hush",
            "postgres://u@host/db?hostaddr=hush",
            "postgres://u@host/db?statement-cache-capacity=hush",
            "postgres://%ffhush@host/db",
            "hush",
        ] {
            let error = parse(url).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hush"), "{url}: {error}");
        }
    }
}
