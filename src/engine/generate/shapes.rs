//! Values that are made of others: arrays, ranges, composite types, JSON, geometry. Pure.

use serde_json::json;

use super::check::Wish;
use super::moment::{DAY, EPOCH, SECOND, write};
use super::provider::{self, Provider};
use super::random::Draw;
use super::schema::Column;
use super::value::{Context, value, with_domain};

/// `{a,"b c"}`
pub fn array(column: &Column, wish: &Wish, context: &Context<'_>, draw: &mut Draw) -> Option<String> {
    let least = wish.shortest.unwrap_or(0).min(100);
    let most = wish.longest.unwrap_or(least.max(3)).min(100).max(least);
    let count = least + draw.index(most - least + 1);
    let element = column.element.as_deref();
    let mut items = Vec::with_capacity(count);
    for _ in 0..count {
        let item = match (&wish.elements, element) {
            (Some(elements), _) if elements.is_empty() => break,
            (Some(elements), _) => elements[draw.index(elements.len())].clone(),
            (None, Some(element)) => {
                let element = Column { name: column.name.clone(), ..element.clone() };
                let context = Context { serial: None, ..*context };
                value(&element, &with_domain(&element, &Wish::default())?, &context, draw)?
            }
            (None, None) => return (least == 0).then(|| "{}".to_owned()),
        };
        // A list of labels has each once.
        let quoted = format!("\"{}\"", item.replace('\\', "\\\\").replace('"', "\\\""));
        if !items.contains(&quoted) || items.len() < least {
            items.push(quoted);
        }
    }
    Some(format!("{{{}}}", items.join(",")))
}

/// `(a,"b c")`
pub fn composite(column: &Column, context: &Context<'_>, draw: &mut Draw) -> Option<String> {
    let mut fields = Vec::with_capacity(column.parts.len());
    for part in &column.parts {
        let text = value(part, &with_domain(part, &Wish::default())?, context, draw)?;
        fields.push(format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\"\"")));
    }
    Some(format!("({})", fields.join(",")))
}

/// A range that overlaps no other row's: row after row lies beside the one before.
pub fn range(column: &Column, context: &Context<'_>, draw: &mut Draw) -> Option<String> {
    let index = i64::try_from(context.index).ok()?;
    let base = column.element.as_deref().map_or_else(
        || match column.base.as_str() {
            "int4range" | "int4multirange" => "int4",
            "numrange" | "nummultirange" => "numeric",
            "daterange" | "datemultirange" => "date",
            "tsrange" | "tsmultirange" => "timestamp",
            "tstzrange" | "tstzmultirange" => "timestamptz",
            _ => "int8",
        },
        |element| element.base.as_str(),
    );
    match base {
        "int2" | "int4" | "int8" | "numeric" | "float4" | "float8" => {
            let low = 1 + index.checked_mul(10)?;
            Some(format!("[{low},{})", low + 1 + draw.between(1, 8)))
        }
        "date" => {
            let low = EPOCH * SECOND - 1095 * DAY + index.checked_mul(4 * DAY)?;
            let high = low + draw.between(1, 3) * DAY;
            Some(format!("[{},{})", write(low, base)?, write(high, base)?))
        }
        "timestamp" | "timestamptz" => {
            let low = (EPOCH - 1095 * 86_400 + index.checked_mul(7200)?) * SECOND;
            let high = low + draw.between(1, 7) * 900 * SECOND;
            Some(format!("[\"{}\",\"{}\")", write(low, base)?, write(high, base)?))
        }
        "time" => Some("[08:00:00,09:00:00)".into()),
        "inet" => {
            let ip = |host: i64| format!("10.{}.{}.{host}", (index >> 8) & 255, index & 255);
            Some(format!("[{},{})", ip(1), ip(9)))
        }
        _ => Some("empty".into()),
    }
}

/// A JSON document; of the type and with the keys that are asked for.
pub fn json(column: &Column, wish: &Wish, context: &Context<'_>, draw: &mut Draw) -> String {
    let by_default = column.default.as_deref().map(|text| {
        let text = text.trim_start_matches(['\'', '(']);
        if text.starts_with('[') { "array" } else { "object" }
    });
    let kind = wish.json.as_deref().or(by_default).unwrap_or("object");
    let word = |draw: &mut Draw| match context.marker {
        Some(marker) => marker.to_owned(),
        None => provider::text(Provider::Word, context.serial, draw),
    };
    match kind {
        "array" => json!([word(draw), word(draw)]).to_string(),
        "string" => json!(word(draw)).to_string(),
        "number" => draw.between(1, 1000).to_string(),
        "boolean" => draw.in_thousand(500).to_string(),
        "null" => "null".into(),
        _ => {
            let mut object = serde_json::Map::new();
            for (key, text) in &wish.keys {
                object.insert(key.clone(), serde_json::from_str(text).unwrap_or(serde_json::Value::Null));
            }
            if object.is_empty() {
                object.insert("label".into(), json!(word(draw)));
                object.insert("count".into(), json!(draw.between(1, 100)));
                object.insert("enabled".into(), json!(draw.in_thousand(600)));
            } else if let Some(serial) = context.serial {
                object.insert("number".into(), json!(serial));
            }
            serde_json::Value::Object(object).to_string()
        }
    }
}

