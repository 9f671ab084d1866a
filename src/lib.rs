//! Rejoin: a self-hosted event server. Applications publish over HTTP, clients read over
//! Server-Sent Events, and a client that drops can rejoin and gets exactly what it missed, or is
//! notified plainly that it can't.
//!
//! The layers, and which way they may look:
//!
//! ```text
//! main -> adapters -> app -> ports -> domain
//! ```
//!
//! - [`domain`]: pure decisions. No IO, no clock, no async.
//! - [`ports`]: what the domain needs of the outside world, as traits.
//! - [`app`]: the use cases and the hub, against ports only.
//! - [`adapters`]: backends, authentication and settings (driven); HTTP and the command line
//!   (driving).
//! - [`composition`]: the one place that knows all of them, and puts a server together from its
//!   settings.
//!
//! `docs/ARCHITECTURE.md` has the picture, and follows one event from its publisher to a reader.
//!
//! What is public: Rejoin is a program, and its interfaces are its HTTP, its settings and its
//! commands. This library is how the program, its tests and its benchmarks share code: everything
//! in it may change with any version, and it is not published as a package.
//!
//! Features, all on by default: `disk`, `nats`, `postgres` and `redis` are the backends,
//! `telemetry` sends traces. A setting that needs what was left out stops the start, and names the
//! feature. `testing` is for tests.

#![cfg_attr(test, expect(clippy::disallowed_methods, reason = "tests start tasks of their own"))]

pub mod adapters;
pub mod app;
pub mod composition;
pub mod domain;
pub mod ports;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
