//! A verification that is killed leaves nothing that the next one does not remove.

use std::time::Duration;

use super::row::shop;

#[test]
fn a_kill_in_the_middle_is_cleaned_by_the_next_run() {
    let own = shop("leakkill");
    let prefix = "t_lyrox_verify_";
    for step in 0..8u64 {
        let mut child = own
            .command(&["tenant", "verify", "--output", "json"])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("lyrox");
        std::thread::sleep(Duration::from_millis(60 + 70 * step));
        let _ = child.kill();
        let _ = child.wait();
    }
    // What a dead run holds ends with its session or its lease.
    let until = std::time::Instant::now() + Duration::from_secs(60);
    loop {
        let run = own.lyrox(&["tenant", "verify", "--output", "json"]);
        if run.code == 0 {
            break;
        }
        assert!(run.code == 5 && std::time::Instant::now() < until, "{run}");
        std::thread::sleep(Duration::from_secs(1));
    }
    let journal = own.redis(&["EXISTS", &format!("{}lyrox:verify", own.prefix)]);
    assert_eq!(journal, redis::Value::Int(0));
    let own_users = own.users(prefix);
    // Other tests may be at work on the same server: only this project's pattern counts.
    let redis::Value::Array(lines) = own.redis(&["ACL", "LIST"]) else { panic!("no list") };
    let left = lines.into_iter().filter_map(|line| redis::from_redis_value::<String>(line).ok());
    let left: Vec<String> = left.filter(|line| line.contains(prefix) && line.contains(&own.prefix)).collect();
    assert!(left.is_empty(), "{left:?} of {own_users:?}");
    assert_eq!(own.sql_value("SELECT count(*) FROM company"), "2", "made-up tenants were rolled back");
}
