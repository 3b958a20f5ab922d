//! What many tenants cost a server, by the server's own log.

use crate::promises::rounds;
use crate::setup::Alone;

/// A project with schemas and no users, on a server of its own that logs every statement.
fn many(count: u32) -> Alone {
    let alone = Alone::new();
    let write = |path: &str, text: &str| {
        let file = alone.path().join(path);
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        std::fs::write(file, text).expect("a file");
    };
    write(
        "lyrox.toml",
        "[project]\nname = \"logged\"\n[postgres]\n[tenancy]\nmodel = \"schema\"\nusers = false\n\
         [local]\npostgres_settings = { log_statement = \"all\" }\n",
    );
    write("migrations/1_shared.up.sql", "CREATE TABLE plan (name text PRIMARY KEY);");
    write("migrations/tenant/1_own.up.sql", "CREATE TABLE sale (id int PRIMARY KEY, total int);");
    let keys: String = (1..=count).map(|number| format!("n{number}\n")).collect();
    write("tenants.csv", &format!("key\n{keys}"));
    alone.lyrox(&["-q", "up"]).ok();
    alone.lyrox(&["-q", "db", "migrate"]).ok();
    alone.lyrox(&["-q", "tenant", "create", "--from-file", "tenants.csv", "--no-credentials"]).ok();
    alone
}

fn sql(alone: &Alone, statement: &str) {
    let url = lyrox::servers::running(alone.path()).expect("servers").postgres.expect("PostgreSQL");
    crate::support::sql(&url, statement).expect("an answer");
}

/// The statements that have reached the server so far.
fn log(alone: &Alone) -> Vec<String> {
    let log = std::fs::read(alone.path().join(".lyrox/postgres/log")).expect("a log");
    // A statement of several lines goes on behind a tab.
    let text = String::from_utf8_lossy(&log).replace("\n\t", " ");
    text.lines().filter(|line| line.contains("statement: ") || line.contains("execute ")).map(str::to_owned).collect()
}

/// P11 and R17, with the server as the witness. The stated number is 200 tenants.
#[test]
fn a_rerun_sends_statements_to_the_schema_that_failed_and_to_no_other() {
    let count = rounds(40, 200);
    let alone = many(count);
    sql(&alone, "INSERT INTO t_n17.sale VALUES (1, 0)");
    let file = alone.path().join("migrations/tenant/2_div.up.sql");
    std::fs::write(file, "CREATE TABLE more AS SELECT 1 / total AS x FROM sale;").expect("a file");
    alone.lyrox(&["db", "migrate", "--tenants", "all"]).exit(7).says(&format!("{} done, 1 failed", count - 1));
    let first = log(&alone);
    assert_eq!(first.iter().filter(|line| line.contains("CREATE TABLE more")).count(), count as usize);
    sql(&alone, "UPDATE t_n17.sale SET total = 1");
    let before = log(&alone).len();
    alone.lyrox(&["db", "migrate", "--tenants", "all"]).ok().says("1 done");
    let later = &log(&alone)[before..];
    let touched: Vec<_> = later.iter().filter(|line| line.contains("t_n") || line.contains("CREATE TABLE")).collect();
    assert!(touched.iter().any(|line| line.contains("CREATE TABLE more")), "{later:?}");
    for line in touched {
        assert!(line.contains("t_n17"), "{line}");
    }
    // Nor is any other read: what is known of the rest is one question.
    let named = |line: &&String| (1..=count).any(|n| n != 17 && line.contains(&format!("'n{n}'")));
    assert_eq!(later.iter().filter(named).count(), 0, "{later:?}");
}

/// The lock with the ledger, the file with its row and the session's settings, the lock given back.
#[test]
fn a_tenant_takes_three_round_trips() {
    let alone = many(30);
    std::fs::write(alone.path().join("migrations/tenant/2_more.up.sql"), "CREATE TABLE more (id int);")
        .expect("a file");
    let before = log(&alone).len();
    alone.lyrox(&["db", "migrate", "--tenants", "all", "--jobs", "1"]).ok().says("30 done");
    let own =
        |line: &&String| line.contains("pg_try_advisory_lock(") || line.contains("COMMIT") || line.contains("unlock(");
    let later: Vec<_> = log(&alone).split_off(before);
    // One message is one line of the log.
    let count = later.iter().filter(own).count();
    assert!((90..=100).contains(&count), "{count} of {}", later.len());
    assert!(later.len() < 120, "{} statements: {later:#?}", later.len());
}

/// What the last file of a run did to its session would keep the next tenant from being written to.
#[test]
fn what_a_file_does_to_its_session_is_not_the_next_ones() {
    let alone = many(5);
    let file = "CREATE TABLE more (id int);\nSET default_transaction_read_only = on;\nSET search_path = pg_catalog;\n";
    std::fs::write(alone.path().join("migrations/tenant/2_more.up.sql"), file).expect("a file");
    alone.lyrox(&["db", "migrate", "--tenants", "all", "--jobs", "1"]).ok().says("5 done");
    std::fs::write(alone.path().join("migrations/2_more.up.sql"), file).expect("a file");
    alone.lyrox(&["db", "migrate"]).ok();
    sql(&alone, "SELECT 1 / count(*) FROM lyrox.snapshots WHERE tenant = '' AND head <> ''");
}
