//! A table of URL forms: what each store's specification accepts, with every part it is to be read as, and what it
//! forbids, with the part that the message has to name.

use std::fmt::Write as _;

use lyrox::kind::StoreKind::{self, Mongodb, Postgres, Redis};
use lyrox::url::{Problem, SecretUrl, TlsMode, parse};

/// `user:password@host:port,.../database?options tls`; what the URL does not say is left out.
fn parts(url: &SecretUrl) -> String {
    let mut text = String::new();
    if url.user().is_some() || url.password().is_some() {
        text.push_str(url.user().unwrap_or(""));
        if let Some(password) = url.password() {
            let _ = write!(text, ":{}", password.expose());
        }
        text.push('@');
    }
    let _ = write!(text, "{}/{}", url.authority(), url.database().unwrap_or(""));
    for (index, (key, value)) in url.options().iter().enumerate() {
        let _ = write!(text, "{}{key}={value}", if index == 0 { '?' } else { '&' });
    }
    text.push_str(match url.tls() {
        TlsMode::Off => " off",
        TlsMode::Unverified => " unverified",
        TlsMode::VerifiedChain => " chain",
        TlsMode::Verified => " verified",
    });
    text
}

/// The place of a server that the URL does not name differs from machine to machine: its port here is one where none
/// listens, so that it is `localhost`.
const ACCEPTED: &[(StoreKind, &str, &str)] = &[
    // libpq: every part may be left out.
    (Postgres, "postgresql://localhost", "localhost/ off"),
    (Postgres, "postgresql://localhost:5433", "localhost:5433/ off"),
    (Postgres, "postgresql://localhost/mydb", "localhost/mydb off"),
    (Postgres, "postgresql://user@localhost", "user@localhost/ off"),
    (Postgres, "postgresql://user:secret@localhost", "user:secret@localhost/ off"),
    (Postgres, "postgres://user:secret@localhost/", "user:secret@localhost/ off"),
    (Postgres, "postgresql://:1", "localhost:1/ off"),
    (Postgres, "postgresql://:1/mydb", "localhost:1/mydb off"),
    (Postgres, "postgresql://user@:1/mydb", "user@localhost:1/mydb off"),
    (Postgres, "postgresql:///mydb?port=1", "localhost:1/mydb off"),
    (Postgres, "postgresql://?port=1", "localhost:1/ off"),
    (Postgres, "postgresql://user:pw@/mydb?port=1", "user:pw@localhost:1/mydb off"),
    (Postgres, "postgresql://:secret@localhost/db", ":secret@localhost/db off"),
    (Postgres, "POSTGRESQL://localhost/db", "localhost/db off"),
    // libpq: hosts.
    (Postgres, "postgresql://a:1,b:2/db", "a:1,b:2/db verified"),
    (Postgres, "postgresql://a,b:2,c/db", "a,b:2,c/db verified"),
    (Postgres, "postgresql://a:,b:2/db", "a,b:2/db verified"),
    (Postgres, "postgresql://a,:1/db", "a,localhost:1/db verified"),
    (Postgres, "postgresql://[::1]/db", "[::1]/db off"),
    (Postgres, "postgresql://[::1]:5433/db", "[::1]:5433/db off"),
    (Postgres, "postgresql://[2001:db8::1234],[2001:db8::5]:7/db", "[2001:db8::1234],[2001:db8::5]:7/db verified"),
    (Postgres, "postgresql://[fe80::1%25eth0]/db", "[fe80::1%eth0]/db verified"),
    (Postgres, "postgresql://127.0.0.1/db", "127.0.0.1/db off"),
    (Postgres, "postgresql://h_1.example-2.com/db", "h_1.example-2.com/db verified"),
    (Postgres, "postgresql://%2Fvar%2Flib%2Fpostgresql/dbname", "/var/lib/postgresql/dbname off"),
    (Postgres, "postgresql://%2Ftmp:5433/db", "/tmp:5433/db off"),
    (Postgres, "postgresql://me@%2Fvar%2Frun,h/db", "me@/var/run,h/db verified"),
    (Postgres, "postgresql:///db?host=/tmp/sock&port=6000", "/tmp/sock:6000/db off"),
    (Postgres, "postgresql:///db?host=%2Ftmp%2Fsock", "/tmp/sock/db off"),
    (Postgres, "postgresql:///db?host=a,b&port=1,2", "a:1,b:2/db verified"),
    (Postgres, "postgresql:///db?host=a,b&port=7", "a:7,b:7/db verified"),
    (Postgres, "postgresql://a/db?host=b", "b/db verified"),
    (Postgres, "postgresql://a:7/db?host=b", "b:7/db verified"),
    (Postgres, "postgresql://a:7/db?port=8", "a:8/db verified"),
    (Postgres, "postgresql:///db?host=::1", "[::1]/db off"),
    (Postgres, "postgresql:///db?hostaddr=127.0.0.1", "127.0.0.1/db off"),
    (Postgres, "postgresql://h/db?hostaddr=10.0.0.1", "h/db?hostaddr=10.0.0.1 verified"),
    // libpq: the login and the database among the parameters win.
    (Postgres, "postgresql://localhost/other?user=me&password=x%40y&dbname=db", "me:x@y@localhost/db off"),
    (Postgres, "postgresql://u:p@localhost/db?user=v", "v:p@localhost/db off"),
    (Postgres, "postgresql://localhost/a/b", "localhost/a/b off"),
    (Postgres, "postgresql://localhost/my%20db%2Fx", "localhost/my db/x off"),
    (Postgres, "postgresql://localhost/d@b", "localhost/d@b off"),
    (Postgres, "postgresql://localhost/db?application_name=me@home", "localhost/db?application_name=me@home off"),
    (Postgres, "postgresql://localhost/db#x", "localhost/db#x off"),
    (Postgres, "postgresql://u%40corp:p%3Aw@localhost/db", "u@corp:p:w@localhost/db off"),
    // libpq: parameters.
    (Postgres, "postgresql://h/db?sslmode=disable", "h/db?sslmode=disable off"),
    (Postgres, "postgresql://h/db?sslmode=prefer", "h/db?sslmode=prefer verified"),
    (Postgres, "postgresql://h/db?sslmode=require", "h/db?sslmode=require verified"),
    (Postgres, "postgresql://localhost/db?sslmode=require", "localhost/db?sslmode=require unverified"),
    (
        Postgres,
        "postgresql://h/db?sslmode=verify-ca&sslrootcert=ca.pem",
        "h/db?sslmode=verify-ca&sslrootcert=ca.pem chain",
    ),
    (Postgres, "postgresql://h/db?sslmode=no-verify", "h/db?sslmode=no-verify unverified"),
    (Postgres, "postgresql://h/db?ssl=true", "h/db?sslmode=require verified"),
    (Postgres, "postgresql://h/db?ssl=false", "h/db?sslmode=disable off"),
    (Postgres, "postgresql://h/db?options=-c%20geqo%3Doff", "h/db?options=-c geqo=off verified"),
    (
        Postgres,
        "postgresql://h/db?connect_timeout=10&target_session_attrs=read-write",
        "h/db?connect_timeout=10&target_session_attrs=read-write verified",
    ),
    (Postgres, "postgresql://h/db?schema=app&pgbouncer=true", "h/db?schema=app&pgbouncer=true verified"),
    (Postgres, "postgresql://h/db?", "h/db verified"),
    // libpq: keywords.
    (Postgres, "host=localhost port=5433 dbname=mydb user=me password=secret", "me:secret@localhost:5433/mydb off"),
    (Postgres, "host = localhost  dbname = 'my db'", "localhost/my db off"),
    (Postgres, r"host=localhost password='it\'s \\ me' user=u", r"u:it's \ me@localhost/ off"),
    (Postgres, r"host=localhost user=u password=a\ b", "u:a b@localhost/ off"),
    (Postgres, "host=localhost user='' password=''", "localhost/ off"),
    (Postgres, "host=a,b port=1,2 dbname=db", "a:1,b:2/db verified"),
    (Postgres, "host=::1 dbname=db", "[::1]/db off"),
    (Postgres, "host=/var/run/pg user=me dbname=db", "me@/var/run/pg/db off"),
    (Postgres, "hostaddr=127.0.0.1 port=5 dbname=db", "127.0.0.1:5/db off"),
    (Postgres, "dbname=db port=1", "localhost:1/db off"),
    (Postgres, "user=me host=h password=p@:/?#%x dbname=db sslmode=disable", "me:p@:/?#%x@h/db?sslmode=disable off"),
    // MongoDB: hosts.
    (Mongodb, "mongodb://localhost", "localhost/ off"),
    (Mongodb, "mongodb://localhost/", "localhost/ off"),
    (Mongodb, "mongodb://localhost:27018", "localhost:27018/ off"),
    (Mongodb, "mongodb://h", "h/ verified"),
    (Mongodb, "mongodb://a:1,b,c:3/?replicaSet=rs0", "a:1,b,c:3/?replicaSet=rs0 verified"),
    (Mongodb, "mongodb://127.0.0.1,[::1]:27019/db", "127.0.0.1,[::1]:27019/db off"),
    (Mongodb, "mongodb://[fe80::1%25eth0]:27017/", "[fe80::1%eth0]:27017/ verified"),
    (Mongodb, "mongodb://%2Ftmp%2Fmongodb-27017.sock", "/tmp/mongodb-27017.sock/ off"),
    (Mongodb, "mongodb://u:p@%2Ftmp%2Fm.sock/db?authSource=admin", "u:p@/tmp/m.sock/db?authSource=admin off"),
    (Mongodb, "mongodb://%2Ftmp%2Fm.sock,h:1/", "/tmp/m.sock,h:1/ verified"),
    (Mongodb, "mongodb://h_1.example.com/db", "h_1.example.com/db verified"),
    (Mongodb, "mongodb+srv://cluster.abc.mongodb.net", "cluster.abc.mongodb.net/ verified"),
    (
        Mongodb,
        "mongodb+srv://u:p@cluster.abc.mongodb.net/db?retryWrites=true&w=majority",
        "u:p@cluster.abc.mongodb.net/db?retryWrites=true&w=majority verified",
    ),
    (
        Mongodb,
        "mongodb+srv://c.example.com/?srvServiceName=own&srvMaxHosts=2",
        "c.example.com/?srvServiceName=own&srvMaxHosts=2 verified",
    ),
    (Mongodb, "mongodb+srv://c.example.com/?tls=false", "c.example.com/?tls=false off"),
    // MongoDB: login and database.
    (Mongodb, "mongodb://user@localhost", "user@localhost/ off"),
    (Mongodb, "mongodb://user:@localhost", "user:@localhost/ off"),
    (Mongodb, "mongodb://us%40er:p%3A%2F%3F%23%25w@localhost/db", "us@er:p:/?#%w@localhost/db off"),
    (Mongodb, "mongodb://u:p+w@localhost", "u:p+w@localhost/ off"),
    (Mongodb, "mongodb://localhost/my-db.collection", "localhost/my-db.collection off"),
    (Mongodb, "mongodb://localhost/caf%C3%A9", "localhost/café off"),
    (Mongodb, "mongodb://localhost?replicaSet=rs0", "localhost/?replicaSet=rs0 off"),
    // MongoDB: options.
    (Mongodb, "mongodb://h/?tls=true", "h/?tls=true verified"),
    (Mongodb, "mongodb://h/?ssl=true&tls=true", "h/?ssl=true&tls=true verified"),
    (Mongodb, "mongodb://h/?TLS=false", "h/?TLS=false off"),
    (Mongodb, "mongodb://localhost/?tls=true", "localhost/?tls=true verified"),
    (Mongodb, "mongodb://localhost/?tlsCAFile=ca.pem", "localhost/?tlsCAFile=ca.pem verified"),
    (Mongodb, "mongodb://h/?tlsInsecure=true", "h/?tlsInsecure=true unverified"),
    (Mongodb, "mongodb://h/?tlsAllowInvalidCertificates=true", "h/?tlsAllowInvalidCertificates=true unverified"),
    (Mongodb, "mongodb://h/?tlsAllowInvalidHostnames=true", "h/?tlsAllowInvalidHostnames=true chain"),
    (Mongodb, "mongodb://localhost/?retryWrites=1", "localhost/?retryWrites=true off"),
    (Mongodb, "mongodb://localhost/?unknownOption=1", "localhost/?unknownOption=1 off"),
    (Mongodb, "mongodb://localhost/?maxPoolSize=", "localhost/?maxPoolSize= off"),
    (Mongodb, "mongodb://localhost/?maxPoolSize=lots", "localhost/?maxPoolSize=lots off"),
    (Mongodb, "mongodb://localhost/?a=1;b=2", "localhost/?a=1&b=2 off"),
    (
        Mongodb,
        "mongodb://localhost/?readPreference=secondary&readPreferenceTags=dc:ny,rack:1&readPreferenceTags=",
        "localhost/?readPreference=secondary&readPreferenceTags=dc:ny,rack:1&readPreferenceTags= off",
    ),
    (Mongodb, "mongodb://localhost/?appName=my%20app%26x", "localhost/?appName=my app&x off"),
    (Mongodb, "mongodb://localhost/?w=0&journal=false", "localhost/?w=0&journal=false off"),
    (Mongodb, "mongodb://localhost/?directConnection=true", "localhost/?directConnection=true off"),
    (Mongodb, "mongodb://localhost/?loadBalanced=true", "localhost/?loadBalanced=true off"),
    (Mongodb, "mongodb://u@h/?authMechanism=MONGODB-X509", "u@h/?authMechanism=MONGODB-X509 verified"),
    (Mongodb, "mongodb://u:p@localhost/?authMechanism=SCRAM-SHA-256", "u:p@localhost/?authMechanism=SCRAM-SHA-256 off"),
    (
        Mongodb,
        "mongodb://localhost/?authMechanism=MONGODB-AWS&authMechanismProperties=AWS_SESSION_TOKEN:x",
        "localhost/?authMechanism=MONGODB-AWS&authMechanismProperties=AWS_SESSION_TOKEN:x off",
    ),
    (Mongodb, "mongodb://localhost/?proxyHost=p&proxyPort=1080", "localhost/?proxyHost=p&proxyPort=1080 off"),
    // Redis: every part may be left out.
    (Redis, "redis://", "localhost/ off"),
    (Redis, "redis:///1", "localhost/1 off"),
    (Redis, "redis://:6380", "localhost:6380/ off"),
    (Redis, "redis://h", "h/ off"),
    (Redis, "redis://h/", "h/ off"),
    (Redis, "redis://h:6380/0", "h:6380/0 off"),
    (Redis, "redis://user:secret@localhost:6379/0?foo=bar&qux=baz", "user:secret@localhost:6379/0?foo=bar&qux=baz off"),
    (Redis, "redis://:secret@h/15", ":secret@h/15 off"),
    (Redis, "redis://secret@h", ":secret@h/ off"),
    (Redis, "redis://user:@h", "user:@h/ off"),
    (Redis, "redis://h?db=3", "h/3 off"),
    (Redis, "redis://h/2?db=3", "h/2 off"),
    (Redis, "redis://h?password=secret&db=1", ":secret@h/1 off"),
    (Redis, "redis://:first@h?password=second", ":first@h/ off"),
    (Redis, "redis://h?username=me&password=secret", "me:secret@h/ off"),
    (Redis, "redis://[::1]:6379/1", "[::1]:6379/1 off"),
    (Redis, "redis://u:%40%3A%2F@h", "u:@:/@h/ off"),
    (Redis, "rediss://h:6380", "h:6380/ verified"),
    (Redis, "rediss://h#insecure", "h/ unverified"),
    (Redis, "RediSS://h", "h/ verified"),
    (Redis, "valkey://h/1", "h/1 off"),
    (Redis, "valkeys://h/1", "h/1 verified"),
    (Redis, "unix:///run/redis.sock", "/run/redis.sock/ off"),
    (Redis, "unix:///run/redis.sock?db=2", "/run/redis.sock/2 off"),
    (Redis, "unix://u:p@/run/redis.sock?db=2", "u:p@/run/redis.sock/2 off"),
    (Redis, "redis+unix:///run/my%20redis.sock?user=u&pass=p%40", "u:p@@/run/my redis.sock/ off"),
    (Redis, "valkey+unix:///run/v.sock", "/run/v.sock/ off"),
    (
        Redis,
        "rediss://default:x@happy-moose-1.upstash.io:6379?protocol=3",
        "default:x@happy-moose-1.upstash.io:6379/?protocol=3 verified",
    ),
];

