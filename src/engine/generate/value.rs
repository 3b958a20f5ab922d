//! A value that a column takes, as PostgreSQL reads it: from its type, its name, and what is wished of it. Pure.

use super::check::{Wish, Wishes, join, ways};
use super::moment::EPOCH;
use super::numbers;
use super::pattern;
use super::provider::{self, Provider};
use super::random::Draw;
use super::schema::Column;
use super::shapes;

/// What is known beside the column.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The table.
    pub table: &'a str,
    /// The number of the row: ranges, points and the like lie side by side by it.
    pub index: u64,
    /// The value has to be unlike every other row's: the number that makes it so.
    pub serial: Option<u64>,
    /// "Now", in seconds since 1970.
    pub now: i64,
    /// Texts hold this instead of believable words: rows that are found again and removed.
    pub marker: Option<&'a str>,
    /// The kind of text; none: guessed from the name.
    pub provider: Option<Provider>,
}

impl<'a> Context<'a> {
    /// A row of a table.
    pub fn new(table: &'a str, index: u64) -> Self {
        Self { table, index, serial: None, now: EPOCH, marker: None, provider: None }
    }
}

/// The wish with what the column's domains ask added; none where they contradict each other.
pub fn with_domain(column: &Column, wish: &Wish) -> Option<Wish> {
    if column.checks.is_empty() {
        return Some(wish.clone());
    }
    let mut all = Wishes::from([("value".to_owned(), wish.clone())]);
    for check in &column.checks {
        // A CHECK that is not understood may still be satisfied.
        let Some(ways) = ways(check, Some("value")) else { continue };
        all = ways.iter().find_map(|way| join(&all, way))?;
    }
    all.remove("value")
}

/// A value for the column; `wish` has its domains' wishes in it. None where lyrox knows none.
pub fn value(column: &Column, wish: &Wish, context: &Context<'_>, draw: &mut Draw) -> Option<String> {
    if let Some(texts) = &wish.one_of {
        let free: Vec<&String> = texts.iter().filter(|text| !wish.none_of.contains(text)).collect();
        return free.get(draw.index(free.len())).map(|text| (*text).clone());
    }
    if column.category == "A" {
        return shapes::array(column, wish, context, draw);
    }
    match (column.kind.as_str(), column.base.as_str()) {
        ("e", _) => {
            let free: Vec<&String> = column.labels.iter().filter(|label| !wish.none_of.contains(label)).collect();
            free.get(draw.index(free.len())).map(|label| (*label).clone())
        }
        ("c", _) => shapes::composite(column, context, draw),
        ("r", _) => shapes::range(column, context, draw),
        ("m", _) => shapes::range(column, context, draw).map(|range| format!("{{{range}}}")),
        (_, "int2" | "int4" | "int8" | "oid") => numbers::integer(column, wish, context, draw),
        (_, "numeric" | "float4" | "float8" | "money") => numbers::decimal(column, wish, context, draw),
        (_, "bool") => Some(truth(column, wish, draw).to_string()),
        (_, "text" | "varchar" | "bpchar" | "citext" | "name" | "char") => text(column, wish, context, draw),
        (_, "uuid") => Some(provider::uuid(draw)),
        (_, "timestamptz" | "timestamp" | "date" | "time" | "timetz") => numbers::time(column, wish, context, draw),
        (_, "interval") => Some(numbers::span(wish, context, draw)),
        (_, "json" | "jsonb") => Some(shapes::json(column, wish, context, draw)),
        (_, "bytea") => {
            let mut length = wish.longest.unwrap_or(16).min(16).max(wish.shortest.unwrap_or(0));
            let mut hex = String::from("\\x");
            while length > 0 {
                hex.push_str(&format!("{:02x}", draw.below(256)));
                length -= 1;
            }
            Some(hex)
        }
        (_, "inet") => Some(provider::text(Provider::Ip, context.serial, draw)),
        (_, "cidr") => Some(format!("{}/32", provider::text(Provider::Ip, context.serial, draw))),
        (_, "macaddr") => Some(provider::text(Provider::Mac, context.serial, draw)),
        (_, "macaddr8") => Some(format!("{}:00:01", provider::text(Provider::Mac, context.serial, draw))),
        (_, base) => shapes::other(column, base, context, draw),
    }
}

