//! In which order tables can be filled: parents before children, and those that refer to each other together. Pure.

/// Groups of tables, parents first. `parents` names for each table those that it refers to, by number.
pub fn groups(parents: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let mut walk = Walk {
        parents,
        number: vec![None; parents.len()],
        low: vec![0; parents.len()],
        open: Vec::new(),
        is_open: vec![false; parents.len()],
        next: 0,
        groups: Vec::new(),
    };
    for table in 0..parents.len() {
        if walk.number[table].is_none() {
            walk.visit(table);
        }
    }
    walk.groups
}

/// Tarjan's walk; a group is complete when all that it refers to is.
struct Walk<'a> {
    parents: &'a [Vec<usize>],
    number: Vec<Option<usize>>,
    low: Vec<usize>,
    open: Vec<usize>,
    is_open: Vec<bool>,
    next: usize,
    groups: Vec<Vec<usize>>,
}

impl Walk<'_> {
    fn visit(&mut self, start: usize) {
        // Without recursion: a chain of a thousand tables is no reason to run out of stack.
        let mut path = vec![(start, 0)];
        self.enter(start);
        while let Some((table, at)) = path.pop() {
            if let Some(&parent) = self.parents[table].get(at) {
                path.push((table, at + 1));
                match self.number[parent] {
                    None => {
                        self.enter(parent);
                        path.push((parent, 0));
                    }
                    Some(number) if self.is_open[parent] => self.low[table] = self.low[table].min(number),
                    Some(_) => {}
                }
                continue;
            }
            if let Some(&(child, _)) = path.last() {
                self.low[child] = self.low[child].min(self.low[table]);
            }
            if Some(self.low[table]) == self.number[table] {
                let at = self.open.iter().rposition(|open| *open == table).unwrap_or_default();
                let mut group = self.open.split_off(at);
                group.iter().for_each(|member| self.is_open[*member] = false);
                group.sort_unstable();
                self.groups.push(group);
            }
        }
    }

    fn enter(&mut self, table: usize) {
        self.number[table] = Some(self.next);
        self.low[table] = self.next;
        self.next += 1;
        self.open.push(table);
        self.is_open[table] = true;
    }
}

#[cfg(test)]
mod tests {
    use super::groups;

    #[test]
    fn parents_come_first_and_cycles_together() {
        // 0 sale -> 1 product, 2 customer; 1 -> 3 company; 2 -> 3.
        assert_eq!(groups(&[vec![1, 2], vec![3], vec![3], vec![]]), [vec![3], vec![1], vec![2], vec![0]]);
        // A tree refers to itself; two refer to each other, and a third to them.
        assert_eq!(groups(&[vec![0]]), [vec![0]]);
        assert_eq!(groups(&[vec![1], vec![0], vec![0]]), [vec![0, 1], vec![2]]);
        assert_eq!(groups(&[vec![1], vec![2], vec![0], vec![]]), [vec![0, 1, 2], vec![3]]);
        let chain: Vec<Vec<usize>> = (0..5000).map(|n| if n < 4999 { vec![n + 1] } else { vec![] }).collect();
        assert_eq!(groups(&chain).first(), Some(&vec![4999]));
    }
}
