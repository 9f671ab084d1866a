//! Where the server is, and who asks: what all commands that talk to a server have in common.
//!
//! Invariants: a token is sent to no server but the one that was named, so redirects are not
//! followed; what a server sends is read up to a bound.

use std::{convert::Infallible, error::Error, str::FromStr, time::Duration};

use clap::Args;
use http::{
    HeaderMap, HeaderValue, Method,
    header::{AUTHORIZATION, InvalidHeaderValue},
};
use reqwest::{Client, RequestBuilder, Response, Url, redirect};

use crate::{adapters::config::Secret, domain::topic::MessageId};

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The server where none is named.
const DEFAULT_URL: &str = "http://127.0.0.1:8080";

/// Options.
#[derive(Args, Clone, Debug)]
pub(super) struct ServerAccess {
    /// The server. A path is kept, for a server that a proxy has put under one.
    #[arg(long, env = "REJOIN_URL", value_name = "URL", default_value = DEFAULT_URL, hide_env_values = true)]
    url: ServerUrl,
    /// The token, or the publisher's key. Better in the environment: others can see a command's
    /// arguments.
    #[arg(long, env = "REJOIN_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    token: Option<Secret>,
}

/// Why a text is no server's URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidUrl {
    /// No URL at all, or of another protocol.
    #[error("a server's URL looks like http://127.0.0.1:8080 or https://events.example.com")]
    Malformed,
    /// They would be seen in messages, and in the list of processes.
    #[error("a name and a password have no place in the URL: use --token")]
    Credentials,
}

/// The URL as far as it could be read. The parser of the command line, where it refuses a value,
/// shows all of it.
#[derive(Clone, Debug)]
struct ServerUrl(Result<Url, InvalidUrl>);

impl FromStr for ServerUrl {
    type Err = Infallible;

    /// An empty variable counts as not set.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(base_url(if text.is_empty() { DEFAULT_URL } else { text })))
    }
}

fn base_url(text: &str) -> Result<Url, InvalidUrl> {
    let url = Url::parse(text)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let mut url = url.ok_or(InvalidUrl::Malformed)?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(InvalidUrl::Credentials);
    }
    url.set_query(None);
    url.set_fragment(None);
    Ok(url)
}

/// Why the server can't be talked to at all.
#[derive(Debug, thiserror::Error)]
pub(super) enum AccessError {
    /// The URL is none.
    #[error("--url or REJOIN_URL: {0}")]
    Url(#[from] InvalidUrl),
    /// A token is one line of visible characters.
    #[error(
        "the token holds characters that no token has: is something else in --token or REJOIN_TOKEN?"
    )]
    Token(#[from] InvalidHeaderValue),
    /// Such as no certificates to be found on the system.
    #[error("no HTTP client can be made")]
    Client(#[from] reqwest::Error),
}

/// A server that was named.
#[derive(Clone, Debug)]
pub(super) struct RemoteServer {
    client: Client,
    base: Url,
}

impl ServerAccess {
    /// Gets ready. Nothing is connected yet.
    pub(super) fn server(&self) -> Result<RemoteServer, AccessError> {
        let base = self.url.0.clone()?;
        let mut headers = HeaderMap::new();
        // An empty variable is as good as none, and a file's last line end comes along easily.
        if let Some(token) =
            self.token.as_ref().map(|token| token.reveal().trim()).filter(|token| !token.is_empty())
        {
            let mut value = HeaderValue::from_str(&format!("Bearer {token}"))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let client = Client::builder()
            .user_agent(concat!("rejoin/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .build()?;
        Ok(RemoteServer { client, base })
    }
}

impl RemoteServer {
    /// A request to `/api/events`.
    pub(super) fn events(&self, method: Method, query: &[(&str, &str)]) -> RequestBuilder {
        let mut url = self.url(&["api", "events"]);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.client.request(method, url)
    }

    /// A request to a message, or to something below it.
    pub(super) fn message(
        &self,
        method: Method,
        id: &MessageId,
        below: Option<&str>,
    ) -> RequestBuilder {
        let mut url = self.url(&["api", "messages", id.as_str()]);
        if let (Some(below), Ok(mut path)) = (below, url.path_segments_mut()) {
            path.push(below);
        }
        self.client.request(method, url)
    }

    fn url(&self, segments: &[&str]) -> Url {
        let mut url = self.base.clone();
        // An `http` URL always has a path to add to.
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }

    /// The server's URL, for messages.
    pub(super) fn name(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }
}

/// Why an HTTP request failed, in a few words: what lies at the bottom is what a person can act on.
pub(super) fn reason(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let mut cause: &dyn Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// Why a body was not read to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    /// It broke off.
    #[error("{}", reason(.0))]
    Broken(#[from] reqwest::Error),
    /// No server of ours says that much.
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
}

/// Reads a whole body.
pub(super) async fn body(mut response: Response, bytes_max: usize) -> Result<Vec<u8>, BodyError> {
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await? {
        if body.len() + piece.len() > bytes_max {
            return Err(BodyError::TooLong(bytes_max));
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(url: &str, token: Option<&str>) -> ServerAccess {
        let Ok(url) = url.parse();
        ServerAccess { url, token: token.map(|token| Secret::from(token.to_owned())) }
    }

    fn url_of_events(base: &str, query: &[(&str, &str)]) -> String {
        let access = access(base, None);
        access.server().unwrap().events(Method::GET, query).build().unwrap().url().to_string()
    }

    #[test]
    fn a_path_in_the_url_is_kept() {
        assert_eq!(url_of_events("http://h:1", &[]), "http://h:1/api/events");
        assert_eq!(url_of_events("http://h:1/", &[]), "http://h:1/api/events");
        assert_eq!(
            url_of_events("https://h/a/b/?x=1#y", &[("k", "a,b c")]),
            "https://h/a/b/api/events?k=a%2Cb+c"
        );
    }

    #[test]
    fn what_is_no_servers_url_is_refused() {
        for text in [
            "",
            "h:1",
            "127.0.0.1:8080",
            "localhost:8080",
            "ftp://h",
            "http://",
            "file:///etc/passwd",
        ] {
            assert_eq!(base_url(text), Err(InvalidUrl::Malformed), "{text}");
        }
        assert_eq!(base_url("http://u:p@h"), Err(InvalidUrl::Credentials));
        assert!(access("", None).server().is_ok(), "an empty variable is none");
        for url in ["h:1", "http://hush:hush@h", "http://hush@h", "hush"] {
            let error = access(url, None).server().unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hush"), "{error}");
        }
    }

    #[test]
    fn a_token_is_never_shown() {
        let access = access("http://h", Some("hush"));
        assert!(!format!("{access:?} {:?}", access.server().unwrap()).contains("hush"));
        let access = ServerAccess { token: Some(Secret::from("a\nb".to_owned())), ..access };
        assert!(matches!(access.server(), Err(AccessError::Token(_))));
    }
}
