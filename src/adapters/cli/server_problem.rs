//! What a server says instead of doing what it was asked for.

use std::{fmt, time::Duration};

use http::{StatusCode, header};
use reqwest::Response;
use serde::Deserialize;

use super::server_access;

/// Longest answer that is read, and how long that may take. A proxy's error page may be long, and
/// is not shown.
const BODY_BYTES_MAX: usize = 64 * 1024;
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// An answer that is not a success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServerProblem {
    pub(super) status: StatusCode,
    /// When to ask again.
    pub(super) retry_after: Option<Duration>,
    said: Option<Box<Said>>,
    location: Option<String>,
}

/// The body of an error, as Rejoin writes it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
struct Said {
    message: String,
    code: String,
    field: Option<String>,
}

impl ServerProblem {
    /// Reads the answer.
    pub(super) async fn of(response: Response) -> Self {
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        let retry_after = header(header::RETRY_AFTER)
            .and_then(|text| text.trim().parse().ok())
            .map(Duration::from_secs);
        let location = header(header::LOCATION).map(str::to_owned);
        let status = response.status();
        let body =
            tokio::time::timeout(BODY_TIMEOUT, server_access::body(response, BODY_BYTES_MAX)).await;
        let said =
            body.ok().and_then(Result::ok).and_then(|body| serde_json::from_slice(&body).ok());
        Self { status, retry_after, said, location }
    }

    /// Whether the same request may succeed later: the server, or a proxy before it, is
    /// overburdened or away.
    pub(super) fn may_pass(&self) -> bool {
        matches!(
            self.status,
            StatusCode::TOO_MANY_REQUESTS
                | StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT
        )
    }
}

impl fmt::Display for ServerProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.said, &self.location) {
            (Some(said), _) => {
                let Said { message, code, field } = said.as_ref();
                f.write_str(message)?;
                if let Some(field) =
                    field.as_ref().filter(|field| !message.contains(field.as_str()))
                {
                    write!(f, " (in `{field}`)")?;
                }
                write!(f, " ({} {code})", self.status.as_u16())
            }
            (None, Some(location)) if self.status.is_redirection() => {
                write!(
                    f,
                    "the server points to {location}: if you trust that, use it as --url ({})",
                    self.status.as_u16()
                )
            }
            (None, _) => {
                write!(f, "the answer was {}, not from Rejoin: is --url right?", self.status)
            }
        }
    }
}

impl std::error::Error for ServerProblem {}

#[cfg(test)]
mod tests {
    use super::*;

    async fn problem(status: u16, headers: &[(&str, &str)], body: &'static str) -> ServerProblem {
        let mut response = http::Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        ServerProblem::of(response.body(body).unwrap().into()).await
    }

    #[tokio::test]
    async fn the_servers_own_words_are_shown() {
        let body = r#"{"success":false,"message":"`type`: missing","code":"invalid_field","field":"type"}"#;
        assert_eq!(
            problem(422, &[], body).await.to_string(),
            "`type`: missing (422 invalid_field)"
        );
        let body = r#"{"message":"bad","code":"c","field":"payload"}"#;
        assert_eq!(problem(422, &[], body).await.to_string(), "bad (in `payload`) (422 c)");
    }

    #[tokio::test]
    async fn what_another_program_says_is_not() {
        let shown = problem(502, &[], "<html>Bad Gateway</html>").await;
        assert_eq!(
            shown.to_string(),
            "the answer was 502 Bad Gateway, not from Rejoin: is --url right?"
        );
        assert!(shown.may_pass());
        let shown = problem(301, &[("location", "https://h/")], "").await;
        assert_eq!(
            shown.to_string(),
            "the server points to https://h/: if you trust that, use it as --url (301)"
        );
        assert!(!shown.may_pass());
    }

    #[tokio::test]
    async fn retry_after_is_a_number_of_seconds() {
        for (text, expected) in [("7", Some(7)), (" 0 ", Some(0)), ("-1", None), ("soon", None)] {
            let problem = problem(429, &[("retry-after", text)], "").await;
            assert_eq!(problem.retry_after, expected.map(Duration::from_secs), "{text}");
        }
    }
}
