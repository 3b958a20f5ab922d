//! Tenants: made, listed, taken in, in each model; names that nobody may have; kills at each step.

mod bundle;
mod cluster;
mod database;
mod fanout;
mod hard;
mod kills;
mod log;
mod names;
mod policies;
mod row;
mod schema;
mod shards;
mod taken;
mod verify;

use lyrox::kind::StoreKind;

use crate::support::{Output, Project, block_on, sql};

/// Company, a table that carries it, and one that leads to it.
pub const SHOP: &str =
    "CREATE TABLE company (id text PRIMARY KEY, name text NOT NULL DEFAULT 'new', UNIQUE (name, id));
CREATE TABLE sale (id int PRIMARY KEY, company_id text NOT NULL REFERENCES company (id), total int);
CREATE TABLE line (id int PRIMARY KEY, sale_id int NOT NULL REFERENCES sale (id));
CREATE TABLE plan (name text PRIMARY KEY);
";

pub const ROW: &str = "[tenancy]\nmodel = \"row\"\ntable = \"company\"\nkey_column = \"id\"\ncolumn = \"company_id\"\nglobal = [\"plan\"]\n";

/// A project whose tenants' roles, databases and users go with it: they belong to whole servers. The names of its tenants
/// begin with [`Own::slug`].
pub struct Own(pub Project);

impl std::ops::Deref for Own {
    type Target = Project;

    fn deref(&self) -> &Project {
        &self.0
    }
}

impl Own {
    /// A project of shared tables.
    pub fn row(name: &str) -> Self {
        let own = Self(Project::new(name, ROW));
        own.write("migrations/1_shop.up.sql", SHOP);
        own.lyrox(&["-q", "db", "migrate"]).ok();
        own
    }

