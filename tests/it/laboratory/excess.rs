//! Users that may more than anything needs, seen from another machine; on the machine's own servers nobody is bothered.

use super::servers::{self, wait_for};
use super::{Case, run};
use crate::support::{Output, Project, block_on, sql};

fn project(name: &str, store: &str) -> Project {
    let project = Project::new(name, "");
    let (url, more) = match store {
        "postgres" => (
            "DATABASE_URL",
            "[env.two.postgres]\ndirect_url = \"${DIRECT_URL}\"\n[env.role.postgres]\napp_role = \"app\"\n",
        ),
        "mongodb" => ("MONGODB_URI", "[env.places.tenancy]\nmodel = \"database\"\n"),
        _ => ("REDIS_URL", ""),
    };
    project.write("lyrox.toml", &format!("[project]\nname = \"lab\"\n[{store}]\nurl = \"${{{url}}}\"\n{more}"));
    project.write(".env", "");
    project
}

/// Nothing but `url` is remarked.
#[track_caller]
fn is_quiet(project: &Project, store: &str, variable: &str, url: &str, environment: Option<&str>) {
    let mut arguments = vec!["check", "--only", store, "--output", "json"];
    arguments.extend(environment.iter().flat_map(|name| ["-e", name]));
    let output = project.command(&arguments).env(variable, url).output().expect("lyrox");
    let run = Output::new(&arguments, &output);
    let report = run.ok().json();
    let odd = report["items"]
        .as_array()
        .expect("items")
        .iter()
        .find(|item| item["title"] == "privileges" && item["outcome"] != "pass");
    assert!(odd.is_none(), "{url}: {run}");
}

#[test]
fn roles_of_postgresql() {
    let project = project("lab_more_pg", "postgres");
    let server = servers::postgres("host all all 0.0.0.0/0 trust\n", &[], false);
    let admin = server.url("admin", "/postgres");
    wait_for("PostgreSQL's login", || sql(&admin, "SELECT 1").is_ok());
    sql(
        &admin,
        "CREATE ROLE plain LOGIN; CREATE ROLE maker LOGIN CREATEROLE CREATEDB; CREATE ROLE passes LOGIN BYPASSRLS; \
         CREATE ROLE copies LOGIN REPLICATION; CREATE ROLE app LOGIN; GRANT CREATE ON SCHEMA public TO PUBLIC",
    )
    .expect("roles");
    let away = |login: &str| format!("postgres://{login}@0.0.0.0:{}/postgres?sslmode=disable", server.port);
    let case =
        |name, login: &str, hint| Case::new(name, away(login), "privileges", "LYX-PRIVILEGE-EXCESS", hint).warns();
    let cases = [
        case("a superuser", "admin", "NOSUPERUSER"),
        case("makes roles that nobody needs", "maker", "\"maker\" NOCREATEROLE"),
        case("passes by every policy", "passes", "NOBYPASSRLS"),
        case("copies the whole server", "copies", "NOREPLICATION"),
        case("the application makes databases", "maker", "NOCREATEROLE NOCREATEDB")
            .within_environment("two")
            .with("DIRECT_URL", away("plain")),
    ];
    run(&project, "postgres", &cases);
    let quiet = |url: &str, environment| is_quiet(&project, "postgres", "DATABASE_URL", url, environment);
    quiet(&away("plain"), None);
    // It makes the application's role.
    quiet(&away("maker"), Some("role"));
    // This machine's own.
    quiet(&admin, None);
}

#[test]
fn users_of_mongodb() {
    let project = project("lab_more_mg", "mongodb");
    let server = servers::mongodb(&["--auth"]);
    let make = |admin: &str, command: bson::Document| {
        let url = server.url(admin, "/admin?directConnection=true");
        block_on(async { mongodb::Client::with_uri_str(&url).await?.database("admin").run_command(command).await })
    };
    let user = |name: &str, roles: bson::Bson| bson::doc! { "createUser": name, "pwd": "right", "roles": roles };
    wait_for("MongoDB", || make("", user("root", bson::bson!(["root"]))).is_ok());
    let any = bson::bson!(["readWriteAnyDatabase", "dbAdminAnyDatabase", "userAdminAnyDatabase"]);
    make("root:right", user("any", any)).expect("a user");
    let own = bson::bson!([{ "role": "readWrite", "db": "shop" }, { "role": "dbAdmin", "db": "shop" }]);
    make("root:right", user("own", own)).expect("a user");
    let away = |login: &str| {
        format!("mongodb://{login}:right@0.0.0.0:{}/shop?authSource=admin&tls=false&directConnection=true", server.port)
    };
    let case = |name, login: &str| {
        Case::new(name, away(login), "privileges.2", "LYX-PRIVILEGE-EXCESS", "{role: \"dbAdmin\", db: \"shop\"}")
            .warns()
    };
    run(&project, "mongodb", &[case("root", "root"), case("every database", "any")]);
    let quiet = |url: &str, environment| is_quiet(&project, "mongodb", "MONGODB_URI", url, environment);
    quiet(&away("own"), None);
    quiet(&away("root").replace("0.0.0.0", "127.0.0.1"), None);
    let places = away("any");
    let mut command = project.command(&["check", "--only", "mongodb", "-e", "places", "--output", "json"]);
    let run = Output::new(&["check"], &command.env("MONGODB_URI", places).output().expect("lyrox"));
    assert!(!run.ok().stdout.contains("LYX-PRIVILEGE-EXCESS"), "{run}");
}

#[test]
fn users_of_redis() {
    let project = project("lab_more_rd", "redis");
    let server = servers::redis(&["--save", ""]);
    let ask = |words: &[&str]| {
        block_on(async {
            let client = redis::Client::open(server.url("", ""))?;
            let mut connection = client.get_multiplexed_async_connection().await?;
            redis::cmd(words[0]).arg(&words[1..]).query_async::<redis::Value>(&mut connection).await
        })
    };
    wait_for("Redis", || ask(&["ACL", "SETUSER", "mighty", "on", ">right", "~*", "&*", "+@all"]).is_ok());
    ask(&["ACL", "SETUSER", "own", "on", ">right", "~lab:*", "&lab:*", "+@all", "-@admin", "-@dangerous", "+info"])
        .expect("a user");
    let away = |login: &str| format!("redis://{login}0.0.0.0:{}", server.port);
    run(
        &project,
        "redis",
        &[
            Case::new(
                "everything to every key",
                away("mighty:right@"),
                "privileges.2",
                "LYX-PRIVILEGE-EXCESS",
                "~lab:*",
            )
            .warns(),
            Case::new("no login", away(""), "privileges.2", "LYX-AUTH-OPEN", "requirepass").warns(),
        ],
    );
    let quiet = |url: &str| is_quiet(&project, "redis", "REDIS_URL", url, None);
    quiet(&away("own:right@"));
    quiet(&server.url("mighty:right", ""));
}