/// What the message has to say; none of it is a piece of the text.
const REFUSED: &[(StoreKind, &str, &str)] = &[
    (Postgres, "", "scheme"),
    (Postgres, "localhost/db", "scheme"),
    (Postgres, "postgresql:/localhost/db", "scheme"),
    (Postgres, "postgresql+psycopg2://h/db", "driver"),
    (Postgres, "jdbc:postgresql://h/db", "JDBC"),
    (Postgres, "mysql://h/db", "does not work with"),
    (Postgres, "mongodb://h/db", "MongoDB's"),
    (Postgres, "https://h/db", "web address"),
    (Postgres, "postgresql://h:port/db", "port"),
    (Postgres, "postgresql://h:0/db", "port"),
    (Postgres, "postgresql://h:65536/db", "port"),
    (Postgres, "postgresql://h:+5/db", "port"),
    (Postgres, "postgresql://h:-1/db", "port"),
    (Postgres, "postgresql://[::1/db", "closing `]`"),
    (Postgres, "postgresql://[]/db", "no IPv6 address"),
    (Postgres, "postgresql://[x]/db", "no IPv6 address"),
    (Postgres, "postgresql://[::1]5/db", "other than a port"),
    (Postgres, "postgresql://::1/db", "brackets"),
    (Postgres, "postgresql://a b/db", "neither a name"),
    (Postgres, "postgresql://h%zz/db", "host holds a broken"),
    (Postgres, "postgresql://h/db%zz", "path"),
    (Postgres, "postgresql://h/db%00", "NUL"),
    (Postgres, "postgresql://h/db%E9", "UTF-8"),
    (Postgres, "postgresql://u:p%E9@h/db", "login"),
    (Postgres, "postgresql://u:p%00@h/db", "NUL"),
    (Postgres, "postgresql://h#x", "`#`"),
    (Postgres, "postgresql://h/db?sslmode", "no `=`"),
    (Postgres, "postgresql://h/db?=x", "no name"),
    (Postgres, "postgresql://h/db?sslmode=disable&", "no name"),
    (Postgres, "postgresql://h/db?options=a=b", "two `=`"),
    (Postgres, "postgresql://h/db?options=%zz", "parameter"),
    (Postgres, "postgresql://h/db?sslmod=disable", "`sslmod` is not known"),
    (Postgres, "postgresql://h/db?SSLMODE=disable", "not known"),
    (Postgres, "postgresql://h/db?anythingelse=1", "parameter"),
    (Postgres, "postgresql://h/db?sslmode=on", "`sslmode`"),
    (Postgres, "postgresql://h/db?ssl=maybe", "`ssl`"),
    (Postgres, "postgresql://h/db?target_session_attrs=master", "`target_session_attrs`"),
    (Postgres, "postgresql://h/db?connect_timeout=soon", "`connect_timeout`"),
    (Postgres, "postgresql://h/db?port=x", "port"),
    (Postgres, "postgresql://a,b,c/db?port=1,2", "2 ports cannot be for 3 hosts"),
    (Postgres, "postgresql:///db?host=a:5432", "port"),
    (Postgres, "postgresql:///db?host=@abstract", "abstract socket"),
    (Postgres, "postgresql:///db?hostaddr=example.com", "`hostaddr`"),
    (Postgres, "postgresql://a,b/db?hostaddr=10.0.0.1", "`hostaddr`"),
    (Postgres, "postgresql:///?service=prod", "`service`"),
    (Postgres, "host=h password", "keyword 2 has no `=`"),
    (Postgres, "host=h password='never ends", "keyword 2 has a value whose quote"),
    (Postgres, "host=h pasword=x", "keyword 2 is none"),
    (Postgres, "host=h port=many", "port"),
    (Mongodb, "mongo://h", "`mongodb://`"),
    (Mongodb, "mongodb:h", "scheme"),
    (Mongodb, "mongodb://", "host is missing"),
    (Mongodb, "mongodb:///db", "host is missing"),
    (Mongodb, "mongodb://a,,b/", "host is missing"),
    (Mongodb, "mongodb://a,/", "host is missing"),
    (Mongodb, "mongodb://h:/", "port after the `:` is missing"),
    (Mongodb, "mongodb://h:0/", "port"),
    (Mongodb, "mongodb://h:65536/", "port"),
    (Mongodb, "mongodb://h:abc/", "port"),
    (Mongodb, "mongodb://a::1/", "two colons"),
    (Mongodb, "mongodb://[::1/", "closing `]`"),
    (Mongodb, "mongodb://[localhost]/", "no IPv6 address"),
    (Mongodb, "mongodb://%2Ftmp%2Fmongodb/", "`.sock`"),
    (Mongodb, "mongodb://%2Ftmp%2Fm.sock:1/", "socket has no port"),
    (Mongodb, "mongodb:///tmp/m.sock", "host is missing"),
    (Mongodb, "mongodb://@h", "user before the `@`"),
    (Mongodb, "mongodb://:p@h", "user before the `@`"),
    (Mongodb, "mongodb://u:p%E9@h", "login"),
    (Mongodb, "mongodb://h/a%20b", "database"),
    (Mongodb, "mongodb://h/a%2Fb", "database"),
    (Mongodb, "mongodb://h/a$b", "database"),
    (Mongodb, "mongodb://h/a%22b", "database"),
    (Mongodb, "mongodb://h/a%5Cb", "database"),
    (Mongodb, "mongodb://h/?replicaSet", "no `=`"),
    (Mongodb, "mongodb://h/?=x", "no name"),
    (Mongodb, "mongodb://h/?replicaSet=%zz", "parameter"),
    (Mongodb, "mongodb://h/?tls=maybe", "`tls`"),
    (Mongodb, "mongodb://h/?tls=true&ssl=false", "different values"),
    (Mongodb, "mongodb://h/?tls=true&tls=false", "different values"),
    (Mongodb, "mongodb://h/?tlsInsecure=true&tlsAllowInvalidCertificates=true", "cannot stand together"),
    (Mongodb, "mongodb://h/?tlsInsecure=false&tlsAllowInvalidHostnames=false", "cannot stand together"),
    (
        Mongodb,
        "mongodb://h/?tlsDisableOCSPEndpointCheck=true&tlsDisableCertificateRevocationCheck=true",
        "cannot stand together",
    ),
    (Mongodb, "mongodb://a,b/?directConnection=true", "several hosts"),
    (Mongodb, "mongodb+srv://c.example.com/?directConnection=true", "`mongodb+srv`"),
    (Mongodb, "mongodb://a,b/?loadBalanced=true", "several hosts"),
    (Mongodb, "mongodb://a/?loadBalanced=true&replicaSet=rs", "`replicaSet`"),
    (Mongodb, "mongodb://a/?loadBalanced=true&directConnection=true", "`directConnection`"),
    (Mongodb, "mongodb://a/?srvMaxHosts=1", "`srvMaxHosts`"),
    (Mongodb, "mongodb://a/?srvServiceName=x", "`srvServiceName`"),
    (Mongodb, "mongodb+srv://c.example.com/?srvMaxHosts=1&replicaSet=rs", "`replicaSet`"),
    (Mongodb, "mongodb+srv://c.example.com:27017/", "no port"),
    (Mongodb, "mongodb+srv://a.example.com,b.example.com/", "one host"),
    (Mongodb, "mongodb+srv://127.0.0.1/", "no address"),
    (Mongodb, "mongodb+srv://%2Ftmp%2Fm.sock/", "no socket"),
    (Mongodb, "mongodb://u:p@h/?authSource=", "`authSource`"),
    (Mongodb, "mongodb://u:p@h/?authMechanism=SECRET", "`authMechanism`"),
    (Mongodb, "mongodb://h/?authMechanism=SCRAM-SHA-256", "needs a user"),
    (Mongodb, "mongodb://u@h/?authMechanism=PLAIN", "needs a password"),
    (Mongodb, "mongodb://u:p@h/?authMechanism=MONGODB-X509", "takes no password"),
    (Mongodb, "mongodb://u@h/?authMechanism=MONGODB-X509&authSource=db", "`$external`"),
    (Mongodb, "mongodb://u@h/?authMechanism=MONGODB-AWS", "both user and password"),
    (Mongodb, "mongodb://h/?w=-1", "`w`"),
    (Mongodb, "mongodb://h/?w=0&journal=true", "contradict"),
    (Mongodb, "mongodb://h/?readPreference=some", "`readPreference`"),
    (Mongodb, "mongodb://h/?readPreferenceTags=dc:ny", "`readPreference`"),
    (Mongodb, "mongodb://h/?proxyPort=1", "`proxyHost`"),
    (Mongodb, "mongodb://h/?proxyHost=p&proxyUsername=u", "without the other"),
    (Mongodb, "mongodb://h#x", "`#`"),
    (Redis, "h:6379", "scheme"),
    (Redis, "http://h", "web address"),
    (Redis, "redis-sentinel://h:26379/mymaster", "sentinels"),
    (Redis, "redis+socket:///run/r.sock", "socket"),
    (Redis, "redis://h:port", "port"),
    (Redis, "redis://h:0", "port"),
    (Redis, "redis://h:70000", "port"),
    (Redis, "redis://a,b", "several hosts"),
    (Redis, "redis://h/db", "no number"),
    (Redis, "redis://h/01", "no number"),
    (Redis, "redis://h/-1", "no number"),
    (Redis, "redis://h/0/extra", "no number"),
    (Redis, "redis://h?db=x", "no number"),
    (Redis, "redis://h#secure", "`#`"),
    (Redis, "redis://h?db=%zz", "parameter"),
    (Redis, "redis://[::1", "closing `]`"),
    (Redis, "redis://:p%C3@h", "login"),
    (Redis, "unix://", "path of the socket"),
    (Redis, "unix:///", "path of the socket"),
    (Redis, "unix://run/redis.sock", "path of the socket"),
];