fn truth(column: &Column, wish: &Wish, draw: &mut Draw) -> bool {
    if let Some(no) = wish.none_of.first() {
        return no.starts_with('f');
    }
    let words = provider::parts(&column.name);
    let has = |list: &[&str]| words.iter().any(|word| list.contains(&word.as_str()));
    let share = if has(&[
        "deleted", "archived", "banned", "blocked", "failed", "hidden", "locked", "test", "default", "primary",
    ]) {
        80
    } else if has(&["active", "enabled", "verified", "visible", "public", "published", "available", "current"]) {
        850
    } else {
        400
    };
    draw.in_thousand(share)
}

/// How many characters the column takes.
fn room(column: &Column, wish: &Wish) -> usize {
    let declared = match column.base.as_str() {
        "varchar" | "bpchar" if column.modifier >= 4 => usize::try_from(column.modifier - 4).ok(),
        "bpchar" | "char" => Some(1),
        "name" => Some(63),
        _ => None,
    };
    [declared, wish.longest].into_iter().flatten().min().unwrap_or(usize::MAX)
}

fn text(column: &Column, wish: &Wish, context: &Context<'_>, draw: &mut Draw) -> Option<String> {
    let room = room(column, wish);
    if let Some(regex) = &wish.regex {
        // The serial number's digits choose first: texts of one pattern differ until it has no more of them.
        let mut left = context.serial;
        let mut pick = |count: usize| match left {
            Some(number) if count > 1 => {
                left = Some(number / count as u64).filter(|number| *number > 0);
                usize::try_from(number % count as u64).unwrap_or(0)
            }
            _ => draw.index(count),
        };
        let mut text = pattern::example(regex, &mut pick)?;
        // A pattern that is open at its end says nothing of what follows.
        if !regex.ends_with(['$', ')']) && !regex.contains(['|', '$']) {
            let more = free_text(column, context, draw).to_lowercase().replace([' ', '\''], "-");
            let more: String = more.chars().rev().take(room.saturating_sub(text.chars().count())).collect();
            text.extend(more.chars().rev());
        }
        return Some(text);
    }
    if let Some(like) = &wish.like {
        return Some(pattern::like(like, &free_text(column, context, draw)));
    }
    let mut text = free_text(column, context, draw);
    if wish.is_lower {
        text = text.to_lowercase();
    }
    if text.chars().count() > room {
        text = short(&text, room, context, draw);
    }
    let shortest = wish.shortest.unwrap_or(0).min(room);
    while text.chars().count() < shortest {
        text.push(char::from(b'a' + u8::try_from(draw.below(26)).unwrap_or(0)));
    }
    if wish.none_of.contains(&text) {
        text = text.chars().rev().collect();
    }
    Some(if wish.is_upper {
        text.to_uppercase()
    } else if wish.is_lower {
        text.to_lowercase()
    } else {
        text
    })
}

fn free_text(column: &Column, context: &Context<'_>, draw: &mut Draw) -> String {
    if let Some(marker) = context.marker {
        return format!("{marker}-{:x}", draw.bits());
    }
    let provider = context.provider.unwrap_or_else(|| {
        // A key of text is an id of the kind that fits its length.
        let is_id = provider::parts(&column.name).last().is_some_and(|word| word == "id" || word == "uuid");
        match (is_id, column.modifier - 4) {
            (true, 24) => Provider::ObjectId,
            (true, 25) => Provider::Cuid,
            (true, 26) => Provider::Ulid,
            (true, 36..) if column.base != "text" => Provider::Uuid,
            (true, _) if column.base == "text" => Provider::Cuid,
            _ => provider::guess(context.table, &column.name),
        }
    });
    provider::text(provider, context.serial, draw)
}

