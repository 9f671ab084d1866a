//! The backends of a deployment without a server: for what operators do with them as a whole.

use std::sync::Arc;

use super::{
    StartError,
    backends::{self, Backends, Parts},
};
use crate::{
    adapters::{
        backend_kit::sweep::Sweeper, config::Settings, prometheus::Prometheus,
        system_clock::SystemClock, system_entropy::SystemEntropy,
    },
    app::{archive::Archives, lifecycle::Lifecycle, signals::Signals, supervisor::Supervisor},
    ports::{backend_error::BackendError, clock::Clock, entropy::Entropy, tasks::Tasks},
};

/// The backends that the settings name, opened by a command.
pub struct OpenArchives {
    /// What they hold.
    pub archives: Archives,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    sweepers: Vec<Arc<Sweeper>>,
    /// What the backends do in the background ends with this.
    _supervisor: Supervisor,
}

impl OpenArchives {
    /// Opens them.
    ///
    /// # Errors
    /// [`StartError::Backend`].
    pub async fn open(settings: &Settings) -> Result<Self, StartError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
        let signals = Signals::new(&Prometheus::new().recorder(), Arc::clone(&clock));
        let supervisor =
            Supervisor::new(Lifecycle::default().stopped().clone(), Arc::clone(&signals));
        let tasks: Arc<dyn Tasks> = Arc::new(supervisor.clone());
        let parts = Parts { clock: &clock, entropy: &entropy, tasks: &tasks, signals: &signals };
        let Backends { archives, sweepers, .. } = backends::open(settings, parts).await?;
        Ok(Self { archives, clock, sweepers, _supervisor: supervisor })
    }

    /// Removes all that is over its time.
    ///
    /// # Errors
    /// Those of the backends.
    pub async fn sweep(&self) -> Result<(), BackendError> {
        for sweeper in &self.sweepers {
            sweeper.sweep().await?;
        }
        Ok(())
    }
}
