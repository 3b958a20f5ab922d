//! `[generate]` blocks: how many rows a target gets without writing them down, and what is said of their columns.
//! Read and checked as far as text alone allows.

use std::sync::Arc;

use super::nearest;
use super::rows::{Node, NodeKind, Source};
use crate::error::{Code, Error, Place, Result};

/// A block.
#[derive(Clone, Debug)]
pub struct Generate {
    /// How many rows, all together or for each parent.
    pub count: Count,
    /// The seed number.
    pub seed: u64,
    /// "Now" of its times, as it is written; none: a fixed day.
    pub now: Option<String>,
    /// What is said of columns.
    pub columns: Vec<Spread>,
    /// Its text: another one is another block.
    pub text: String,
    /// The file it is in.
    pub source: Arc<Source>,
    /// The byte offset of its header.
    pub offset: usize,
}

/// How many rows there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Count {
    /// This many.
    Rows(u64),
    /// For each row of a table, between this many and this many.
    Per(String, u64, u64),
}

/// How the values of a column are spread.
#[derive(Clone, Debug, Default)]
pub struct Spread {
    /// The column.
    pub column: String,
    /// The values to choose from, as texts.
    pub values: Vec<String>,
    /// How often each is chosen, beside the others; empty: alike.
    pub weights: Vec<u64>,
    /// `uniform`, `normal` or `zipf`; empty: not said.
    pub distribution: String,
    /// The least and the greatest value, as texts.
    pub range: Option<(String, String)>,
    /// How many of a thousand rows have none.
    pub nulls: Option<u64>,
    /// A text with `{row}`, `{column}` and `{provider}` in it.
    pub template: Option<String>,
    /// The kind of text.
    pub provider: Option<String>,
    /// Where it is written.
    pub place: Option<Place>,
}

impl Generate {
    /// Where it begins.
    pub fn place(&self) -> Place {
        self.source.place(self.offset, 1)
    }
}

struct Reader<'a> {
    source: &'a Arc<Source>,
}

/// Reads a block; `offset` is where its key stands.
///
/// # Errors
/// `LYX-SEED-FILE` with the place: an unknown key, a value of the wrong kind, no count.
pub fn read(source: &Arc<Source>, node: &Node, offset: usize) -> Result<Generate> {
    let reader = Reader { source };
    let NodeKind::Table(entries) = &node.kind else {
        return Err(reader.refuse("`generate` is not a table", node).hint("[generate], then a line `rows = 1000`"));
    };
    let (mut rows, mut per, mut count) = (None, None, None);
    let mut block = Generate {
        count: Count::Rows(0),
        seed: 1,
        now: None,
        columns: Vec::new(),
        text: format!("{entries:?}"),
        source: source.clone(),
        offset,
    };
    for (name, node) in entries {
        match name.as_str() {
            "rows" => rows = Some(reader.whole(node, "rows")?),
            "seed" => block.seed = reader.whole(node, "seed")?,
            "per" => per = Some(reader.text(node, "per")?),
            "count" => count = Some(reader.counted(node)?),
            "now" => {
                block.now = Some(reader.scalar(node).ok_or_else(|| reader.refuse("`now` is no date or time", node))?)
            }
            "columns" => {
                let NodeKind::Table(columns) = &node.kind else {
                    return Err(reader.refuse("`columns` is not a table", node).hint("[generate.columns.NAME]"));
                };
                for (column, node) in columns {
                    block.columns.push(reader.spread(column, node)?);
                }
            }
            other => return Err(reader.unknown(other, node, &["rows", "seed", "per", "count", "now", "columns"])),
        }
    }
    block.count = match (rows, per, count) {
        (Some(rows), None, None) => Count::Rows(rows),
        (None, Some(parent), Some((low, high))) => Count::Per(parent, low, high),
        (None, Some(_), None) => return Err(reader.refuse("`per` without `count`", node).hint("count = \"1..20\"")),
        (Some(_), Some(_), _) => {
            return Err(reader
                .refuse("`rows` and `per` together", node)
                .hint("one of them says how many rows there are"));
        }
        (_, None, Some(_)) => {
            return Err(reader.refuse("`count` without `per`", node).hint("per = \"TABLE\", or rows = N"));
        }
        (None, None, None) => {
            return Err(reader.refuse("the block does not say how many rows", node).hint("rows = 1000"));
        }
    };
    // Numbers and texts only: where a block stands in its file says nothing of its rows.
    block.text = reader
        .source
        .text
        .get(offset..)
        .unwrap_or_default()
        .lines()
        .take_while(|line| !line.starts_with("[rows"))
        .collect::<Vec<_>>()
        .join("\n");
    Ok(block)
}

