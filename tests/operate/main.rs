//! What an operator sees: metrics, request ids, a listener of its own, a clean stop.

#![expect(clippy::unwrap_used, reason = "a test that can't go on says so by panicking")]

mod admin;
mod drain;
mod metrics;
mod requests;