/// As much of a text as there is room for; what makes it unlike others stays.
fn short(text: &str, room: usize, context: &Context<'_>, draw: &mut Draw) -> String {
    let Some(serial) = context.serial else {
        if context.marker.is_some() {
            // No room for the marker: what is left is at least different each time.
            return (0..room).map(|_| char::from(b'a' + u8::try_from(draw.below(26)).unwrap_or(0))).collect();
        }
        // Codes of a few letters are letters.
        if room <= 4 {
            return (0..room).map(|_| char::from(b'A' + u8::try_from(draw.below(26)).unwrap_or(0))).collect();
        }
        return text.chars().take(room).collect::<String>().trim_end().to_owned();
    };
    let number = if room < 6 { provider::letters(serial, room) } else { serial.to_string() };
    let head = room.saturating_sub(number.len());
    let head: String = text.chars().take(head.saturating_sub(1)).collect();
    let joined = if head.is_empty() { number } else { format!("{head}-{number}") };
    joined.chars().rev().take(room).collect::<Vec<_>>().into_iter().rev().collect()
}

#[cfg(test)]
mod tests {
    use super::super::check::Bound;
    use super::super::random::Root;
    use super::*;

    fn column(name: &str, base: &str, modifier: i32) -> Column {
        Column {
            name: name.into(),
            type_name: base.into(),
            base: base.into(),
            kind: "b".into(),
            category: "X".into(),
            modifier,
            ..Column::default()
        }
    }

    fn many(column: &Column, wish: &Wish, is_unique: bool) -> Vec<String> {
        (0..200)
            .map(|row| {
                let context = Context { serial: is_unique.then_some(row), ..Context::new("things", row) };
                value(column, wish, &context, &mut Root::new(1, &["t"]).row(row, 0)).expect("a value")
            })
            .collect()
    }

    fn count(values: &[String]) -> usize {
        values.iter().collect::<std::collections::BTreeSet<_>>().len()
    }

    #[test]
    fn unique_values_differ_and_keep_their_room() {
        for (base, modifier) in [("varchar", 4 + 12), ("bpchar", 4 + 3), ("text", -1), ("varchar", 4 + 4)] {
            for name in ["email", "code", "slug", "id", "zzz"] {
                let values = many(&column(name, base, modifier), &Wish::default(), true);
                assert_eq!(count(&values), 200, "{name} {base}({modifier}) {:?}", &values[..3]);
                let room = usize::try_from(modifier - 4).unwrap_or(usize::MAX);
                assert!(values.iter().all(|text| text.chars().count() <= room), "{name} {values:?}");
            }
        }
        let regex = Wish { regex: Some("^[A-Z]{2}[0-9]{3}$".into()), ..Wish::default() };
        assert_eq!(count(&many(&column("code", "text", -1), &regex, true)), 200);
        for base in ["int2", "int4", "int8", "numeric", "inet", "macaddr", "date", "timestamptz", "interval", "point"] {
            assert_eq!(count(&many(&column("zzz", base, -1), &Wish::default(), true)), 200, "{base}");
        }
    }

    #[test]
    fn numbers_keep_within_type_and_wish() {
        let low = |bound| Wish { low: Some(bound), ..Wish::default() };
        for text in many(&column("price", "numeric", 4 + (4 << 16) + 2), &Wish::default(), false) {
            let number: f64 = text.parse().expect("a number");
            assert!((0.0..100.0).contains(&number), "{text}");
        }
        let between = Wish { high: Some(Bound::Number(1.0, true)), ..low(Bound::Number(0.0, true)) };
        for text in many(&column("rate", "numeric", 4 + (5 << 16) + 4), &between, false) {
            let number: f64 = text.parse().expect("a number");
            assert!(number > 0.0 && number < 1.0, "{text}");
        }
        for text in many(&column("n", "int4", -1), &low(Bound::Number(5000.0, false)), false) {
            assert!(text.parse::<i64>().expect("a number") >= 5000);
        }
        for text in many(&column("expires_at", "timestamptz", -1), &low(Bound::Now(0)), false) {
            assert!(text.as_str() > "2090", "{text}");
        }
    }
}
