//! What one question tells about a PostgreSQL server, the role and the schema, and what is to be said of it.

use sqlx::AssertSqlSafe;
use sqlx::postgres::{PgConnection, PgRow};

use crate::error::{Code, Error, Result};
use crate::stores::postgres::connect::text;
use crate::stores::postgres::direct::Line;
use crate::stores::postgres::error::server_error;
use crate::stores::postgres::extension::how_to_get;
use crate::stores::postgres::ident::literal;
use crate::stores::stages::{Request, Stages, now};
use crate::stores::support::Product;

/// What one question tells about server, role and schema.
pub struct Facts {
    /// `15.18`, as the server writes it.
    pub version: String,
    /// Another product that speaks the protocol.
    pub product: Option<&'static str>,
    /// A standby: it takes no writes.
    pub is_standby: bool,
    is_read_only: bool,
    used: u64,
    /// What ordinary roles may take of `max_connections`.
    most: u64,
    /// Connections of the role and of the database, each with its own limit where one is set.
    limits: Vec<(&'static str, u64, u64)>,
    encoding: String,
    /// The project's schema is there.
    pub has_schema: bool,
    may_create: bool,
    role: String,
    /// `superuser`, `BYPASSRLS`, `owner of 3 tables`: what makes row-level security void.
    powers: Vec<String>,
    /// The role may make roles, may make databases, may copy the whole server.
    makes: [bool; 3],
    /// Some table of the schema has row-level security.
    has_rls: bool,
    /// Both ends of the connection, as the server sees them.
    pub line: Option<Line>,
    /// Seconds since 1970: the server's time, and this machine's before and after.
    clock: (f64, f64, f64),
    /// The start of the server and the database's number.
    identity: String,
    /// Wanted extensions: name, installed here, available on the server.
    extensions: Vec<(String, bool, bool)>,
}

/// Reads the facts in one round trip.
pub async fn read(request: &Request<'_>, session: &mut PgConnection) -> Result<(Facts, String)> {
    let wanted = request.config.settings.postgres.as_ref().map_or(&[][..], |section| &section.extensions);
    let asked = now();
    let rows = sqlx::raw_sql(AssertSqlSafe(sql(&request.target.namespace, wanted)))
        .fetch_all(session)
        .await
        .map_err(|error| server_error(Code::Protocol, "the server's facts cannot be read", &error))?;
    let answered = now();
    let (first, rest) = rows.split_first().ok_or_else(|| Error::bug("the server answered no facts"))?;
    let fact = |at| text(first, at).unwrap_or_default();
    let is = |at| fact(at) == "t";
    let number = |at| fact(at).parse::<u64>().unwrap_or(0);
    let mut powers = Vec::new();
    powers.extend(is(10).then(|| "superuser".to_owned()));
    powers.extend(is(11).then(|| "BYPASSRLS".to_owned()));
    powers.extend((number(12) > 0).then(|| format!("owner of {} tables", number(12))));
    let offered = |name: &str| rest.iter().find(|row| text(row, 0).as_deref() == Some(name));
    let extensions = wanted.iter().map(|name| {
        let row: Option<&PgRow> = offered(name);
        (name.clone(), row.is_some_and(|row| text(row, 1).as_deref() == Some("t")), row.is_some())
    });
    let limit = |what, used, most| text(first, most).and_then(|most| Some((what, number(used), most.parse().ok()?)));
    let facts = Facts {
        version: fact(0),
        product: ["CockroachDB", "YugabyteDB", "Redshift"].into_iter().find(|name| fact(1).contains(name)),
        is_standby: is(2),
        is_read_only: fact(3) == "on",
        used: number(4),
        most: number(5),
        encoding: fact(6),
        has_schema: is(7),
        may_create: is(8),
        role: fact(9),
        powers,
        makes: [is(25), is(26), is(27)],
        has_rls: is(13),
        line: Line::new((text(first, 14), text(first, 15)), (text(first, 16), text(first, 17))),
        clock: (fact(18).parse().unwrap_or(asked), asked, answered),
        identity: format!("{} {}", fact(19), fact(20)),
        limits: [limit("role", 21, 22), limit("database", 23, 24)].into_iter().flatten().collect(),
        extensions: extensions.collect(),
    };
    let version = facts.version.split_whitespace().next().unwrap_or("of unknown version");
    let role = if facts.is_standby { "standby" } else { "primary" };
    let product = facts.product.unwrap_or("PostgreSQL");
    let words = format!("{product} {version}, {role}, {} of {} connections", facts.used, facts.most);
    Ok((facts, words))
}

/// The question; the order of its columns is [`read`]'s.
fn sql(schema: &str, extensions: &[String]) -> String {
    let schema = literal(schema);
    let list: Vec<String> = extensions.iter().map(|name| literal(name)).collect();
    format!(
        "SELECT current_setting('server_version'), version(), pg_is_in_recovery(), \
                current_setting('default_transaction_read_only'), \
                (SELECT coalesce(sum(numbackends), 0) FROM pg_catalog.pg_stat_database), \
                current_setting('max_connections')::int \
                  - CASE WHEN r.rolsuper THEN 0 \
                         ELSE coalesce(current_setting('superuser_reserved_connections', true)::int, 0) \
                            + coalesce(current_setting('reserved_connections', true)::int, 0) END, \
                current_setting('server_encoding'), \
                EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = {schema}), \
                coalesce((SELECT has_schema_privilege(oid, 'CREATE') FROM pg_catalog.pg_namespace WHERE nspname = {schema}), \
                         has_database_privilege(current_database(), 'CREATE')), \
                current_user, r.rolsuper, r.rolbypassrls, \
                (SELECT count(*) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                  WHERE n.nspname = {schema} AND c.relkind IN ('r', 'p') AND c.relowner = r.oid), \
                EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                  WHERE n.nspname = {schema} AND c.relrowsecurity), \
                host(inet_client_addr()), inet_client_port(), host(inet_server_addr()), inet_server_port(), \
                extract(epoch FROM clock_timestamp()), extract(epoch FROM pg_postmaster_start_time()), d.oid, \
                (SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE usesysid = r.oid), nullif(r.rolconnlimit, -1), \
                (SELECT numbackends FROM pg_catalog.pg_stat_database WHERE datid = d.oid), nullif(d.datconnlimit, -1), \
                r.rolcreaterole, r.rolcreatedb, r.rolreplication \
           FROM pg_catalog.pg_roles r, pg_catalog.pg_database d \
          WHERE r.rolname = current_user AND d.datname = current_database(); \
         SELECT name, installed_version IS NOT NULL, true FROM pg_catalog.pg_available_extensions \
          WHERE name = ANY (ARRAY[{}]::text[])",
        list.join(", ")
    )
}

/// Says what is to be said of the facts.
pub fn judge(stages: &mut Stages<'_>, request: &Request<'_>, facts: &Facts) {
    let schema = &request.target.namespace;
    stages.identify(facts.identity.clone());
    if facts.has_schema {
        stages.pass("database", format!("schema {schema}"));
    } else {
        stages.warn(
            "database",
            Code::SchemaMissing,
            format!("schema `{schema}` does not exist"),
            format!("CREATE SCHEMA \"{schema}\", or mend `schema` in lyrox.toml"),
        );
    }
    if facts.product.is_none() {
        stages.version(Product::Postgres, &facts.version);
    }
    let (server, asked, answered) = facts.clock;
    stages.clock(server, asked, answered);
    connections(stages, facts);
    if facts.encoding != "UTF8" {
        let what = format!("the database's encoding is {}", facts.encoding);
        stages.warn("server", Code::Encoding, what, "make a database with ENCODING 'UTF8' TEMPLATE template0");
    }
    writable(stages, request, facts);
    let is_told = powers(stages, request, facts);
    excess(stages, request, facts, is_told);
    if request.is_direct {
        privileges(stages, facts, schema);
        extensions(stages, facts);
    }
}

fn is_near(used: u64, most: u64) -> bool {
    most > 0 && used * 5 >= most * 4
}

fn connections(stages: &mut Stages<'_>, facts: &Facts) {
    if is_near(facts.used, facts.most) {
        let what = format!("{} of {} connections are taken", facts.used, facts.most);
        stages.warn("server", Code::ConnectBusy, what, "let the application use a pooler, or raise max_connections");
    }
    for (what, used, most) in facts.limits.iter().filter(|(_, used, most)| is_near(*used, *most)) {
        let said = format!("{used} of the {most} connections that the {what} may have are taken");
        let kind = what.to_uppercase();
        stages.warn("server", Code::ConnectBusy, said, format!("ALTER {kind} ... CONNECTION LIMIT N"));
    }
}

/// A server without writes is in lyrox' way; the application may want it so.
fn writable(stages: &mut Stages<'_>, request: &Request<'_>, facts: &Facts) {
    let (what, hint) = if facts.is_standby {
        ("a standby: it takes no writes", "name the primary in the URL")
    } else if facts.is_read_only {
        (
            "read-only: default_transaction_read_only is on",
            "ALTER DATABASE ... RESET default_transaction_read_only, or the same of the role; Supabase sets it when the disk is full",
        )
    } else {
        return;
    };
    if request.is_direct {
        let why = format!("migrations, seeds and resets write ({})", request.endpoint.origin);
        stages.fail("server", Error::new(Code::ConnectReadOnly, what).why(why).hint(hint));
    } else {
        stages.warn("server", Code::ConnectReadOnly, what, hint);
    }
}

/// What row-level security does not bind; answers whether there was something to tell.
fn powers(stages: &mut Stages<'_>, request: &Request<'_>, facts: &Facts) -> bool {
    // A project whose queries alone keep the tenants apart has nothing to bind.
    let section = request.config.settings.postgres.as_ref();
    let app_role = section.and_then(|section| section.app_role.as_ref());
    let is_isolated = request.config.settings.tenancy.is_some() && facts.has_rls || app_role.is_some();
    if !request.is_app || facts.powers.is_empty() || (request.is_direct && !is_isolated) {
        return false;
    }
    let what = format!(
        "the application's role `{}` is {}: row-level security does not bind it",
        facts.role,
        facts.powers.join(", ")
    );
    let hint = match app_role {
        Some(role) => format!("let the application log in as `{role}`, which db migrate makes"),
        None => "set `app_role` in lyrox.toml, and let the application log in as that role".to_owned(),
    };
    stages.warn("privileges", Code::RolePower, what, hint);
    true
}

/// What the role may do and nothing needs. A server of this machine's own is nobody else's to take.
fn excess(stages: &mut Stages<'_>, request: &Request<'_>, facts: &Facts, is_told: bool) {
    if request.endpoint.url.is_local() {
        return;
    }
    let settings = &request.config.settings;
    let tenancy = settings.tenancy.as_ref();
    let has_app_role = settings.postgres.as_ref().is_some_and(|section| section.app_role.is_some());
    // lyrox makes the application's role and those of tenants, databases of tenants and scratch ones.
    let makes_roles = request.is_direct && (has_app_role || tenancy.is_some_and(|tenancy| tenancy.users));
    let [may_roles, may_databases, may_replicate] = facts.makes;
    let has = |power: &str| !is_told && facts.powers.iter().any(|known| known == power);
    let mut more = Vec::new();
    more.extend(has("superuser").then_some("SUPERUSER"));
    // Seeds of every tenant at once are faster past the policies: that is lyrox' own role's to have.
    more.extend((has("BYPASSRLS") && request.is_app).then_some("BYPASSRLS"));
    more.extend((may_roles && !makes_roles).then_some("CREATEROLE"));
    more.extend((may_databases && !request.is_direct).then_some("CREATEDB"));
    more.extend(may_replicate.then_some("REPLICATION"));
    if more.is_empty() {
        return;
    }
    let who = if request.is_direct { "lyrox" } else { "the application" };
    let what = format!("`{}` has {}: more than {who} needs", facts.role, more.join(", "));
    let without: Vec<String> = more.iter().map(|power| format!("NO{power}")).collect();
    let hint = format!("ALTER ROLE \"{}\" {}, or a role of docs/security.md", facts.role, without.join(" "));
    stages.warn("privileges", Code::PrivilegeExcess, what, hint);
}

fn privileges(stages: &mut Stages<'_>, facts: &Facts, schema: &str) {
    let role = &facts.role;
    if facts.is_standby {
        return;
    }
    if facts.may_create {
        stages.pass("privileges", format!("{role} may create in {schema}"));
        return;
    }
    let (what, grant) = if facts.has_schema {
        (
            format!("`{role}` may not create in schema `{schema}`"),
            format!("GRANT CREATE ON SCHEMA \"{schema}\" TO \"{role}\""),
        )
    } else {
        (format!("`{role}` may not create schemas"), format!("GRANT CREATE ON DATABASE ... TO \"{role}\""))
    };
    let why = "since PostgreSQL 15 only the owner of the database may create in `public`";
    stages.fail("privileges", Error::new(Code::Privilege, what).why(why).hint(format!("as the owner: {grant}")));
}

fn extensions(stages: &mut Stages<'_>, facts: &Facts) {
    let named = |wanted: fn(&(String, bool, bool)) -> bool| {
        let chosen = facts.extensions.iter().filter(|extension| wanted(extension));
        chosen.map(|(name, ..)| name.as_str()).collect::<Vec<_>>()
    };
    let (absent, waiting) =
        (named(|(_, _, is_offered)| !is_offered), named(|(_, is_here, is_offered)| !is_here && *is_offered));
    if !absent.is_empty() {
        let what = format!("the server does not offer {}", absent.join(", "));
        stages.fail(
            "extensions",
            Error::new(Code::Extension, what)
                .why("`extensions` in lyrox.toml asks for it, and it is not installed on the server's machine")
                .hint(how_to_get(absent[0])),
        );
    } else if !waiting.is_empty() {
        let what = format!("not created yet: {}", waiting.join(", "));
        stages.warn("extensions", Code::Extension, what, "lyrox db migrate creates them");
    } else if !facts.extensions.is_empty() {
        stages.pass("extensions", named(|_| true).join(", "));
    }
}
