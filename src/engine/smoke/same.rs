//! Equal as people mean it: numbers and truths that a store answers as text, documents with more in them. Pure.

use serde_json::Value;

/// Equal, or equal as texts: PostgreSQL and Redis answer numbers and truths as text.
pub fn same(wanted: &Value, found: &Value) -> bool {
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
        (Value::String(text), Value::Bool(truth)) => same(&Value::Bool(*truth), &Value::String(text.clone())),
        (Value::Bool(truth), Value::Number(number)) => number.as_i64() == Some(i64::from(*truth)),
        // What PostgreSQL calls NULL and Redis nil has no word in TOML; the empty text stands for it.
        (Value::String(text), Value::Null) => text.is_empty(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        // A document holds at least what is expected of it.
        (Value::Object(a), Value::Object(b)) => {
            a.iter().all(|(key, value)| b.get(key).is_some_and(|found| same(value, found)))
        }
        // JSON that is written as a text.
        (Value::String(text), Value::Object(_) | Value::Array(_)) => {
            serde_json::from_str::<Value>(text).is_ok_and(|wanted| wanted == *found)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_compare_as_people_mean_them() {
        for (wanted, given) in [
            (json!(1), json!("1")),
            (json!(9.5), json!("9.50")),
            (json!(true), json!("t")),
            (json!("t"), json!(true)),
            (json!("3"), json!(3)),
            (json!({"a": 1}), json!({"a": "1", "b": 2})),
            (json!(["1", 2]), json!([1, "2"])),
            (json!("{\"a\": 1}"), json!({"a": 1})),
            (json!(""), Value::Null),
        ] {
            assert!(same(&wanted, &given), "{wanted} {given}");
        }
        for (wanted, given) in [
            (json!(1), json!("1x")),
            (json!(true), json!("f")),
            (json!("t"), json!(false)),
            (json!({"a": 1}), json!({"b": 1})),
            (json!([1]), json!([1, 2])),
            (json!("null"), Value::Null),
            (json!("{\"a\": 2}"), json!({"a": 1})),
        ] {
            assert!(!same(&wanted, &given), "{wanted} {given}");
        }
    }
}
