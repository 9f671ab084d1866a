//! Routes of a deployment's own: they stand for ours, with the habits of their clients.

use rejoin::{
    domain::access::Scope,
    testing::{settings_with_tokens, token},
};
use rejoin_test_support::{TestServer, soon};
use reqwest::{Client, Response};
use serde_json::{Value, json};

const ROUTES: &str = r#"
messages.open_wait_seconds = 0
messages.producer_idle_seconds = 1
server.cors_origins = ["https://app.example.com"]

[[routes]]
path = "/api/chat/{id}/stream"
profile = "ai-sdk"

[[routes]]
path = "/flow/{id}"
profile = "ai-sdk-workflow"

[[routes]]
path = "/v1/responses/{id}"
profile = "openai-responses"

[[routes]]
path = "/threads/{thread}/runs/{id}/stream"
profile = "langgraph"

[[routes]]
path = "/own/{id}"
finished = 404
closing = "bye"
headers = { x-own = "1" }

[[routes]]
path = "/feed"
format = "data"
cursor = "since"
"#;

async fn get(server: &TestServer, path: &str) -> Response {
    soon("an answer", Client::new().get(server.url(path)).send()).await.unwrap()
}

/// The status, and the text behind the greeting.
async fn read(server: &TestServer, path: &str) -> (u16, String) {
    let response = get(server, path).await;
    let status = response.status().as_u16();
    let text = soon("the end of the stream", response.text()).await.unwrap();
    (status, text.trim_start_matches(": connected\nretry: 3000\n").to_owned())
}

async fn call(server: &TestServer, method: &str, path: &str, body: Value) -> u16 {
    let method = method.parse().unwrap();
    let request = Client::new().request(method, server.url(path)).json(&body);
    request.send().await.unwrap().status().as_u16()
}

/// A message of two chunks.
async fn open(server: &TestServer, id: &str) {
    let path = format!("/api/messages/{id}");
    assert_eq!(call(server, "PUT", &path, json!({ "user_id": "local" })).await, 201);
    for n in 0..2 {
        let event = json!({ "type": "text-delta", "payload": { "type": "text-delta", "n": n } });
        assert_eq!(call(server, "POST", &format!("{path}/events"), event).await, 201);
    }
}

async fn finish(server: &TestServer, id: &str) {
    let event = json!({ "type": "finish", "last": true });
    assert_eq!(call(server, "POST", &format!("/api/messages/{id}/events"), event).await, 201);
}

#[tokio::test]
async fn a_route_answers_with_the_statuses_and_headers_that_its_clients_know() {
    let server = TestServer::start(ROUTES).await;
    assert_eq!(read(&server, "/api/chat/none/stream").await, (204, String::new()));
    assert_eq!(read(&server, "/v1/responses/none").await.0, 404);
    assert_eq!(read(&server, "/v1/responses/a%20b").await.0, 400);
    open(&server, "m").await;
    let chat = get(&server, "/api/chat/m/stream").await;
    assert_eq!(chat.headers()["x-vercel-ai-ui-message-stream"], "v1");
    drop(chat);
    let run = get(&server, "/threads/t/runs/m/stream?stream_mode=values").await;
    assert_eq!(run.headers()["location"], "/threads/t/runs/m/stream?stream_mode=values");
    drop(run);
    finish(&server, "m").await;
    assert_eq!(read(&server, "/api/chat/m/stream").await.0, 204, "nothing is to be resumed");
    assert_eq!(read(&server, "/own/m").await.0, 404);
    let flow = get(&server, "/flow/m?startIndex=-2").await;
    assert_eq!(flow.headers()["x-workflow-stream-tail-index"], "2");
    let text = soon("the end", flow.text()).await.unwrap();
    assert!(
        text.ends_with(
            "data: {\"n\":1,\"type\":\"text-delta\"}\nid: 1\n\nid: 2\n\ndata: [DONE]\n\n"
        ),
        "{text}"
    );
    for (path, first) in [("startIndex=1", "id: 1"), ("startIndex=x", "id: 0"), ("", "id: 0")] {
        let (_, text) = read(&server, &format!("/flow/m?{path}")).await;
        assert_eq!(text.lines().find(|line| line.starts_with("id:")), Some(first), "{path}");
    }
    let named = read(&server, "/v1/responses/m?stream=true&starting_after=0&format=data").await.1;
    assert!(
        named.starts_with("event: text-delta\ndata: {\"n\":1,\"type\":\"text-delta\"}\nid: 1\n"),
        "{named}"
    );
    let head = Client::new().head(server.url("/flow/m")).send().await.unwrap();
    assert_eq!((head.status().as_u16(), &head.headers()["allow"]), (405, &"GET".parse().unwrap()));
    let page = Client::new().get(server.url("/own/m")).header("origin", "https://app.example.com");
    let exposed = page.send().await.unwrap().headers()["access-control-expose-headers"].clone();
    let exposed = exposed.to_str().unwrap().to_owned();
    assert!(
        exposed.contains("x-workflow-stream-tail-index") && exposed.contains("x-own"),
        "{exposed}"
    );
}

