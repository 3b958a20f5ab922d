//! Arrays of commands as one array, with the comments in and around them. Pure.

use super::script::{read, without_comments};
use crate::config::Variables;
use crate::error::Result;
use crate::kind::StoreKind;
use crate::project::migration::{Header, Script};
use crate::stores::squash::{Joined, Piece, unfit, without_directives};

/// Joins scripts.
///
/// # Errors
/// One that is no array of commands.
pub fn join(pieces: &[Piece<'_>]) -> Result<Joined> {
    let mut text = String::from("[");
    let mut no_transaction = false;
    for (at, (title, script)) in pieces.iter().enumerate() {
        no_transaction |= script.header.no_transaction;
        let plain = Script {
            text: without_directives(StoreKind::Mongodb, &script.text),
            header: Header::default(),
            path: script.path.clone(),
            ..Script::default()
        };
        // It must be one before it can be a part of one.
        read(&plain, &Variables::default())?;
        let bare = without_comments(&plain)?;
        let (Some(open), Some(close)) = (bare.find('['), bare.rfind(']')) else {
            return Err(unfit(script, "it is not an array of commands", 0));
        };
        let (before, inside, behind) = (&plain.text[..open], &plain.text[open + 1..close], &plain.text[close + 1..]);
        if at > 0 {
            text.push(',');
        }
        text.push_str(&format!("\n// ---- {title}\n"));
        for part in [before, inside, behind].map(str::trim_end).iter().filter(|part| !part.trim().is_empty()) {
            text.push_str(part.trim_start_matches('\n'));
            text.push('\n');
        }
    }
    text.push_str("]\n");
    Ok(Joined { text, no_transaction })
}