#[test]
fn every_form_that_the_specifications_define_is_read_and_every_other_refused_by_its_part() {
    assert!(ACCEPTED.len() >= 125 && REFUSED.len() >= 125, "{} and {}", ACCEPTED.len(), REFUSED.len());
    let mut wrong = String::new();
    for (kind, text, expected) in ACCEPTED {
        let found = parse(*kind, text).map_or_else(|error| format!("refused: {error}"), |url| parts(&url));
        if found != *expected {
            let _ = writeln!(wrong, "{text}\n  is     {found}\n  wanted {expected}");
        }
    }
    for (kind, text, part) in REFUSED {
        match parse(*kind, text) {
            Ok(url) => {
                let _ = writeln!(wrong, "{text}\n  is taken as {}", parts(&url));
            }
            Err(error) => {
                let said = format!("{} {}", error.why_text().unwrap_or(""), error.hint_text().unwrap_or(""));
                if error.code().text() != "LYX-URL-INVALID" || !said.contains(part) || error.hint_text().is_none() {
                    let _ = writeln!(wrong, "{text}\n  says   {said}\n  wanted {part}");
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// What is written out reads back to the same parts, and without a remark on how it is written.
#[test]
fn every_accepted_form_is_written_out_as_one_that_all_read() {
    for (kind, text, expected) in ACCEPTED {
        let url = parse(*kind, text).expect(text);
        let again = parse(*kind, &url.expose()).unwrap_or_else(|error| panic!("{text}: {}: {error:?}", url.expose()));
        assert_eq!(parts(&again), *expected, "{text}");
        let is_of_form =
            |problem: &Problem| !matches!(problem, Problem::BadValue(_) | Problem::Repeated(_) | Problem::Placeholder);
        assert!(!again.problems().iter().any(is_of_form), "{text}: {:?}", again.problems());
    }
}

#[test]
fn raw_passwords_and_left_over_placeholders_are_told() {
    for (kind, text, password) in [
        (Postgres, "postgres://u:p@ss@h/db", "p@ss"),
        (Postgres, "postgres://u:a/b?c#d@h:5432/db?sslmode=require", "a/b?c#d"),
        (Postgres, "postgres://u:1/2@h/db", "1/2"),
        (Mongodb, "mongodb://u:p:@/??@a:1,b:2/db?replicaSet=rs", "p:@/??"),
        (Redis, "rediss://default:??p#w@h:6379", "??p#w"),
        (Redis, "redis://:100%@h", "100%"),
        (Postgres, "postgres://u:a b@h/db", "a b"),
        (Postgres, "\"postgres://u:p[w]@h/db\"", "p[w]"),
    ] {
        let url = parse(kind, text).expect(text);
        assert_eq!(url.password().map(|password| password.expose()), Some(password), "{text}");
        assert!(url.problems().iter().any(|problem| matches!(problem, Problem::RawPassword(_))), "{text}");
    }
    for text in [
        "postgres://u:[YOUR-PASSWORD]@h/db",
        "postgres://u:<password>@h/db",
        "postgres://u:<db_password>@h/db",
        "postgres://u:***@h/db",
        "postgres://u:${DB_PASSWORD}@h/db",
        "postgres://u:{{password}}@h/db",
        "postgres://u:your_password_here@h/db",
        "postgres://u:changeme@h/db",
        "postgres://u:%DB_PASSWORD%@h/db",
    ] {
        let url = parse(Postgres, text).expect(text);
        assert!(url.problems().contains(&Problem::Placeholder), "{text}: {:?}", url.problems());
    }
    for text in ["postgres://<user>:pw@h/db", "postgres://u:pw@h/[DATABASE]", "postgres://your_user:password1@h/db"] {
        let url = parse(Postgres, text).expect(text);
        assert!(!url.problems().contains(&Problem::Placeholder), "{text}: {:?}", url.problems());
    }
}
