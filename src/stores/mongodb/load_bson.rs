//! JSON into BSON without a tree in between: the bytes of a document straight from the text of a row.
//! Extended JSON (`{ "$oid": ... }`) goes through the driver's own reading of it.

use std::fmt;

use bson::{Bson, doc};
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value as Json};

/// A document that grows.
pub struct Growing {
    start: usize,
}

impl Growing {
    /// Begins a document at the end of the bytes.
    pub fn begin(out: &mut Vec<u8>) -> Self {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        Self { start }
    }

    /// Ends it.
    pub fn end(self, out: &mut Vec<u8>) {
        out.push(0);
        let length = i32::try_from(out.len() - self.start).unwrap_or(i32::MAX);
        out[self.start..self.start + 4].copy_from_slice(&length.to_le_bytes());
    }
}

/// Adds the name of an element; answers where the type of its value goes.
pub fn name(name: &str, out: &mut Vec<u8>) -> usize {
    let at = out.len();
    out.push(0);
    out.extend_from_slice(name.as_bytes());
    out.push(0);
    at
}

/// Adds a text.
pub fn text(key: &str, value: &str, out: &mut Vec<u8>) {
    let at = name(key, out);
    out[at] = 2;
    bytes(value, out);
}

fn bytes(value: &str, out: &mut Vec<u8>) {
    let length = i32::try_from(value.len() + 1).unwrap_or(i32::MAX);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(value.as_bytes());
    out.push(0);
}

/// Adds a value of the driver's own.
///
/// # Errors
/// It cannot be written.
pub fn value(key: &str, value: Bson, out: &mut Vec<u8>) -> Result<(), bson::error::Error> {
    let at = name(key, out);
    out[at] = append(value, out)?;
    Ok(())
}

fn append(value: Bson, out: &mut Vec<u8>) -> Result<u8, bson::error::Error> {
    let whole = bson::serialize_to_vec(&doc! { "": value })?;
    // Length, type, the empty name; the value; the end.
    out.extend_from_slice(&whole[6..whole.len() - 1]);
    Ok(whole[4])
}

/// Adds an element with the value of this JSON.
///
/// # Errors
/// It is no JSON, or no extended JSON of MongoDB.
pub fn json(key: &str, json: &str, out: &mut Vec<u8>) -> serde_json::Result<()> {
    let at = name(key, out);
    let mut reader = serde_json::Deserializer::from_str(json);
    let kind = Value { out }.deserialize(&mut reader)?;
    reader.end()?;
    out[at] = kind;
    Ok(())
}

/// Adds the fields of an object to a document; each name is told.
///
/// # Errors
/// It is no JSON object, or a value is no extended JSON of MongoDB.
pub fn fields(object: &str, out: &mut Vec<u8>, each: &mut dyn FnMut(&str)) -> serde_json::Result<()> {
    struct Top<'a>(&'a mut Vec<u8>, &'a mut dyn FnMut(&str));
    impl<'de> Visitor<'de> for Top<'_> {
        type Value = ();
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
            while let Some(at) = map.next_key_seed(Name { out: &mut *self.0, each: Some(&mut *self.1) })? {
                self.0[at] = map.next_value_seed(Value { out: &mut *self.0 })?;
            }
            Ok(())
        }
    }
    let mut reader = serde_json::Deserializer::from_str(object);
    reader.deserialize_map(Top(out, each))?;
    reader.end()
}

/// Writes a name; answers where the type goes.
struct Name<'a, 'b> {
    out: &'a mut Vec<u8>,
    each: Option<&'a mut (dyn FnMut(&str) + 'b)>,
}

