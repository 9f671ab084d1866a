//! `/console`: what is served, to whom, and with which headers. What the page does is in
//! `tests/clients`.

use rejoin_test_support::TestServer;
use reqwest::{Client, redirect::Policy};

use crate::operate::given::{operator, server};

const ASSETS: [(&str, &str); 5] = [
    ("/console", "text/html; charset=utf-8"),
    ("/console/style.css", "text/css; charset=utf-8"),
    ("/console/icon.svg", "image/svg+xml"),
    ("/console/app.js", "text/javascript; charset=utf-8"),
    ("/console/event_stream.js", "text/javascript; charset=utf-8"),
];

#[tokio::test]
async fn the_page_is_served_to_anybody_under_a_strict_policy() {
    let server = server("").await;
    for (path, media_type) in ASSETS {
        let response = reqwest::get(server.url(path)).await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        let header = |name: &str| response.headers()[name].to_str().unwrap();
        assert_eq!(
            (header("content-type"), header("cache-control")),
            (media_type, "no-cache"),
            "{path}"
        );
        assert_eq!(
            (header("x-frame-options"), header("x-content-type-options")),
            ("DENY", "nosniff"),
            "{path}"
        );
        assert_eq!(header("referrer-policy"), "no-referrer");
        let policy = header("content-security-policy");
        for directive in [
            "default-src 'none'",
            "script-src 'self';",
            "style-src 'self';",
            "frame-ancestors 'none'",
            "trusted-types 'none'",
        ] {
            assert!(policy.contains(directive), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
    }
    let client = Client::builder().redirect(Policy::none()).build().unwrap();
    let response = client.get(server.url("/console/")).send().await.unwrap();
    assert_eq!(
        (response.status().as_u16(), response.headers()["location"].to_str().unwrap()),
        (308, "../console")
    );
    assert_eq!(client.post(server.url("/console")).send().await.unwrap().status(), 405);
    assert_eq!(client.get(server.url("/console/nothing.js")).send().await.unwrap().status(), 404);
}

/// Otherwise the policy would break it.
#[tokio::test]
async fn the_page_has_nothing_inline_and_loads_nothing_from_elsewhere() {
    let server = TestServer::start("").await;
    let page = reqwest::get(server.url("/console")).await.unwrap().text().await.unwrap();
    for forbidden in ["<style", " style=", " onclick=", "javascript:", "http://", "https://", "//"]
    {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    assert_eq!(
        page.matches("<script").count(),
        page.matches("<script type=\"module\" src=\"console/").count()
    );
}

#[tokio::test]
async fn the_console_and_its_calls_move_with_the_operators_listener() {
    let apart = server("server.ops_listen = \"127.0.0.1:0\"").await;
    let calls = [
        "/api/admin/status",
        "/api/admin/users/u1",
        "/api/admin/users/u1/events",
        "/api/admin/users/u1/events/stream",
        "/api/admin/user?user_id=u1",
        "/api/admin/user/events?user_id=u1",
        "/api/admin/user/events/stream?user_id=u1",
    ];
    for path in ASSETS.map(|(path, _)| path).into_iter().chain(calls) {
        let status = async |url: String| {
            Client::new().get(url).bearer_auth(operator()).send().await.unwrap().status().as_u16()
        };
        assert_eq!(
            (status(apart.url(path)).await, status(apart.ops_url(path)).await),
            (404, 200),
            "{path}"
        );
    }
}
