//! `POST /api/events`: one event, or a stream of them.

use axum::{
    Json,
    body::Body,
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::{
    Api, credentials, ndjson,
    problem::Problem,
    publication,
    request_body::{self, MediaType},
};
use crate::{
    app::publishing::Published,
    domain::position::EventId,
    ports::journal::{Appended, IdempotencyKey},
};

/// What a publisher is told of an event that was taken.
#[derive(Serialize)]
pub(super) struct Receipt {
    success: bool,
    #[serde(flatten)]
    ids: ReceiptIds,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    duplicate: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum ReceiptIds {
    Id(Option<String>),
    Ids(Vec<String>),
}

impl Receipt {
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

pub(super) async fn publish(State(api): State<Api>, request: Request) -> Result<Response, Problem> {
    let principal = api.authenticator.authenticate(credentials::bearer(request.headers())).await?;
    api.publisher.authorise(&principal)?;
    let idempotency_key = request_body::idempotency_key(request.headers())?;
    match request_body::media_type(request.headers()) {
        MediaType::Json => publish_one(&api, request.into_body(), idempotency_key).await,
        MediaType::Ndjson => Ok(ndjson::publish_lines(api, request.into_body(), idempotency_key)),
        MediaType::Other => Err(Problem::unsupported_media_type()),
    }
}

async fn publish_one(api: &Api, body: Body, idempotency_key: Option<IdempotencyKey>) -> Result<Response, Problem> {
    let body = request_body::whole(&api.options, body).await?;
    let publication = publication::parse(&body, idempotency_key, api.options.recipients_max, api.publisher.registry())?;
    let (status, receipt) = Receipt::of(&api.publisher.publish(publication).await?);
    Ok((status, Json(receipt)).into_response())
}
