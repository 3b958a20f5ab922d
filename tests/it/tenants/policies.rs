//! `tenant policies`: what keeps the rows of tenants apart, written on request.

use super::Own;

#[test]
fn the_migration_that_is_written_closes_every_table_and_comes_back() {
    let own = Own::row("tn_pol");
    let role = own.slug("app");
    let text = std::fs::read_to_string(own.path("lyrox.toml")).expect("lyrox.toml");
    own.write("lyrox.toml", &text.replace("[postgres]\n", &format!("[postgres]\napp_role = \"{role}\"\n")));
    own.lyrox(&["-q", "db", "migrate"]).ok();
    let open = own.lyrox(&["tenant", "policies"]);
    open.exit(1).says("LYX-POLICIES").says("line").says("--write").says("1 of 4");
    own.lyrox(&["tenant", "policies", "--write"]).ok().says("tenant_policies.up.sql");
    own.lyrox(&["db", "lint"]).never_says("FAILED");
    own.lyrox(&["db", "migrate"]).ok();
    own.lyrox(&["tenant", "policies"]).ok().says("leads to the tenant by sale").says("4 of 4");
    own.sql(&format!("GRANT {role} TO CURRENT_USER"));
    for (tenant, sale) in [("a", 1), ("b", 2)] {
        own.create(tenant, &["--slug", &own.slug(tenant), "--no-credentials"]);
        own.sql(&format!("INSERT INTO sale VALUES ({sale}, '{tenant}', 5); INSERT INTO line VALUES ({sale}, {sale})"));
    }
    let seen = |tenant: &str| {
        own.sql_value(&format!(
            "BEGIN; SET LOCAL ROLE {role}; SET LOCAL app.tenant = '{tenant}'; \
             SELECT concat_ws(' ', (SELECT string_agg(id, ',') FROM company), (SELECT string_agg(id::text, ',') FROM sale), \
             (SELECT string_agg(id::text, ',') FROM line))"
        ))
    };
    assert_eq!((seen("a"), seen("b"), seen("")), ("a 1 1".into(), "b 2 2".into(), String::new()));
    let foreign = format!("BEGIN; SET LOCAL ROLE {role}; SET LOCAL app.tenant = 'a'; INSERT INTO line VALUES (9, 2)");
    assert!(crate::support::sql(&own.postgres, &foreign).is_err(), "another tenant's sale takes no line");
    own.lyrox(&["db", "rollback", "--yes"]).ok();
    own.lyrox(&["tenant", "policies"]).exit(1).says("1 of 4");
}

#[test]
fn another_door_beside_the_policy_is_named() {
    let own = Own::row("tn_door");
    own.lyrox(&["-q", "tenant", "policies", "--write"]);
    own.lyrox(&["-q", "db", "migrate"]).ok();
    own.lyrox(&["tenant", "policies"]).ok();
    own.sql("CREATE POLICY support ON sale USING (true)");
    own.lyrox(&["tenant", "policies"]).exit(1).says("support").says("whoever the tenant is");
    own.sql("DROP POLICY support ON sale; ALTER TABLE sale NO FORCE ROW LEVEL SECURITY");
    own.lyrox(&["tenant", "policies"]).exit(1).says("does not bind the owner");
}