impl Reader<'_> {
    fn refuse(&self, what: &str, node: &Node) -> Error {
        Error::new(Code::SeedFile, what.to_owned())
            .at(self.source.place(node.offset, node.width))
            .data("nothing was changed")
    }

    fn unknown(&self, name: &str, node: &Node, known: &[&str]) -> Error {
        let error = self.refuse(&format!("unknown key `{name}`"), node);
        match nearest(name, known.iter().copied()) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error.hint(format!("the keys here are {}", known.join(", "))),
        }
    }

    fn whole(&self, node: &Node, name: &str) -> Result<u64> {
        match &node.kind {
            NodeKind::Integer(number) if *number >= 0 => Ok(number.unsigned_abs()),
            _ => Err(self.refuse(&format!("`{name}` is no whole number"), node).hint(format!("{name} = 1000"))),
        }
    }

    fn text(&self, node: &Node, name: &str) -> Result<String> {
        match &node.kind {
            NodeKind::Text(text) => Ok(text.clone()),
            _ => Err(self.refuse(&format!("`{name}` is no text"), node).hint(format!("{name} = \"...\""))),
        }
    }

    /// A value as text; none for lists and tables.
    fn scalar(&self, node: &Node) -> Option<String> {
        Some(match &node.kind {
            NodeKind::Text(text) => text.clone(),
            NodeKind::Integer(number) => number.to_string(),
            NodeKind::Float(_, digits) => digits.clone(),
            NodeKind::Bool(truth) => truth.to_string(),
            NodeKind::Date(date) => date.to_string(),
            NodeKind::List(_) | NodeKind::Table(_) => return None,
        })
    }

    fn list(&self, node: &Node, name: &str) -> Result<Vec<String>> {
        let NodeKind::List(items) = &node.kind else {
            return Err(self.refuse(&format!("`{name}` is no list"), node).hint(format!("{name} = [...]")));
        };
        items
            .iter()
            .map(|item| {
                self.scalar(item).ok_or_else(|| self.refuse(&format!("an item of `{name}` is no plain value"), item))
            })
            .collect()
    }

    /// `3`, or `"1..20"`.
    fn counted(&self, node: &Node) -> Result<(u64, u64)> {
        let refuse = || self.refuse("`count` is neither a number nor a range", node).hint("count = \"1..20\"");
        match &node.kind {
            NodeKind::Integer(number) if *number >= 0 => Ok((number.unsigned_abs(), number.unsigned_abs())),
            NodeKind::Text(text) => {
                let (low, high) = text.split_once("..").ok_or_else(refuse)?;
                let number = |text: &str| text.trim().trim_start_matches('=').parse::<u64>().map_err(|_| refuse());
                let (low, high) = (number(low)?, number(high)?);
                if low <= high { Ok((low, high)) } else { Err(refuse()) }
            }
            _ => Err(refuse()),
        }
    }

    fn spread(&self, column: &str, node: &Node) -> Result<Spread> {
        let NodeKind::Table(entries) = &node.kind else {
            return Err(self
                .refuse(&format!("`{column}` is not a table"), node)
                .hint(format!("[generate.columns.{column}]")));
        };
        let place = Some(self.source.place(node.offset, node.width));
        let mut spread = Spread { column: column.to_owned(), place, ..Spread::default() };
        for (name, node) in entries {
            match name.as_str() {
                "values" => spread.values = self.list(node, "values")?,
                "weights" => {
                    let NodeKind::List(items) = &node.kind else {
                        return Err(self.refuse("`weights` is no list", node).hint("weights = [70, 30]"));
                    };
                    spread.weights = items.iter().map(|item| self.whole(item, "weights")).collect::<Result<_>>()?;
                }
                "distribution" => {
                    spread.distribution = self.text(node, "distribution")?;
                    if !["uniform", "normal", "zipf"].contains(&spread.distribution.as_str()) {
                        let what = format!("`{}` is no distribution", spread.distribution);
                        return Err(self.refuse(&what, node).hint("uniform, normal or zipf"));
                    }
                }
                "range" => {
                    let ends = self.list(node, "range")?;
                    let [low, high] = ends.as_slice() else {
                        return Err(self.refuse("`range` needs two ends", node).hint("range = [1, 100]"));
                    };
                    spread.range = Some((low.clone(), high.clone()));
                }
                "null" => spread.nulls = Some(self.share(node)?),
                "template" => spread.template = Some(self.text(node, "template")?),
                "provider" => spread.provider = Some(self.text(node, "provider")?),
                other => {
                    let known = ["values", "weights", "distribution", "range", "null", "template", "provider"];
                    return Err(self.unknown(other, node, &known));
                }
            }
        }
        if !spread.weights.is_empty() && spread.weights.len() != spread.values.len() {
            let what = format!("{} weights for {} values", spread.weights.len(), spread.values.len());
            return Err(self.refuse(&what, node).hint("give each value its weight"));
        }
        let said =
            [!spread.values.is_empty(), spread.range.is_some(), spread.template.is_some(), spread.provider.is_some()];
        if said.iter().filter(|one| **one).count() > 1 {
            return Err(self
                .refuse(&format!("`{column}` has several of values, range, template and provider"), node)
                .hint("one of them says what its values are"));
        }
        Ok(spread)
    }

    /// A share from 0 to 1 in thousandths.
    fn share(&self, node: &Node) -> Result<u64> {
        let refuse = || self.refuse("`null` is no share from 0 to 1", node).hint("null = 0.2");
        match &node.kind {
            NodeKind::Integer(0) => Ok(0),
            NodeKind::Integer(1) => Ok(1000),
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 1000")]
            NodeKind::Float(share, _) if (0.0..=1.0).contains(share) => Ok((share * 1000.0).round() as u64),
            _ => Err(refuse()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::rows;
    use super::*;
    use crate::kind::StoreKind;

    fn block(text: &str) -> Result<Generate> {
        let source = Arc::new(Source { shown: "User.toml".into(), text: text.into() });
        Ok(rows::read(StoreKind::Postgres, "User", source)?.generate.expect("a block"))
    }

    #[test]
    fn a_block_says_how_many_and_how_spread() {
        let read = block(
            "[generate]\nper = \"Company\"\ncount = \"1..20\"\nseed = 7\n[generate.columns.status]\nvalues = [\"a\", 2, true]\nweights = [70, 20, 10]\n[generate.columns.at]\nrange = [2024-01-01, 2024-12-31]\nnull = 0.25\n",
        )
        .expect("a block");
        assert_eq!((read.count, read.seed), (Count::Per("Company".into(), 1, 20), 7));
        assert_eq!(read.columns[0].values, ["a", "2", "true"]);
        assert_eq!(read.columns[1].range, Some(("2024-01-01".into(), "2024-12-31".into())));
        assert_eq!(read.columns[1].nulls, Some(250));
    }

    #[test]
    fn what_is_wrong_is_refused_with_its_place() {
        for (text, what) in [
            ("[generate]\nseed = 7", "the block does not say how many rows"),
            ("[generate]\nrows = 1\nper = \"A\"\ncount = 2", "`rows` and `per` together"),
            ("[generate]\nper = \"A\"", "`per` without `count`"),
            ("[generate]\nrows = 1\nsede = 7", "unknown key `sede`"),
            ("[generate]\nrows = -1", "`rows` is no whole number"),
            ("[generate]\nper = \"A\"\ncount = \"9..2\"", "`count` is neither a number nor a range"),
            ("[generate]\nrows = 1\n[generate.columns.a]\nvalues = [1]\nweights = [1, 2]", "2 weights for 1 values"),
            ("[generate]\nrows = 1\n[generate.columns.a]\ndistribution = \"bell\"", "`bell` is no distribution"),
            ("[generate]\nrows = 1\n[generate.columns.a]\nnull = 3", "`null` is no share from 0 to 1"),
            ("[generate]\nrows = 1\n[generate.columns.a]\nrange = [1]", "`range` needs two ends"),
            (
                "[generate]\nrows = 1\n[generate.columns.a]\nvalues = [1]\nrange = [1, 2]",
                "`a` has several of values, range, template and provider",
            ),
        ] {
            let error = block(text).expect_err(text);
            assert!(error.to_string().contains(what), "{text}: {error}");
            assert!(error.place().is_some(), "{text}");
        }
    }
}
