//! Does an answer hold what a declared step expects? Pure.

use std::time::Duration;

use serde_json::Value;

use super::same::same;
use crate::project::smoke::{Amount, Claim, Expect, Expected, Is, Path, filled_value, plain};
use crate::stores::smoke::{Answer, Refusal, Ttl, Variables};

/// Compares an answer with what was expected.
///
/// # Errors
/// What was expected and what was found, in one line.
pub fn answer(expect: &Expect, answer: &Answer, variables: &Variables) -> Result<(), String> {
    if let Some(error) = &expect.error {
        return Err(format!("expected the error {error}, and it was done"));
    }
    if let Some(rows) = expect.rows.filter(|rows| !holds(*rows, answer.rows)) {
        return Err(format!("expected {}, found {}", amount(rows, "row"), answer.rows));
    }
    match &expect.value {
        Some(Expected::First(value)) => {
            let value = filled_value(value, variables);
            if !same(&value, &answer.first) {
                return Err(format!("expected {}, found {}", shown(&value), shown(&answer.first)));
            }
        }
        Some(Expected::At(paths)) => {
            for (path, value) in paths {
                equal(path, &filled_value(value, variables), &answer.value)?;
            }
        }
        None => {}
    }
    for Claim { path, is } in &expect.json {
        for is in is {
            claim(path, is, &answer.value, variables)?;
        }
    }
    if let Some((low, high)) = expect.ttl {
        match answer.ttl {
            Some(Ttl::Left(left)) if low <= left && left <= high => {}
            found => {
                let found = match found {
                    Some(Ttl::Left(left)) => format!("found {}", span(left)),
                    Some(Ttl::Forever) => "the key never expires".into(),
                    Some(Ttl::Missing) => "there is no such key".into(),
                    None => "the command has no key".into(),
                };
                return Err(format!("expected a time to live of {} to {}, {found}", span(low), span(high)));
            }
        }
    }
    if let Some(within) = expect.within.filter(|within| answer.elapsed > *within) {
        return Err(format!("expected an answer within {}, it took {}", span(within), span(answer.elapsed)));
    }
    Ok(())
}

/// The value at a path is this one; where a query finds several, they are this array.
fn equal(path: &Path, wanted: &Value, value: &Value) -> Result<(), String> {
    let found = path.find(value);
    let is_same = match found.as_slice() {
        [one] if same(wanted, one) => true,
        many if matches!(path, Path::Query(..)) => wanted.as_array().is_some_and(|wanted| {
            wanted.len() == many.len() && wanted.iter().zip(many).all(|(wanted, found)| same(wanted, found))
        }),
        _ => false,
    };
    if is_same { Ok(()) } else { Err(format!("expected {} at `{path}`, found {}", shown(wanted), all_shown(&found))) }
}

/// One claim about what is at a path.
fn claim(path: &Path, is: &Is, value: &Value, variables: &Variables) -> Result<(), String> {
    let found = path.find(value);
    let otherwise = |expected: String| Err(format!("expected {expected} at `{path}`, found {}", all_shown(&found)));
    let every = |test: &dyn Fn(&Value) -> bool| !found.is_empty() && found.iter().all(|value| test(value));
    match is {
        Is::There(true) if found.is_empty() => otherwise("something".into()),
        Is::There(false) if !found.is_empty() => otherwise("nothing".into()),
        Is::There(_) => Ok(()),
        Is::Equal(wanted) => equal(path, &filled_value(wanted, variables), value),
        Is::Unequal(other) => {
            let other = filled_value(other, variables);
            if equal(path, &other, value).is_err() { Ok(()) } else { otherwise(format!("not {}", shown(&other))) }
        }
        Is::Holding(part) => {
            let part = filled_value(part, variables);
            let is_many = found.len() > 1 && found.iter().any(|value| same(&part, value));
            let is_within = |value: &Value| match value {
                Value::Array(values) => values.iter().any(|value| same(&part, value)),
                Value::String(text) => text.contains(&plain(&part)),
                other => same(&part, other),
            };
            if is_many || found.iter().any(|value| is_within(value)) {
                Ok(())
            } else {
                otherwise(format!("{} within what is", shown(&part)))
            }
        }
        Is::Like(regex) => {
            let fits = |value: &Value| regex.is_match(&plain(value));
            if every(&fits) { Ok(()) } else { otherwise(format!("what matches `{}`", regex.as_str())) }
        }
        Is::Counting(wanted) => {
            let count = match found.as_slice() {
                [Value::Array(values)] => values.len(),
                many => many.len(),
            } as u64;
            if holds(*wanted, count) {
                Ok(())
            } else {
                Err(format!("expected {} at `{path}`, found {count}", amount(*wanted, "value")))
            }
        }
        Is::Least(least) => {
            let is_enough = |value: &Value| number(value).is_some_and(|number| number >= *least);
            if every(&is_enough) { Ok(()) } else { otherwise(format!("at least {least}")) }
        }
        Is::Most(most) => {
            let is_little = |value: &Value| number(value).is_some_and(|number| number <= *most);
            if every(&is_little) { Ok(()) } else { otherwise(format!("at most {most}")) }
        }
    }
}

fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.parse().ok())
}

/// Compares a refusal with what was expected.
///
/// # Errors
/// What was expected and what was found, in one line.
pub fn refusal(expect: &Expect, refusal: &Refusal) -> Result<(), String> {
    let found = || match refusal.codes.first() {
        Some(code) => format!("{} ({code})", refusal.message),
        None => refusal.message.clone(),
    };
    match &expect.error {
        None => Err(found()),
        Some(wanted) => {
            let is_code = refusal.codes.iter().any(|code| code.eq_ignore_ascii_case(wanted));
            let is_text = refusal.message.to_lowercase().contains(&wanted.to_lowercase());
            if is_code || is_text { Ok(()) } else { Err(format!("expected the error {wanted}, found: {}", found())) }
        }
    }
}

const fn holds(amount: Amount, count: u64) -> bool {
    amount.low <= count && count <= amount.high
}

/// `1 row`, `1 to 5 rows`, `at least 1 row`, `at most 5 rows`.
fn amount(Amount { low, high }: Amount, noun: &str) -> String {
    let many = |count: u64| format!("{count} {noun}{}", if count == 1 { "" } else { "s" });
    match (low, high) {
        (low, high) if low == high => many(low),
        (low, u64::MAX) => format!("at least {}", many(low)),
        (0, high) => format!("at most {}", many(high)),
        (low, high) => format!("{low} to {}", many(high)),
    }
}

/// A value in one line of at most 80 characters.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= 80 { text } else { format!("{}...", text.chars().take(77).collect::<String>()) }
}

fn all_shown(values: &[&Value]) -> String {
    match values {
        [] => "nothing".into(),
        [one] => shown(one),
        many => format!("{}: {}", many.len(), shown(&Value::Array(many.iter().map(|one| (*one).clone()).collect()))),
    }
}

