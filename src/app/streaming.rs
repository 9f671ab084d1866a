//! Streaming: the task of one connection, from the first frame to the last.
//!
//! Invariants: it listens for news before it looks for them, so no wake-up is lost; whatever the
//! client does, timers run.

use std::{
    future::Future,
    io,
    pin::{Pin, pin},
};

use tokio::time::{Instant, Sleep, sleep_until, timeout_at};

use super::{
    end_reason::EndReason,
    subscription::{Outgoing, Subscription},
};
use crate::domain::{
    frame::Frame,
    session::{Action, Ending},
};

/// Where a stream's frames go: a socket, or the body of a response.
pub trait Wire: Send {
    /// Writes frames, all in one go where the client takes them.
    ///
    /// # Errors
    /// The client is gone, or took nothing for the write timeout.
    fn write(&mut self, frames: &[Frame]) -> impl Future<Output = io::Result<()>> + Send;

    /// Ends when the client is gone.
    fn gone(&mut self) -> impl Future<Output = ()> + Send;

    /// Ends the body, as far as the client takes it.
    fn finish(self) -> impl Future<Output = ()> + Send;
}

/// Drives a subscription until it is over.
pub async fn stream<W: Wire>(mut subscription: Box<Subscription>, wire: W) -> EndReason {
    let reason = drive(&mut subscription, wire).await;
    subscription.set_end_reason(reason);
    reason
}

async fn drive<W: Wire>(subscription: &mut Subscription, mut wire: W) -> EndReason {
    let wakeup = subscription.wakeup();
    let mut alarm = pin!(sleep_until(subscription.next_timeout()));
    loop {
        let news = wakeup.notified();
        let Ok((out, action)) = subscription.step() else { return EndReason::Stalled };
        if !out.frames.is_empty() {
            if action == Action::Close(Ending::SnapshotCapped) {
                // Before the client is asked to come back, so that it finds the allowance wherever
                // it does.
                subscription.allow_continuation().await;
            }
            if let Err(reason) = write(subscription, &mut wire, &out).await {
                return reason;
            }
            continue;
        }
        match action {
            Action::Close(ending) => return close(subscription, wire, ending).await,
            Action::Ask(ask) => subscription.answer(ask).await,
            Action::Follow(_) | Action::Pause => {
                set_alarm(alarm.as_mut(), subscription.next_timeout());
                tokio::select! {
                    // In this order news that comes all the time hides nothing else.
                    biased;
                    () = wire.gone() => return EndReason::ClientGone,
                    () = alarm.as_mut() => {}
                    () = news => {}
                }
            }
        }
    }
}

/// Sets the alarm only if it would ring too late. Each write moves the keepalive further away; an
/// alarm that rings too early costs one look around in a whole keepalive, and setting it anew would
/// cost something with each delivery.
fn set_alarm(alarm: Pin<&mut Sleep>, at: Instant) {
    if alarm.is_elapsed() || alarm.deadline() > at {
        alarm.reset(at);
    }
}

async fn write<W: Wire>(
    subscription: &mut Subscription,
    wire: &mut W,
    out: &Outgoing,
) -> Result<(), EndReason> {
    let written = match subscription.write_deadline() {
        None => wire.write(&out.frames).await,
        // A client that takes nothing can't be notified, but log and metrics can.
        Some(deadline) => timeout_at(deadline, wire.write(&out.frames))
            .await
            .map_err(|_| EndReason::Ended(Ending::TokenExpired))?,
    };
    subscription.handle_write_over();
    match written {
        Ok(()) => {
            subscription.count_written(out);
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::TimedOut => Err(EndReason::Stalled),
        Err(_) => Err(EndReason::ClientGone),
    }
}

/// Ends a stream. Who was connected until now gets the broadcasts until now.
async fn close<W: Wire>(subscription: &mut Subscription, mut wire: W, ending: Ending) -> EndReason {
    let last = subscription.last_broadcasts();
    if !last.frames.is_empty()
        && let Err(reason) = write(subscription, &mut wire, &last).await
    {
        return reason;
    }
    wire.finish().await;
    EndReason::Ended(ending)
}
