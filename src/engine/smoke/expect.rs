//! Does an answer hold what a declared step expects? Pure.

use std::time::Duration;

use serde_json::Value;

use crate::project::smoke::{Expect, Expected};
use crate::stores::smoke::{Answer, Refusal, Ttl};

/// Compares an answer with what was expected.
///
/// # Errors
/// What was expected and what was found, in one line.
pub fn answer(expect: &Expect, answer: &Answer) -> Result<(), String> {
    if let Some(error) = &expect.error {
        return Err(format!("expected the error {error}, and it was done"));
    }
    if let Some(rows) = expect.rows.filter(|rows| *rows != answer.rows) {
        return Err(format!("expected {}, found {}", count(rows), answer.rows));
    }
    match &expect.value {
        Some(Expected::First(value)) if !same(value, &answer.first) => {
            return Err(format!("expected {}, found {}", shown(value), shown(&answer.first)));
        }
        Some(Expected::At(paths)) => {
            for (path, value) in paths {
                let found = path.get(&answer.value);
                if !found.is_some_and(|found| same(value, found)) {
                    let found = found.map_or_else(|| "nothing".to_owned(), shown);
                    return Err(format!("expected {} at `{path}`, found {found}", shown(value)));
                }
            }
        }
        _ => {}
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

/// Equal, or equal as texts: PostgreSQL and Redis answer numbers and truths as text.
fn same(wanted: &Value, found: &Value) -> bool {
    if wanted == found {
        return true;
    }
    match (wanted, found) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Number(number), Value::String(text)) => {
            number.to_string() == *text || text.parse::<f64>().is_ok_and(|found| Some(found) == number.as_f64())
        }
        (Value::String(text), Value::Number(number)) => *text == number.to_string(),
        (Value::Bool(truth), Value::String(text)) => {
            matches!((truth, text.as_str()), (true, "t" | "true" | "1") | (false, "f" | "false" | "0"))
        }
        (Value::Bool(truth), Value::Number(number)) => number.as_i64() == Some(i64::from(*truth)),
        // What PostgreSQL calls NULL and Redis nil has no word in TOML; the empty text stands for it.
        (Value::String(text), Value::Null) => text.is_empty(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        // A document holds at least what is expected of it.
        (Value::Object(a), Value::Object(b)) => {
            a.iter().all(|(key, value)| b.get(key).is_some_and(|found| same(value, found)))
        }
        _ => false,
    }
}

fn count(rows: u64) -> String {
    format!("{rows} row{}", if rows == 1 { "" } else { "s" })
}

/// A value in one line of at most 80 characters.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= 80 { text } else { format!("{}...", text.chars().take(77).collect::<String>()) }
}

fn span(time: Duration) -> String {
    if time < Duration::from_secs(10) { format!("{} ms", time.as_millis()) } else { format!("{} s", time.as_secs()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::smoke::Path;
    use serde_json::json;

    fn found(value: Value, first: Value, rows: u64, ttl: Option<Ttl>) -> Answer {
        Answer { value, first, rows, ttl, elapsed: Duration::from_millis(20) }
    }

    #[test]
    fn values_compare_as_people_mean_them() {
        for (wanted, given) in [
            (json!(1), json!("1")),
            (json!(9.5), json!("9.50")),
            (json!(true), json!("t")),
            (json!("3"), json!(3)),
            (json!({"a": 1}), json!({"a": "1", "b": 2})),
            (json!(["1", 2]), json!([1, "2"])),
            (json!(""), Value::Null),
        ] {
            assert!(same(&wanted, &given), "{wanted} {given}");
        }
        for (wanted, given) in [
            (json!(1), json!("1x")),
            (json!(true), json!("f")),
            (json!({"a": 1}), json!({"b": 1})),
            (json!([1]), json!([1, 2])),
            (json!("null"), Value::Null),
        ] {
            assert!(!same(&wanted, &given), "{wanted} {given}");
        }
    }

    #[test]
    fn each_expectation_can_fail() {
        let path = Path::parse("rows[0].id").expect("a path");
        let good = found(json!({"rows": [{"id": "7"}]}), json!("7"), 1, Some(Ttl::Left(Duration::from_secs(5))));
        let second = Duration::from_secs(1);
        let all = Expect {
            rows: Some(1),
            value: Some(Expected::At(vec![(path.clone(), json!(7))])),
            error: None,
            ttl: Some((second, second * 5)),
            within: Some(second),
        };
        assert_eq!(answer(&all, &good), Ok(()));
        for (wrong, says) in [
            (Expect { rows: Some(2), ..all.clone() }, "2 rows"),
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
    fn errors_match_by_code_name_or_text() {
        let no = Refusal { codes: vec!["11000".into(), "DuplicateKey".into()], message: "E11000 duplicate key".into() };
        for wanted in ["11000", "duplicatekey", "duplicate KEY"] {
            assert_eq!(refusal(&Expect { error: Some(wanted.into()), ..Expect::default() }, &no), Ok(()), "{wanted}");
        }
        assert!(refusal(&Expect { error: Some("23505".into()), ..Expect::default() }, &no).is_err());
        assert!(refusal(&Expect::default(), &no).is_err());
    }
}