impl<'de> DeserializeSeed<'de> for Name<'_, '_> {
    type Value = usize;
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<usize, D::Error> {
        from.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name<'_, '_> {
    type Value = usize;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }
    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<usize, E> {
        if text.contains('\0') {
            return Err(E::custom("a name holds the character NUL, which BSON does not have"));
        }
        if let Some(each) = self.each {
            each(text);
        }
        Ok(name(text, self.out))
    }
}

/// Writes a value; answers its type.
struct Value<'a> {
    out: &'a mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = u8;
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<u8, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = u8;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of extended JSON")
    }
    fn visit_unit<E>(self) -> Result<u8, E> {
        Ok(0x0a)
    }
    fn visit_bool<E>(self, value: bool) -> Result<u8, E> {
        self.out.push(u8::from(value));
        Ok(8)
    }
    fn visit_i64<E>(self, value: i64) -> Result<u8, E> {
        if let Ok(small) = i32::try_from(value) {
            self.out.extend_from_slice(&small.to_le_bytes());
            return Ok(0x10);
        }
        self.out.extend_from_slice(&value.to_le_bytes());
        Ok(0x12)
    }
    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<u8, E> {
        match i64::try_from(value) {
            Ok(value) => self.visit_i64(value),
            Err(_) => {
                let value = Bson::try_from(Json::from(value)).map_err(E::custom)?;
                append(value, self.out).map_err(E::custom)
            }
        }
    }
    fn visit_f64<E>(self, value: f64) -> Result<u8, E> {
        self.out.extend_from_slice(&value.to_le_bytes());
        Ok(1)
    }
    fn visit_str<E>(self, value: &str) -> Result<u8, E> {
        bytes(value, self.out);
        Ok(2)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<u8, A::Error> {
        let array = Growing::begin(self.out);
        let mut count = 0_usize;
        loop {
            let before = self.out.len();
            let at = name(&count.to_string(), self.out);
            match items.next_element_seed(Value { out: &mut *self.out })? {
                Some(kind) => self.out[at] = kind,
                None => {
                    self.out.truncate(before);
                    array.end(self.out);
                    return Ok(4);
                }
            }
            count += 1;
        }
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<u8, A::Error> {
        let document = Growing::begin(self.out);
        let mut is_first = true;
        while let Some(at) = map.next_key_seed(Name { out: &mut *self.out, each: None })? {
            if is_first && self.out.get(at + 1) == Some(&b'$') {
                // A type of extended JSON: read as a whole.
                let key = String::from_utf8_lossy(&self.out[at + 1..self.out.len() - 1]).into_owned();
                let mut table = Map::new();
                table.insert(key, map.next_value()?);
                while let Some((key, value)) = map.next_entry::<String, Json>()? {
                    table.insert(key, value);
                }
                self.out.truncate(document.start);
                let value = Bson::try_from(Json::Object(table)).map_err(|_| {
                    A::Error::custom(
                        "a table whose key begins with `$` is read as a type, such as { \"$oid\": \"...\" }",
                    )
                })?;
                return append(value, self.out).map_err(A::Error::custom);
            }
            is_first = false;
            self.out[at] = map.next_value_seed(Value { out: &mut *self.out })?;
        }
        document.end(self.out);
        Ok(3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes_of(text: &str) -> serde_json::Result<Vec<u8>> {
        let mut out = Vec::new();
        let document = Growing::begin(&mut out);
        fields(text, &mut out, &mut |_| {})?;
        document.end(&mut out);
        Ok(out)
    }

    #[test]
    fn the_bytes_are_the_drivers() {
        for text in [
            "{}",
            r#"{"a": 1, "b": -2147483649, "c": 1.5, "d": "é\n", "e": null, "f": true}"#,
            r#"{"a": [1, [2, {"b": []}], {}], "c": {"d": {"e": "x"}}}"#,
            r#"{"_id": {"$oid": "65f000000000000000000001"}, "at": {"$date": "2025-11-01T09:00:00Z"}}"#,
            r#"{"n": {"$numberDecimal": "1.50"}, "l": {"$numberLong": "5"}, "plain": {"x": {"$numberInt": "1"}}}"#,
            r#"{"big": 2147483648, "float": 1e300, "zero": 0.0, "dollar": {"a": 1, "$b": 2}}"#,
        ] {
            let json: Map<String, Json> = serde_json::from_str(text).expect(text);
            let document: bson::Document =
                json.into_iter().map(|(name, value)| (name, Bson::try_from(value).expect("a value"))).collect();
            let wanted = bson::serialize_to_vec(&document).expect("bytes");
            assert_eq!(bytes_of(text).expect(text), wanted, "{text}");
        }
        for text in ["[]", "{\"a\": ", "{\"a\": {\"$oid\": 1}}", "{\"a\\u0000b\": 1}", "{} x"] {
            assert!(bytes_of(text).is_err(), "{text}");
        }
    }
}
