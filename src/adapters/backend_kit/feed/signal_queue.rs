//! SignalStream on their way from a backend's feed to who listens in this process.
//!
//! Invariant: a bounded number of signals waits. When a listener can't keep up it is notified of
//! that, once, instead of being queued for without limit: the journal has what it missed
//! (`docs/decisions/0003`).

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use futures_util::stream::{self, BoxStream, StreamExt};
use tokio::sync::mpsc::{self, error::TrySendError};

use crate::ports::feed::Signal;

/// Most signals that wait for one process.
const SIGNALS_MAX: usize = 8_192;

/// The end that a feed writes to.
#[derive(Clone, Debug)]
pub struct SignalQueue {
    sender: mpsc::Sender<Signal>,
    overrun: Arc<AtomicBool>,
}

impl SignalQueue {
    /// A queue, and what is heard at its other end: what was sent, and [`Signal::Interrupted`]
    /// behind it when more was sent than fits.
    pub fn new() -> (Self, SignalStream) {
        let (sender, receiver) = mpsc::channel(SIGNALS_MAX);
        let overrun = Arc::new(AtomicBool::new(false));
        (
            Self { sender, overrun: Arc::clone(&overrun) },
            SignalStream(Mutex::new(Some(heard(receiver, overrun)))),
        )
    }

    /// `false` if it was full; a closed receiver is ignored.
    pub fn tell(&self, signal: Signal) -> bool {
        // The flag is up before the attempt, so that whoever makes room during it still finds the
        // flag behind a signal. Where the attempt then succeeds, an interruption is told that did
        // not happen, which is harmless.
        if self.sender.capacity() == 0 {
            self.overrun.store(true, Ordering::Relaxed);
        }
        // An error means that it is full, which was just said, or that the receiver is closed.
        !matches!(self.sender.try_send(signal), Err(TrySendError::Full(_)))
    }
}

/// The stream of a queue's signals, which is taken once.
pub struct SignalStream(Mutex<Option<BoxStream<'static, Signal>>>);

impl SignalStream {
    /// The signals; none for a second taker.
    pub fn take(&self) -> BoxStream<'static, Signal> {
        // It is taken in one step.
        let taken = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        taken.unwrap_or_else(|| stream::empty().boxed())
    }
}

/// An overrun happens only while signals wait, so a look at the flag behind each of them is enough.
fn heard(receiver: mpsc::Receiver<Signal>, overrun: Arc<AtomicBool>) -> BoxStream<'static, Signal> {
    let signals = stream::unfold((receiver, overrun), |(mut receiver, overrun)| async move {
        let signal = receiver.recv().await?;
        let interrupted = overrun.swap(false, Ordering::Relaxed).then_some(Signal::Interrupted);
        Some((stream::iter([Some(signal), interrupted].into_iter().flatten()), (receiver, overrun)))
    });
    signals.flatten().boxed()
}
