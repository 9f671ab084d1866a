//! A connection's socket, as hyper reads and writes it.
//!
//! Invariant: the connection's activity knows of every byte that came.

use std::{
    io::{self, IoSlice},
    ops::Range,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::{io::AsyncReadExt, net::TcpStream};

use super::activity::Activity;

/// How HTTP/2's preface begins (RFC 9113, section 3.4). Three bytes tell: no method of HTTP/1 begins with them.
const PREFACE: &[u8; 3] = b"PRI";

/// The first bytes of a connection, read to tell its protocol.
#[derive(Default)]
pub(super) struct FirstBytes {
    bytes: [u8; PREFACE.len()],
    /// Those that hyper has yet to read.
    unread: Range<usize>,
}

impl FirstBytes {
    /// Reads as many as tell the protocol, or all until the client's end.
    pub(super) async fn read(socket: &mut TcpStream) -> io::Result<Self> {
        let (mut bytes, mut count) = ([0; PREFACE.len()], 0);
        while count < PREFACE.len() && PREFACE.starts_with(&bytes[..count]) {
            match socket.read(&mut bytes[count..]).await? {
                0 => break,
                read => count += read,
            }
        }
        Ok(Self { bytes, unread: 0..count })
    }

    pub(super) fn speak_http2(&self) -> bool {
        self.bytes == *PREFACE
    }
}

pub(super) struct ConnectionIo {
    socket: TokioIo<TcpStream>,
    first: FirstBytes,
    activity: Arc<Activity>,
}

impl ConnectionIo {
    pub(super) fn new(socket: TcpStream, first: FirstBytes, activity: Arc<Activity>) -> Self {
        Self { socket: TokioIo::new(socket), first, activity }
    }

    pub(super) fn into_socket(self) -> TcpStream {
        self.socket.into_inner()
    }
}

impl Read for ConnectionIo {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, mut buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let unread = &mut this.first.unread;
        let polled = if unread.start == unread.end {
            Pin::new(&mut this.socket).poll_read(context, buffer)
        } else {
            let count = unread.len().min(buffer.remaining());
            buffer.put_slice(&this.first.bytes[unread.start..unread.start + count]);
            unread.start += count;
            Poll::Ready(Ok(()))
        };
        if polled.is_ready() {
            this.activity.received();
        }
        polled
    }
}

impl Write for ConnectionIo {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(context, slices)
    }
}
