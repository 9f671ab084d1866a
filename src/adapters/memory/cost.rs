//! What things cost in memory, in bytes.
//!
//! Invariant: what is counted is what the allocator gives out, and where a table or a tree has
//! spare room that grows and shrinks in steps, as much as there can usually be. `tests/memory`
//! compares it with the allocator's own count.

use crate::domain::event::{Content, Event};

/// What the allocator gives out for that many bytes: it has four sizes in each doubling, none but 8
/// below 16, and whole pages above 16 KiB.
pub(super) const fn allocated(bytes: usize) -> usize {
    match bytes {
        0 => 0,
        1..=8 => 8,
        9..=128 => bytes.next_multiple_of(16),
        16_384.. => bytes.next_multiple_of(4_096),
        // The doubling that it lies in, in quarters.
        _ => bytes.next_multiple_of(1 << ((bytes - 1).ilog2() - 2)),
    }
}

/// A shared text: two counters stand before it.
pub(super) const fn shared_text(text: &str) -> usize {
    allocated(2 * size_of::<usize>() + text.len())
}

/// An event that an `Arc` holds. Its category is the registry's, and costs nothing more.
pub(super) fn event(event: &Event) -> usize {
    allocated(2 * size_of::<usize>() + size_of::<Event>())
        + shared_text(event.event_type.as_str())
        + content(&event.content)
        + allocated(event.scope.as_str().len())
}

fn content(content: &Content) -> usize {
    match content {
        Content::Payload(payload) => allocated(payload.as_str().len()),
        Content::Data { text, event } => {
            allocated(text.len())
                + event.as_ref().map_or(0, |event| allocated(event.as_str().len()))
        }
        Content::Nothing => 0,
    }
}

/// A `T`'s place in a hash table: a byte beside it, and right after the table has grown only seven
/// of sixteen places are taken.
pub(super) const fn table_place<T>() -> usize {
    (size_of::<T>() + 1) * 16 / 7
}

/// A `T`'s place in a B-tree: a node has eleven places, of which six are taken where they come in
/// order, and of seven nodes one has twelve pointers to the others.
pub(super) const fn tree_place<T>() -> usize {
    let leaf = allocated(11 * size_of::<T>() + 12);
    let inner = allocated(11 * size_of::<T>() + 12 + 12 * size_of::<usize>());
    (6 * leaf + inner) / (6 * 6 + 1)
}

/// A `T`'s place in a queue that doubles when it is full.
pub(super) const fn queue_place<T>() -> usize {
    2 * size_of::<T>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_that_the_allocator_has() {
        let sizes = [
            (0, 0),
            (1, 8),
            (8, 8),
            (9, 16),
            (17, 32),
            (33, 48),
            (128, 128),
            (129, 160),
            (160, 160),
            (161, 192),
            (256, 256),
        ];
        let large = [
            (257, 320),
            (512, 512),
            (513, 640),
            (4_097, 5_120),
            (16_385, 20_480),
            (65_537, 69_632),
            (1 << 20, 1 << 20),
        ];
        for (asked, given) in sizes.into_iter().chain(large) {
            assert_eq!(allocated(asked), given, "{asked}");
        }
    }
}
