//! P1: any number of runners, one effect.

use super::{figure, only_postgres, rounds, start};
use crate::support::Project;

#[test]
fn eight_runners_on_an_empty_database_have_one_effect() {
    let rounds = rounds(2, 50);
    for round in 0..rounds {
        let project = Project::new("p01", "");
        // Every third round with PostgreSQL alone, where nothing else slows the race down.
        let is_alone = round % 3 == 1;
        if is_alone {
            only_postgres(&project, "");
        }
        for number in 1..=4 {
            let sql = format!("CREATE TABLE t{number} (id int);\nINSERT INTO t{number} VALUES (1);\n");
            project.write(&format!("migrations/{number}_m.up.sql"), &sql);
            if !is_alone {
                let json = format!(r#"[{{ "insert": "marks", "documents": [{{ "n": {number} }}] }}]"#);
                project.write(&format!("migrations/{number}_m.up.json"), &json);
                project.write(&format!("migrations/{number}_m.up.redis"), "INCR {{prefix}}marks\n");
            }
        }
        let runs: Vec<_> = (0..8).map(|_| start(&project, &["db", "migrate"])).collect();
        for run in runs {
            let output = run.end();
            output.ok().never_says("LYX-");
        }
        for number in 1..=4 {
            assert_eq!(project.sql_value(&format!("SELECT count(*) FROM t{number}")), "1", "round {round}");
        }
        let applied = "SELECT count(*) FROM lyrox.events WHERE what = 'applied'";
        assert_eq!(project.sql_value(applied), "4", "round {round}");
        if !is_alone {
            let reply = project.mongo(bson::doc! { "count": "marks" });
            assert_eq!(reply.get_i32("n").ok(), Some(4), "round {round}");
            let marks = project.redis(&["GET", &format!("{}marks", project.prefix)]);
            assert_eq!(marks, redis::Value::BulkString(b"4".to_vec()), "round {round}");
        }
    }
    figure("P1", format!("8 processes x {rounds} cold starts: each migration once, all exit 0"));
}
