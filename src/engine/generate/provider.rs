//! Believable texts: which kind a column's name asks for, and one of that kind. Pure.

use super::random::Draw;
use super::words;

/// A kind of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is what its name says; docs/generate.md lists them")]
pub enum Provider {
    FirstName,
    LastName,
    Name,
    Username,
    Email,
    Phone,
    Company,
    Job,
    City,
    Country,
    CountryCode,
    Region,
    Postcode,
    Street,
    Address,
    TimeZone,
    Language,
    Locale,
    Currency,
    Url,
    Domain,
    Slug,
    Title,
    Sentence,
    Paragraph,
    Word,
    Color,
    HexColor,
    Ip,
    Mac,
    UserAgent,
    MimeType,
    FileName,
    Path,
    Token,
    Version,
    Sku,
    Code,
    Status,
    Role,
    Plan,
    Kind,
    Payment,
    Method,
    Priority,
    Service,
    Unit,
    Uuid,
    Cuid,
    Ulid,
    ObjectId,
    Label,
    Event,
}

/// Every provider with the name it has in seed files.
pub const PROVIDERS: [(&str, Provider); 53] = {
    use Provider::*;
    [
        ("first_name", FirstName),
        ("last_name", LastName),
        ("name", Name),
        ("username", Username),
        ("email", Email),
        ("phone", Phone),
        ("company", Company),
        ("job", Job),
        ("city", City),
        ("country", Country),
        ("country_code", CountryCode),
        ("region", Region),
        ("postcode", Postcode),
        ("street", Street),
        ("address", Address),
        ("time_zone", TimeZone),
        ("language", Language),
        ("locale", Locale),
        ("currency", Currency),
        ("url", Url),
        ("domain", Domain),
        ("slug", Slug),
        ("title", Title),
        ("sentence", Sentence),
        ("paragraph", Paragraph),
        ("word", Word),
        ("color", Color),
        ("hex_color", HexColor),
        ("ip", Ip),
        ("mac", Mac),
        ("user_agent", UserAgent),
        ("mime_type", MimeType),
        ("file_name", FileName),
        ("path", Path),
        ("token", Token),
        ("version", Version),
        ("sku", Sku),
        ("code", Code),
        ("status", Status),
        ("role", Role),
        ("plan", Plan),
        ("kind", Kind),
        ("payment", Payment),
        ("method", Method),
        ("priority", Priority),
        ("service", Service),
        ("unit", Unit),
        ("uuid", Uuid),
        ("cuid", Cuid),
        ("ulid", Ulid),
        ("object_id", ObjectId),
        ("label", Label),
        ("event", Event),
    ]
};

/// The words of a name, in small letters: `billingEmail_v2` is billing, email, v2.
pub fn parts(name: &str) -> Vec<String> {
    let mut parts: Vec<String> = vec![String::new()];
    let mut was_lower = false;
    for c in name.chars() {
        if !c.is_alphanumeric() {
            parts.push(String::new());
            was_lower = false;
            continue;
        }
        if c.is_uppercase() && was_lower {
            parts.push(String::new());
        }
        was_lower = c.is_lowercase() || c.is_numeric();
        if let Some(last) = parts.last_mut() {
            last.extend(c.to_lowercase());
        }
    }
    parts.retain(|part| !part.is_empty());
    parts
}

