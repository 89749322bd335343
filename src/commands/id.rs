//! `docferry id`.

use serde_json::json;

use super::CommandError;
use crate::cli::IdArguments;
use crate::document::id::{
    key_uuid, object_id_from_uuid, parse_object_id_hex, uuid_from_object_id,
};
use crate::document::identity;
use crate::failure::Failure;
use crate::report::{Finished, Lines};
use crate::staging::checksum::to_hex;

pub(super) fn run(arguments: &IdArguments) -> Result<Finished, Failure> {
    let mut converted = Vec::new();
    for id in &arguments.ids {
        let other = match parse_object_id_hex(id) {
            Some(object_id) => uuid::Uuid::from_bytes(uuid_from_object_id(object_id)).to_string(),
            None => uuid::Uuid::try_parse(id)
                .ok()
                .and_then(|uuid| object_id_from_uuid(uuid.into_bytes()))
                .map(|object_id| to_hex(&object_id))
                .or_else(|| {
                    let key = identity::plain(id, key_uuid)?.ok()?;
                    Some(uuid::Uuid::from_bytes(key).to_string())
                })
                .ok_or_else(|| CommandError::Id(id.clone()))?,
        };
        converted.push(other);
    }
    let mut lines = Lines::default();
    for id in &converted {
        lines.push(id);
    }
    Ok(Finished::done(lines, json!(converted)))
}
