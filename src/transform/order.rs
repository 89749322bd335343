//! In which order tables are shaped: the targets of references before the rows that point to them.

use super::plan::Plan;

/// Tables that must be settled together: one table, or several whose references form a cycle.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Group {
    /// Indexes into the plan's tables.
    pub(super) tables: Vec<usize>,
    /// The members reference themselves or one another.
    pub(super) cyclic: bool,
}

/// Groups in an order in which every reference points into the same group or an earlier one
/// (Tarjan's algorithm, without recursion).
pub(super) fn groups_of(plan: &Plan) -> Vec<Group> {
    let targets: Vec<Vec<usize>> = plan
        .tables
        .iter()
        .map(|table| {
            let references = table.columns.iter().filter_map(|column| column.reference.as_ref());
            references.map(|reference| plan.sets[reference.set].0).collect()
        })
        .collect();
    groups(&targets)
}

/// The groups that each group refers to, by their numbers, which are lower than its own.
pub(super) fn targets_of(plan: &Plan, groups: &[Group]) -> Vec<Vec<usize>> {
    let number_of = numbers(plan, groups);
    let targets = groups.iter().enumerate().map(|(at, group)| {
        let columns = group.tables.iter().flat_map(|table| &plan.tables[*table].columns);
        let references = columns.filter_map(|column| column.reference.as_ref());
        let mut targets: Vec<usize> =
            references.map(|reference| number_of[plan.sets[reference.set].0]).collect();
        targets.sort_unstable();
        targets.dedup();
        targets.retain(|target| *target != at);
        targets
    });
    targets.collect()
}

/// The groups whose tables a junction joins, and those that hold its links.
pub(super) fn sources_of(plan: &Plan, groups: &[Group], junction: usize) -> Vec<usize> {
    let number_of = numbers(plan, groups);
    let sides = plan.junctions[junction].sets.map(|set| plan.sets[set].0);
    let holders = plan.tables.iter().enumerate().filter_map(|(at, table)| {
        table.arrays.iter().any(|array| array.junction == junction).then_some(at)
    });
    let mut sources: Vec<usize> =
        sides.into_iter().chain(holders).map(|table| number_of[table]).collect();
    sources.sort_unstable();
    sources.dedup();
    sources
}

/// The number of each table's group.
fn numbers(plan: &Plan, groups: &[Group]) -> Vec<usize> {
    let mut number_of = vec![0; plan.tables.len()];
    for (at, group) in groups.iter().enumerate() {
        for table in &group.tables {
            number_of[*table] = at;
        }
    }
    number_of
}

fn groups(targets: &[Vec<usize>]) -> Vec<Group> {
    let count = targets.len();
    let mut number = vec![usize::MAX; count];
    let mut low = vec![0; count];
    let mut on_stack = vec![false; count];
    let mut stack = Vec::new();
    let mut next_number = 0;
    let mut result = Vec::new();
    for root in 0..count {
        if number[root] != usize::MAX {
            continue;
        }
        let mut work = vec![(root, 0)];
        while let Some((table, edge)) = work.pop() {
            if edge == 0 {
                number[table] = next_number;
                low[table] = next_number;
                next_number += 1;
                stack.push(table);
                on_stack[table] = true;
            }
            if let Some(&target) = targets[table].get(edge) {
                work.push((table, edge + 1));
                if number[target] == usize::MAX {
                    work.push((target, 0));
                } else if on_stack[target] {
                    low[table] = low[table].min(number[target]);
                }
                continue;
            }
            if let Some(&(parent, _)) = work.last() {
                low[parent] = low[parent].min(low[table]);
            }
            if low[table] == number[table] {
                let mut tables = Vec::new();
                while let Some(member) = stack.pop() {
                    on_stack[member] = false;
                    tables.push(member);
                    if member == table {
                        break;
                    }
                }
                tables.sort_unstable();
                let cyclic = tables.len() > 1 || targets[table].contains(&table);
                result.push(Group { tables, cyclic });
            }
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_come_before_the_tables_that_point_to_them() {
        // 0 → 1 → 2, 3 ⇄ 4 → 0, 5 → 5
        let targets = vec![vec![1], vec![2], vec![], vec![4], vec![3, 0], vec![5]];
        let found: Vec<(Vec<usize>, bool)> =
            groups(&targets).into_iter().map(|group| (group.tables, group.cyclic)).collect();
        let expected = vec![
            (vec![2], false),
            (vec![1], false),
            (vec![0], false),
            (vec![3, 4], true),
            (vec![5], true),
        ];
        assert_eq!(found, expected);
    }
}
