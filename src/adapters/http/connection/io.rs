//! A connection's socket, as hyper reads and writes it.
//!
//! Invariants: over HTTP/1 the connection's activity knows of every byte that came; a client that
//! takes nothing for the write timeout fails the connection.

use std::{
    io::{self, IoSlice},
    ops::Range,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::{
    io::AsyncReadExt,
    net::TcpStream,
    time::{Sleep, sleep},
};

use super::activity::Activity;

/// How HTTP/2's preface begins (RFC 9113, section 3.4). Three bytes decide: no method of HTTP/1
/// begins with them.
const PREFACE: &[u8; 3] = b"PRI";

/// The first bytes of a connection, read to find out its protocol.
#[derive(Default)]
pub(super) struct FirstBytes {
    bytes: [u8; PREFACE.len()],
    /// Those that hyper has yet to read.
    unread: Range<usize>,
}

impl FirstBytes {
    /// Reads as many as decide the protocol, or all until the client's end.
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
    /// Notified of bytes that come, where they are part of a request.
    activity: Option<Arc<Activity>>,
    write_timeout: Duration,
    /// Runs while the client takes nothing.
    stall: Option<Pin<Box<Sleep>>>,
}

impl ConnectionIo {
    pub(super) fn new(
        socket: TcpStream,
        first: FirstBytes,
        activity: Option<Arc<Activity>>,
        write_timeout: Duration,
    ) -> Self {
        Self { socket: TokioIo::new(socket), first, activity, write_timeout, stall: None }
    }

    /// Passes on the result of a write, or fails where the client has taken nothing for too long.
    fn unless_stalled<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stall = None;
            return written;
        }
        let stall = self.stall.get_or_insert_with(|| Box::pin(sleep(self.write_timeout)));
        ready!(stall.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    pub(super) fn into_socket(self) -> TcpStream {
        self.socket.into_inner()
    }
}

impl Read for ConnectionIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
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
        if polled.is_ready()
            && let Some(activity) = &this.activity
        {
            activity.received();
        }
        polled
    }
}

impl Write for ConnectionIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(context, bytes);
        self.unless_stalled(context, written)
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

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(context, slices);
        self.unless_stalled(context, written)
    }
}
