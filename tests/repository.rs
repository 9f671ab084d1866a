//! What the repository says of itself is true: its pages, and the rules of its tree.

#[cfg(test)]
mod architecture;
#[cfg(test)]
mod documents;
