//! Bodies that are no UTF-8 text, or no object: each gets an answer that says what to do.

use rejoin_test_support::TestServer;
use reqwest::{Client, Method, Response};
use serde_json::{Value, json};

const ID: &str = "0d0d0d0d-0d0d-4d0d-8d0d-0d0d0d0d0d0d";

/// Every call that takes a JSON body, with one that it takes.
fn calls() -> [(Method, String, &'static str); 5] {
    [
        (Method::PUT, format!("/api/messages/{ID}"), r#"{"user_id":"local"}"#),
        (Method::POST, "/api/events".to_owned(), r#"{"user_id":"local","type":"t"}"#),
        (Method::POST, "/api/v1/events".to_owned(), r#"{"user_id":"local","type":"t"}"#),
        (Method::POST, format!("/api/messages/{ID}/events"), r#"{"type":"chunk"}"#),
        (Method::POST, "/api/admin/users/local/events".to_owned(), r#"{"type":"t"}"#),
    ]
}

async fn send(
    server: &TestServer,
    method: &Method,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<reqwest::Body>,
) -> Response {
    let request = Client::new().request(method.clone(), server.url(path)).body(body);
    let request =
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    request.send().await.unwrap()
}

async fn refusal(response: Response) -> (u16, String, String) {
    let status = response.status().as_u16();
    let problem: Value = response.json().await.unwrap();
    (
        status,
        problem["code"].as_str().unwrap().to_owned(),
        problem["message"].as_str().unwrap().to_owned(),
    )
}

const JSON: (&str, &str) = ("content-type", "application/json");

/// Headers, a body, and a word of the answer.
type Case<'a> = (&'a [(&'a str, &'a str)], Vec<u8>, &'a str);

#[tokio::test]
async fn promise_11_a_body_in_another_encoding_is_told_what_to_do() {
    let server = TestServer::start("").await;
    for (method, path, body) in calls() {
        let utf16: Vec<u8> = body.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let cases: [Case<'_>; 9] = [
            (&[JSON, ("content-encoding", "gzip")], body.into(), "gzip"),
            (&[JSON, ("content-encoding", "deflate")], body.into(), "deflate"),
            (&[JSON, ("content-encoding", "br")], body.into(), "br"),
            (&[JSON, ("content-encoding", "zstd")], body.into(), "zstd"),
            (&[JSON], b"\x1f\x8b\x08\x00\x00\x00\x00\x00".to_vec(), "gzip"),
            (&[JSON], utf16.clone(), "UTF-16"),
            (&[JSON], [b"\xff\xfe".to_vec(), utf16].concat(), "UTF-16"),
            (&[("content-type", "application/json; charset=utf-16")], body.into(), "utf-16"),
            (
                &[("content-type", "application/json; charset=iso-8859-1")],
                body.into(),
                "iso-8859-1",
            ),
        ];
        for (headers, body, named) in cases {
            let (status, code, message) =
                refusal(send(&server, &method, &path, headers, body).await).await;
            assert_eq!(
                (status, code.as_str()),
                (415, "unsupported_encoding"),
                "{method} {path} {named}: {message}"
            );
            assert!(message.contains(named) && message.contains("send"), "{message}");
        }
        let charset =
            [("content-type", "application/json; charset=UTF-8"), ("content-encoding", "identity")];
        let response = send(&server, &method, &path, &charset, format!("\u{feff}{body}")).await;
        assert_eq!(response.status(), 201, "{method} {path}: the mark of UTF-8 is passed over");
    }
}

#[tokio::test]
async fn promise_11_an_array_is_no_object_by_position() {
    let server = TestServer::start("").await;
    for (method, path, body) in calls() {
        for array in [
            r#"["local",null,null,"t",{"x":1},null,null]"#,
            r#"["chunk",{},0]"#,
            r#"["local",false]"#,
            "[]",
            &format!(" [{body}]"),
        ] {
            let (status, code, message) =
                refusal(send(&server, &method, &path, &[JSON], array.to_owned()).await).await;
            assert_eq!(
                (status, code.as_str()),
                (422, "invalid_event"),
                "{method} {path} {array}: {message}"
            );
            assert!(
                message.contains("array") && message.contains("application/x-ndjson"),
                "{message}"
            );
        }
        assert_eq!(
            send(&server, &method, &path, &[JSON], body).await.status(),
            201,
            "{method} {path}"
        );
    }
    let (status, answer) =
        server.post(&json!({ "user_id": "local", "type": "t", "scope": ["kind", "id"] })).await;
    assert_eq!((status, &answer["field"]), (422, &json!("scope")));
}

#[tokio::test]
async fn promise_11_a_line_of_ndjson_is_told_likewise() {
    let server = TestServer::start("").await;
    let upload = async |headers: &[(&str, &str)], body: Vec<u8>| {
        let ndjson = [&[("content-type", "application/x-ndjson")], headers].concat();
        send(&server, &Method::POST, "/api/events", &ndjson, body).await
    };
    let line = r#"{"user_id":"local","type":"t"}"#;
    let lines = [
        format!("\u{feff}{line}").into_bytes(),
        b"\x1f\x8b\x08".to_vec(),
        format!("[{line}]").into_bytes(),
        format!("\u{feff}{line}").into(),
    ];
    let results = upload(&[], lines.join(&b'\n')).await.text().await.unwrap();
    let results: Vec<Value> =
        results.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let shown: Vec<_> =
        results.iter().map(|result| (result["status"].as_u64(), result["code"].as_str())).collect();
    let refused = |status, code| (Some(status), Some(code));
    assert_eq!(
        shown,
        [
            (None, None),
            refused(415, "unsupported_encoding"),
            refused(422, "invalid_event"),
            (None, None)
        ]
    );
    let utf16: Vec<u8> =
        format!("{line}\n{line}\n").encode_utf16().flat_map(u16::to_le_bytes).collect();
    let results = upload(&[], utf16).await.text().await.unwrap();
    assert!(results.lines().all(|line| line.contains("unsupported_encoding")), "{results}");
    let (status, code, _) =
        refusal(upload(&[("content-encoding", "gzip")], line.into()).await).await;
    assert_eq!((status, code.as_str()), (415, "unsupported_encoding"));
}
