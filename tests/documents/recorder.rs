//! What a real server answers, held against what its description says: by a validator that others
//! wrote.

use std::{
    collections::BTreeSet,
    io::Write,
    process::{Command, Stdio},
};

use rejoin_test_support::TestServer;
use reqwest::{RequestBuilder, header::HeaderMap};
use serde_json::{Value, json};

use crate::documents::pages;

/// Answers of one server, and what they claim to be.
pub(crate) struct Recorder {
    description: Value,
    answers: Vec<Value>,
    /// What was seen of each operation: its statuses, and the codes of those that are errors.
    pub(crate) seen: BTreeSet<(String, u16, String)>,
}

impl Recorder {
    pub(crate) async fn of(server: &TestServer) -> Self {
        let description =
            reqwest::get(server.url("/openapi.json")).await.unwrap().json().await.unwrap();
        Self { description, answers: Vec::new(), seen: BTreeSet::new() }
    }

    /// Sends a request for a described operation, such as `post /api/events`, and keeps what comes:
    /// its body or, of a stream, that it is one. Gives the status and the body.
    pub(crate) async fn record(
        &mut self,
        operation: &str,
        request: RequestBuilder,
    ) -> (u16, Value) {
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let (method, path) = operation.split_once(' ').unwrap();
        let described = &self.description["paths"][path][method]["responses"][status.to_string()];
        assert!(described.is_object(), "{operation} answers {status}, which is not described");
        self.has_its_headers(operation, status, &headers);
        let Some(content_type) = headers.get("content-type") else {
            assert!(
                described["content"].is_null(),
                "{operation} {status} has a body by its description"
            );
            self.seen.insert((operation.to_owned(), status, String::new()));
            return (status, Value::Null);
        };
        let media_type = content_type.to_str().unwrap().split(';').next().unwrap();
        assert!(
            described["content"][media_type].is_object(),
            "{operation} {status} is {media_type}, which is not described"
        );
        if media_type == "text/event-stream" {
            self.seen.insert((operation.to_owned(), status, String::new()));
            return (status, Value::Null);
        }
        let text = answer.text().await.unwrap();
        let lines: Vec<Value> = match media_type {
            "application/json" => vec![serde_json::from_str(&text).unwrap()],
            "application/x-ndjson" => {
                text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
            }
            _ => vec![Value::from(text)],
        };
        // The description is an object of any kind: the validator looks at it by itself.
        let open = path == "/openapi.json";
        let schema = format!(
            "/paths/{}/{method}/responses/{status}/content/{}/schema",
            pointer(path),
            pointer(media_type)
        );
        for line in &lines {
            let code = line["code"].as_str().unwrap_or_default();
            self.seen.insert((operation.to_owned(), status, code.to_owned()));
            self.answers.push(json!({ "name": format!("{operation} {status} {code}"), "schema": schema, "value": line, "open": open }));
        }
        (status, lines.into_iter().next().unwrap_or_default())
    }

    /// Keeps what stood in a stream, which has to be of this schema.
    pub(crate) fn record_frame(&mut self, schema: &str, value: &Value) {
        let open = schema == "MessageEvent";
        self.answers.push(json!({ "name": schema, "schema": format!("/components/schemas/{schema}"), "value": value, "open": open }));
    }

    fn has_its_headers(&self, operation: &str, status: u16, headers: &HeaderMap) {
        let (method, path) = operation.split_once(' ').unwrap();
        let described =
            self.description["paths"][path][method]["responses"][status.to_string()]["headers"]
                .as_object()
                .unwrap();
        for name in described.keys() {
            assert!(headers.contains_key(name), "{operation} {status} has no {name}");
        }
        for name in ["x-request-id", "retry-after", "www-authenticate"] {
            let is_described =
                described.keys().any(|described| described.eq_ignore_ascii_case(name));
            assert!(
                is_described || !headers.contains_key(name),
                "{operation} {status} has {name}, which is not described"
            );
        }
    }

    /// What the description says that was not seen.
    pub(crate) fn unseen(&self) -> BTreeSet<(String, u16, String)> {
        let mut unseen = BTreeSet::new();
        for (path, operations) in self.description["paths"].as_object().unwrap() {
            for (method, operation) in operations.as_object().unwrap() {
                for (status, response) in operation["responses"].as_object().unwrap() {
                    let code =
                        response["content"]["application/json"]["schema"]["allOf"][1]["properties"]
                            ["code"]["enum"]
                            .as_array();
                    let codes = code.map_or_else(
                        || vec![""],
                        |codes| codes.iter().map(|code| code.as_str().unwrap()).collect(),
                    );
                    unseen.extend(codes.iter().map(|code| {
                        (format!("{method} {path}"), status.parse().unwrap(), (*code).to_owned())
                    }));
                }
            }
        }
        unseen.difference(&self.seen).cloned().collect()
    }

    /// Has the validator look at all of it.
    pub(crate) fn judge(&self) {
        let directory = pages::path("tests/documents");
        assert!(
            directory.join("node_modules").is_dir(),
            "the npm packages of {} are not installed: run scripts/test",
            directory.display()
        );
        let mut validator = Command::new("node")
            .arg(directory.join("validate.mjs"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("node can't be run ({error}): run scripts/test"));
        let input = json!({ "description": self.description, "answers": self.answers });
        validator.stdin.take().unwrap().write_all(input.to_string().as_bytes()).unwrap();
        let said = validator.wait_with_output().unwrap();
        let complaints = String::from_utf8_lossy(&said.stdout);
        assert!(said.status.success() && complaints.is_empty(), "{complaints}");
    }
}

/// A name as a part of a JSON pointer (RFC 6901).
fn pointer(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
