//! What goes wrong between one process and the backend, at the moment.

use std::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering},
};

use rejoin::ports::backend_error::{BackendError, BackendErrorKind};
use tokio::{sync::Notify, time::sleep};

use crate::dice::Dice;

/// The switches of one process.
pub(crate) struct Faults {
    pub(crate) dice: Dice,
    now: Mutex<Switches>,
    interruption: AtomicBool,
    /// Somebody has turned a switch, or wants an interruption.
    pub(crate) changed: Notify,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Switches {
    pub(crate) journal: JournalFault,
    pub(crate) feed: FeedFault,
    /// Longest pause before and after a call of the journal.
    pub(crate) journal_delay_ms: u64,
    /// Longest pause before a signal.
    pub(crate) signal_delay_ms: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum JournalFault {
    #[default]
    None,
    /// Nothing is done, and that is said.
    Down,
    /// What is asked is done or not, and often no answer comes.
    AnswersLost,
    /// Another program writes the entries: nobody knows their `prev`.
    Foreign,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum FeedFault {
    #[default]
    None,
    /// Signals are lost, and topics can't be watched.
    Down,
    /// Signals are lost, but nobody has noticed yet: topics can be watched.
    Deaf,
    /// Entries come without their `prev`.
    Foreign,
    /// Hints come instead of entries.
    Hints,
    /// Signals change places.
    Shuffled,
    /// Signals come twice.
    Doubled,
}

impl FeedFault {
    pub(crate) fn loses_signals(self) -> bool {
        matches!(self, Self::Down | Self::Deaf)
    }
}

impl Faults {
    pub(crate) fn none(dice: Dice) -> Self {
        Self {
            dice,
            now: Mutex::default(),
            interruption: AtomicBool::new(false),
            changed: Notify::new(),
        }
    }

    pub(crate) fn now(&self) -> Switches {
        *self.now.lock().unwrap()
    }

    pub(crate) fn set(&self, switches: Switches) {
        *self.now.lock().unwrap() = switches;
        self.changed.notify_one();
    }

    /// Lets the feed say that signals may be missing, though none is.
    pub(crate) fn interrupt(&self) {
        self.interruption.store(true, Ordering::Relaxed);
        self.changed.notify_one();
    }

    pub(crate) fn take_interruption(&self) -> bool {
        self.interruption.swap(false, Ordering::Relaxed)
    }

    pub(crate) async fn delay_journal(&self) {
        match self.now().journal_delay_ms {
            0 => {}
            most => sleep(self.dice.ms(0..most)).await,
        }
    }

    pub(crate) async fn delay_signal(&self) {
        match self.now().signal_delay_ms {
            0 => {}
            most => sleep(self.dice.ms(0..most)).await,
        }
    }

    /// Whether a request to the journal gets through.
    pub(crate) fn request(&self) -> Result<(), BackendError> {
        match self.now().journal {
            JournalFault::Down => Err(away()),
            JournalFault::AnswersLost if self.dice.chance(0.3) => {
                Err(BackendError::new(BackendErrorKind::Timeout, "simulated"))
            }
            _ => Ok(()),
        }
    }

    /// Whether the journal's answer gets through.
    pub(crate) fn answer<T>(&self, answer: T) -> Result<T, BackendError> {
        match self.now().journal {
            JournalFault::AnswersLost if self.dice.chance(0.3) => {
                Err(BackendError::new(BackendErrorKind::Timeout, "simulated"))
            }
            _ => Ok(answer),
        }
    }
}

pub(crate) fn away() -> BackendError {
    BackendError::new(BackendErrorKind::Unavailable, "simulated")
}
