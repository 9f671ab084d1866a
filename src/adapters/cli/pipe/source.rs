//! Standard input, read as it comes.
//!
//! Invariant: no more waits here than [`PIECES_MAX`] pieces; who writes to us waits while the
//! server is away.

use std::{
    io::{self, Read},
    thread,
};

use tokio::sync::mpsc;

/// Most pieces that wait, and most bytes of one: a MiB together.
const PIECES_MAX: usize = 64;
const PIECE_BYTES_MAX: usize = 16 * 1024;

/// What was read, or why nothing more can be.
pub(super) type Piece = io::Result<Vec<u8>>;

/// Begins to read. It is a thread and no task, because the runtime would wait at its end for a read
/// that has begun. The channel ends with the input.
pub(super) fn start() -> io::Result<mpsc::Receiver<Piece>> {
    let (sender, receiver) = mpsc::channel(PIECES_MAX);
    thread::Builder::new().name("standard input".to_owned()).spawn(move || {
        let mut stdin = io::stdin().lock();
        let mut buffer = vec![0; PIECE_BYTES_MAX];
        loop {
            let piece = match stdin.read(&mut buffer) {
                Ok(0) => return,
                Ok(count) => Ok(buffer[..count].to_vec()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
            let is_last = piece.is_err();
            // The receiver is gone once the message has ended.
            if sender.blocking_send(piece).is_err() || is_last {
                return;
            }
        }
    })?;
    Ok(receiver)
}
