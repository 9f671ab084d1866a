//! `GET /api/admin/users/{id}/events`: a part of a user's backlog.
//!
//! Invariant: the answer is written as it is taken: what is held of it is a page. What fails once
//! it has begun breaks it off.

use std::vec;

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use futures_util::{Stream, stream};

use super::{BACKEND_AWAY, private, view::BacklogView};
use crate::{
    adapters::http::{
        Api, description,
        inputs::{BacklogPart, Caller, NamedUser},
        problem::Problem,
        problem_code::Code,
    },
    app::backlog::Backlog,
    domain::{
        access::Operator, envelope::envelope_json, event::Entry, position::Position, topic::Topic,
    },
    ports::backend_error::BackendError,
};

description::refusals! {
    /// Of a look at a backlog.
    BacklogRefusals = description::AUTHENTICATION, description::AUTHORISATION, description::BACKEND,
        &[Code::InvalidUserId, Code::InvalidAfter, Code::InvalidLimit, Code::TooManyBacklogs]
}

/// The events that are kept for a user, oldest first: those of the categories that the token may
/// read.
#[utoipa::path(
    get, path = "/api/admin/users/{id}/events", tag = "operate", operation_id = "backlog", params(NamedUser, BacklogPart),
    security(("bearer" = ["admin"])),
    responses((status = 200, description = "A part of the backlog.", body = BacklogView), BacklogRefusals),
)]
pub(super) async fn backlog(
    Caller(operator): Caller<Operator>,
    State(api): State<Api>,
    NamedUser(user): NamedUser,
    BacklogPart { after, limit }: BacklogPart,
) -> Result<Response, Problem> {
    let mut backlog = api.administration.backlog(&operator, &user, after, limit).await?;
    // The first page shows whether the backend answers.
    let first =
        backlog.next_page().await.map_err(|error| Problem::backend(&error, BACKEND_AWAY))?;
    let body = Body::from_stream(written(Topic::User(user), backlog, first.unwrap_or_default()));
    Ok(private(([(header::CONTENT_TYPE, "application/json")], body).into_response()))
}

/// Where the answer is.
struct Writing {
    topic: Topic,
    backlog: Backlog,
    page: vec::IntoIter<Entry>,
    /// What stands between the last piece and the next event.
    separator: &'static str,
}

/// The answer, [`BacklogView`] as JSON, event by event.
fn written(
    topic: Topic,
    backlog: Backlog,
    first: Vec<Entry>,
) -> impl Stream<Item = Result<Bytes, BackendError>> {
    let begin = Writing {
        topic,
        backlog,
        page: first.into_iter(),
        separator: r#"{"success":true,"events":["#,
    };
    stream::try_unfold(Some(begin), async |writing: Option<Writing>| {
        let Some(mut writing) = writing else { return Ok(None) };
        let event = loop {
            if let Some(entry) = writing.page.next() {
                break entry;
            }
            match writing.backlog.next_page().await? {
                Some(page) => writing.page = page.into_iter(),
                None => return Ok(Some((writing.end(), None))),
            }
        };
        let piece = format!(
            "{}{}",
            writing.separator,
            envelope_json(&writing.topic, event.id, &event.event)
        );
        writing.separator = ",";
        Ok(Some((Bytes::from(piece), Some(writing))))
    })
}

impl Writing {
    fn end(&self) -> Bytes {
        let begun = if self.separator == "," { "" } else { self.separator };
        let rest = self.backlog.rest();
        let next =
            rest.and_then(Position::id).map_or_else(|| "null".to_owned(), |id| format!("\"{id}\""));
        Bytes::from(format!(r#"{begun}],"more":{},"next":{next}}}"#, rest.is_some()))
    }
}
