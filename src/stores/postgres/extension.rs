//! How an extension that a server does not offer is had.

/// An imperative for the person who runs the server.
pub fn how_to_get(name: &str) -> String {
    match name {
        // Not among those that come with PostgreSQL.
        "vector" => "install pgvector there (Debian: apt-get install postgresql-16-pgvector, the number being the \
                     server's; Docker: image pgvector/pgvector:pg16; Supabase and Neon have it), or unset the URL: \
                     lyrox up starts a server that has it"
            .to_owned(),
        "postgis" | "timescaledb" | "pg_cron" => {
            format!("install the package of `{name}` on the server, or switch it on in the provider's dashboard")
        }
        _ => format!(
            "install `{name}` on the server (Debian: package postgresql-contrib), or switch it on in the provider's \
             dashboard"
        ),
    }
}

/// The extension that a server's message says it does not have.
pub fn unavailable(message: &str) -> Option<&str> {
    let rest = message.strip_prefix("extension \"")?;
    let (name, rest) = rest.split_once('"')?;
    rest.contains("is not available").then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_read_from_the_servers_words() {
        assert_eq!(unavailable("extension \"vector\" is not available"), Some("vector"));
        assert_eq!(unavailable("extension \"vector\" already exists"), None);
        assert_eq!(unavailable("relation \"vector\" is not available"), None);
    }
}
