//! Tenants: forced policies, rows that stay with their tenant.

use crate::support::{Project, sql};

const TENANTS: &str = r#"
CREATE TABLE company (id uuid PRIMARY KEY, name text NOT NULL UNIQUE);
CREATE TABLE sale (id uuid PRIMARY KEY, company_id uuid NOT NULL REFERENCES company (id), number text NOT NULL,
    UNIQUE (company_id, number));
CREATE TABLE member (email text PRIMARY KEY);
ALTER TABLE company ENABLE ROW LEVEL SECURITY; ALTER TABLE company FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON company USING (id = nullif(current_setting('app.tenant', true), '')::uuid);
ALTER TABLE sale ENABLE ROW LEVEL SECURITY; ALTER TABLE sale FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON sale USING (company_id = nullif(current_setting('app.tenant', true), '')::uuid);
"#;

const TENANCY: &str =
    "[tenancy]\ntable = \"company\"\nkey_column = \"id\"\ncolumn = \"company_id\"\nglobal = [\"member\"]\n";

/// A project whose owner is bound by the policies; the role goes with it.
struct Bound {
    project: Project,
    role: String,
}

impl Bound {
    fn new(name: &str) -> Self {
        let project = Project::new(name, "");
        let role = format!("{}_own", project.name);
        project.sql(&format!("CREATE ROLE {role} LOGIN PASSWORD 'bound-owner'"));
        project.sql(&format!("GRANT ALL ON DATABASE {} TO {role}; GRANT ALL ON SCHEMA public TO {role}", project.name));
        let address = project.postgres.rsplit_once('@').expect("a host").1;
        project.write(".env", &format!("DATABASE_URL=postgres://{role}:bound-owner@{address}\n"));
        project.write("lyrox.toml", &format!("[project]\nname = \"{}\"\n[postgres]\n{TENANCY}", project.name));
        project.write("migrations/1_core.up.sql", TENANTS);
        // Made first: what fails from here on takes the role away with it.
        let bound = Self { project, role };
        bound.project.lyrox(&["db", "migrate"]).ok();
        bound
    }

    /// A query as the bound owner of the tables, for one tenant.
    fn value(&self, tenant: &str, query: &str) -> String {
        let address = self.project.postgres.rsplit_once('@').expect("a host").1;
        let url = format!("postgres://{}:bound-owner@{address}", self.role);
        let rows = sql(&url, &format!("SET app.tenant = '{tenant}'; {query}")).expect("an answer");
        rows[0][0].clone().expect("a value")
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        let address = self.project.postgres.rsplit_once('@').expect("a host").1;
        let own = format!("postgres://{}:bound-owner@{address}", self.role);
        let _ = sql(&own, "DROP SCHEMA IF EXISTS lyrox CASCADE; DROP OWNED BY CURRENT_USER CASCADE");
        let _ = sql(
            &self.project.postgres,
            &format!(
                "REVOKE ALL ON DATABASE {} FROM {1}; REVOKE ALL ON SCHEMA public FROM {1}; DROP ROLE {1}",
                self.project.name, self.role
            ),
        );
    }
}

#[test]
fn forced_policies_are_met_tenant_by_tenant() {
    let bound = Bound::new("seed_rls");
    let project = &bound.project;
    let [one, two] = ["aaaaaaaa-0000-4000-8000-000000000001", "aaaaaaaa-0000-4000-8000-000000000002"];
    project.write(
        "seeds/dev/postgres/company.toml",
        &format!("key = [\"name\"]\n[rows.one]\nid = \"{one}\"\nname = \"one\"\n[rows.two]\nname = \"two\"\nid = \"{two}\"\n[rows.three]\nname = \"three\"\n"),
    );
    project.write(
        "seeds/dev/postgres/sale.toml",
        "key = [\"company_id\", \"number\"]\n[rows.a]\ncompany_id = \"@company.one\"\nnumber = \"1\"\n[rows.b]\ncompany_id = \"@company.three\"\nnumber = \"1\"\n",
    );
    let rows: String = (1..=2000)
        .map(|n| format!("{},{},c{n}\n", uuid::Uuid::from_u128(n), if n % 2 == 0 { one } else { two }))
        .collect();
    project.write("seeds/dev/postgres/sale.csv", &format!("id,company_id,number\n{rows}"));
    let first = project.lyrox(&["db", "seed", "--output", "json"]);
    first.ok();
    assert_eq!(first.item("postgres.company")["detail"], "3 created");
    let bulk = first.item("postgres.sale.csv")["detail"].as_str().expect("a detail").to_owned();
    assert!(bulk.starts_with("2000 created; row-level security"), "{bulk}");
    assert_eq!(bound.value(one, "SELECT count(*) FROM sale"), "1001");
    assert_eq!(bound.value(two, "SELECT count(*) FROM sale"), "1000");
    let sum = || bound.value(one, "SELECT md5(string_agg(xmin::text || id::text, ',' ORDER BY id)) FROM sale");
    let before = sum();
    project.lyrox(&["db", "seed"]).ok().never_says("created").never_says("updated");
    assert_eq!(sum(), before);
    // A row that no policy lets through: the table and what to do are named.
    project.write(
        "migrations/2_member.up.sql",
        "ALTER TABLE member ENABLE ROW LEVEL SECURITY; ALTER TABLE member FORCE ROW LEVEL SECURITY;
         CREATE POLICY nobody ON member USING (false);",
    );
    project.lyrox(&["db", "migrate"]).ok();
    project.write("seeds/dev/postgres/member.toml", "[rows.a]\nemail = \"a\"\n");
    project.lyrox(&["db", "seed"]).exit(1).says("policy nobody").says("BYPASSRLS").says("member.toml:1");
}

#[test]
fn an_upsert_never_moves_a_row_between_tenants() {
    let project = Project::new("seed_move", "");
    project.write(
        "lyrox.toml",
        &format!("[project]\nname = \"{}\"\n[postgres]\n[tenancy]\ncolumn = \"tenant\"\n", project.name),
    );
    project.write("migrations/1_core.up.sql", "CREATE TABLE t (id int PRIMARY KEY, tenant text NOT NULL, v int)");
    project.lyrox(&["db", "migrate"]).ok();
    project.sql("INSERT INTO t VALUES (1, 'a', 1)");
    project.write("seeds/dev/postgres/t.toml", "[rows.x]\nid = 1\ntenant = \"b\"\n");
    project.lyrox(&["db", "seed"]).exit(1).says("belongs to another tenant").says("t.toml:1");
    project.remove("seeds/dev/postgres/t.toml");
    project.write("seeds/dev/postgres/t.csv", "id,tenant\n2,a\n1,b\n");
    project.lyrox(&["db", "seed"]).exit(1).says("belongs to another tenant").says("t.csv:3");
    assert_eq!(project.sql_value("SELECT string_agg(id || tenant, ' ') FROM t"), "1a");
}
