//! `POST /api/events`: one event, or a stream of them.

use axum::{
    Json,
    body::Body,
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Api,
    caller::Caller,
    description,
    ndjson::{self, PublishLines},
    problem::Problem,
    problem_code::Code,
    publication,
    request_body::{self, MediaType},
    upload::{self, Upload},
    upload_results::Wanted,
};
use crate::{
    app::publishing::Published,
    domain::{access::EventPublisher, idempotency_key::IdempotencyKey, position::EventId},
    ports::journal::Appended,
};

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
            Published::Each(each) => (ReceiptIds::Ids(each.iter().map(text).collect()), each.iter().all(|appended| appended.duplicate)),
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

description::refusals! {
    /// Of a publish.
    PublishRefusals = description::AUTHENTICATION, description::AUTHORISATION, description::BODY, description::BACKEND,
        &[Code::InvalidIdempotencyKey, Code::InvalidResults, Code::BroadcastsFull]
}

/// Publish an event, or a stream of them.
///
/// With `application/x-ndjson` the body is a stream of events, one a line, and the answer a stream of results, one for each, as they
/// come. A line that is refused leaves the others alone; when the backend fails, the answer ends with that. A client that sends
/// everything before it reads sends `results=failures`.
#[utoipa::path(
    post, path = "/api/events", tag = "user events", operation_id = "publish", params(description::Publishing),
    security(("bearer" = ["events:publish"])),
    request_body(description = "An event, or one a line.", content(
        (publication::Fields = "application/json"), (publication::Fields = "application/x-ndjson"),
    )),
    responses(
        (status = 200, description = "A repeat: the first id. Or the results of an upload.", content(
            (Receipt = "application/json"), (ndjson::PublishLine = "application/x-ndjson"),
        )),
        (status = 201, description = "Published.", body = Receipt),
        (status = 202, description = "Pushing is switched off (`sse.push_enabled`): nothing was stored.", body = Receipt),
        PublishRefusals,
    ),
)]
pub(super) async fn publish(
    Caller(publisher): Caller<EventPublisher>,
    State(api): State<Api>,
    request: Request,
) -> Result<Response, Problem> {
    let idempotency_key = request_body::idempotency_key(request.headers())?;
    let wanted = Wanted::of(request.uri())?;
    match request_body::media_type(request.headers())? {
        MediaType::Json => publish_one(&api, &publisher, request.into_body(), idempotency_key).await,
        MediaType::Ndjson => {
            let upload = Upload { body: request.into_body(), wanted, expires_at: api.publisher.expiry(&publisher) };
            Ok(upload::answer(&api, upload, PublishLines { api: api.clone(), publisher, idempotency_key }))
        }
    }
}

/// The same as `POST /api/events`.
#[utoipa::path(
    post, path = "/api/v1/events", tag = "user events", operation_id = "publish_v1", params(description::Publishing),
    security(("bearer" = ["events:publish"])),
    request_body(description = "An event, or one a line.", content(
        (publication::Fields = "application/json"), (publication::Fields = "application/x-ndjson"),
    )),
    responses(
        (status = 200, description = "A repeat: the first id. Or the results of an upload.", content(
            (Receipt = "application/json"), (ndjson::PublishLine = "application/x-ndjson"),
        )),
        (status = 201, description = "Published.", body = Receipt),
        (status = 202, description = "Pushing is switched off (`sse.push_enabled`): nothing was stored.", body = Receipt),
        PublishRefusals,
    ),
)]
pub(super) async fn publish_v1(
    Caller(publisher): Caller<EventPublisher>,
    state: State<Api>,
    request: Request,
) -> Result<Response, Problem> {
    publish(Caller(publisher), state, request).await
}

async fn publish_one(
    api: &Api,
    publisher: &EventPublisher,
    body: Body,
    idempotency_key: Option<IdempotencyKey>,
) -> Result<Response, Problem> {
    let body = request_body::whole(&api.options, body).await?;
    let publication = publication::parse(&body, idempotency_key, api.options.recipients_max, api.publisher.registry())?;
    let (status, receipt) = Receipt::of(&api.publisher.publish(publisher, publication).await?);
    Ok((status, Json(receipt)).into_response())
}
