//! How many rows each table gets of a total: children more than parents, lookups few, and no table more than
//! its keys allow. Pure.

/// A table as its share is judged.
#[derive(Clone, Debug, Default)]
pub struct Node {
    /// The tables that it refers to; itself left out.
    pub needs: Vec<usize>,
    /// It is a list that others choose from.
    pub is_lookup: bool,
    /// Its unique keys, each by its parts: it cannot have more rows than the product of one of them.
    pub keys: Vec<Vec<Part>>,
}

/// How many values a part of a key can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// As many as wanted.
    Many,
    /// This many.
    Few(u64),
    /// As many as a table has rows.
    Parent(usize),
}

/// How many rows a lookup gets at most.
const LOOKUP: u64 = 12;

/// The rows of each table; `order` has parents before children, tables that need each other in any order.
pub fn shares(nodes: &[Node], order: &[usize], total: u64) -> Vec<u64> {
    let depth = depths(nodes, order);
    let is_parent: Vec<bool> = (0..nodes.len()).map(|at| nodes.iter().any(|node| node.needs.contains(&at))).collect();
    let weight = |at: usize| -> u64 {
        // A table that nothing refers to and that refers to nothing is neither parent nor child.
        if depth[at] == 0 && !is_parent[at] { 3 } else { 1 << depth[at].min(4) }
    };
    let mut share = vec![0_u64; nodes.len()];
    let mut fixed = vec![false; nodes.len()];
    for (at, node) in nodes.iter().enumerate() {
        if node.is_lookup {
            share[at] = LOOKUP.min((total / (nodes.len() as u64 * 4)).max(2));
            fixed[at] = true;
        }
    }
    // What a key keeps from one table is the others': again until nothing is left over.
    for _ in 0..8 {
        let used: u64 = share.iter().zip(&fixed).filter(|(_, fixed)| **fixed).map(|(share, _)| *share).sum();
        let open: Vec<usize> = (0..nodes.len()).filter(|at| !fixed[*at]).collect();
        spread(total.saturating_sub(used), &open, &weight, &mut share);
        let mut is_settled = true;
        for &at in order {
            let limit = limit(&nodes[at], &share);
            if share[at] > limit {
                share[at] = limit;
                fixed[at] = true;
                is_settled = false;
            }
        }
        if is_settled {
            break;
        }
    }
    share
}

/// Largest remainders, one row at least while there are rows; parents come first where there are few.
fn spread(total: u64, open: &[usize], weight: &dyn Fn(usize) -> u64, share: &mut [u64]) {
    let weights: u64 = open.iter().map(|at| weight(*at)).sum();
    if weights == 0 {
        return;
    }
    let mut left = total;
    let mut rests = Vec::with_capacity(open.len());
    for &at in open {
        let wide = u128::from(total) * u128::from(weight(at));
        let whole = u64::try_from(wide / u128::from(weights)).unwrap_or(0).max(1).min(left);
        share[at] = whole;
        left -= whole;
        rests.push((wide % u128::from(weights), at));
    }
    rests.sort_by(|a, b| b.cmp(a));
    for (_, at) in rests.iter().cycle().take(usize::try_from(left).unwrap_or(0)) {
        share[*at] += 1;
    }
}

fn limit(node: &Node, share: &[u64]) -> u64 {
    let mut least = u64::MAX;
    for key in &node.keys {
        let mut product = 1_u64;
        let mut counted = 0;
        for part in key {
            let count = match part {
                Part::Many => u64::MAX,
                Part::Few(count) => *count,
                Part::Parent(parent) => share[*parent],
            };
            product = product.saturating_mul(count);
            counted += 1;
        }
        // A key of several columns is not used to its last combination.
        least = least.min(if counted > 1 && product < u64::MAX { product - product / 4 } else { product });
    }
    least
}

fn depths(nodes: &[Node], order: &[usize]) -> Vec<u32> {
    let mut depth = vec![0; nodes.len()];
    for &at in order {
        let above = nodes[at].needs.iter().filter(|parent| !nodes[**parent].is_lookup).map(|parent| depth[*parent] + 1);
        // Within a cycle the one that comes later is the deeper one.
        depth[at] = above.max().unwrap_or(0);
    }
    depth
}

/// Whether a table of this name and size is a list that others choose from.
pub fn is_lookup(name: &str, columns: usize, references: usize, is_referred: bool) -> bool {
    const NAMES: [&str; 26] = [
        "status",
        "statuses",
        "type",
        "types",
        "kind",
        "kinds",
        "country",
        "countries",
        "currency",
        "currencies",
        "role",
        "roles",
        "plan",
        "plans",
        "language",
        "languages",
        "unit",
        "units",
        "permission",
        "permissions",
        "priority",
        "priorities",
        "timezone",
        "timezones",
        "locale",
        "locales",
    ];
    let last = super::provider::parts(name).pop().unwrap_or_default();
    references == 0 && is_referred && (columns <= 2 || (columns <= 8 && NAMES.contains(&last.as_str())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_get_more_than_parents_and_the_total_is_kept() {
        let nodes = [
            Node::default(),
            Node { needs: vec![0], ..Node::default() },
            Node { needs: vec![1], ..Node::default() },
            Node { is_lookup: true, ..Node::default() },
        ];
        let share = shares(&nodes, &[0, 3, 1, 2], 10_000);
        assert!(share[0] < share[1] && share[1] < share[2] && share[3] == 12, "{share:?}");
        assert_eq!(share.iter().sum::<u64>(), 10_000);
        assert_eq!(shares(&nodes, &[0, 3, 1, 2], 1).iter().sum::<u64>(), 2, "a lookup is nothing with one row");
    }

    #[test]
    fn no_table_gets_more_than_its_keys_allow() {
        let nodes = [
            Node::default(),
            Node { needs: vec![0], keys: vec![vec![Part::Parent(0)]], ..Node::default() },
            Node { needs: vec![0], keys: vec![vec![Part::Parent(0), Part::Few(2)]], ..Node::default() },
            Node { needs: vec![0], keys: vec![vec![Part::Parent(0), Part::Many]], ..Node::default() },
        ];
        let share = shares(&nodes, &[0, 1, 2, 3], 1000);
        assert!(share[1] <= share[0] && share[2] <= share[0] * 2, "{share:?}");
        assert_eq!(share.iter().sum::<u64>(), 1000);
    }
}
