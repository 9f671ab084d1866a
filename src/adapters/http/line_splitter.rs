//! Cuts a body that arrives in pieces into its lines.
//!
//! Invariant: it never holds more than one line of the longest allowed length, whatever arrives.

/// One line that is not blank, without its line end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line {
    Whole(Vec<u8>),
    /// It was longer than allowed, and is gone.
    TooLong,
}

#[derive(Debug)]
pub(super) struct LineSplitter {
    bytes_max: usize,
    unfinished: Vec<u8>,
    skipping: bool,
}

impl LineSplitter {
    pub(super) const fn new(bytes_max: usize) -> Self {
        Self { bytes_max, unfinished: Vec::new(), skipping: false }
    }

    /// Takes the next piece, and gives the lines that it ends.
    pub(super) fn split(&mut self, piece: &[u8]) -> Vec<Line> {
        let mut lines = Vec::new();
        let mut pieces = piece.split(|byte| *byte == b'\n');
        // What stands behind the last line end belongs to a line that has yet to end.
        let last = pieces.next_back().unwrap_or_default();
        for rest in pieces {
            self.add(rest);
            lines.extend(self.finish());
        }
        self.add(last);
        lines
    }

    /// The end of a line, or of the body.
    pub(super) fn finish(&mut self) -> Option<Line> {
        let mut line = std::mem::take(&mut self.unfinished);
        if std::mem::take(&mut self.skipping) {
            return Some(Line::TooLong);
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        (!line.trim_ascii().is_empty()).then_some(Line::Whole(line))
    }

    fn add(&mut self, piece: &[u8]) {
        // A carriage return may come on top.
        if self.skipping || self.unfinished.len() + piece.len() > self.bytes_max + 1 {
            self.skipping = true;
            self.unfinished = Vec::new();
        } else {
            self.unfinished.extend_from_slice(piece);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(pieces: &[&[u8]], bytes_max: usize) -> Vec<Line> {
        let mut splitter = LineSplitter::new(bytes_max);
        let mut lines: Vec<Line> = pieces.iter().flat_map(|piece| splitter.split(piece)).collect();
        lines.extend(splitter.finish());
        lines
    }

    fn whole(text: &str) -> Line {
        Line::Whole(text.as_bytes().to_vec())
    }

    #[test]
    fn lines_end_in_lf_or_crlf_or_with_the_body() {
        assert_eq!(split(&[b"a\nb\r\n\n  \nc"], 10), [whole("a"), whole("b"), whole("c")]);
        assert_eq!(split(&[b"a", b"b\nc", b"\n"], 10), [whole("ab"), whole("c")]);
    }

    #[test]
    fn promise_7_a_line_that_is_too_long_is_refused_without_being_held() {
        let mut splitter = LineSplitter::new(10);
        for _ in 0..1_000 {
            assert!(splitter.split(b"xxxxxxxx").is_empty());
            assert!(splitter.unfinished.len() <= 11);
        }
        assert_eq!(splitter.split(b"x\nnext\n"), [Line::TooLong, whole("next")]);
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(text in "[ab\r\n ]{0,60}", cuts in proptest::collection::vec(0_usize..60, 0..6)) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &text.as_bytes()[pair[0]..pair[1]]).collect();
            prop_assert_eq!(split(&pieces, 20), split(&[text.as_bytes()], 20));
        }
    }
}
