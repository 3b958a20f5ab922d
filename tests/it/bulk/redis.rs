//! Many keys: written and answered at the same time, compared where they are there.

use redis::Value;

use super::{detail, killed};
use crate::support::Project;

const SPACES: &str = "[redis.keyspaces.session]\npattern = \"session:{user}:{id}\"\ntype = \"string\"\nttl = \"1h\"\n\
    [redis.keyspaces.tags]\npattern = \"tags:{id}\"\ntype = \"list\"\n";
const SEED: [&str; 6] = ["db", "seed", "--from", "session.csv", "--into", "redis.session"];

fn sessions(count: usize) -> String {
    let rows: String =
        (0..count).map(|n| format!("{},{n},\"value {n}\",{}\n", n % 7, if n == 3 { "never" } else { "" })).collect();
    format!("user,id,value,ttl\n{rows}")
}

fn number(value: &Value) -> i64 {
    if let Value::Int(number) = value { *number } else { panic!("{value:?} is no number") }
}

fn keys(project: &Project) -> usize {
    let pattern = format!("{}session:*", project.prefix);
    let (mut cursor, mut found) = (String::from("0"), std::collections::BTreeSet::new());
    loop {
        let Value::Array(answer) = project.redis(&["SCAN", &cursor, "MATCH", &pattern, "COUNT", "2000"]) else {
            panic!("no answer of SCAN")
        };
        let text = |value: &Value| if let Value::BulkString(bytes) = value { bytes.clone() } else { Vec::new() };
        if let Some(Value::Array(keys)) = answer.get(1) {
            found.extend(keys.iter().map(text));
        }
        cursor = String::from_utf8(text(&answer[0])).expect("a cursor");
        if cursor == "0" {
            return found.len();
        }
    }
}

#[test]
fn keys_arrive_with_their_lives() {
    let project = Project::new("bulk_redis", SPACES);
    project.write("session.csv", &sessions(20_000));
    assert_eq!(detail(&project, &SEED, "redis.session.csv"), "20000 created");
    let key = |n: usize| format!("{}session:{}:{n}", project.prefix, n % 7);
    assert_eq!(project.redis(&["GET", &key(19_999)]), Value::BulkString(b"value 19999".to_vec()));
    let life = number(&project.redis(&["PTTL", &key(5)]));
    assert!(life > 3_500_000 && life <= 3_600_000, "{life}");
    assert_eq!(number(&project.redis(&["PTTL", &key(3)])), -1);
    assert_eq!(detail(&project, &SEED, "redis.session.csv"), "20000 unchanged");
    project.redis(&["DEL", &key(9)]);
    project.redis(&["SET", &key(10), "other", "KEEPTTL"]);
    assert_eq!(detail(&project, &SEED, "redis.session.csv"), "1 created, 1 updated, 19998 unchanged");
    // Lists take more than one command a row.
    project.write("tags.ndjson", "{\"id\": 1, \"items\": [\"a\", \"b\"]}\n{\"id\": 2, \"items\": [\"c\"]}\n");
    let tags = ["db", "seed", "--from", "tags.ndjson", "--into", "redis.tags"];
    assert_eq!(detail(&project, &tags, "redis.tags.ndjson"), "2 created");
    assert_eq!(number(&project.redis(&["LLEN", &format!("{}tags:1", project.prefix)])), 2);
    assert_eq!(detail(&project, &tags, "redis.tags.ndjson"), "2 unchanged");
}

#[test]
fn a_kill_is_gone_on_from() {
    let project = Project::new("bulk_redis_kill", SPACES);
    project.write("session.csv", &sessions(100_000));
    let last = format!("{}session:{}:9000", project.prefix, 9_000 % 7);
    killed(&project, &SEED, || number(&project.redis(&["EXISTS", &last])) == 1);
    let stored = keys(&project);
    assert!((9_000..100_000).contains(&stored), "it was killed in the middle, at {stored}");
    let said = detail(&project, &SEED, "redis.session.csv");
    assert!(said.contains("created") && said.contains("unchanged"), "{said}");
    assert_eq!(keys(&project), 100_000);
}

#[test]
fn what_is_no_key_is_set_aside() {
    let project = Project::new("bulk_redis_reject", SPACES);
    project.write("session.csv", "user,id,value,ttl\n1,1,a,\n1,,b,\n1,3,c,soon\n1,4,,\n1,5,e,1h\nx\n");
    project.lyrox(&SEED).exit(2).says("session.csv:7").says("nothing was changed");
    let arguments: Vec<&str> = SEED.into_iter().chain(["--reject", "bad.csv"]).collect();
    for word in ["2 created", "2 unchanged"] {
        project.lyrox(&arguments).exit(1).says(word).says("4 rows are set aside in `bad.csv`");
        let bad = std::fs::read_to_string(project.path("bad.csv")).expect("a file");
        for why in ["line 3:", "line 4:", "line 5:", "line 7:"] {
            assert!(bad.contains(why), "{why} in {bad}");
        }
        std::fs::remove_file(project.path("bad.csv")).expect("a file");
    }
}
