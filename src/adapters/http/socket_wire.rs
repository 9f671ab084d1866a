//! A stream's frames on an HTTP/1 connection that has left hyper.
//!
//! Invariants: it holds nothing but the socket; what is being written is borrowed from the stream's
//! task. Its task is the only one that waits for the socket, by `poll_read_ready` and
//! `poll_write_ready`: they keep one waker each, and replace the one that hyper's task has left
//! there, which would keep that task's memory for as long as the stream lasts. A client that has
//! nothing more to send, or far too much, is gone.

use std::{
    future::poll_fn,
    io::{self, IoSlice},
};

use bytes::Bytes;
use tokio::{io::AsyncWriteExt, net::TcpStream};

use super::{places::Place, slow_client::WriteTimeout};
use crate::{
    app::streaming::Wire,
    domain::frame::{Frame, LAST_CHUNK},
};

/// Most pieces in one call to the kernel.
const SLICES_MAX: usize = 64;
/// Most bytes that a client may send after the request of its stream: they are discarded.
const UNREQUESTED_BYTES_MAX: usize = 64 * 1024;

/// How a client finds where the stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// HTTP/1.1: by the last chunk.
    Chunked,
    /// HTTP/1.0: by the end of the connection.
    UntilClose,
}

impl Framing {
    fn bytes(self, frame: &Frame) -> &[u8] {
        match self {
            Self::Chunked => frame.chunk(),
            Self::UntilClose => frame.blocks(),
        }
    }

    const fn end(self) -> &'static [u8] {
        match self {
            Self::Chunked => LAST_CHUNK,
            Self::UntilClose => &[],
        }
    }
}

pub(super) struct SocketWire {
    socket: TcpStream,
    /// The response's head, until it has been written.
    head: Bytes,
    framing: Framing,
    /// How many bytes have come after the request.
    unrequested_bytes: usize,
    write_timeout: WriteTimeout,
    /// The connection's place among those allowed.
    _place: Place,
}

/// How far a write has come: so many whole pieces, and so many bytes of the next.
#[derive(Clone, Copy, Default)]
struct Progress {
    pieces: usize,
    bytes: usize,
}

impl SocketWire {
    pub(super) const fn new(
        socket: TcpStream,
        head: Bytes,
        framing: Framing,
        write_timeout: WriteTimeout,
        place: Place,
    ) -> Self {
        Self { socket, head, framing, unrequested_bytes: 0, write_timeout, _place: place }
    }

    /// Hands the kernel as much as it takes at once.
    fn try_write(&self, head: &[u8], frames: &[Frame], progress: Progress) -> io::Result<usize> {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let pieces = std::iter::once(head)
            .chain(frames.iter().map(|frame| self.framing.bytes(frame)))
            .skip(progress.pieces);
        let mut count = 0;
        for (slice, piece) in slices.iter_mut().zip(pieces) {
            *slice = IoSlice::new(if count == 0 { &piece[progress.bytes..] } else { piece });
            count += 1;
        }
        self.socket.try_write_vectored(&slices[..count])
    }

    /// Reads what the client sends after its request: there is nothing that it could ask for.
    /// `false` if it is gone, or sends without end.
    fn discard_received(&mut self) -> bool {
        match self.socket.try_read(&mut [0; 4_096]) {
            Ok(0) => false,
            Ok(count) => {
                self.unrequested_bytes += count;
                self.unrequested_bytes <= UNREQUESTED_BYTES_MAX
            }
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
    }
}

impl Progress {
    fn advance(&mut self, head: &[u8], frames: &[Frame], framing: Framing, mut written: usize) {
        let lengths = std::iter::once(head.len())
            .chain(frames.iter().map(|frame| framing.bytes(frame).len()))
            .skip(self.pieces);
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
                Ok(written) => progress.advance(&head, frames, self.framing, written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.write_timeout
                        .step(poll_fn(|context| self.socket.poll_write_ready(context)))
                        .await?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn gone(&mut self) {
        while poll_fn(|context| self.socket.poll_read_ready(context)).await.is_ok()
            && self.discard_received()
        {}
    }

    async fn finish(mut self) {
        let ended = async {
            self.socket.write_all(self.framing.end()).await?;
            self.socket.shutdown().await
        };
        // A client that takes no more will notice the end when it does.
        let _ = self.write_timeout.step(ended).await;
    }
}
