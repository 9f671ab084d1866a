//! The pages in `docs/moving`, word for word: what an operator does who moves an application here, with what that application
//! already has.

#[cfg(test)]
mod dashtam;
#[cfg(test)]
mod docsgpt;
#[cfg(test)]
mod page;
#[cfg(test)]
mod surroundings;
#[cfg(test)]
mod walk;
