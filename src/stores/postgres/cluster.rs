//! Statements that reach beyond their database: roles, databases, tablespaces, server settings. A throw-away
//! server may run them, a shared one may not. Pure.

use std::collections::BTreeSet;

use super::splitter::{Lexer, Token, split};

/// A statement that concerns the whole server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterStatement {
    /// What it is: `CREATE ROLE`, `ALTER SYSTEM`.
    pub what: String,
    /// Where it stands in the script: a byte offset.
    pub offset: usize,
}

/// The statements of a script that concern the whole server, those inside `DO` bodies included. A script that
/// cannot be cut has none: running it says why.
pub fn cluster_statements(script: &str) -> Vec<ClusterStatement> {
    let Ok(statements) = split(script) else { return Vec::new() };
    let mut found = Vec::new();
    for statement in statements {
        let offset = statement.range().start;
        let text = statement.text(script);
        let words = words(text);
        if words.first().is_some_and(|word| word == "do") {
            for body in bodies(text) {
                // A body runs statements anywhere in it, also as texts: each beginning is looked at.
                let inner = self::words(&body);
                let mut seen = BTreeSet::new();
                for at in 0..inner.len() {
                    if let Some(what) = concerns_server(&inner[at..], false)
                        && seen.insert(what.clone())
                    {
                        found.push(ClusterStatement { what, offset });
                    }
                }
            }
        } else if let Some(what) = concerns_server(&words, true) {
            found.push(ClusterStatement { what, offset });
        }
    }
    found
}

/// The roles that a script makes itself.
pub fn roles_made(script: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let tokens = words(script).into_iter().chain(bodies(script).into_iter().flat_map(|body| words(&body)));
    let tokens: Vec<String> = tokens.collect();
    for at in 0..tokens.len() {
        if tokens[at] == "create" && tokens.get(at + 1).is_some_and(|word| ["role", "user", "group"].contains(&&**word))
        {
            found.extend(tokens.get(at + 2).map(|name| unquoted(name)));
        }
    }
    found
}

/// Every name and word of a script, as the server would fold them.
pub fn names(script: &str) -> BTreeSet<String> {
    let mut found: BTreeSet<String> = words(script).iter().map(|word| unquoted(word)).collect();
    found.extend(bodies(script).iter().flat_map(|body| words(body)).map(|word| unquoted(&word)));
    found
}

fn unquoted(word: &str) -> String {
    match word.strip_prefix('"').and_then(|word| word.strip_suffix('"')) {
        Some(inner) => inner.replace("\"\"", "\""),
        None => word.to_owned(),
    }
}

/// Words in lower case and quoted names with their quotes; nothing else.
fn words(text: &str) -> Vec<String> {
    let mut lexer = Lexer::new(text, 0);
    let mut words = Vec::new();
    while let Ok(Some((token, range))) = lexer.token() {
        match token {
            Token::Word => words.push(text[range].to_lowercase()),
            Token::Name => words.push(text[range].to_owned()),
            _ => {}
        }
    }
    words
}

/// The texts of a statement's strings: of a `DO`, its body.
fn bodies(text: &str) -> Vec<String> {
    let mut lexer = Lexer::new(text, 0);
    let mut found = Vec::new();
    while let Ok(Some((token, range))) = lexer.token() {
        if token == Token::Text {
            let string = &text[range];
            let body = match string.strip_prefix('$') {
                // `$tag$body$tag$`: what stands behind the opening tag, then without the closing one.
                Some(rest) => {
                    let (tag, body) = rest.split_once('$').unwrap_or_default();
                    body.strip_suffix(&format!("${tag}$")).unwrap_or(body)
                }
                None => string.trim_start_matches(['E', 'e']).trim_matches('\''),
            };
            found.push(body.replace("''", "'"));
        }
    }
    // EXECUTE 'CREATE ROLE x' inside a body.
    let inner: Vec<String> = found.iter().filter(|body| body.contains('\'')).flat_map(|body| bodies(body)).collect();
    found.extend(inner);
    found
}