/// A length of time for people: `20 ms`, `12 s`.
pub fn span(time: Duration) -> String {
    if time < Duration::from_secs(10) { format!("{} ms", time.as_millis()) } else { format!("{} s", time.as_secs()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn found(value: Value, first: Value, rows: u64, ttl: Option<Ttl>) -> Answer {
        Answer { value, first, rows, ttl, elapsed: Duration::from_millis(20) }
    }

    fn exactly(count: u64) -> Option<Amount> {
        Some(Amount { low: count, high: count })
    }

    #[test]
    fn each_expectation_can_fail() {
        let answer = |expect: &Expect, found: &Answer| super::answer(expect, found, &Variables::new());
        let path = Path::parse("rows[0].id").expect("a path");
        let good = found(json!({"rows": [{"id": "7"}]}), json!("7"), 1, Some(Ttl::Left(Duration::from_secs(5))));
        let second = Duration::from_secs(1);
        let all = Expect {
            rows: exactly(1),
            value: Some(Expected::At(vec![(path.clone(), json!(7))])),
            json: Vec::new(),
            error: None,
            ttl: Some((second, second * 5)),
            within: Some(second),
        };
        assert_eq!(answer(&all, &good), Ok(()));
        for (wrong, says) in [
            (Expect { rows: exactly(2), ..all.clone() }, "2 rows"),
            (Expect { rows: Some(Amount { low: 2, high: u64::MAX }), ..all.clone() }, "at least 2 rows"),
            (Expect { value: Some(Expected::First(json!(8))), ..all.clone() }, "expected 8"),
            (Expect { value: Some(Expected::At(vec![(path, json!(8))])), ..all.clone() }, "`rows[0].id`"),
            (Expect { ttl: Some((second, second * 2)), ..all.clone() }, "1000 ms to 2000 ms"),
            (Expect { within: Some(Duration::from_millis(19)), ..all.clone() }, "within 19 ms"),
            (Expect { error: Some("23505".into()), ..all.clone() }, "and it was done"),
        ] {
            let why = answer(&wrong, &good).expect_err(says);
            assert!(why.contains(says), "{why}");
        }
        let forever = Answer { ttl: Some(Ttl::Forever), ..good };
        assert!(answer(&all, &forever).is_err_and(|why| why.contains("never expires")));
    }

    #[test]
    fn claims_about_paths_say_what_they_expected_and_found() {
        let value = json!({ "rows": [
            { "id": 1, "mail": "a@x", "n": "2.5", "tags": ["p", "q"] }, { "id": 2, "mail": "b@x", "n": "7", "tags": [] }
        ] });
        let variables = Variables::from([("two".to_owned(), json!(2))]);
        let regex = |text: &str| Is::Like(Box::new(regex::Regex::new(text).expect(text)));
        for (path, is, says) in [
            ("$.rows[*].id", Is::Equal(json!([1, 2])), None),
            ("$.rows[*].id", Is::Equal(json!([1, "{{two}}"])), None),
            ("$.rows[?@.id == 2].mail", Is::Equal(json!("b@x")), None),
            ("$.rows[*].id", Is::Equal(json!([1, 3])), Some("expected [1,3] at `$.rows[*].id`, found 2: [1,2]")),
            ("$.rows[9]", Is::Equal(json!(1)), Some("expected 1 at `$.rows[9]`, found nothing")),
            ("rows[0].id", Is::Unequal(json!(1)), Some("expected not 1 at `rows[0].id`, found 1")),
            ("rows[0].id", Is::Unequal(json!(2)), None),
            ("$.rows[9]", Is::There(true), Some("expected something")),
            ("$.rows[9]", Is::There(false), None),
            ("$.rows", Is::There(false), Some("expected nothing")),
            ("rows[0].tags", Is::Holding(json!("p")), None),
            ("rows[0].tags", Is::Holding(json!("z")), Some("expected \"z\" within what is at `rows[0].tags`")),
            ("rows[0].mail", Is::Holding(json!("@x")), None),
            ("$.rows[*].id", Is::Holding(json!(2)), None),
            ("$.rows[*].mail", regex("^.@x$"), None),
            ("$.rows[*].mail", regex("^a"), Some("expected what matches `^a`")),
            ("$.rows[*]", Is::Counting(Amount { low: 2, high: 2 }), None),
            ("$.rows", Is::Counting(Amount { low: 3, high: u64::MAX }), Some("at least 3 values at `$.rows`, found 2")),
            ("$.rows[*].n", Is::Least(2.5), None),
            ("$.rows[*].n", Is::Least(3.0), Some("at least 3")),
            ("$.rows[*].n", Is::Most(7.0), None),
            ("$.rows[*].n", Is::Most(6.0), Some("at most 6")),
            ("$.rows[9].n", Is::Most(6.0), Some("found nothing")),
        ] {
            let path = Path::parse(path).expect(path);
            match (claim(&path, &is, &value, &variables), says) {
                (Ok(()), None) => {}
                (Err(why), Some(says)) => assert!(why.contains(says), "{why}"),
                (other, _) => panic!("{path} {is:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn errors_match_by_code_name_or_text() {
        let no = Refusal { codes: vec!["11000".into(), "DuplicateKey".into()], message: "E11000 duplicate key".into() };
        for wanted in ["11000", "duplicatekey", "duplicate KEY"] {
            assert_eq!(refusal(&Expect { error: Some(wanted.into()), ..Expect::default() }, &no), Ok(()), "{wanted}");
        }
        assert!(refusal(&Expect { error: Some("23505".into()), ..Expect::default() }, &no).is_err());
        assert!(refusal(&Expect::default(), &no).is_err());
    }
}
