//! Junctions out of arrays of ids.

use super::column::{add, count, share};
use super::decide::Planner;
use super::draft::DraftJunction;
use super::index::descend;
use super::names::Names;

/// An array of ids: the collection that holds it, its path, and the collection of the ids.
pub(super) type IdArray = (usize, Vec<String>, usize);

impl Planner<'_> {
    /// Junctions out of arrays of ids; two arrays that hold the same links are one.
    pub(super) fn junctions(&mut self, arrays: Vec<IdArray>) -> Vec<DraftJunction> {
        let mut left: Vec<Option<IdArray>> = arrays.into_iter().map(Some).collect();
        let mut junctions = Vec::new();
        for at in 0..left.len() {
            let Some((owner, path, target)) = left[at].take() else { continue };
            let mut best: Option<(f64, usize)> = None;
            for (other, array) in left.iter().enumerate() {
                let Some((other_owner, other_path, other_target)) = array else { continue };
                if (*other_owner, *other_target) != (target, owner) {
                    continue;
                }
                let share = self.same_links((owner, &path), (*other_owner, other_path));
                if share > 0.3 && best.is_none_or(|(most, _)| share > most) {
                    best = Some((share, other));
                }
            }
            let other = best.and_then(|(share, other)| Some((share, left[other].take()?)));
            junctions.push(self.junction((owner, path, target), other));
        }
        junctions
    }

    /// How many arrays at a path hold an id twice, or ids in another order than their own.
    fn disorder(&self, at: usize, path: &[String]) -> Option<String> {
        let node = descend(&self.surveyed[at].survey, path)?;
        let kinds = [
            (node.unordered, "not in the order of their ids"),
            (node.repeating, "with an id twice"),
        ];
        let said: Vec<String> = kinds
            .iter()
            .filter(|(arrays, _)| *arrays > 0)
            .map(|(arrays, what)| format!("{} arrays {what}", count(*arrays)))
            .collect();
        (!said.is_empty()).then(|| said.join(", "))
    }

    /// Which share of the sampled links of one array the other holds too.
    fn same_links(&self, one: (usize, &[String]), other: (usize, &[String])) -> f64 {
        let links = |(at, path): (usize, &[String])| match path {
            [name] => self.surveyed[at].survey.links.get(name),
            _ => None,
        };
        match (links(one), links(other)) {
            (Some(one), Some(other)) => {
                let share = |(looked, found): (usize, usize)| {
                    if looked == 0 { 0.0 } else { found as f64 / looked as f64 }
                };
                share(one.found_in(other)).max(share(other.found_in(one)))
            }
            _ => 0.0,
        }
    }

    fn junction(
        &mut self,
        (owner, path, target): IdArray,
        other: Option<(f64, IdArray)>,
    ) -> DraftJunction {
        let (first, second) = (self.places[owner].table.clone(), self.places[target].table.clone());
        let name = match &other {
            Some(_) => format!(
                "{}_{}",
                self.surveyed[owner].listed.name, self.surveyed[target].listed.name
            ),
            None => format!("{}_{}", self.surveyed[owner].listed.name, path.join("_")),
        };
        let name = self.tables.give(&name);
        let mut names = Names::new(self.style);
        let own = names.give(&format!("{first}_id"));
        let far = if owner == target { path.join("_") } else { format!("{second}_id") };
        let far = names.give(&far);
        let side = |side: &String| (owner == target).then(|| side.clone());
        let mut from = vec![(first.clone(), path.clone(), side(&own))];
        let mut comment = format!("{} of {first} hold ids of {second}", path.join("."));
        let mut disorder = self.disorder(owner, &path);
        let mut position = None;
        if let Some((same, (_, other_path, _))) = other {
            let there = other_path.join(".");
            add(&mut comment, &format!("{there} of {second} {} of the same links", share(same)));
            let more = self.disorder(target, &other_path);
            disorder = match (disorder, more) {
                (Some(one), Some(more)) => Some(format!("{one}; {there}: {more}")),
                (one, more) => one.or(more),
            };
            from.push((second.clone(), other_path, side(&far)));
            if let Some(disorder) = disorder {
                add(
                    &mut comment,
                    &format!(
                        "decide: {disorder}: links of two sides keep neither order nor repeats; \
                         one array alone does with `position`"
                    ),
                );
            }
        } else if let Some(disorder) = disorder {
            add(&mut comment, &format!("{disorder}: without `position` that is lost"));
            position = Some(names.give("position"));
        }
        DraftJunction { name, columns: [(own, first), (far, second)], from, comment, position }
    }
}
