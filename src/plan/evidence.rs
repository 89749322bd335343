//! What a field refers to, by the values that it holds: ids that occur among the keys of a
//! collection. Names decide only where values leave several possible.

use super::names::likeness;
use super::survey::{Kind, Node, OTHER_KEYS, Survey};

/// Share of a field's values that must be keys of the collection it refers to, where values are
/// random: chance makes none.
const RANDOM_SHARE: f64 = 0.5;
/// The same for numbers and words, which agree by chance: their names must agree as well.
const CHANCE_SHARE: f64 = 0.9;
/// Shares this near to each other are equal.
const NEAR: f64 = 0.02;

/// A field's target.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Found {
    /// Collection, as its place in the list.
    pub(super) collection: usize,
    /// Field of its documents that is referred to.
    pub(super) field: String,
    /// Share of the sampled values that occur there.
    pub(super) share: f64,
    /// Every distinct value was looked up, not a sample of them.
    pub(super) exact: bool,
}

/// What a field's values say.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Verdict {
    /// They are no ids.
    Nothing,
    /// They refer to this collection.
    Reference(Found),
    /// They refer to several collections, with the share of each.
    Several(Vec<Found>),
}

/// Collections that have been looked at, by name.
pub(super) struct Known<'k> {
    pub(super) collections: Vec<(&'k str, &'k Survey)>,
}

impl Known<'_> {
    /// Whether a field is in every document and never twice.
    pub(super) fn is_key(&self, collection: usize, field: &str) -> bool {
        let survey = self.collections[collection].1;
        if field == "_id" {
            return true;
        }
        let keys = survey.keys.iter().find(|(name, _)| name == field);
        let node = survey.root.fields.as_ref().and_then(|fields| fields.get(field));
        match (keys, node) {
            (Some((_, keys)), Some(node)) => {
                node.filled() == survey.documents
                    && keys.is_exact()
                    && keys.distinct() == survey.documents
            }
            _ => false,
        }
    }

    /// What the values at a path refer to. `owner` and `name` are the collection and the field.
    pub(super) fn verdict(&self, owner: usize, name: &str, node: &Node) -> Verdict {
        let random = is_random(node);
        let scalar = [
            Kind::ObjectId,
            Kind::String,
            Kind::Uuid,
            Kind::Int32,
            Kind::Int64,
            Kind::Double,
            Kind::Decimal,
        ];
        if node.distinct.is_empty() || !node.only(&scalar) {
            return Verdict::Nothing;
        }
        let mut found: Vec<(Found, u32)> = Vec::new();
        for (at, (target, survey)) in self.collections.iter().enumerate() {
            for field in std::iter::once("_id").chain(OTHER_KEYS) {
                if (at == owner && field == name) || !self.is_key(at, field) {
                    continue;
                }
                let Some((_, keys)) = survey.keys.iter().find(|(name, _)| name == field) else {
                    continue;
                };
                let (looked, hits) = node.distinct.found_in(keys);
                if hits == 0 {
                    continue;
                }
                let share = hits as f64 / looked as f64;
                let like = likeness(name, target);
                let exact = node.distinct.is_exact() && keys.is_exact();
                found.push((Found { collection: at, field: field.to_owned(), share, exact }, like));
            }
        }
        // The greatest share first; names decide between near ones, then the order of the list.
        let rough = |found: &Found| (found.share / NEAR).round();
        found.sort_by(|(left, left_like), (right, right_like)| {
            rough(right)
                .total_cmp(&rough(left))
                .then(right_like.cmp(left_like))
                .then(left.collection.cmp(&right.collection))
        });
        let Some((best, like)) = found.first().cloned() else { return Verdict::Nothing };
        if !random {
            let sure = best.share >= CHANCE_SHARE && like >= 2;
            return if sure { Verdict::Reference(best) } else { Verdict::Nothing };
        }
        let others: Vec<Found> = found
            .iter()
            .map(|(other, _)| other)
            .filter(|other| other.collection != best.collection && other.share > NEAR)
            .cloned()
            .collect();
        // Collections that share their ids are told apart by names; others hold different parts.
        let together: f64 = best.share + others.iter().map(|other| other.share).sum::<f64>();
        if best.share < 1.0 - NEAR && !others.is_empty() && together <= 1.0 + NEAR {
            return Verdict::Several(std::iter::once(best).chain(others).collect());
        }
        if best.share >= RANDOM_SHARE { Verdict::Reference(best) } else { Verdict::Nothing }
    }
}

/// Whether no two values are equal unless they mean the same: ObjectIds and UUIDs.
fn is_random(node: &Node) -> bool {
    let texts = node.count(Kind::String);
    let random_texts = node.forms.object_ids + node.forms.uuids;
    node.only(&[Kind::ObjectId, Kind::Uuid, Kind::String])
        && (texts == 0 || random_texts * 10 >= texts * 9)
}
