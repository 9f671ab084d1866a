//! Standard input as the body of a request.
//!
//! Invariant: nothing is read far ahead of what the server takes, and nothing that was read is
//! dropped before a connection takes it.

use std::{
    io::{self, Read},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use futures_util::stream;
use tokio::sync::{Mutex, mpsc};

/// How much is read at once, and how many such pieces may wait.
const PIECE_BYTES: usize = 64 * 1024;
const PIECES_MAX: usize = 2;

/// Standard input, read by a thread of its own: a terminal's read can't be called off, and must not
/// hold up the end.
#[derive(Clone, Debug)]
pub(super) struct Input {
    pieces: Arc<Mutex<mpsc::Receiver<io::Result<Vec<u8>>>>>,
    progress: Arc<Progress>,
}

#[derive(Debug, Default)]
struct Progress {
    lines: AtomicU64,
    ended: AtomicBool,
}

impl Input {
    /// Begins to read.
    pub(super) fn start() -> io::Result<Self> {
        let (sender, pieces) = mpsc::channel(PIECES_MAX);
        let input = Self { pieces: Arc::new(Mutex::new(pieces)), progress: Arc::default() };
        let progress = Arc::clone(&input.progress);
        thread::Builder::new().name("standard input".to_owned()).spawn(move || {
            let mut counter = LineCounter::default();
            while let Some(piece) = next_piece(&mut io::stdin().lock()) {
                if let Ok(bytes) = &piece {
                    counter.count(bytes);
                    progress.lines.store(counter.lines, Ordering::Relaxed);
                }
                let failed = piece.is_err();
                if sender.blocking_send(piece).is_err() || failed {
                    return;
                }
            }
            progress.ended.store(true, Ordering::Relaxed);
        })?;
        Ok(input)
    }

    /// What has not been taken yet, as a body. Bodies made later go on where this one stops.
    pub(super) fn body(&self) -> reqwest::Body {
        let pieces = Arc::clone(&self.pieces);
        reqwest::Body::wrap_stream(stream::unfold(pieces, |pieces| async move {
            let piece = pieces.lock().await.recv().await?;
            Some((piece, pieces))
        }))
    }

    /// How many lines have been read that are not blank.
    pub(super) fn lines(&self) -> u64 {
        self.progress.lines.load(Ordering::Relaxed)
    }

    /// Whether all has been read.
    pub(super) fn has_ended(&self) -> bool {
        self.progress.ended.load(Ordering::Relaxed)
    }
}

fn next_piece(source: &mut impl Read) -> Option<io::Result<Vec<u8>>> {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match source.read(&mut piece) {
            Ok(0) => return None,
            Ok(count) => {
                piece.truncate(count);
                return Some(Ok(piece));
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Some(Err(error)),
        }
    }
}

/// Counts lines as the server does: blank ones are none.
#[derive(Debug, Default)]
struct LineCounter {
    lines: u64,
    in_line: bool,
}

impl LineCounter {
    fn count(&mut self, piece: &[u8]) {
        for byte in piece {
            if *byte == b'\n' {
                self.in_line = false;
            } else if !byte.is_ascii_whitespace() && !std::mem::replace(&mut self.in_line, true) {
                self.lines += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blank_lines_are_none_wherever_pieces_end() {
        for text in ["a\n\n b\r\n \t\r\nc", "\n\na\nb\nc\n\n", "a b\nb\n c d"] {
            for cut in 0..=text.len() {
                let mut counter = LineCounter::default();
                counter.count(&text.as_bytes()[..cut]);
                counter.count(&text.as_bytes()[cut..]);
                assert_eq!(counter.lines, 3, "{text:?} cut at {cut}");
            }
        }
    }
}
