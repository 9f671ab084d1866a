//! What the form of a publication's fields can't say by itself: exactly one of them names who gets it.

use utoipa::openapi::{AllOfBuilder, ArrayBuilder, ObjectBuilder, OneOfBuilder, OpenApi, RefOr, Schema, Type};

use super::{inputs::NO_CONTROL_CHARACTERS, text_schema};

/// Adds the rule to the schema of a publication, where there is one.
pub(super) fn require_one(openapi: &mut OpenApi) {
    let schemas = openapi.components.as_mut().map(|components| &mut components.schemas);
    let Some(publication) = schemas.and_then(|schemas| schemas.get_mut("Publication")) else { return };
    // A null is as good as nothing.
    let named = |field: &str, schema: RefOr<Schema>| Schema::from(ObjectBuilder::new().required(field).property(field, schema));
    let id = text_schema(|text| text.min_length(Some(1)).max_length(Some(256)).pattern(Some(NO_CONTROL_CHARACTERS)));
    let one = OneOfBuilder::new()
        .item(named("user_id", id.clone()))
        .item(named("user_ids", ArrayBuilder::new().items(id).into()))
        .item(named("broadcast", ObjectBuilder::new().schema_type(Type::Boolean).enum_values(Some([true])).into()));
    *publication = AllOfBuilder::new().item(publication.clone()).item(Schema::from(one)).into();
}
