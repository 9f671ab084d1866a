//! Rejoin behind the proxies that people have, with the settings that its documentation names.

#![expect(clippy::disallowed_methods, reason = "tests make ids of their own")]
#![expect(clippy::unwrap_used, reason = "a test that can't go on says so by panicking")]

mod nginx;
mod operators;
mod through_nginx;
