//! The answer for an event that was published.

use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{app::publishing::Published, domain::position::EventId, ports::journal::Appended};

/// The answer for an event that was taken.
#[derive(Serialize, ToSchema)]
#[schema(as = PublishReceipt)]
pub(super) struct Receipt {
    /// Always true.
    success: bool,
    #[serde(flatten)]
    ids: ReceiptIds,
    /// Whether the same `Idempotency-Key` had published it before.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    duplicate: bool,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum ReceiptIds {
    /// The event's id; null for a broadcast, and where pushing is switched off.
    Id(Option<String>),
    /// The id of each recipient's event, in the order of `user_ids`.
    Ids(Vec<String>),
}

impl Receipt {
    pub(super) const fn is_duplicate(&self) -> bool {
        self.duplicate
    }

    pub(super) fn of(published: &Published) -> (StatusCode, Self) {
        let text = |appended: &Appended| EventId::to_string(&appended.id);
        let (ids, duplicate) = match published {
            Published::One(appended) => (ReceiptIds::Id(Some(text(appended))), appended.duplicate),
            Published::Each(each) => (
                ReceiptIds::Ids(each.iter().map(text).collect()),
                each.iter().all(|appended| appended.duplicate),
            ),
            Published::Broadcast | Published::Discarded => (ReceiptIds::Id(None), false),
        };
        let status = match published {
            Published::Discarded => StatusCode::ACCEPTED,
            _ if duplicate => StatusCode::OK,
            _ => StatusCode::CREATED,
        };
        (status, Self { success: true, ids, duplicate })
    }
}
