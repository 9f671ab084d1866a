//! The driver's client of one server, and how long anything may take.

use std::time::Duration;

use redis::{Client, ConnectionInfo, ProtocolVersion, TlsCertificates, io::tcp::TcpSettings};

/// Longest time that a call may take: a subscribe request makes up to two of them, and is to be
/// answered within 5 seconds.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest time that making a connection may take.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// When a connection whose other end is silent is probed, and how often.
const PROBE_AFTER: Duration = Duration::from_secs(5);
const PROBE_EVERY: Duration = Duration::from_secs(2);
const PROBES: u32 = 3;

/// A client of one server. It speaks RESP3, in which a server's messages and answers share a
/// connection, and by which the driver notices at once that a connection is lost.
pub(super) fn client(
    node: ConnectionInfo,
    certificates: Option<TlsCertificates>,
) -> redis::RedisResult<Client> {
    let settings = node.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    let node = node.set_redis_settings(settings).set_tcp_settings(tcp_settings());
    match certificates {
        Some(certificates) => Client::build_with_tls(node, certificates),
        None => Client::open(node),
    }
}

/// A peer that vanished without closing is noticed, whether or not anything is under way.
pub(super) fn tcp_settings() -> TcpSettings {
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(PROBE_AFTER)
        .with_interval(PROBE_EVERY)
        .with_retries(PROBES);
    TcpSettings::default().set_nodelay(true).set_keepalive(keepalive).set_user_timeout(CALL_TIMEOUT)
}