    /// A project whose tenants have a place of their own: a table, a collection and a hash each.
    pub fn own_place(name: &str, model: &str) -> Self {
        let own = Self(Project::new(name, &format!("[tenancy]\nmodel = \"{model}\"\n")));
        own.write("migrations/1_shared.up.sql", "CREATE TABLE plan (name text PRIMARY KEY);");
        own.write(
            "migrations/tenant/1_own.up.sql",
            "CREATE TABLE sale (id int PRIMARY KEY, total int);\nCREATE TABLE setting (name text PRIMARY KEY, value text);",
        );
        own.write("migrations/tenant/1_own.up.json", r#"[{ "create": "carts" }]"#);
        own.write("migrations/tenant/1_own.up.redis", "HSET {{prefix}}settings currency EUR\n");
        own.write(
            "seeds/tenant/postgres/setting.toml",
            "key = [\"name\"]\n[rows.tax]\nname = \"tax\"\nvalue = \"0.2\"\n",
        );
        own.lyrox(&["-q", "db", "migrate"]).ok();
        own
    }

    /// A slug that no other test has.
    pub fn slug(&self, name: &str) -> String {
        format!("{}_{name}", self.name)
    }

    /// The state of a tenant in the registry; none where it has no record.
    pub fn state(&self, key: &str) -> Option<String> {
        let rows =
            sql(&self.postgres, &format!("SELECT state FROM lyrox.tenants WHERE key = '{}'", key.replace('\'', "''")));
        rows.ok()?.first()?.first()?.clone()
    }

    /// Names of the server's ACL users that begin with a text.
    pub fn users(&self, prefix: &str) -> Vec<String> {
        let redis::Value::Array(names) = self.redis(&["ACL", "USERS"]) else { return Vec::new() };
        let names = names.into_iter().map(|name| redis::from_redis_value::<String>(name).expect("a name"));
        let mut names: Vec<String> = names.filter(|name| name.starts_with(prefix)).collect();
        names.sort();
        names
    }

    /// The logins of a credentials file, by store: the last of each holds.
    pub fn login(&self, file: &str, tenant: &str, store: StoreKind) -> String {
        let text = std::fs::read_to_string(self.path(file)).expect("credentials");
        let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
        let of = |line: &serde_json::Value| line["tenant"] == tenant && line["store"] == store.name();
        let url = lines.rev().find(of).expect("a login")["url"].clone();
        url.as_str().expect("a URL").to_owned()
    }

    /// The server's list of users, which is long in the test of names: a busy machine may take its time.
    pub fn acl(&self, words: &[&str]) -> Result<redis::Value, redis::RedisError> {
        block_on(async {
            let client = redis::Client::open(self.redis.as_str())?;
            let patient =
                redis::AsyncConnectionConfig::new().set_response_timeout(Some(std::time::Duration::from_secs(60)));
            let mut connection = client.get_multiplexed_async_connection_with_config(&patient).await?;
            redis::cmd("ACL").arg(words).query_async(&mut connection).await
        })
    }

    /// A Redis command as the user of a URL.
    pub fn redis_as(&self, url: &str, words: &[&str]) -> Result<redis::Value, String> {
        block_on(async {
            let client = redis::Client::open(url).expect("a URL");
            let mut connection =
                client.get_multiplexed_async_connection().await.map_err(|error| format!("login: {error}"))?;
            let mut command = redis::cmd(words[0]);
            words[1..].iter().for_each(|word| {
                command.arg(*word);
            });
            command.query_async(&mut connection).await.map_err(|error| error.to_string())
        })
    }

    /// Whether the login of a URL is taken by MongoDB, and what a command answers.
    pub fn mongo_as(&self, url: &str, database: &str, command: bson::Document) -> Result<bson::Document, String> {
        block_on(async {
            let client = mongodb::Client::with_uri_str(url).await.map_err(|error| error.to_string())?;
            client.database(database).run_command(command).await.map_err(|error| error.to_string())
        })
    }

    /// Makes a tenant that must succeed.
    #[track_caller]
    pub fn create(&self, key: &str, more: &[&str]) -> Output {
        let mut arguments = vec!["tenant", "create", key];
        arguments.extend(more);
        let output = self.lyrox(&arguments);
        output.ok();
        output
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let own = format!("t_{}", self.name);
        let marks = [
            format!("lyrox: a tenant of {}", self.name),
            format!("lyrox: the template of the tenants of {}", self.name),
        ];
        let found = self.sql_or_none(&format!(
            "SELECT 'DROP DATABASE ' || quote_ident(datname) || ' WITH (FORCE)' FROM pg_database \
             WHERE starts_with(datname, '{own}') OR shobj_description(oid, 'pg_database') IN ('{}', '{}')",
            marks[0], marks[1]
        ));
        for drop in found {
            let _ = sql(&self.postgres, &drop);
        }
        let roles = self.sql_or_none(&format!(
            "SELECT quote_ident(rolname) FROM pg_roles WHERE starts_with(rolname, '{own}') OR starts_with(rolname, '{}_') OR shobj_description(oid, 'pg_authid') = '{}'",
            self.name, marks[0]
        ));
        for role in roles {
            let _ = sql(&self.postgres, &format!("GRANT {role} TO CURRENT_USER; DROP OWNED BY {role} CASCADE"));
            let _ = sql(&self.postgres, &format!("DROP ROLE {role}"));
        }
        let prefix = format!("~{}{{", self.prefix);
        if let Ok(redis::Value::Array(lines)) = self.acl(&["LIST"]) {
            let lines = lines.into_iter().filter_map(|line| redis::from_redis_value::<String>(line).ok());
            let users: Vec<String> = lines
                .filter(|line| line.contains(&prefix))
                .filter_map(|line| line.split(' ').nth(1).map(str::to_owned))
                .collect();
            let mut words = vec!["DELUSER"];
            words.extend(users.iter().map(String::as_str));
            if words.len() > 1 {
                let _ = self.acl(&words);
            }
        }
        block_on(async {
            let Ok(client) = mongodb::Client::with_uri_str(&self.mongodb).await else { return };
            let names = client.list_database_names().await.unwrap_or_default();
            for name in names.iter().filter(|name| name.starts_with(&own)) {
                let _ = client.database(name).run_command(bson::doc! { "dropAllUsersFromDatabase": 1 }).await;
                let _ = client.database(name).drop().await;
            }
        });
    }
}

impl Own {
    fn sql_or_none(&self, query: &str) -> Vec<String> {
        let rows = sql(&self.postgres, query).unwrap_or_default();
        rows.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect()
    }
}