/// What a statement does to the whole server; none: it stays in its database. Inside a body `GRANT` is
/// only believed to grant a role where its form leaves no doubt.
fn concerns_server(words: &[String], is_whole: bool) -> Option<String> {
    let word = |at: usize| words.get(at).map_or("", String::as_str);
    let shown = |count: usize| words[..count.min(words.len())].join(" ").to_uppercase();
    match (word(0), word(1)) {
        ("create" | "alter" | "drop", "user") if word(2) == "mapping" => None,
        ("create" | "alter" | "drop", "role" | "user" | "group" | "database" | "tablespace" | "subscription")
        | ("alter", "system") => Some(shown(2)),
        ("reassign" | "drop", "owned") => Some(shown(2)),
        ("grant" | "revoke", _) => {
            let until = if word(0) == "grant" { "to" } else { "from" };
            let end = words.iter().position(|word| word == until)?;
            match words[..end].iter().position(|word| word == "on") {
                Some(on) if matches!(word(on + 1), "database" | "tablespace" | "parameter") => {
                    Some(format!("{} ON {}", word(0), word(on + 1)).to_uppercase())
                }
                Some(_) => None,
                None if is_whole || end == 2 => Some(format!("{} role", word(0).to_uppercase())),
                None => None,
            }
        }
        ("comment", "on") if matches!(word(2), "role" | "database" | "tablespace" | "subscription") => Some(shown(3)),
        ("security", "label") => {
            let on = words.iter().position(|word| word == "on")?;
            matches!(word(on + 1), "role" | "database" | "tablespace" | "subscription")
                .then(|| format!("SECURITY LABEL ON {}", word(on + 1).to_uppercase()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(script: &str) -> Vec<String> {
        cluster_statements(script).into_iter().map(|statement| statement.what).collect()
    }

    #[test]
    fn what_reaches_beyond_the_database_is_recognised() {
        for (script, what) in [
            ("CREATE ROLE app LOGIN;", "CREATE ROLE"),
            ("create user \"App\";", "CREATE USER"),
            ("ALTER ROLE app SET search_path = x;", "ALTER ROLE"),
            ("DROP GROUP g;", "DROP GROUP"),
            ("CREATE DATABASE d;", "CREATE DATABASE"),
            ("ALTER DATABASE d SET x = 1;", "ALTER DATABASE"),
            ("CREATE TABLESPACE t LOCATION '/x';", "CREATE TABLESPACE"),
            ("ALTER SYSTEM SET wal_level = logical;", "ALTER SYSTEM"),
            ("CREATE SUBSCRIPTION s CONNECTION 'x' PUBLICATION p;", "CREATE SUBSCRIPTION"),
            ("GRANT admin TO app;", "GRANT role"),
            ("REVOKE admin, other FROM app;", "REVOKE role"),
            ("GRANT CONNECT ON DATABASE d TO app;", "GRANT ON DATABASE"),
            ("REASSIGN OWNED BY a TO b;", "REASSIGN OWNED"),
            ("DROP OWNED BY a;", "DROP OWNED"),
            ("COMMENT ON ROLE a IS 'x';", "COMMENT ON ROLE"),
            ("DO $$ BEGIN IF true THEN CREATE ROLE app; END IF; END $$;", "CREATE ROLE"),
            ("DO $do$ BEGIN EXECUTE 'CREATE ROLE app'; END $do$;", "CREATE ROLE"),
            ("DO $$ BEGIN GRANT admin TO app; END $$;", "GRANT role"),
        ] {
            assert_eq!(found(script), [what], "{script}");
        }
    }

    #[test]
    fn what_stays_in_its_database_is_not() {
        for script in [
            "CREATE TABLE role (a int);",
            "CREATE USER MAPPING FOR x SERVER s;",
            "GRANT SELECT ON t TO app;",
            "GRANT USAGE ON SCHEMA s TO app;",
            "ALTER TABLE t OWNER TO app;",
            "COMMENT ON TABLE t IS 'CREATE ROLE x';",
            "INSERT INTO t VALUES ('CREATE ROLE x');",
            "CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$ BEGIN CREATE ROLE x; END $$;",
            "DO $$ BEGIN GRANT SELECT ON t TO app; END $$;",
            "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO app;",
        ] {
            assert_eq!(found(script), Vec::<String>::new(), "{script}");
        }
    }

    #[test]
    fn the_roles_a_script_makes_are_not_those_it_only_names() {
        let script = "CREATE ROLE \"My App\"; DO $x$ BEGIN CREATE USER other; END $x$; GRANT SELECT ON t TO third;";
        assert_eq!(roles_made(script), ["My App", "other"].map(str::to_owned).into());
        assert!(names(script).contains("third") && names(script).contains("My App"));
    }
}
