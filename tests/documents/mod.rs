//! What is written about Rejoin is true: the API's description, the pages that are generated, and
//! those that name codes, settings and commands.
//!
//! `RENEW_DOCS=1 cargo test --test repository` writes the generated ones anew.

#![expect(clippy::disallowed_methods, reason = "tests start tasks of their own")]

mod answers;
mod calls;
mod frames;
mod http_api;
mod names;
mod pages;
mod recorder;
mod routes;
mod snapshots;
mod sweeps;
mod wording;
