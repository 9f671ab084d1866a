//! What is traced: spans of one target, whoever makes them. Who sends traces looks at these alone,
//! and where nobody does, such a span costs a look at a flag.

/// The target of the spans that make traces.
pub const TARGET: &str = "rejoin::traces";
