//! Rejoin behind the proxies that people have, with the settings that its documentation names.

#![expect(clippy::disallowed_methods, reason = "tests make ids of their own")]

mod nginx;
mod operators;
mod through_nginx;
