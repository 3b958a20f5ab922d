//! The forms of the report, what is accepted, and what is not tried.

use super::row::shop;

#[test]
fn the_report_comes_as_html_and_junit_and_names_what_is_accepted() {
    let own = shop("leakreport");
    own.sql("CREATE UNIQUE INDEX sale_code ON sale (code)");
    let run = own.lyrox(&["tenant", "verify", "--all", "--output-file", "report.html"]);
    run.exit(1).says("sale_code").says("1 leak");
    let page = std::fs::read_to_string(own.path("report.html")).expect("a report");
    assert!(page.starts_with("<!DOCTYPE html>") && page.contains("postgres.unique.sale_code"), "{page}");
    for loads in ["src=", "href=", "<script", "<link", "url("] {
        assert!(!page.contains(loads), "{loads} in {page}");
    }
    assert!(own.lyrox(&["tenant", "verify", "--output", "html"]).stdout.contains("</html>"));
    let junit = own.lyrox(&["tenant", "verify", "--output", "junit"]);
    junit.exit(1);
    assert!(junit.stdout.contains("LYX-TENANT-LEAK") && junit.stdout.contains("CREATE UNIQUE INDEX"), "{junit}");
    let toml = std::fs::read_to_string(own.path("lyrox.toml")).expect("lyrox.toml");
    own.write("lyrox.toml", &format!("{toml}accepted = [\"postgres.unique.sale_code\"]\n"));
    let accepted = own.lyrox(&["tenant", "verify", "--output", "json"]);
    accepted.ok();
    assert_eq!(accepted.item("postgres.unique.sale_code")["outcome"], "warn", "{accepted}");
}

#[test]
fn what_cannot_be_tried_is_no_success() {
    let own = shop("leakuntried");
    let toml = std::fs::read_to_string(own.path("lyrox.toml")).expect("lyrox.toml");
    let without: String =
        toml.lines().filter(|line| !line.starts_with("app_role")).map(|line| format!("{line}\n")).collect();
    own.write("lyrox.toml", &without);
    let run = own.lyrox(&["tenant", "verify", "--output", "json"]);
    run.exit(1);
    assert_eq!(super::findings(&run), ["postgres.no_role.of.the.application"], "{run}");
    assert_eq!(run.json()["data"]["not_tried"], 1, "{run}");
    own.lyrox(&["tenant", "verify", "nobody"]).exit(2).says("LYX-TENANT-UNKNOWN");
}

#[test]
fn many_tenants_take_few_round_trips() {
    let own = shop("leakmany");
    let mut csv = String::from("key\n");
    for number in 0..200 {
        csv.push_str(&format!("{}\n", own.slug(&format!("n{number}"))));
    }
    own.write("tenants.csv", &csv);
    own.lyrox(&["-q", "tenant", "create", "--from-file", "tenants.csv", "--no-credentials"]).ok();
    let begun = std::time::Instant::now();
    let run = own.lyrox(&["tenant", "verify", "--all", "--output", "json"]);
    run.ok();
    assert_eq!(run.json()["data"]["tenants"], 202, "{run}");
    assert!(begun.elapsed().as_secs() < 60, "{:?}", begun.elapsed());
}
