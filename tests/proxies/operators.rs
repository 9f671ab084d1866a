//! What nginx keeps for operators, by the documented settings.

use std::net::SocketAddr;

use rejoin_test_support::{TestServer, soon};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpSocket,
};

use crate::proxies::nginx::Nginx;

/// Of this machine, but not one of the addresses that the settings let in: as good as any other.
const OUTSIDE: &str = "127.0.0.2:0";
const INSIDE: &str = "127.0.0.1:0";

/// Asks for a path, which no library changes on its way; gives the status.
async fn status(nginx: SocketAddr, from: &str, target: &str) -> u16 {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(from.parse().unwrap()).unwrap();
    let mut socket = soon("a connection", socket.connect(nginx)).await.unwrap();
    socket
        .write_all(
            format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                .as_bytes(),
        )
        .await
        .unwrap();
    let mut head = [0; 12];
    soon("an answer", socket.read_exact(&mut head)).await.unwrap();
    std::str::from_utf8(&head[9..]).unwrap().parse().unwrap()
}

const FOR_OPERATORS: [&str; 34] = [
    "/metrics",
    "/metrics/",
    "/metrics?x=1",
    "//metrics",
    "///metrics",
    "/./metrics",
    "/x/../metrics",
    "/x/%2e%2e/metrics",
    "/%6detrics",
    "/METRICS",
    "/metrics%2f",
    "/metrics;x",
    "http://localhost/metrics",
    "/console",
    "/console/",
    "/Console",
    "//console//app.js",
    "/console/app.js",
    "/%63onsole",
    "/console/..%2fx",
    "/api/admin",
    "/api/admin/status",
    "/api//admin/status",
    "//api/admin/status",
    "/api/./admin/status",
    "/api/%61dmin/status",
    "/api%2fadmin/status",
    "/API/Admin/status",
    "/api/admin/user?user_id=u1",
    "/api/admin/user/events?user_id=u1",
    "/api/admin/users/u1",
    "/api/admin/users/..%2f..%2fx/events",
    "/api/admin/users/%2e%2e%2f%2e%2e%2f%2e%2e%2fx",
    "http://localhost/api/admin/users/..%2f..%2fx/events",
];

#[tokio::test]
async fn nobody_else_gets_at_what_is_for_operators_however_the_path_is_written() {
    let server = TestServer::start("").await;
    let nginx = Nginx::start(server.address(), |site| site).await;
    for target in FOR_OPERATORS {
        assert_eq!(status(nginx.address(), OUTSIDE, target).await, 403, "{target}");
    }
}

#[tokio::test]
async fn everything_else_passes_and_operators_on_this_machine_get_all() {
    let server = TestServer::start("").await;
    let nginx = Nginx::start(server.address(), |site| site).await;
    let for_all = [
        "/healthz",
        "/readyz",
        "/openapi.json",
        "/api/events",
        "/api/v1/events?categories=ai",
        "/api/events?last_event_id=/metrics",
    ];
    for target in for_all {
        for from in [OUTSIDE, INSIDE] {
            assert_eq!(status(nginx.address(), from, target).await, 200, "{target} from {from}");
        }
    }
    let for_operators = [
        "/metrics",
        "/console",
        "/console/app.js",
        "/api/admin/status",
        "/api/admin/user?user_id=..",
        "/api/admin/users/a%2Fb",
    ];
    for target in for_operators {
        assert_eq!(status(nginx.address(), INSIDE, target).await, 200, "{target}");
    }
}

/// What makes the settings look at the path as it was sent.
#[tokio::test]
async fn an_id_that_nginx_resolves_reaches_an_operators_call_where_only_the_resolved_path_is_looked_at()
 {
    let server = TestServer::start("").await;
    let resolved_only = |site: String| {
        crate::proxies::nginx::replaced(&site, "map $request_uri $sent_for", "map $uri $sent_for")
    };
    let nginx = Nginx::start(server.address(), resolved_only).await;
    assert_eq!(status(nginx.address(), OUTSIDE, "/api/admin/users/..%2f..%2fx/events").await, 200);
    assert_eq!(status(nginx.address(), OUTSIDE, "/api/admin/users/x/events").await, 403);
}
