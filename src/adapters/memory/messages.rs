//! Messages in memory, as a port.

use std::time::Duration;

use async_trait::async_trait;

use super::journal::MemoryJournal;
use crate::{
    domain::{
        message::{AppendRefusal, MessageAppend, MessageAppended, Observed, OpenRefusal, Opened},
        topic::{MessageId, UserId},
    },
    ports::{backend_error::BackendError, messages::Messages},
};

#[async_trait]
impl Messages for MemoryJournal {
    async fn open(
        &self,
        id: &MessageId,
        owner: &UserId,
        takeover: bool,
    ) -> Result<Result<Opened, OpenRefusal>, BackendError> {
        Ok(self.with_messages(|messages, context| messages.open(&context, id, owner, takeover)))
    }

    async fn append(
        &self,
        id: &MessageId,
        epoch: Option<u64>,
        batch: Vec<MessageAppend>,
    ) -> Result<Vec<Result<MessageAppended, AppendRefusal>>, BackendError> {
        Ok(self.with_messages(|messages, context| messages.append(&context, id, epoch, batch)))
    }

    async fn heartbeat(
        &self,
        id: &MessageId,
        epoch: Option<u64>,
    ) -> Result<Result<Observed, AppendRefusal>, BackendError> {
        Ok(self.with_messages(|messages, context| {
            messages
                .change(id, |stored| stored.message.heartbeat(epoch, context.now))
                .ok_or(AppendRefusal::Unknown)??;
            messages.observe(context.now, id).ok_or(AppendRefusal::Unknown)
        }))
    }

    async fn request_stop(&self, id: &MessageId) -> Result<Option<Observed>, BackendError> {
        Ok(self.with_messages(|messages, context| {
            messages.change(id, |stored| stored.message.request_stop());
            messages.observe(context.now, id)
        }))
    }

    async fn observe(&self, id: &MessageId) -> Result<Option<Observed>, BackendError> {
        Ok(self.with_messages(|messages, context| messages.observe(context.now, id)))
    }

    async fn delete(&self, id: &MessageId) -> Result<bool, BackendError> {
        Ok(self.with_messages(|messages, context| messages.remove(id, context.listeners)))
    }

    async fn sweep(
        &self,
        silent_for: Duration,
        messages_max: usize,
    ) -> Result<usize, BackendError> {
        Ok(self
            .with_messages(|messages, context| messages.sweep(&context, silent_for, messages_max)))
    }
}
