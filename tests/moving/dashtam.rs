//! `docs/moving/dashtam.md`.
