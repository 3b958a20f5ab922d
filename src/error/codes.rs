//! The table of error codes: `lyrox explain`, `docs/errors.md` and the exit codes all derive from it.

use std::fmt;

use crate::exit::Exit;

macro_rules! codes {
    ($($variant:ident, $text:literal, $exit:ident, $title:literal, $explanation:literal;)*) => {
        /// A stable error code. The text never changes; new ones are only added.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $(#[doc = $title] $variant,)*
        }

        impl Code {
            /// Every code, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The code as it is printed.
            pub const fn text(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// The exit code of a command that ends with it.
            pub const fn exit(self) -> Exit {
                match self { $(Self::$variant => Exit::$exit,)* }
            }

            /// One line: what it means.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)* }
            }

            /// Why it happens and what to do about it.
            pub const fn explanation(self) -> &'static str {
                match self { $(Self::$variant => $explanation,)* }
            }
        }
    };
}

codes! {
    // usage and configuration: nothing was contacted
    Usage, "LYX-USAGE", Usage, "the command line is not valid",
        "An unknown command or flag, a missing argument, or two flags that exclude each other. `lyrox help COMMAND` shows what is possible.";
    ConfigMissing, "LYX-CONFIG-MISSING", Usage, "no lyrox.toml was found",
        "lyrox looks for `lyrox.toml` in the working directory and above it. `lyrox init` writes one; `-C DIR` or `--config FILE` names another place.";
    ConfigSyntax, "LYX-CONFIG-SYNTAX", Usage, "the configuration is not valid TOML",
        "The file cannot be parsed. The message shows the line; strings need quotes, tables need their brackets.";
    ConfigKey, "LYX-CONFIG-KEY", Usage, "the configuration has an unknown key",
        "Unknown keys are refused so that a typing error cannot silently switch something off. The message names the nearest known key; `config.example.toml` lists them all.";
    ConfigValue, "LYX-CONFIG-VALUE", Usage, "a value of the configuration cannot be used",
        "The value has the wrong type or lies outside what the key allows. `config.example.toml` shows each key with its default.";
    ConfigEnvironment, "LYX-CONFIG-ENVIRONMENT", Usage, "the environment is not configured",
        "`-e NAME` names an environment that has no `[env.NAME]` section. `local` always exists.";
    UrlUnset, "LYX-URL-UNSET", Usage, "a store has no URL",
        "Only the environment `local` falls back to the local servers of `lyrox up`. Set the variable that the message names, in the environment or in `.env`.";
    UrlInvalid, "LYX-URL-INVALID", Usage, "a connection URL cannot be read",
        "Most often the password holds a raw `@ : / ? # %`. `lyrox url inspect` names the part, `lyrox url encode` gives the encoded form of a password.";
    UrlUnverified, "LYX-URL-UNVERIFIED", Usage, "a URL gives up the verification of a remote server",
        "`sslmode=no-verify`, `tlsInsecure`, `tlsAllowInvalidCertificates` or `#insecure` on a host that is not this machine: anyone in between could read the password. Name the authority with `ca_file` in lyrox.toml and take the parameter out of the URL. `--insecure-tls` accepts it for one run.";
    Secret, "LYX-SECRET", Usage, "the source of a URL gives none",
        "`url_file` names a file that cannot be read, or `url_command` a command that fails or prints something other than one line. The message says which; run the command by hand to see what it says.";
    UrlOdd, "LYX-URL-ODD", Usage, "a connection URL is not what other tools would read",
        "lyrox understood it; other clients may take it apart otherwise, or it holds a placeholder. `lyrox url inspect` names the part and prints the URL mended.";
    UrlUnwise, "LYX-URL-UNWISE", Usage, "a connection URL works and is unwise",
        "It is well formed, and something in it will hurt some day: TLS off or unverified to a remote host, an authentication database that is probably not meant, a parameter that nobody reads.";
    UrlsDiffer, "LYX-URLS-DIFFER", Connect, "`url` and `direct_url` lead to different databases",
        "lyrox would migrate one database and the application would use another. Both URLs must name the same server and database; most often one of them is of an older project.";
    Git, "LYX-GIT", Usage, "git cannot tell which files are new",
        "`--base` asks git what changed since a revision: git must be installed, the project must be in a repository, and the revision must be there. A shallow clone of a CI job lacks it: fetch the whole history.";
    FileMissing, "LYX-FILE-MISSING", Usage, "a file or folder does not exist",
        "The path in the configuration or on the command line does not exist below the project's root.";
    FileKind, "LYX-FILE-KIND", Usage, "a path is not the kind of file that is needed",
        "A folder stands where a file is needed, a file where a folder is needed, or the file cannot be read.";
    FileEncoding, "LYX-FILE-ENCODING", Usage, "a file is not valid UTF-8",
        "Migrations, seeds and configuration are UTF-8 text. The message names the first bad byte.";
    FileEmpty, "LYX-FILE-EMPTY", Usage, "a file has nothing in it to run",
        "An empty migration is almost always a mistake: a save that failed or a file that was meant to be filled. Write the migration or delete the file.";
    FileName, "LYX-FILE-NAME", Usage, "a file's name fits no known form",
        "Migrations are named `VERSION_name.up.sql`, `.up.json` or `.up.redis`. A file that fits no form is refused, not skipped.";
    FileDuplicate, "LYX-FILE-DUPLICATE", Usage, "two files claim the same version",
        "One version may have one part per store and one name. Give one of them a new version.";
    RepeatableCycle, "LYX-REPEATABLE-CYCLE", Usage, "repeatable migrations need each other",
        "Each is to run after the other: by `lyrox: after NAME` or because one names what the other makes. Put both into one file, or take one of the references out.";
    FileSyntax, "LYX-FILE-SYNTAX", Usage, "a file cannot be parsed",
        "A quote, comment or bracket is not closed, or the text is not what the file's ending promises. Nothing was sent to any server.";
    SeedFile, "LYX-SEED-FILE", Usage, "a seed file cannot be used",
        "A seed names a table, column or transform that does not exist, or a value that the column cannot hold.";
    SeedReference, "LYX-SEED-REFERENCE", Usage, "a seed refers to a row that does not exist",
        "`{ ref = \"Table.row\" }` and `\"@Table.row\"` name rows of the same set. The message lists the nearest names.";
    SmokeFile, "LYX-SMOKE-FILE", Usage, "a smoke test cannot be read",
        "Each `[[test]]` has a name and steps; each step names one store and what it expects.";
    Tenancy, "LYX-TENANCY", Usage, "the project's tenancy does not allow this",
        "`lyrox tenant` needs a section [tenancy] in lyrox.toml, and some commands are for one model only: row-level security for `row`, tenant migrations for `schema` and `database`. `docs/tenants.md` tells them apart.";
    TenantName, "LYX-TENANT-NAME", Usage, "a tenant cannot have this name",
        "A key is any text of 1 to 255 bytes; a slug is `^[a-z][a-z0-9_]{0,39}$` and unique. Names are refused, never cut or changed, because two tenants that share a name share their data. Give another: `--slug NAME`.";
    TenantUnknown, "LYX-TENANT-UNKNOWN", Usage, "there is no such tenant",
        "No tenant of the registry has this key or slug. `lyrox tenant list` shows those that there are, and those that the application made without lyrox.";
    Bundle, "LYX-BUNDLE", Usage, "a tenant's bundle cannot be used",
        "A bundle is a file that `lyrox tenant export` wrote, whole and unchanged: its checksums are held against its manifest before anything is changed. It is never written over another file, and goes only into a project of the same tenancy model whose tables have its columns.";
    ShardUnknown, "LYX-SHARD-UNKNOWN", Usage, "there is no such shard",
        "A shard is named by [[postgres.shards]] or [[mongodb.shards]] in lyrox.toml; `home` is the project's own servers. A tenant whose shard is gone from lyrox.toml cannot be reached: bring the entry back, or move the tenant while it is there.";
    Credentials, "LYX-CREDENTIALS", Usage, "passwords have nowhere to go",
        "Passwords of new users are shown once and stored nowhere. Name a file that does not exist with `--credentials FILE`, run on a terminal, or pass `--no-credentials`: then nobody knows them, and `lyrox tenant credentials KEY` makes new ones when they are wanted.";
    Irreversible, "LYX-IRREVERSIBLE", Usage, "a migration has no way back",
        "Rollback needs a way back for each migration that it undoes: its `.down` file, or the one that the ledger kept when it was applied. Write it, or write a new migration that undoes the change.";

    // consent
    Consent, "LYX-CONSENT", Consent, "consent is missing",
        "What destroys data needs the exact name: type it at the prompt or pass `--confirm NAME`. `--yes` is not consent.";
    Protected, "LYX-PROTECTED", Consent, "the environment is protected",
        "A protected environment or mark cannot be overridden by any flag.";

    // connection
    ConnectName, "LYX-CONNECT-NAME", Connect, "the host name cannot be resolved",
        "The name is wrong, the resolver is down, or the address exists for IPv6 only.";
    ConnectIpv6, "LYX-CONNECT-IPV6", Connect, "the address exists for IPv6 only",
        "The name has IPv6 addresses only, and this machine, like many CI runners, has no IPv6. Use an address of the provider that has IPv4: Supabase's session pooler, for one.";
    ConnectUnreachable, "LYX-CONNECT-UNREACHABLE", Connect, "there is no way to the address",
        "The system knows no route: the network is down, a VPN is off, or a firewall refuses.";
    ConnectHost, "LYX-CONNECT-HOST", Connect, "one of several hosts does not answer",
        "The URL, its SRV record or the replica set names several hosts, and one of them takes no connection or fails TLS. The others serve meanwhile; a fail-over to it would fail.";
    ConnectRefused, "LYX-CONNECT-REFUSED", Connect, "nothing listens at the address",
        "The server is not running, listens on another port, or a firewall rejects the connection. On a laptop: `lyrox up`.";
    ConnectTimeout, "LYX-CONNECT-TIMEOUT", Connect, "the server did not answer in time",
        "A firewall that drops packets, a paused project, or a server that hangs.";
    ConnectClosed, "LYX-CONNECT-CLOSED", Connect, "the connection was closed",
        "The server ended, or what listens there is no such server.";
    ConnectLimit, "LYX-CONNECT-LIMIT", Connect, "the server has no connection left",
        "All connection slots are taken. Use a pooler for the application, or lower its limit.";
    ConnectBusy, "LYX-CONNECT-BUSY", Connect, "nearly all connections are taken",
        "More than four fifths of the server's connections are in use. The next deployment may find none left. Let the application use a pooler, or lower its limit.";
    ConnectQuota, "LYX-CONNECT-QUOTA", Connect, "the provider's quota is used up",
        "Hosted servers count requests and bytes. The plan's limit is reached: raise it, or wait until it is counted anew. Idle workers that poll a queue use it up without doing anything.";
    ConnectStarting, "LYX-CONNECT-STARTING", Connect, "the server is starting or stopping",
        "It accepts no work yet. `lyrox check --wait 60s` waits for it.";
    VersionOld, "LYX-VERSION-OLD", Connect, "the server's version is out of support",
        "Its makers mend nothing in it any more, holes included. Upgrade it.";
    VersionHole, "LYX-VERSION-HOLE", Connect, "the server's version has a known hole",
        "A later release of the same series closes it. The message names the hole and the release.";
    ClockSkew, "LYX-CLOCK-SKEW", Connect, "the clocks of this machine and the server differ",
        "Tokens, certificates, expiry times and logs disagree. Let both machines keep their time with NTP.";
    Eviction, "LYX-EVICTION", Connect, "the server may evict keys that must stay",
        "With an `allkeys-*` policy any key may go when memory runs out: queues, locks, sessions. Queues such as BullMQ need `noeviction`; keep caches in a Redis of their own.";
    Encoding, "LYX-ENCODING", Connect, "the database's encoding is not UTF-8",
        "Text that other databases keep is refused or garbled there. The encoding is chosen when a database is made.";
    RolePower, "LYX-ROLE-POWER", Connect, "row-level security does not bind the application's role",
        "Superusers, roles with BYPASSRLS and owners of tables pass by every policy. Let the application log in as a role that owns nothing: `app_role` under [postgres].";
    PrivilegeExcess, "LYX-PRIVILEGE-EXCESS", Connect, "the user may more than anything needs",
        "Who steals the password of a superuser, or of one that makes roles, has the server and not one database. `docs/security.md` has the smallest role for lyrox and for the application; each is tried by lyrox' own tests.";
    EnvExposed, "LYX-ENV-EXPOSED", Usage, "a `.env` file with passwords is open to others",
        "Git keeps the file, or other users of the machine may read it. Let git forget it (`git rm --cached .env`) and change the passwords, which its history still has; `chmod 600 .env` closes it to others.";
    ConnectReadOnly, "LYX-CONNECT-READ-ONLY", Connect, "the server takes no writes",
        "The URL names a replica or standby, or the server's disk or memory is full. Use the primary's address, or make room.";
    StoreMemory, "LYX-STORE-MEMORY", Connect, "the server's memory is full",
        "`maxmemory` is reached and nothing may be evicted: every command that could add something is refused. Raise `maxmemory`, delete keys, or let caches be evicted.";
    StoreDisk, "LYX-STORE-DISK", Connect, "the server cannot write to its disk",
        "Redis refuses writes while its snapshots fail (MISCONF); PostgreSQL stops when its disk is full. Free space on the server, or mend the folder it writes to; its log has the reason.";
    ClusterDown, "LYX-CLUSTER-DOWN", Connect, "the cluster does not serve all of its slots",
        "A part of the keys has no server: a master is down without a replica, or the slots were never given out. `CLUSTER INFO` and `CLUSTER SLOTS` on a node show which.";
    ClusterHidden, "LYX-CLUSTER-HIDDEN", Connect, "the server is one node of a cluster and may not say so",
        "It answered MOVED, and the user may not ask INFO, by which lyrox recognises a cluster. Let the user ask it: `ACL SETUSER USER +info +cluster`.";
    ClusterReach, "LYX-CLUSTER-REACH", Connect, "the cluster's nodes announce addresses that do not answer from here",
        "The first node answers and names the others by addresses of its own network. Set `cluster-announce-ip` and `cluster-announce-port` on each node, or run lyrox in that network.";
    Sentinel, "LYX-SENTINEL", Connect, "the URL names a sentinel, not a server",
        "A sentinel watches servers and keeps no keys. Use the URL of the server that it watches: `SENTINEL GET-MASTER-ADDR-BY-NAME NAME` tells its address.";
    ReplicaSetNew, "LYX-REPLICA-SET-NEW", Connect, "the replica set was never initiated",
        "The server was started with `--replSet` and waits for its configuration. Run `rs.initiate()` once on one of its members.";
    ReplicaSetName, "LYX-REPLICA-SET-NAME", Connect, "the replica set has another name than the URL says",
        "Clients pass over servers whose set has another name, and then say that no server could be selected. The message has the name that the server says; write it as `replicaSet` in the URL, or take `replicaSet` out where the server is no member of one.";
    ReplicaSetPrimary, "LYX-REPLICA-SET-PRIMARY", Connect, "the replica set has no primary now",
        "An election is under way, or so many members are down that none can be chosen. `lyrox check --wait 60s` waits for an election; `rs.status()` shows the members.";
    ReplicaSetHosts, "LYX-REPLICA-SET-HOSTS", Connect, "the replica set announces addresses that do not answer from here",
        "Clients ask one member for the others and then use the addresses of the set's configuration, such as names of a container network. Mend the configuration (`rs.reconfig`), run lyrox in that network, or add `directConnection=true` for a set of one.";
    ReplicaSetNone, "LYX-REPLICA-SET-NONE", Connect, "a standalone MongoDB has no transactions",
        "Without a replica set, MongoDB has no transactions and no change streams, and clients such as Prisma refuse to work. A set of one member is enough: start it with `--replSet rs0` and run `rs.initiate()` once.";
    Protocol, "LYX-PROTOCOL", Connect, "what answers is not this kind of server",
        "The port belongs to another service, or the URL's scheme asks for TLS where there is none.";
    Tls, "LYX-TLS", Connect, "the TLS connection failed",
        "The certificate is not trusted, not for this name, or expired; or one side speaks TLS and the other does not.";
    TlsAuthority, "LYX-TLS-AUTHORITY", Connect, "the certificate's authority is not known",
        "The server's certificate is signed by itself or by an authority that neither this machine nor `ca_file` knows. Download the authority's certificate from the provider and name it with `ca_file`; switching verification off would let anyone in between read along.";
    TlsName, "LYX-TLS-NAME", Connect, "the certificate is for another name",
        "The host of the URL is none of the names in the certificate. Use a name that the certificate has; the message lists them.";
    TlsExpired, "LYX-TLS-EXPIRED", Connect, "the certificate has expired",
        "Renew it on the server. Where it is not expired by another clock, look at this machine's.";
    TlsEarly, "LYX-TLS-NOT-YET", Connect, "the certificate is not valid yet",
        "It begins to be valid later. Look at the clocks of both machines.";
    TlsCertificate, "LYX-TLS-CERTIFICATE", Connect, "the certificate cannot be used",
        "It is malformed, revoked, made for clients or another purpose, or of a form that is refused today. The server needs a certificate for servers, version 3.";
    TlsExpiring, "LYX-TLS-EXPIRING", Connect, "the certificate expires soon",
        "Fewer than fourteen days are left. Renew it on the server before clients are refused.";
    TlsAbsent, "LYX-TLS-ABSENT", Connect, "the server does not speak TLS there",
        "The URL asks for TLS and the server has none on that port. Where it is meant to have none, on this machine or a trusted network, the message says what to write.";
    TlsRequired, "LYX-TLS-REQUIRED", Connect, "the server takes no connection without TLS",
        "The URL asks for none. The message has the scheme or parameter that switches it on.";
    TlsClient, "LYX-TLS-CLIENT", Connect, "the server asks for a client's certificate",
        "PostgreSQL: `sslcert` and `sslkey` in the URL; MongoDB: `tlsCertificateKeyFile`.";
    AuthPostgres, "LYX-AUTH-POSTGRES", Connect, "PostgreSQL refused the login",
        "Wrong user or password, or the server does not let this address in. A raw reserved character in the password is the usual cause: `lyrox url inspect`.";
    AuthMongodb, "LYX-AUTH-MONGODB", Connect, "MongoDB refused the login",
        "Wrong user or password, or the user lives in another database: add `authSource=admin`.";
    AuthRedis, "LYX-AUTH-REDIS", Connect, "Redis refused the login",
        "Wrong user or password, or none given.";
    AuthMissing, "LYX-AUTH-MISSING", Connect, "the server asks for a login and the URL has none",
        "`lyrox url build` writes a URL with user and password, encoded as they have to be.";
    AuthRole, "LYX-AUTH-ROLE", Connect, "there is no such role, or it may not log in",
        "The user of the URL does not exist on this server, or was created without LOGIN.";
    AuthAddress, "LYX-AUTH-ADDRESS", Connect, "the server does not let this machine in",
        "The login was not looked at: `pg_hba.conf`, the provider's list of allowed addresses, or Redis' protected mode refuses the address. Add this machine's address there.";
    AuthBlocked, "LYX-AUTH-BLOCKED", Connect, "too many failed logins: the server takes none for a while",
        "Something logs in with a wrong password again and again. Mend its URL first, then wait some minutes.";
    AuthSource, "LYX-AUTH-SOURCE", Connect, "the user lives in another authentication database",
        "The login was tried with the `authSource` of the message and works there. MongoDB looks for users in the database of the path where `authSource` is not given.";
    AuthOpen, "LYX-AUTH-OPEN", Connect, "the server asks for no login",
        "Whoever reaches it may read and write everything. Switch authorization on and make a user for the application.";
    DatabaseMissing, "LYX-DATABASE-MISSING", Connect, "the database does not exist",
        "Create it or mend the path of the URL. `lyrox setup` creates it on local servers.";
    DatabaseClosed, "LYX-DATABASE-CLOSED", Connect, "the database takes no connections",
        "It was made a template (`datallowconn`), or this role may not connect to it. The message has the statement.";
    SchemaMissing, "LYX-SCHEMA-MISSING", Connect, "the schema does not exist",
        "`schema` in lyrox.toml names it. `lyrox db migrate` works in it and does not make it.";
    Pooler, "LYX-POOLER", Connect, "a transaction pooler is in the way",
        "Migrations, seeds and resets need a direct connection. Set `direct_url`; `lyrox db migrate --allow-pooler` runs files that fit in one transaction.";
    PoolerStatement, "LYX-POOLER-STATEMENT", Connect, "a pooler hands out a connection per statement",
        "There are no transactions through it: neither lyrox nor most applications can work there. Set the pooler's `pool_mode` to `transaction` or `session`.";
    PoolerSetting, "LYX-POOLER-SETTING", Connect, "the pooler refuses a setting of the connection",
        "Poolers let few startup parameters through. Take the parameter out of the URL, unset PGOPTIONS, or set `direct_url` to the server itself.";
    PoolerLogin, "LYX-POOLER-LOGIN", Connect, "the pooler knows no such user or project",
        "Behind a shared pooler the user carries the project (`postgres.<project ref>`), and the host names a region. A wrong region, a wrong project or a paused one sound alike: copy the URL anew from the provider's dashboard.";
    PoolerFull, "LYX-POOLER-FULL", Connect, "the pooler has no connection left",
        "Its pool or its list of clients is full. End idle clients, raise the pool's size, or use the transaction pooler for the application.";
    PoolerServer, "LYX-POOLER-SERVER", Connect, "the pooler cannot reach its server",
        "The pooler answers and the database behind it does not: it is starting, paused or down, or the pooler's own login is wrong.";
    ServerBinary, "LYX-SERVER-BINARY", Connect, "a server program was not found",
        "Install the server, name its path under `[local]`, or let lyrox fetch it (not with `--offline`).";
    ServerDownload, "LYX-SERVER-DOWNLOAD", Connect, "a server program could not be fetched",
        "The package client failed or the bytes are not the pinned ones. Nothing was unpacked.";
    ServerStart, "LYX-SERVER-START", Connect, "a local server cannot start",
        "The message shows the last lines of its log; `lyrox logs STORE` shows the rest.";
    ServerVersion, "LYX-SERVER-VERSION", Connect, "the data folder belongs to another server version",
        "A data folder of another major version is never touched. Use that version, or move the folder away.";
    ServerDisk, "LYX-SERVER-DISK", Connect, "the disk is full or read-only",
        "The local servers keep their data under `.lyrox/`. Free space there and run the command again.";
    ServerState, "LYX-SERVER-STATE", Connect, "the record of the local servers cannot be read",
        "`.lyrox/state.json` and its copy hold the ports and passwords of the local servers. Bring one of them back, or begin anew with `lyrox down --purge --confirm PROJECT`.";

    // locks
    LockHeld, "LYX-LOCK-HELD", Lock, "another run holds the lock",
        "Another lyrox works on the same project. The message says which; the lock dies with that process. `lyrox db unlock` shows every lock.";
    LockLost, "LYX-LOCK-LOST", Lock, "the lock was lost during the run",
        "The session or lease that held the lock is gone. What was done is in the ledger; run the command again.";

    // state
    DriftEdited, "LYX-DRIFT-EDITED", State, "an applied migration was edited",
        "Its text differs from what was applied. Undo the edit and write a new migration; `lyrox db repair --accept VERSION` records that the file as it is now counts as applied.";
    DriftShortened, "LYX-DRIFT-SHORTENED", State, "a migration was cut below what is in effect",
        "The file ends before what was applied does, or holds fewer statements than the journal says are in effect: a save that failed, a bad merge. Bring the whole file back.";
    DriftHeader, "LYX-DRIFT-HEADER", State, "the directives of an applied migration were changed",
        "Only the comment lines at its top differ; what was run is the same. `lyrox db repair --accept VERSION` records it.";
    DriftMissing, "LYX-DRIFT-MISSING", State, "an applied migration has no file",
        "The file was deleted or belongs to another branch. Bring it back, or undo it with the way back that the ledger keeps: `lyrox db rollback --version VERSION`; `lyrox db repair --forget VERSION` strikes it out of the ledger.";
    DriftRenamed, "LYX-DRIFT-RENAMED", State, "an applied migration was renamed",
        "It was applied under another name or version. Give it its name back; `lyrox db repair --accept VERSION` records a new name.";
    DriftOrder, "LYX-DRIFT-ORDER", State, "a migration is older than what is applied",
        "It was merged late. Give it a new version, or write `lyrox: allow out-of-order` in its header.";
    DriftSquash, "LYX-DRIFT-SQUASH", State, "a squashed migration does not fit what is applied",
        "It stands for versions of which this store has some, or had others. Apply all of them from the commit before the squash, then come back.";
    HistoryBroken, "LYX-HISTORY-BROKEN", State, "another tool's history has a migration that is not finished",
        "With `format` under [migrations], the other tool's history is the truth of what is applied. It says that a migration was begun or failed there (golang-migrate's dirty, Prisma's failed, sqlx's success = false): that tool would refuse to go on, and so does lyrox. The message has the command that settles it.";
    HistoryGone, "LYX-HISTORY-GONE", State, "another tool's history is missing",
        "lyrox's ledger says that migrations are applied, and the other tool's history, which lyrox keeps in step, is not there: it was dropped, or `format` was set after lyrox had migrated by itself. `lyrox db repair --record postgres` writes it from the ledger, if what the migrations made is there.";
    SquashDiffers, "LYX-SQUASH-DIFFERS", Failed, "the squashed migration makes another schema",
        "Both were replayed on scratch stores, and what they made differs in the objects that the message lists. No file was touched. Most often an older file behaves otherwise among the others: squash up to the version before it with `--to`.";
    HistoryForeign, "LYX-HISTORY-FOREIGN", State, "the history table belongs to another tool",
        "dbmate, golang-migrate and Rails all call their history `schema_migrations`. The table that was found is not one of the tool that `format` under [migrations] names. Set `format` to the tool that is used here, or `history` to the table that its own setting names.";
    TenantClash, "LYX-TENANT-CLASH", State, "something is in a tenant's way",
        "A role, schema, database, user or row with the tenant's name is there and was not made for it. The message names it. Give the tenant another slug, take a tenant that the application made in with `lyrox tenant adopt KEY`, or remove what is in the way.";
    TenantState, "LYX-TENANT-STATE", State, "the tenant is not in a state for this",
        "A tenant that is being made or removed cannot be used otherwise. The message names the command that finishes it.";
    TenantUnclassified, "LYX-TENANT-UNCLASSIFIED", State, "nobody says whether something is the tenant's",
        "Before a tenant is exported, deleted or moved, every table, collection and key space that could hold its data is classified: it carries the tenant, leads to what does, or is deliberately nobody's. The message names what is neither. Give a table or collection the tenant column, or list it under `global` in [tenancy]; give a key space `tenant = ...` under [redis.keyspaces].";
    TenantHeld, "LYX-TENANT-HELD", State, "rows of others refer to the tenant's",
        "Deleting the tenant would change or remove rows that are not its own, or a foreign key forbids it. The message names the table and how many rows there are. Remove or change those references first.";
    TenantLeft, "LYX-TENANT-LEFT", State, "something of the tenant is left",
        "After a removal every store is asked again. The message names what is still there: most often something wrote it while the tenant was being removed. Stop the application for this tenant and run the same command again.";
    Unfinished, "LYX-UNFINISHED", State, "a migration was started and not finished",
        "It ran without a transaction and was cut short or failed. The message names the exact step.";
    InDoubt, "LYX-IN-DOUBT", State, "it is not known whether a step took effect",
        "The connection was lost at the moment of the answer. The message says how to find out; `lyrox db repair --done VERSION` or `--not-done VERSION` settles it.";
    MarkDiffers, "LYX-MARK-DIFFERS", State, "the store belongs to another environment",
        "Each store remembers its environment. Use `-e` with that name, or change it with `lyrox env mark NAME --confirm NAME`.";
    Baseline, "LYX-BASELINE", State, "the ledger does not allow a baseline",
        "A baseline is for a store that holds the schema and has no ledger yet. Rows that are newer, unfinished or of another text are in its way.";
    LedgerBehind, "LYX-LEDGER-BEHIND", State, "a store lacks migrations that were applied to it",
        "It was emptied, evicted or restored from an older backup.";
    LedgerNewer, "LYX-LEDGER-NEWER", State, "the ledger was written by a newer lyrox",
        "Use a lyrox of that version or later.";
    LedgerDamaged, "LYX-LEDGER-DAMAGED", State, "the ledger cannot be read",
        "A table, column or row of the ledger is not as lyrox wrote it.";
    SchemaDrift, "LYX-SCHEMA-DRIFT", State, "the live schema differs from the snapshot",
        "Something was changed by hand. The message lists what.";
    SnapshotMissing, "LYX-SNAPSHOT-MISSING", State, "a store has no snapshot to compare with",
        "`lyrox db migrate` keeps one beside the ledger after each run. It is missing, or of another state of the migrations.";
    ReplayDrift, "LYX-REPLAY-DRIFT", State, "the snapshot differs from a replay of the migrations",
        "Something that the migrations do not make was in the store when the snapshot was taken, or a migration did otherwise then.";
    DumpDrift, "LYX-DUMP-DRIFT", State, "the dump on disk is not of the live schema",
        "`lyrox db dump --check` found files that `lyrox db dump` would write otherwise. Run it and commit what it writes.";
    ScratchVersion, "LYX-SCRATCH-VERSION", State, "the scratch server is of another major version",
        "Servers of different versions print the same schema differently. Install the live one's version, or name a server with `--scratch-url`.";
    ScratchCluster, "LYX-SCRATCH-CLUSTER", State, "a migration would change a whole scratch server that others use",
        "Roles, databases, tablespaces, server settings, libraries and users belong to the whole server. Nothing was run.";
    ReplayFailed, "LYX-REPLAY-FAILED", Failed, "the migrations cannot be replayed on a scratch server",
        "What one of them needs is on the live server and not on the scratch server, or the server refused it. The live stores were not touched.";
    ResetUnfinished, "LYX-RESET-UNFINISHED", State, "a reset was cut short",
        "Run `lyrox db reset` again, or `lyrox db migrate`: both finish it first.";

    // failures of the work itself
    MigrationFailed, "LYX-MIGRATION-FAILED", Failed, "a migration failed",
        "The message shows the statement, the server's words and what happened to the data.";
    TenantsFailed, "LYX-TENANTS-FAILED", Tenants, "some tenants failed, others are done",
        "Every tenant is a unit of its own. The report names those that failed and why; running the command again works on those only.";
    TenantFailed, "LYX-TENANT-FAILED", Failed, "a tenant could not be made",
        "The message says which store refused what. What was made for it was taken back, or the message names what is left; `lyrox tenant create KEY` goes on from there.";
    TenantLeak, "LYX-TENANT-LEAK", Failed, "a tenant can reach what is another's",
        "`lyrox tenant verify` tried it and got through, or the server's rules allow it. The message names the object, how it was reached and the statement that closes it. What is meant to be so is named in `accepted` under [tenancy] by the finding's id.";
    TenantUntried, "LYX-TENANT-UNTRIED", Failed, "what keeps tenants apart could not be tried",
        "Nothing is proved about this object, and what is not proved is no success. The message says why it could not be tried and what makes it possible.";
    TenantAstray, "LYX-TENANT-ASTRAY", Failed, "the stores do not agree about a tenant",
        "A tenant is missing in a store, is at another version than the rest, or something is there that belongs to no tenant. The message names the command that mends it.";
    Policies, "LYX-POLICIES", Failed, "row-level security does not keep tenants apart",
        "A table that belongs to tenants has no policy, is not forced, or cannot be reached from the tenant table. `lyrox tenant policies --write` writes the migration that closes it.";
    Lint, "LYX-LINT", Failed, "a migration breaks a rule of lint",
        "The finding names the rule, the place and a safer way. Where the file is right after all: `lyrox: lint ignore RULE` in a comment above the statement, or `[lint] ignore` in lyrox.toml. `lyrox db lint --rules` lists the rules.";
    SeedFailed, "LYX-SEED-FAILED", Failed, "a seed failed",
        "The message names the file, the row and the server's words. Nothing of that store's seed stays unless it says so.";
    SeedRejected, "LYX-SEED-REJECTED", Failed, "rows were set aside",
        "`--reject FILE` wrote the rows that the store refused into the file, each with its reason in `lyrox_reason`. All other rows are loaded. Mend the file and load it with `--from`: the column of reasons is passed over.";
    SmokeFailed, "LYX-SMOKE-FAILED", Failed, "a smoke test failed",
        "The test's line says what was expected and what was found.";
    SmokeLeftover, "LYX-SMOKE-LEFTOVER", Failed, "a smoke test left something behind",
        "What it wrote could not be removed, or a count changed. The message names it.";
    ExpectFailed, "LYX-EXPECT-FAILED", Failed, "an expectation of the configuration failed",
        "A `[[check.expect]]` query failed or found nothing. Migrate or seed first.";
    WriteProbe, "LYX-WRITE-PROBE", Failed, "a write that was tried and undone failed",
        "`lyrox check --deep` writes a little and takes it back. The server refused; its words follow.";
    Privilege, "LYX-PRIVILEGE", Failed, "a privilege is missing",
        "The role may not do what the command needs. The message names the grant.";
    Extension, "LYX-EXTENSION", Failed, "a PostgreSQL extension is missing",
        "It is not installed on the server, or the role may not create it.";
    QueryFailed, "LYX-QUERY-FAILED", Failed, "the query failed",
        "The server's words follow. `lyrox query` is read-only unless `--write` is given.";
    ResetFailed, "LYX-RESET-FAILED", Failed, "a reset could not drop everything",
        "The message names what is left. The stores are marked `resetting`; run it again.";
    WriteFailed, "LYX-WRITE-FAILED", Failed, "a file could not be written",
        "The disk is full or read-only, or the folder may not be written to.";

    Pending, "LYX-PENDING", Pending, "migrations are pending",
        "`--check` found work to do. Run `lyrox db migrate`.";
    Bug, "LYX-BUG", Bug, "a bug in lyrox",
        "Something that cannot happen did. Please report it with the output of the command with `-v`.";
}

impl fmt::Display for Code {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.text())
    }
}

impl std::str::FromStr for Code {
    type Err = ();

    /// Reads a code with or without its `LYX-`, in any case.
    fn from_str(text: &str) -> Result<Self, ()> {
        let upper = text.trim().to_ascii_uppercase();
        let full = if upper.starts_with("LYX-") { upper } else { format!("LYX-{upper}") };
        Self::ALL.iter().copied().find(|code| code.text() == full).ok_or(())
    }
}