#[tokio::test]
async fn a_route_ends_its_streams_as_its_clients_know_it() {
    let server = TestServer::start(ROUTES).await;
    open(&server, "m").await;
    let url = server.url("/own/m");
    let own = tokio::spawn(async move { reqwest::get(url).await.unwrap().text().await.unwrap() });
    // A reader that is there when the message ends has all of it.
    rejoin_test_support::eventually("the reader", async || server.connections() == 1).await;
    finish(&server, "m").await;
    let text = soon("the end", own).await.unwrap();
    assert!(text.ends_with("data: {\"type\":\"finish\"}\nid: 2\n\ndata: bye\n\n"), "{text}");
    open(&server, "silent").await;
    for (path, stale) in [
        ("/api/chat/silent/stream", "\ndata: {\"type\":\"error\",\"errorText\":"),
        (
            "/v1/responses/silent",
            "\nevent: error\ndata: {\"type\":\"error\",\"code\":\"producer_stale\"",
        ),
        ("/own/silent", "\ndata: {\"type\":\"error\",\"code\":\"producer_stale\""),
    ] {
        let (status, text) = read(&server, path).await;
        assert!(status == 200 && text.contains(stale), "{path}: {text}");
    }
}

#[tokio::test]
async fn promise_1_a_route_of_the_users_events_goes_on_from_its_own_cursor() {
    let server = TestServer::start(ROUTES).await;
    for n in 0..3 {
        let event = json!({ "user_id": "local", "type": "row", "data": format!("<tr>\n{n}") });
        assert_eq!(call(&server, "POST", "/api/events", event).await, 201);
    }
    let mut all = rejoin_test_support::Connection::open(&server.url("/feed?since=0"), None).await;
    let mut ids = Vec::new();
    while ids.len() < 3 {
        if let rejoin::domain::frame_decoder::Decoded::Event { id: Some(id), data, .. } =
            all.expect().await
        {
            assert_eq!(data, format!("<tr>\n{}", ids.len()));
            ids.push(id);
        }
    }
    let url = server.url(&format!("/feed?since={}", ids[1]));
    let mut rest = rejoin_test_support::Connection::open(&url, None).await;
    loop {
        if let rejoin::domain::frame_decoder::Decoded::Event { id: Some(id), .. } =
            rest.expect().await
        {
            assert_eq!(id, ids[2], "what comes first is what came behind the cursor");
            break;
        }
    }
}

#[tokio::test]
async fn promise_8_a_route_asks_for_the_same_rights_as_the_call_that_it_stands_for() {
    let server = TestServer::start(&settings_with_tokens(
        "messages.open_wait_seconds = 0\nsse.max_concurrent_per_user = 1\n\
         [[routes]]\npath = \"/own/{id}\"\n[[routes]]\npath = \"/feed\"\n",
    ))
    .await;
    let producer = token(None, &[Scope::MessagesPublish]);
    let put = Client::new().put(server.url("/api/messages/m")).bearer_auth(producer);
    let opened = put.json(&json!({ "user_id": "u1" })).send().await.unwrap();
    assert_eq!(opened.status(), 201);
    let get = async |path: &str, token: Option<String>| {
        let mut request = Client::new().get(server.url(path));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        request.send().await.unwrap()
    };
    for path in ["/own/m", "/feed"] {
        assert_eq!(get(path, None).await.status(), 401, "{path}");
    }
    assert_eq!(get("/own/m", Some(token(Some("u2"), &[]))).await.status(), 404);
    let held = get("/own/m", Some(token(Some("u1"), &[]))).await;
    assert_eq!(held.status(), 200);
    assert_eq!(get("/feed", Some(token(Some("u1"), &[]))).await.status(), 429, "one cap");
    drop(held);
    for path in ["/own/m", "/api/messages/m/events"] {
        let service = token(None, &[Scope::MessagesRead]);
        assert_eq!(get(path, Some(service)).await.status(), 200, "a service reads any message");
    }
}