/// The kind of text that a column of this name in this table holds.
pub fn guess(table: &str, column: &str) -> Provider {
    use Provider::*;
    let words = parts(column);
    let has = |word: &str| words.iter().any(|one| one == word);
    let joined = words.join("_");
    let last = words.last().map_or("", String::as_str);
    let of_people = || {
        parts(table).iter().any(|word| {
            let word = word.trim_end_matches('s');
            [
                "user", "person", "people", "customer", "employee", "contact", "member", "author", "patient",
                "student", "guest", "driver", "teacher", "player", "staff", "profile", "lead", "agent", "admin",
            ]
            .contains(&word)
        })
    };
    let of_firms = || {
        parts(table).iter().any(|word| {
            [
                "company",
                "companies",
                "organization",
                "organizations",
                "organisation",
                "tenant",
                "tenants",
                "account",
                "accounts",
                "supplier",
                "suppliers",
                "vendor",
                "vendors",
                "team",
                "teams",
                "workspace",
                "workspaces",
                "org",
                "orgs",
                "merchant",
                "brand",
                "brands",
                "client",
                "clients",
                "partner",
            ]
            .contains(&word.as_str())
        })
    };
    match joined.as_str() {
        "name" | "display_name" | "displayname" if of_people() => return Name,
        "name" | "display_name" | "legal_name" if of_firms() => return Company,
        "name" | "label" | "title" | "subject" | "headline" | "display_name" => return Title,
        "ip" | "ip_address" | "ipaddress" | "remote_addr" | "client_ip" | "ip_addr" => return Ip,
        "iso" | "iso2" | "alpha2" | "country_iso" => return CountryCode,
        "content_type" | "mime" | "media_type" => return MimeType,
        "full_name" | "fullname" | "first_last" | "contact_name" | "author" | "owner_name" | "recipient" => {
            return Name;
        }
        _ => {}
    }
    if has("email") || has("mail") || joined == "e_mail" {
        return Email;
    }
    if has("first") && has("name") || joined == "firstname" || joined == "given_name" || joined == "forename" {
        return FirstName;
    }
    if (has("last") || has("family")) && has("name") || joined == "lastname" || joined == "surname" {
        return LastName;
    }
    if has("agent") && has("user") || joined == "useragent" {
        return UserAgent;
    }
    if has("country") {
        return if has("code") || has("iso") { CountryCode } else { Country };
    }
    if has("color") || has("colour") {
        return if has("hex") { HexColor } else { Color };
    }
    if last == "id" && words.len() > 1
        || has("token")
        || has("secret")
        || has("hash")
        || has("digest")
        || has("password")
        || has("checksum")
        || has("fingerprint")
        || has("signature")
        || has("key")
        || has("nonce")
        || has("etag")
        || has("external") && last == "id"
        || has("sha")
        || has("sha256")
        || has("md5")
    {
        return Token;
    }
    match last {
        "phone" | "mobile" | "fax" | "telephone" | "tel" | "msisdn" => Phone,
        "username" | "login" | "handle" | "nickname" | "nick" => Username,
        "company" | "organization" | "organisation" | "employer" | "vendor" | "supplier" | "brand" | "merchant" => {
            Company
        }
        "job" | "profession" | "occupation" | "position" => Job,
        "city" | "town" | "municipality" | "locality" => City,
        "state" if has("address") || has("billing") || has("shipping") => Region,
        "region" | "province" | "county" | "district" => Region,
        "postcode" | "zip" | "zipcode" | "postal" => Postcode,
        "code" if has("postal") || has("zip") => Postcode,
        "code" if has("currency") => Currency,
        "code" if has("language") || has("lang") => Language,
        "street" | "line1" | "address1" => Street,
        "address" | "addr" => Address,
        "timezone" | "tz" => TimeZone,
        "zone" if has("time") => TimeZone,
        "language" | "lang" => Language,
        "locale" => Locale,
        "currency" => Currency,
        "url" | "uri" | "link" | "website" | "homepage" | "href" | "avatar" | "image" | "photo" | "logo"
        | "thumbnail" | "webhook" | "endpoint" | "callback" | "picture" | "origin" => Url,
        "domain" | "hostname" | "host" | "subdomain" => Domain,
        "slug" | "permalink" => Slug,
        "body" | "content" | "text" | "bio" | "about" | "html" | "markdown" | "readme" | "article" => Paragraph,
        "description" | "summary" | "comment" | "comments" | "note" | "notes" | "message" | "reason" | "excerpt"
        | "remarks" | "memo" | "feedback" | "caption" | "details" | "error" | "instructions" => Sentence,
        "status" | "state" | "stage" | "phase" => Status,
        "role" => Role,
        "plan" | "tier" => Plan,
        "type" | "kind" | "category" | "class" | "group" | "segment" | "variant" | "source" | "channel" => Kind,
        "payment" => Payment,
        "method" if has("payment") => Payment,
        "method" | "verb" => Method,
        "priority" | "severity" | "level" | "urgency" => Priority,
        "provider" | "service" | "platform" => Service,
        "unit" | "uom" => Unit,
        "path" | "directory" | "folder" | "route" => Path,
        "file" | "filename" | "attachment" => FileName,
        "version" | "release" => Version,
        "sku" | "barcode" | "ean" | "gtin" | "isbn" | "upc" => Sku,
        "code" | "number" | "no" | "ref" | "reference" | "serial" | "identifier" | "uid" => Code,
        "event" | "action" | "topic" | "operation" => Event,
        "tag" | "tags" | "keyword" | "word" | "term" => Word,
        "mac" => Mac,
        "name" if has("file") => FileName,
        "name" if has("user") => Username,
        "name" if has("company") || has("org") || has("business") => Company,
        "name" => Title,
        _ => Label,
    }
}

/// One of a list: the first ones alone where there is little room.
fn cased(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}

