//! Who gets an event: how a user is named, and what the form of a publication's fields can't say by
//! itself, that exactly one of them names somebody.

use serde_json::Value;
use utoipa::{
    ToSchema,
    openapi::{AllOfBuilder, ObjectBuilder, OneOfBuilder, OpenApi, Schema, Type},
};

/// Adds the rule to the schema of a publication, where there is one.
pub(super) fn require_one(openapi: &mut OpenApi) {
    let schemas = openapi.components.as_mut().map(|components| &mut components.schemas);
    let Some(publication) = schemas.and_then(|schemas| schemas.get_mut("Publication")) else {
        return;
    };
    // A null is as good as nothing.
    let named = |field: &str, schema: ObjectBuilder| {
        Schema::from(ObjectBuilder::new().required(field).property(field, Schema::from(schema)))
    };
    let one = OneOfBuilder::new()
        .item(named("user_id", ObjectBuilder::new().schema_type(Type::String)))
        .item(named("user_ids", ObjectBuilder::new().schema_type(Type::Array)))
        .item(named(
            "broadcast",
            ObjectBuilder::new().schema_type(Type::Boolean).enum_values(Some([true])),
        ));
    *publication = AllOfBuilder::new().item(publication.clone()).item(Schema::from(one)).into();
}

/// An event whose recipient is named elsewhere: in the path or the query.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "it is there to be described: `publication` reads it")]
pub(in crate::adapters::http) struct TestEvent {
    /// What happened. Types that begin with `backlog.` or `stream.` are the server's own, and
    /// `error` and `open` would call the handlers of a browser's own events.
    #[schema(
        min_length = 1,
        max_length = 128,
        pattern = r"^(?!backlog\.|stream\.|(?:error|open)$)[A-Za-z0-9._:-]+$"
    )]
    r#type: String,
    /// Its content: any JSON, carried as it was written; `{}` without one.
    #[schema(value_type = Value)]
    payload: Option<Value>,
    /// What it is about; `{}` without one.
    #[schema(value_type = Option<Object>)]
    scope: Option<Value>,
    /// Its category, one of those in `[categories]`; without one the type decides.
    category: Option<String>,
}
