//! A few rows in one statement. COPY costs two messages more, and the second waits for the server's delayed
//! acknowledgement of the first (about 40 ms), because the driver leaves Nagle's algorithm on.

use crate::error::Result;
use crate::stores::postgres::ident::literal_or_null;
use crate::stores::source::{Cell, Form, Row, RowSource};

/// Up to how many rows one INSERT is sooner than COPY.
const FEW: u64 = 500;

/// The INSERT of all rows, where they are few and there are any. The server reads each text as the column's type reads it,
/// as it does for COPY; identity columns take what is given.
///
/// # Errors
/// The source cannot be read.
pub fn insert(target: &str, source: &dyn RowSource) -> Result<Option<String>> {
    if source.rows().is_none_or(|rows| rows > FEW) {
        return Ok(None);
    }
    let (mut rows, mut row) = (source.open(Form::Cells)?, Row::default());
    let mut sql = format!("INSERT INTO {target} OVERRIDING SYSTEM VALUE VALUES ");
    let mut separator = "(";
    while rows.read(&mut row)? {
        for at in 0..source.columns().len() {
            let text = match row.cell(at) {
                Cell::Null => None,
                Cell::Text(text) | Cell::Json(text) => Some(text),
            };
            sql.push_str(if at == 0 { separator } else { "," });
            sql.push_str(&literal_or_null(text));
        }
        sql.push(')');
        separator = ",(";
    }
    Ok((separator == ",(").then_some(sql))
}
