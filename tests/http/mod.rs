//! The HTTP API over real sockets: each test starts its own server on a free port.

#![expect(clippy::disallowed_methods, reason = "tests start tasks of their own")]

mod auth;
mod broadcast;
mod connections;
mod cors;
mod drain;
mod encodings;
mod hostile;
mod hosts;
mod http2;
mod leaving;
mod limits;
mod listening;
mod loss;
mod methods;
mod ndjson;
mod origins;
mod publish;
mod refusals;
mod slow_clients;
mod snapshot;
mod stream;
mod token_expiry;
mod untaken;
