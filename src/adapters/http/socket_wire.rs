//! A stream's frames on an HTTP/1.1 connection that has left hyper.
//!
//! Invariants: it holds nothing but the socket; what is being written is borrowed from the stream's task. Its task is the
//! only one that waits for the socket, by `poll_read_ready` and `poll_write_ready`: they keep one waker each, and replace
//! the one that hyper's task has left there, which would keep that task's memory for as long as the stream lasts.

use std::{
    future::poll_fn,
    io::{self, IoSlice},
    time::Duration,
};

use bytes::Bytes;
use tokio::{io::AsyncWriteExt, net::TcpStream, sync::OwnedSemaphorePermit};

use crate::{
    app::streaming::Wire,
    domain::frame::{Frame, LAST_CHUNK},
};

/// Most pieces in one call to the kernel.
const SLICES_MAX: usize = 64;

pub(super) struct SocketWire {
    socket: TcpStream,
    /// The response's head, until it has been written.
    head: Bytes,
    write_timeout: Duration,
    /// The connection's place among those allowed.
    _place: OwnedSemaphorePermit,
}

/// How far a write has come: so many whole pieces, and so many bytes of the next.
#[derive(Clone, Copy, Default)]
struct Progress {
    pieces: usize,
    bytes: usize,
}

impl SocketWire {
    pub(super) const fn new(socket: TcpStream, head: Bytes, write_timeout: Duration, place: OwnedSemaphorePermit) -> Self {
        Self { socket, head, write_timeout, _place: place }
    }

    /// Hands the kernel as much as it takes at once.
    fn try_write(&self, head: &[u8], frames: &[Frame], progress: Progress) -> io::Result<usize> {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let pieces = std::iter::once(head).chain(frames.iter().map(|frame| &frame.chunk()[..])).skip(progress.pieces);
        let mut count = 0;
        for (slice, piece) in slices.iter_mut().zip(pieces) {
            *slice = IoSlice::new(if count == 0 { &piece[progress.bytes..] } else { piece });
            count += 1;
        }
        self.socket.try_write_vectored(&slices[..count])
    }
}

impl Progress {
    fn advance(&mut self, head: &[u8], frames: &[Frame], mut written: usize) {
        let lengths = std::iter::once(head.len()).chain(frames.iter().map(|frame| frame.chunk().len())).skip(self.pieces);
        for length in lengths {
            let left = length - self.bytes;
            if written < left {
                self.bytes += written;
                return;
            }
            written -= left;
            *self = Self { pieces: self.pieces + 1, bytes: 0 };
        }
    }
}

impl Wire for SocketWire {
    async fn write(&mut self, frames: &[Frame]) -> io::Result<()> {
        let head = std::mem::take(&mut self.head);
        let mut progress = Progress::default();
        while progress.pieces <= frames.len() {
            match self.try_write(&head, frames, progress) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => progress.advance(&head, frames, written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let writable = poll_fn(|context| self.socket.poll_write_ready(context));
                    tokio::time::timeout(self.write_timeout, writable).await.map_err(|_| io::ErrorKind::TimedOut)??;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn gone(&mut self) {
        while poll_fn(|context| self.socket.poll_read_ready(context)).await.is_ok() && still_there(&self.socket) {}
    }

    async fn finish(mut self) {
        let ended = async {
            self.socket.write_all(LAST_CHUNK).await?;
            self.socket.shutdown().await
        };
        // A client that takes no more will notice the end when it does.
        let _ = tokio::time::timeout(self.write_timeout, ended).await;
    }
}

/// Reads and throws away what a client sends behind its request: there is nothing it could say.
fn still_there(socket: &TcpStream) -> bool {
    match socket.try_read(&mut [0; 256]) {
        Ok(0) => false,
        Ok(_) => true,
        Err(error) => error.kind() == io::ErrorKind::WouldBlock,
    }
}
