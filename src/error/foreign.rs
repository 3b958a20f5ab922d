//! Error codes of other tools and of the servers themselves, as people paste them: what each means, what to do, and the code
//! that lyrox gives to the same cause. `lyrox explain` and `docs/errors.md` derive from this table.

use super::Code;

/// Whose code it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// Prisma's `P1001`.
    Prisma,
    /// PostgreSQL's `28P01`.
    Sqlstate,
    /// MongoDB's numbers, which have names as well.
    Mongodb,
    /// The word that a refusal of Redis begins with.
    Redis,
}

impl Family {
    /// Every family, in the order of the documentation.
    pub const ALL: [Self; 4] = [Self::Prisma, Self::Sqlstate, Self::Mongodb, Self::Redis];

    /// Its name.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Prisma => "Prisma",
            Self::Sqlstate => "PostgreSQL (SQLSTATE)",
            Self::Mongodb => "MongoDB",
            Self::Redis => "Redis",
        }
    }
}

/// One code of somebody else's.
#[derive(Clone, Copy, Debug)]
pub struct Foreign {
    /// Whose.
    pub family: Family,
    /// The code as it is printed there.
    pub code: &'static str,
    /// The name beside a number; empty: none.
    pub name: &'static str,
    /// What it means.
    pub title: &'static str,
    /// What to do about it.
    pub advice: &'static str,
    /// What lyrox calls the same cause.
    pub same: Option<Code>,
}

impl Foreign {
    /// Finds a code or a name, in any case.
    pub fn find(text: &str) -> Option<&'static Self> {
        let text = text.trim();
        let has = |own: &str| !own.is_empty() && own.eq_ignore_ascii_case(text);
        FOREIGN.iter().find(|foreign| has(foreign.code) || has(foreign.name))
    }

    /// The code with its name, where it has one.
    pub fn label(&self) -> String {
        if self.name.is_empty() { self.code.to_owned() } else { format!("{} {}", self.code, self.name) }
    }
}

macro_rules! foreign {
    ($($family:ident { $($code:literal $($name:ident)? $(= $same:ident)?, $title:literal, $advice:literal;)* })*) => {
        /// Every code that is known.
        pub const FOREIGN: &[Foreign] = &[$($(Foreign {
            family: Family::$family,
            code: $code,
            name: concat!($(stringify!($name))?),
            title: $title,
            advice: $advice,
            same: foreign!(@same $($same)?),
        },)*)*];
    };
    (@same) => { None };
    (@same $same:ident) => { Some(Code::$same) };
}

