//! How a migration wants its tables or collections spread, where the server is one that spreads them: Citus, or a MongoDB
//! sharded cluster. Elsewhere the directives mean nothing, so that one file serves a laptop and a cluster. Pure.

/// One directive of a file's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distribution {
    /// What it asks for.
    pub what: Spread,
    /// Where its line begins in the file: a byte offset.
    pub offset: usize,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spread {
    /// `distribute TABLE by COLUMN [with TABLE]`: a table by its tenant column, beside the rows of another table.
    Table {
        /// The table, with its schema where the file names one.
        table: Vec<String>,
        /// The column that decides on which node a row is.
        column: String,
        /// The table whose rows of the same tenant are on the same node.
        with: Option<Vec<String>>,
    },
    /// `reference TABLE`: a whole copy on every node.
    Reference {
        /// The table.
        table: Vec<String>,
    },
    /// `shard COLLECTION by FIELD, FIELD [unique]`: the shard key, led by the tenant.
    Collection {
        /// The collection.
        collection: String,
        /// Its fields; `FIELD:hashed` for a hashed one.
        key: Vec<(String, bool)>,
        /// No two documents have the same key.
        is_unique: bool,
    },
}

/// Reads the words of a directive; none where it is another one.
///
/// # Errors
/// What is wrong with one of these, in words.
pub fn read(words: &[&str], offset: usize) -> Option<Result<Distribution, String>> {
    let what = match words {
        ["distribute", table, "by", column] => {
            path(table).map(|table| Spread::Table { table, column: (*column).to_owned(), with: None })
        }
        ["distribute", table, "by", column, "with", other] => path(table).and_then(|table| {
            Ok(Spread::Table { table, column: (*column).to_owned(), with: Some(path(other)?) })
        }),
        ["reference", table] => path(table).map(|table| Spread::Reference { table }),
        ["shard", collection, "by", fields @ ..] if !fields.is_empty() => {
            let is_unique = fields.last() == Some(&"unique") && fields.len() > 1;
            let fields = if is_unique { &fields[..fields.len() - 1] } else { fields };
            let names = fields.iter().flat_map(|field| field.split(',')).filter(|field| !field.is_empty());
            let key: Vec<(String, bool)> = names
                .map(|name| match name.strip_suffix(":hashed") {
                    Some(name) => (name.to_owned(), true),
                    None => (name.to_owned(), false),
                })
                .collect();
            match (key.is_empty(), is_unique && key.iter().any(|(_, is_hashed)| *is_hashed)) {
                (true, _) => Err("it names no field".to_owned()),
                (_, true) => Err("a hashed key cannot be unique".to_owned()),
                _ => Ok(Spread::Collection { collection: (*collection).to_owned(), key, is_unique }),
            }
        }
        ["distribute" | "reference" | "shard", ..] => {
            Err("it is distribute TABLE by COLUMN [with TABLE], reference TABLE, or shard COLLECTION by FIELD, ... [unique]"
                .to_owned())
        }
        _ => return None,
    };
    Some(what.map(|what| Distribution { what, offset }))
}

/// A table, with or without its schema; each name may stand in double quotes.
fn path(text: &str) -> Result<Vec<String>, String> {
    let mut parts = Vec::new();
    let mut rest = text;
    loop {
        let (part, after) = match rest.strip_prefix('"') {
            Some(quoted) => {
                let end = quoted.find('"').ok_or_else(|| format!("a quote of `{text}` is not closed"))?;
                (quoted[..end].to_owned(), &quoted[end + 1..])
            }
            None => {
                let end = rest.find('.').unwrap_or(rest.len());
                // What is not in quotes is folded, as PostgreSQL does.
                (rest[..end].to_lowercase(), &rest[end..])
            }
        };
        parts.push(part);
        match after.strip_prefix('.') {
            Some(more) => rest = more,
            None if after.is_empty() => break,
            None => return Err(format!("`{text}` is no name of a table")),
        }
    }
    if parts.len() > 2 || parts.iter().any(String::is_empty) {
        return Err(format!("`{text}` is no name of a table"));
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn what(line: &str) -> Option<Result<Spread, String>> {
        let words: Vec<&str> = line.split_whitespace().collect();
        read(&words, 0).map(|found| found.map(|found| found.what))
    }

    #[test]
    fn directives_are_read_and_wrong_ones_refused() {
        let table = |parts: &[&str]| parts.iter().map(|part| (*part).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            what("distribute Shop.\"Sale\" by company_id with company"),
            Some(Ok(Spread::Table {
                table: table(&["shop", "Sale"]),
                column: "company_id".into(),
                with: Some(table(&["company"]))
            }))
        );
        assert_eq!(what("reference plan"), Some(Ok(Spread::Reference { table: table(&["plan"]) })));
        let key = |fields: &[(&str, bool)]| fields.iter().map(|(name, hashed)| ((*name).to_owned(), *hashed)).collect();
        assert_eq!(
            what("shard carts by companyId, _id unique"),
            Some(Ok(Spread::Collection {
                collection: "carts".into(),
                key: key(&[("companyId", false), ("_id", false)]),
                is_unique: true
            }))
        );
        assert_eq!(
            what("shard carts by companyId:hashed"),
            Some(Ok(Spread::Collection {
                collection: "carts".into(),
                key: key(&[("companyId", true)]),
                is_unique: false
            }))
        );
        for wrong in [
            "distribute sale",
            "distribute sale on id",
            "reference",
            "reference a.b.c",
            "reference \"a",
            "shard carts by",
            "shard carts by a:hashed unique",
            "shard carts by ,",
        ] {
            assert!(matches!(what(wrong), Some(Err(_))), "{wrong}");
        }
        assert_eq!(what("vars"), None);
    }
}