/// Types of extensions, geometry, bits and the rest.
pub fn other(column: &Column, base: &str, context: &Context<'_>, draw: &mut Draw) -> Option<String> {
    let index = context.index;
    let near = |draw: &mut Draw, span: i64| draw.between(-span * 1000, span * 1000);
    let fraction = |number: i64| super::numbers::with_point(number, 3);
    Some(match base {
        "bit" => bits(usize::try_from(column.modifier).unwrap_or(1).max(1), context, draw),
        "varbit" => bits(usize::try_from(column.modifier).unwrap_or(16).clamp(1, 16), context, draw),
        "point" if context.serial.is_some() => format!("({index},{})", near(draw, 60) / 1000),
        "point" => format!("({},{})", fraction(near(draw, 120)), fraction(near(draw, 60))),
        "line" => format!("{{1,1,{index}}}"),
        "lseg" | "path" | "polygon" | "box" => {
            let left = index * 10;
            format!("(({left},0),({},5))", left + 5)
        }
        "circle" => format!("<({},0),4>", index * 10),
        "tsvector" | "tsquery" => provider::text(Provider::Word, None, draw),
        "xml" => format!("<item>{}</item>", provider::text(Provider::Word, context.serial, draw)),
        "ltree" => match context.serial {
            Some(serial) => format!("top.{}.n{serial}", provider::text(Provider::Word, None, draw)),
            None => format!("top.{}", provider::text(Provider::Word, None, draw)),
        },
        "lquery" | "ltxtquery" => "top".into(),
        "hstore" => {
            format!("kind=>{},number=>{}", provider::text(Provider::Word, None, draw), context.serial.unwrap_or(index))
        }
        "vector" | "halfvec" => {
            let size = usize::try_from(column.modifier).ok().filter(|size| (1..=16_000).contains(size)).unwrap_or(3);
            let parts: Vec<String> = (0..size).map(|_| fraction(near(draw, 1))).collect();
            format!("[{}]", parts.join(","))
        }
        "sparsevec" => {
            let size = usize::try_from(column.modifier).ok().filter(|size| *size > 0).unwrap_or(3);
            format!("{{1:{}}}/{size}", fraction(1 + near(draw, 1).abs()))
        }
        "cube" => format!("({index},{})", near(draw, 60) / 1000),
        "seg" => format!("{index} .. {}", index + 1),
        "geometry" | "geography" => {
            let srid: String =
                column.type_name.rsplit(',').next().unwrap_or("").chars().filter(char::is_ascii_digit).collect();
            let srid = if srid.is_empty() { "4326" } else { &srid };
            let upper = column.type_name.to_uppercase();
            let (x, y) = (near(draw, 120), near(draw, 60));
            let at = |dx: i64, dy: i64| format!("{} {}", fraction(x + dx), fraction(y + dy));
            let shape = if upper.contains("MULTIPOLYGON") {
                format!("MULTIPOLYGON((({},{},{},{})))", at(0, 0), at(10, 0), at(10, 10), at(0, 0))
            } else if upper.contains("POLYGON") {
                format!("POLYGON(({},{},{},{}))", at(0, 0), at(10, 0), at(10, 10), at(0, 0))
            } else if upper.contains("LINESTRING") {
                format!("LINESTRING({},{})", at(0, 0), at(10, 10))
            } else {
                format!("POINT({})", at(0, 0))
            };
            format!("SRID={srid};{shape}")
        }
        "pg_lsn" => format!("0/{:X}", 16 + index),
        "xid" | "cid" | "xid8" => (3 + index).to_string(),
        "jsonpath" => "$.label".into(),
        "tid" => format!("(0,{})", 1 + index % 60_000),
        _ => return None,
    })
}

fn bits(count: usize, context: &Context<'_>, draw: &mut Draw) -> String {
    let mut left = context.serial;
    (0..count)
        .map(|_| match &mut left {
            Some(number) => {
                let bit = *number & 1;
                *number >>= 1;
                if bit == 1 { '1' } else { '0' }
            }
            None if draw.in_thousand(500) => '1',
            None => '0',
        })
        .collect()
}