foreign! {
    Prisma {
        "P1000" = AuthPostgres, "the server refused user or password", "`lyrox check` names the cause; a raw `@ : / ? # %` in the password has to be encoded: `lyrox url inspect --env DATABASE_URL`.";
        "P1001" = ConnectTimeout, "the server cannot be reached", "`lyrox check` tells name, route and port apart. Neon wakes a sleeping project: `connect_timeout=15`. Supabase's direct address has IPv6 only: use the session pooler.";
        "P1002" = LockHeld, "the server was reached and timed out; most often on the advisory lock 72707369", "A pooler, or a session that died, holds the lock: migrate through the direct URL, and end the session that `SELECT pid FROM pg_locks WHERE objid = 72707369` names.";
        "P1003" = DatabaseMissing, "the database does not exist", "Make it, or mend the path of the URL; `lyrox check` says which databases there are no rights for.";
        "P1008" = ConnectTimeout, "an operation took too long", "Look for locks with `lyrox db status`, and at the server's load.";
        "P1010" = Privilege, "the user may not do this in the database", "Grant what is missing; `docs/security.md` has the smallest roles.";
        "P1011" = Tls, "the TLS connection cannot be opened", "`lyrox check` says what is wrong with the certificate. Give the authority with `ca_file`; do not give verification up.";
        "P1012" = UrlUnset, "the schema is not valid, or a variable is not set", "A `directUrl` whose variable is missing fails local runs as well: `lyrox config show` says which variables are set, and where.";
        "P1013" = UrlInvalid, "the connection string cannot be read", "The password holds characters that have to be encoded: `lyrox url encode`.";
        "P1017" = ConnectClosed, "the server closed the connection", "It restarted, or suspends idle sessions; run it again.";
        "P2002" = SeedFailed, "a unique value is there already", "The message names the columns. A seed with `key = [...]` updates instead.";
        "P2003" = SeedFailed, "a row refers to one that does not exist", "Insert the row that is referred to first; lyrox orders seeds by their foreign keys.";
        "P2021" = MigrationFailed, "a table does not exist", "`lyrox db status`, then `lyrox db migrate`; or the schema of the URL is another.";
        "P2022" = MigrationFailed, "a column does not exist", "`lyrox db migrate`; unquoted `createdAt` is `createdat` to PostgreSQL.";
        "P2024" = ConnectLimit, "no connection of the pool came free in time", "Raise `connection_limit`, or put a pooler in between; `lyrox check` says how many connections are taken.";
        "P2031" = ReplicaSetNone, "MongoDB has to be a replica set for transactions", "Start it with `--replSet rs0` and run `rs.initiate()`, or use `lyrox up`.";
        "P3005" = Baseline, "the schema is not empty and has no history", "`lyrox db baseline` records what is there as applied.";
        "P3006", "a migration failed on the shadow database", "The files do not run from nothing: `lyrox db rehearse` runs them on a scratch server and shows the statement.";
        "P3009" = InDoubt, "a migration that failed blocks those that follow", "Look what of it is there, then `lyrox db repair --done VERSION` or `--not-done VERSION`.";
        "P3014" = Privilege, "the shadow database cannot be made", "The role lacks CREATEDB: name a database with `shadowDatabaseUrl`, or use `lyrox db migrate`, which needs none.";
        "P3018" = MigrationFailed, "a migration failed", "The message holds the server's words; mend the file. `lyrox db status` shows what is applied.";
        "P4001", "the database that is to be introspected is empty", "The URL names another database or schema: `lyrox check`.";
    }
    Sqlstate {
        "08P01" = PoolerSetting, "the protocol was violated; from a pooler: an unsupported startup parameter", "Take `options` out of the URL, or use the direct one; PgBouncer has `ignore_startup_parameters`.";
        "0A000" = Extension, "the feature is not supported; \"extension is not available\"", "Install the extension on the server, or switch it on at the provider.";
        "22P02", "a text is no value of the type", "An empty tenant setting that is cast: `nullif(current_setting('app.tenant', true), '')`.";
        "23502", "a column that has to be filled is empty", "The message names the column and the row.";
        "23503", "a row refers to one that does not exist, or is referred to", "Insert the other row first, or delete those that refer to it.";
        "23505", "a unique value is there already", "The message names the index and the value.";
        "23514", "a CHECK does not hold", "The message names the constraint.";
        "25006" = ConnectReadOnly, "the transaction is read-only", "The server is a standby, or its disk is full: name the primary in `direct_url`.";
        "26000" = Pooler, "the prepared statement does not exist", "A transaction pooler mixes sessions: use the direct URL, or switch prepared statements off.";
        "28000" = AuthAddress, "the login is not allowed; \"no pg_hba.conf entry\"", "\"no encryption\": ask for TLS (`sslmode=require`). With TLS on: this address is not let in.";
        "28P01" = AuthPostgres, "the password is wrong", "Encode it in the URL; at Supabase's pooler the user is `<role>.<ref>`.";
        "3D000" = DatabaseMissing, "the database does not exist", "Make it, or mend the path of the URL.";
        "3F000" = SchemaMissing, "the schema does not exist", "`CREATE SCHEMA`, or mend `schema` in lyrox.toml.";
        "40001", "transactions got in each other's way", "Run the transaction again.";
        "40P01", "a deadlock", "Run the transaction again; take locks in one order.";
        "42501" = Privilege, "a privilege is missing", "Since PostgreSQL 15 only the owner may create in `public`. \"row-level security\": the tenant is not set.";
        "42703", "the column does not exist", "Unquoted names are folded to small letters: `createdAt` is `createdat`.";
        "42710", "the object is there already", "An earlier run made it: `lyrox db status`.";
        "42P01", "the table does not exist", "Migrate; or the search_path is another; or a name with capitals lacks its double quotes.";
        "42P05" = Pooler, "the prepared statement exists already", "A transaction pooler mixes sessions: use the direct URL.";
        "42P06", "the schema is there already", "An earlier run made it: `lyrox db status`.";
        "42P07", "the table is there already", "An earlier run made it: `lyrox db status`, `lyrox db baseline`.";
        "53100" = StoreDisk, "the server's disk is full", "Free space, then run it again.";
        "53200", "the server has no memory left for locks", "Raise `max_locks_per_transaction`, or split the file.";
        "53300" = ConnectLimit, "no connection is left", "Put a pooler in between, or lower the limit of the application.";
        "55P03", "a lock was not obtained in time", "Another session holds the table: run it again at a quieter time.";
        "57014", "the statement was cancelled, or took too long", "Raise the limit: `-- lyrox: statement-timeout 10m`.";
        "57P01" = ConnectClosed, "an administrator ended the session", "A provider that suspends does so too: connect again.";
        "57P03" = ConnectStarting, "the server is starting", "`lyrox check --wait 60s`.";
    }
    Mongodb {
        "13" Unauthorized = Privilege, "the user may not do this", "Give it the role readWrite (and dbAdmin for lyrox) on the database.";
        "18" AuthenticationFailed = AuthMongodb, "user, password or authentication database is wrong", "Try `authSource=admin`; `lyrox check` tries it for you.";
        "20" IllegalOperation = ReplicaSetNone, "transactions need a replica set", "Start it with `--replSet rs0` and run `rs.initiate()`, or use `lyrox up`.";
        "26" NamespaceNotFound, "the collection does not exist", "`lyrox db migrate` makes it.";
        "48" NamespaceExists, "the collection is there already", "An earlier run made it: `lyrox db status`.";
        "50" MaxTimeMSExpired, "the time limit of the command is over", "An index is missing, or the server is busy.";
        "59" CommandNotFound, "the server does not know the command", "It is older, or speaks the protocol without being MongoDB.";
        "64" WriteConcernTimeout, "a write was not copied to enough members in time", "Look at the members: `rs.status()`.";
        "67" CannotCreateIndex, "the index cannot be made", "The message says what is wrong with its definition.";
        "85" IndexOptionsConflict, "an index of the same keys has other options", "Drop the old one, or give the new one its name.";
        "86" IndexKeySpecsConflict, "an index of the same name has other keys", "Drop the old one, or name the new one otherwise.";
        "91" ShutdownInProgress = ConnectStarting, "the server is stopping", "Try again: another member becomes primary.";
        "94" NotYetInitialized = ReplicaSetNew, "the replica set is not initiated", "`rs.initiate()`, once.";
        "100" UnsatisfiableWriteConcern, "there are not enough members for the write concern", "Look at the members: `rs.status()`.";
        "112" WriteConflict, "two transactions wrote the same document", "Run the transaction again.";
        "115" CommandNotSupported, "the command is not supported here", "Shared clusters leave commands out; the message names it.";
        "121" DocumentValidationFailure, "the validator refuses the document", "`errInfo.details` names the rule and the field.";
        "189" PrimarySteppedDown = ReplicaSetPrimary, "the primary stepped down", "Try again in some seconds.";
        "251" NoSuchTransaction, "the transaction is gone", "Run it again: it took too long, or the primary changed.";
        "8000" AtlasError = AuthMongodb, "Atlas refused the login (\"bad auth\")", "It wants a database user, not the login of the web site; the password has to be encoded.";
        "10107" NotWritablePrimary = ConnectReadOnly, "the member is not the primary", "Name all hosts and `replicaSet` in the URL, without `directConnection`.";
        "11000" DuplicateKey, "a unique value is there already", "`keyPattern` and `keyValue` name it.";
        "13297" DatabaseDifferCase, "a database of the same name in another case is there", "Names of databases differ by more than case.";
    }
    Redis {
        "BUSY", "a script runs for too long", "Wait, or `SCRIPT KILL`.";
        "BUSYGROUP", "the consumer group is there already", "Nothing is wrong.";
        "CLUSTERDOWN" = ClusterDown, "not every slot is served", "Look at `CLUSTER NODES`: a master is away.";
        "CROSSSLOT", "the keys of one command lie in several slots", "Give them one hash tag: `{tenant}:a`, `{tenant}:b`.";
        "EXECABORT", "a command of the transaction was refused", "The reply before it says which.";
        "LOADING" = ConnectStarting, "the server reads its data", "`lyrox check --wait 60s`.";
        "MASTERDOWN", "the replica has lost its primary", "Name the primary, or wait.";
        "MISCONF" = StoreDisk, "snapshots fail, and writes are refused", "Free space on the server's disk, then `BGSAVE`.";
        "MOVED", "the key lies on another node", "Use a client for clusters, or the cluster's own endpoint.";
        "NOAUTH" = AuthMissing, "the server wants a login", "The URL has no password: `redis://default:PASSWORD@host`.";
        "NOPERM" = Privilege, "the user may not do this", "The message names the command, key or channel: `ACL SETUSER`.";
        "NOPROTO", "the server does not speak RESP3", "Let the client use RESP2.";
        "NOSCRIPT", "the script is not in the server's cache", "Send it with EVAL.";
        "OOM" = StoreMemory, "maxmemory is reached and nothing may be evicted", "Raise maxmemory, or delete keys.";
        "READONLY" = ConnectReadOnly, "the server is a replica", "Name the primary in the URL.";
        "TRYAGAIN", "the slot is on its way to another node", "Try again.";
        "WRONGPASS" = AuthRedis, "user or password is wrong", "Without a name the user is `default`; encode the password: `lyrox url inspect --env REDIS_URL`.";
        "WRONGTYPE", "the key holds another type", "Look with `TYPE`; another program uses the same name.";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_is_there_once_and_is_none_of_lyrox_own() {
        let mut seen = std::collections::HashSet::new();
        for foreign in FOREIGN {
            for name in [foreign.code, foreign.name].into_iter().filter(|name| !name.is_empty()) {
                assert!(seen.insert(name.to_ascii_uppercase()), "{name} is there twice");
                assert!(name.parse::<Code>().is_err(), "{name} is a code of lyrox");
                assert_eq!(Foreign::find(&name.to_lowercase()).map(|found| found.code), Some(foreign.code));
            }
            assert!(!foreign.title.ends_with('.') && foreign.advice.ends_with('.'), "{}", foreign.code);
        }
        assert!(Foreign::find("").is_none() && Foreign::find("P9999").is_none());
    }
}
