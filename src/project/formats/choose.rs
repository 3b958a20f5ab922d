//! Which of several formats that fit a project is its own: by what the files say, then by the histories in the database.

use super::Detected;
use crate::config::file::Format;

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// This one.
    One(Detected),
    /// Nothing fits.
    None,
    /// Several fit as well as each other: a person has to say.
    Several(Vec<Detected>),
}

/// Chooses. `recorded` are the formats whose history is in the database, where that could be looked at.
pub fn choose(candidates: &[Detected], recorded: &[Format]) -> Choice {
    let best = candidates.iter().map(|candidate| candidate.certainty).max().unwrap_or(0);
    let top: Vec<&Detected> = candidates.iter().filter(|candidate| candidate.certainty == best).collect();
    // A history decides among files that only fit; it does not outweigh a file that only one tool has.
    let pool = if best == 3 { top.clone() } else { candidates.iter().collect() };
    let known: Vec<&Detected> = pool.into_iter().filter(|candidate| recorded.contains(&candidate.format)).collect();
    match (top.as_slice(), known.as_slice()) {
        ([], _) => Choice::None,
        (_, [one]) | ([one], _) => Choice::One((*one).clone()),
        (several, _) => Choice::Several(several.iter().map(|candidate| (*candidate).clone()).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_decide_then_histories() {
        let candidate = |format, certainty| Detected {
            format,
            dir: "migrations".into(),
            why: String::new(),
            certainty,
            settings: Vec::new(),
            url_variable: None,
        };
        let name = |choice| match choice {
            Choice::One(one) => one.format.name().to_owned(),
            Choice::None => "none".to_owned(),
            Choice::Several(several) => several.iter().map(|one| one.format.name()).collect::<Vec<_>>().join("|"),
        };
        let (sqlx, golang, dbmate) =
            (candidate(Format::Sqlx, 1), candidate(Format::GolangMigrate, 1), candidate(Format::Dbmate, 3));
        let cases: [(&[Detected], &[Format], &str); 7] = [
            (&[], &[Format::Sqlx], "none"),
            (std::slice::from_ref(&sqlx), &[], "sqlx"),
            (&[sqlx.clone(), golang.clone()], &[], "sqlx|golang-migrate"),
            (&[sqlx.clone(), golang.clone()], &[Format::GolangMigrate], "golang-migrate"),
            (&[sqlx.clone(), golang.clone()], &[Format::GolangMigrate, Format::Sqlx], "sqlx|golang-migrate"),
            (&[sqlx.clone(), dbmate.clone()], &[Format::Sqlx], "dbmate"),
            (&[dbmate.clone(), golang.clone(), sqlx.clone()], &[], "dbmate"),
        ];
        for (candidates, recorded, wanted) in cases {
            assert_eq!(name(choose(candidates, recorded)), wanted, "{candidates:?} {recorded:?}");
        }
    }
}