/// A text of the kind. `serial`, where given, is part of it and makes it unlike any other.
pub fn text(provider: Provider, serial: Option<u64>, draw: &mut Draw) -> String {
    use Provider::*;
    let plain = |text: &str, end: &str| match serial {
        Some(serial) => format!("{text}{end}{serial}"),
        None => text.to_owned(),
    };
    match provider {
        FirstName => plain(draw.one(&words::FIRST), " "),
        LastName => plain(draw.one(&words::LAST), " "),
        Name => plain(&format!("{} {}", draw.one(&words::FIRST), draw.one(&words::LAST)), " "),
        Username => {
            let name = format!("{}{}", draw.one(&words::FIRST), draw.one(&words::LAST)).to_lowercase();
            format!("{name}{}", serial.unwrap_or_else(|| draw.below(1000)))
        }
        Email => {
            let (first, last) = (draw.one(&words::FIRST).to_lowercase(), draw.one(&words::LAST).to_lowercase());
            let number = serial.unwrap_or_else(|| draw.below(100_000));
            format!("{first}.{last}{number}@example.{}", draw.one(&["com", "org", "net"]))
        }
        // 555-01xx numbers and their like are set aside for fiction.
        Phone => format!("+1555{:07}", serial.unwrap_or_else(|| draw.below(10_000_000)) % 10_000_000),
        Company => plain(&format!("{} {}", draw.one(&words::COMPANY), draw.one(&words::COMPANY_END)), " "),
        Job => plain(draw.one(&words::JOB), " "),
        City => plain(words::CITY[draw.index(words::CITY.len())].0, " "),
        Country => plain(words::CITY[draw.index(words::CITY.len())].2, " "),
        CountryCode => match serial {
            // All pairs of letters, one after the other.
            Some(serial) => letters(serial, 2),
            None => words::CITY[draw.index(words::CITY.len())].1.to_owned(),
        },
        Region => plain(draw.one(&words::REGION), " "),
        Postcode => format!("{:05}", serial.map_or_else(|| 10_000 + draw.below(89_999), |serial| 10_000 + serial)),
        Street => plain(&format!("{} {}", draw.one(&words::STREET), 1 + draw.below(200)), "-"),
        Address => {
            let city = words::CITY[draw.index(words::CITY.len())].0;
            let street = plain(&format!("{} {}", draw.one(&words::STREET), 1 + draw.below(200)), "-");
            format!("{street}, {:05} {city}", 10_000 + draw.below(89_999))
        }
        TimeZone => plain(words::CITY[draw.index(words::CITY.len())].3, "/"),
        Language => {
            serial.map_or_else(|| draw.one(&words::LANGUAGE).to_owned(), |serial| letters(serial, 2).to_lowercase())
        }
        Locale => {
            let country = words::CITY[draw.index(words::CITY.len())].1;
            plain(&format!("{}-{country}", draw.one(&words::LANGUAGE)), "-")
        }
        Currency => serial.map_or_else(|| draw.one(&words::CURRENCY).to_owned(), |serial| letters(serial, 3)),
        Url => {
            format!("https://example.com/{}/{}", draw.one(&words::NOUN), serial.unwrap_or_else(|| draw.below(100_000)))
        }
        Domain => format!("{}{}.example.com", draw.one(&words::NOUN), serial.unwrap_or_else(|| draw.below(1000))),
        Slug => plain(&format!("{}-{}", draw.one(&words::ADJECTIVE), draw.one(&words::NOUN)), "-"),
        Title | Label => plain(&cased(&format!("{} {}", draw.one(&words::ADJECTIVE), draw.one(&words::NOUN))), " "),
        Sentence => plain(&sentence(draw), " "),
        Paragraph => {
            let count = 2 + draw.index(3);
            plain(&(0..count).map(|_| sentence(draw)).collect::<Vec<_>>().join(" "), " ")
        }
        Word => plain(draw.one(&words::NOUN), "-"),
        Color => plain(draw.one(&words::COLOR), "-"),
        HexColor => format!("#{:06x}", serial.unwrap_or_else(|| draw.below(1 << 24))),
        Ip => match serial {
            Some(serial) => format!("10.{}.{}.{}", (serial >> 16) & 255, (serial >> 8) & 255, serial & 255),
            None => format!("10.{}.{}.{}", draw.below(256), draw.below(256), 1 + draw.below(254)),
        },
        Mac => {
            let bits = serial.unwrap_or_else(|| draw.below(1 << 40));
            let byte = |at: u32| (bits >> (8 * at)) & 255;
            format!("02:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", byte(4), byte(3), byte(2), byte(1), byte(0))
        }
        UserAgent => plain(draw.one(&words::AGENT), " "),
        MimeType => plain(words::FILE[draw.index(words::FILE.len())].1, "-"),
        FileName => plain(draw.one(&words::NOUN), "-") + "." + words::FILE[draw.index(words::FILE.len())].0,
        Path => format!("/{}/{}", draw.one(&words::NOUN), plain(draw.one(&words::NOUN), "-")),
        Token => match serial {
            Some(serial) => format!("{:016x}{serial:016x}", draw.bits()),
            None => format!("{:016x}{:016x}", draw.bits(), draw.bits()),
        },
        Version => match serial {
            Some(serial) => format!("1.{}.{}", serial / 100, serial % 100),
            None => format!("{}.{}.{}", 1 + draw.below(4), draw.below(20), draw.below(10)),
        },
        Sku | Code => {
            let start = letters(draw.below(17_576), 3);
            format!("{start}-{:05}", serial.unwrap_or_else(|| draw.below(100_000)))
        }
        Status => plain(draw.one(&words::STATUS), "-"),
        Role => plain(draw.one(&words::ROLE), "-"),
        Plan => plain(draw.one(&words::PLAN), "-"),
        Kind => plain(draw.one(&words::KIND), "-"),
        Payment => plain(draw.one(&words::PAYMENT), " "),
        Method => plain(draw.one(&words::METHOD), "-"),
        Priority => plain(draw.one(&words::PRIORITY), "-"),
        Service => plain(draw.one(&words::SERVICE), "-"),
        Unit => plain(draw.one(&words::UNIT), "-"),
        Event => plain(&format!("{}.{}", draw.one(&words::NOUN), draw.one(&words::VERB)), "."),
        Uuid => uuid(draw),
        Cuid => format!("c{}", base36(draw, 24)),
        Ulid => {
            const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
            let tail = (0..17).map(|_| char::from(ALPHABET[draw.index(32)]));
            "01HTZ8M3Q".chars().chain(tail).collect()
        }
        ObjectId => format!("{:016x}{:08x}", draw.bits(), draw.below(1 << 32)),
    }
}

