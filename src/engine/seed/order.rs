//! In which order targets are written: what is referred to comes first. Pure.

/// Groups nodes so that every group comes after the groups it needs; nodes that need each other share
/// a group. Among groups that could come next, the one with the lowest node does.
///
/// `needs[node]` lists the nodes that a node needs; a node may need itself.
pub fn groups(needs: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let count = needs.len();
    // Small graphs: reachability by closure is simple, and enough for hundreds of tables.
    let mut reaches = vec![vec![false; count]; count];
    for (node, direct) in needs.iter().enumerate() {
        for &needed in direct {
            reaches[node][needed] = true;
        }
    }
    for middle in 0..count {
        let through = reaches[middle].clone();
        for row in reaches.iter_mut().filter(|row| row[middle]) {
            for (reach, is_reached) in row.iter_mut().zip(&through) {
                *reach |= is_reached;
            }
        }
    }
    let mut group_of: Vec<Option<usize>> = vec![None; count];
    let mut members: Vec<Vec<usize>> = Vec::new();
    for node in 0..count {
        if group_of[node].is_some() {
            continue;
        }
        let group: Vec<usize> =
            (node..count).filter(|&other| other == node || (reaches[node][other] && reaches[other][node])).collect();
        for &member in &group {
            group_of[member] = Some(members.len());
        }
        members.push(group);
    }
    let mut done = vec![false; members.len()];
    let mut ordered = Vec::new();
    while ordered.len() < members.len() {
        let is_ready = |group: &usize| {
            !done[*group]
                && members[*group]
                    .iter()
                    .flat_map(|node| &needs[*node])
                    .all(|needed| group_of[*needed].is_none_or(|other| other == *group || done[other]))
        };
        // Groups form no cycle, so one of them is always ready.
        let Some(next) = (0..members.len()).find(is_ready) else { break };
        done[next] = true;
        ordered.push(members[next].clone());
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_comes_first_and_cycles_come_together() {
        assert_eq!(groups(&[]), Vec::<Vec<usize>>::new());
        assert_eq!(groups(&[vec![], vec![]]), [[0], [1]]);
        // 0 needs 2, 2 needs 1.
        assert_eq!(groups(&[vec![2], vec![], vec![1]]), [[1], [2], [0]]);
        // 0 and 2 need each other, and 2 needs 3; 1 needs itself.
        assert_eq!(groups(&[vec![2], vec![1], vec![0, 3], vec![]]), [vec![1], vec![3], vec![0, 2]]);
    }
}
