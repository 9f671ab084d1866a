//! The pages in `docs/moving`, word for word: what an operator does who moves an application here,
//! with what that application already has.

mod dashtam;
mod docsgpt;
mod environment;
mod page;
mod walk;