/// A UUID of version 4.
pub fn uuid(draw: &mut Draw) -> String {
    let (high, low) = (draw.bits(), draw.bits());
    let high = (high & !0xf000) | 0x4000;
    let low = (low & !(3 << 62)) | (2 << 62);
    uuid::Uuid::from_u64_pair(high, low).to_string()
}

fn base36(draw: &mut Draw, count: usize) -> String {
    const ALPHABET: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    (0..count).map(|_| char::from(ALPHABET[draw.index(36)])).collect()
}

/// The number as this many capital letters; more where it has no room.
pub fn letters(mut number: u64, count: usize) -> String {
    let mut found = Vec::new();
    while found.len() < count || number > 0 {
        found.push(char::from(b'A' + u8::try_from(number % 26).unwrap_or(0)));
        number /= 26;
    }
    found.iter().rev().collect()
}

fn sentence(draw: &mut Draw) -> String {
    let (first, second) = (draw.one(&words::NOUN), draw.one(&words::NOUN));
    let (adjective, verb) = (draw.one(&words::ADJECTIVE), draw.one(&words::VERB));
    match draw.below(3) {
        0 => format!("The {adjective} {first} was {verb} before the {second}."),
        1 => format!("We {verb} the {first} and the {adjective} {second}."),
        _ => format!("{} {second}: {verb} with the {first}.", cased(adjective)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::random::Root;
    use super::*;

    #[test]
    fn names_tell_what_a_column_holds() {
        use Provider::*;
        for (table, column, wanted) in [
            ("User", "email", Email),
            ("users", "first_name", FirstName),
            ("Company", "name", Company),
            ("customers", "name", Name),
            ("products", "name", Title),
            ("x", "billingEmail", Email),
            ("x", "country_code", CountryCode),
            ("x", "passwordHash", Token),
            ("x", "user_agent", UserAgent),
            ("x", "ipAddress", Ip),
            ("x", "slug", Slug),
            ("x", "currency", Currency),
            ("orders", "status", Status),
            ("x", "stripe_customer_id", Token),
            ("x", "zzz", Label),
        ] {
            assert_eq!(guess(table, column), wanted, "{table}.{column}");
        }
    }

    #[test]
    fn every_provider_has_one_name_and_serials_make_texts_differ() {
        let root = Root::new(1, &["t"]);
        for (index, (name, provider)) in PROVIDERS.iter().enumerate() {
            assert!(PROVIDERS[..index].iter().all(|(other, kind)| other != name && kind != provider), "{name}");
            let texts: std::collections::BTreeSet<String> =
                (0..500).map(|row| text(*provider, Some(row), &mut root.row(row, 0))).collect();
            assert_eq!(texts.len(), 500, "{name}");
        }
    }
}
