//! Faults of a MongoDB server: its replica set, its users, its TLS.

use std::time::Duration;

use bson::{Document, doc};
use mongodb::Client;
use mongodb::options::ClientOptions;

use super::certificates::file;
use super::servers::{self, Server, wait_for};
use super::{Case, fakes, run};
use crate::faults::closed;
use crate::support::{Output, Project, block_on};

fn project(name: &str) -> Project {
    let project = Project::new(name, "");
    let ca = file("ca.pem").display().to_string();
    let text = format!(
        "[project]\nname = \"lab\"\n[mongodb]\nurl = \"${{MONGODB_URI}}\"\ndatabase = \"shop\"\n[env.tls.mongodb]\nca_file = \"{ca}\"\n"
    );
    project.write("lyrox.toml", &text).write(".env", "");
    project
}

/// A command at a server, in `admin`.
fn command(url: &str, command: Document) -> Result<Document, mongodb::error::Error> {
    block_on(async {
        let mut options = ClientOptions::parse(url).await?;
        options.server_selection_timeout = Some(Duration::from_secs(5));
        Client::with_options(options)?.database("admin").run_command(command).await
    })
}

/// Starts the set, so small that its members notice each other's end at once.
fn initiate(server: &Server) {
    let url = server.url("", "/?directConnection=true");
    let set = doc! {
        "_id": "lab", "version": 1,
        "members": [{ "_id": 0, "host": server.place() }],
        "settings": { "electionTimeoutMillis": 1000, "heartbeatIntervalMillis": 300 },
    };
    command(&url, doc! { "replSetInitiate": set }).expect("a set");
    wait_for("a primary", || {
        command(&url, doc! { "hello": 1 }).is_ok_and(|hello| hello.get_bool("isWritablePrimary").unwrap_or(false))
    });
    let roles = doc! { "createUser": "admin", "pwd": "right", "roles": ["root"] };
    command(&url, roles).expect("a user");
    let admin = server.url("admin:right", "/?directConnection=true&authSource=admin");
    for (name, role) in [("owner", "dbOwner"), ("reader", "read")] {
        let user = doc! { "createUser": name, "pwd": "right", "roles": [{ "role": role, "db": "shop" }] };
        command(&admin, user).expect("a user");
    }
    command(&admin, doc! { "createUser": "nobody", "pwd": "right", "roles": [] }).expect("a user");
}

#[test]
fn the_replica_set_and_its_users() {
    let project = project("lab_mg");
    let arguments = ["--replSet", "lab", "--keyFile", "keyfile"];
    let (first, second) = (servers::mongodb(&arguments), servers::mongodb(&arguments));
    let fresh = Case::new("never initiated", first.url("", "/"), "topology", "LYX-REPLICA-SET-NEW", "rs.initiate()");
    run(&project, "mongodb", &[fresh]);
    initiate(&first);
    let url = |login: &str, rest: &str| first.url(login, rest);
    let far = doc! {
        "ok": 1.0, "isWritablePrimary": true, "setName": "lab", "setVersion": 1, "maxWireVersion": 17, "minWireVersion": 0,
        "hosts": [format!("127.0.0.1:{}", closed())], "primary": "127.0.0.1:1", "me": "127.0.0.1:1",
        "maxBsonObjectSize": 16_777_216, "maxMessageSizeBytes": 48_000_000, "maxWriteBatchSize": 100_000,
        "localTime": bson::DateTime::now(), "logicalSessionTimeoutMinutes": 30, "readOnly": false,
    };
    let behind = fakes::mongodb(&far);
    let cases = [
        Case::new(
            "wrong password",
            url("owner:wrong", "/?authSource=admin"),
            "auth",
            "LYX-AUTH-MONGODB",
            "lyrox url inspect",
        ),
        Case::new(
            "no such user",
            url("stranger:right", "/?authSource=admin"),
            "auth",
            "LYX-AUTH-MONGODB",
            "lyrox url inspect",
        ),
        Case::new(
            "another authentication database",
            url("owner:right", "/shop"),
            "auth",
            "LYX-AUTH-SOURCE",
            "authSource=admin",
        ),
        Case::new("no login", url("", "/?directConnection=true"), "auth", "LYX-AUTH-MISSING", "lyrox url build"),
        Case::new(
            "another set",
            url("owner:right", "/?authSource=admin&replicaSet=rs0"),
            "topology",
            "LYX-REPLICA-SET-NAME",
            "replicaSet=lab",
        ),
        Case::new(
            "a user without a role",
            url("nobody:right", "/?authSource=admin"),
            "database",
            "LYX-PRIVILEGE",
            "role readWrite",
        ),
        Case::new(
            "a user that may only read",
            url("reader:right", "/?authSource=admin"),
            "privileges",
            "LYX-PRIVILEGE",
            "readWrite",
        ),
        Case::new(
            "TLS to a server without",
            url("owner:right", "/?authSource=admin&tls=true"),
            "tls",
            "LYX-TLS-ABSENT",
            "tls=true",
        ),
        Case::new(
            "members that announce another network",
            format!("mongodb://127.0.0.1:{behind}/?replicaSet=lab"),
            "auth",
            "LYX-REPLICA-SET-HOSTS",
            "directConnection=true",
        )
        .within(Duration::from_secs(10)),
    ];
    run(&project, "mongodb", &cases);

    let mut deep = project.command(&["check", "--only", "mongodb", "--deep", "--output", "json"]);
    let deep = deep.env("MONGODB_URI", url("owner:right", "/?authSource=admin")).output().expect("lyrox");
    let deep = Output::new(&["check", "--deep"], &deep);
    assert_eq!(deep.ok().item("mongodb.write")["outcome"], "pass", "{deep}");
    assert_eq!(deep.item("mongodb.hosts")["outcome"], "pass", "{deep}");

    // A second member joins; what is asked of it alone cannot be written.
    let admin = url("admin:right", "/?directConnection=true&authSource=admin");
    let mut set =
        command(&admin, doc! { "replSetGetConfig": 1 }).expect("it").get_document("config").expect("it").clone();
    set.insert("version", 2);
    let members = set.get_array_mut("members").expect("members");
    members.push(doc! { "_id": 1, "host": second.place(), "priority": 0 }.into());
    command(&admin, doc! { "replSetReconfig": set }).expect("a second member");
    let there = second.url("admin:right", "/?directConnection=true&authSource=admin");
    wait_for("the secondary", || {
        command(&there, doc! { "hello": 1 }).is_ok_and(|hello| hello.get_bool("secondary").unwrap_or(false))
    });
    let secondary = second.url("owner:right", "/?directConnection=true&authSource=admin");
    run(
        &project,
        "mongodb",
        &[Case::new("a secondary", &secondary, "server.2", "LYX-CONNECT-READ-ONLY", "name all hosts")],
    );

    // A member that is new has a vote only a moment later.
    wait_for("its vote", || {
        command(&admin, doc! { "replSetGetStatus": 1 })
            .is_ok_and(|set| matches!(set.get_i32("majorityVoteCount"), Ok(2)))
    });
    // The other is gone, and half of two is no majority.
    drop(second);
    wait_for("the end of the primary", || {
        command(&admin, doc! { "hello": 1 }).is_ok_and(|hello| !hello.get_bool("isWritablePrimary").unwrap_or(true))
    });
    let cases = [
        Case::new(
            "no primary",
            url("owner:right", "/?replicaSet=lab&authSource=admin"),
            "auth",
            "LYX-REPLICA-SET-PRIMARY",
            "--wait",
        )
        .within(Duration::from_secs(10)),
        Case::new(
            "no primary, asked alone",
            url("owner:right", "/?directConnection=true&authSource=admin"),
            "server.2",
            "LYX-REPLICA-SET-PRIMARY",
            "--wait",
        ),
    ];
    run(&project, "mongodb", &cases);
}

#[test]
fn a_server_alone_and_its_certificates() {
    let project = project("lab_mg_tls");
    let plain = servers::mongodb(&[]);
    let tls = ["--tlsMode", "requireTLS", "--tlsCertificateKeyFile", "server.both"];
    let open = servers::mongodb(&tls);
    let strict = servers::mongodb(&[&tls[..], &["--tlsCAFile", "ca.pem"]].concat());
    let named = |server: &Server| format!("mongodb://localhost:{}/?tls=true", server.port);
    let through =
        |certificate: &str| format!("mongodb://localhost:{}/?tls=true", fakes::tls(certificate, &plain.place(), false));
    let cases = [
        Case::new("alone", plain.url("", "/"), "server.2", "LYX-REPLICA-SET-NONE", "rs.initiate()").warns(),
        Case::new(
            "a set it is not in",
            plain.url("", "/?replicaSet=rs0"),
            "topology",
            "LYX-REPLICA-SET-NAME",
            "take `replicaSet` out",
        ),
        Case::new("no TLS where it is a must", open.url("", "/"), "hello", "LYX-TLS-REQUIRED", "tls=true"),
        Case::new("an unknown authority", named(&open), "tls", "LYX-TLS-AUTHORITY", "ca_file"),
        Case::new(
            "another name",
            open.url("", "/?tls=true"),
            "tls",
            "LYX-TLS-NAME",
            "name that the certificate is for",
        )
        .within_environment("tls"),
        Case::new("a certificate is asked for", named(&strict), "hello", "LYX-TLS-CLIENT", "tlsCertificateKeyFile")
            .within_environment("tls"),
        Case::new("expired", through("expired"), "tls", "LYX-TLS-EXPIRED", "renew it").within_environment("tls"),
        Case::new("not valid yet", through("early"), "tls", "LYX-TLS-NOT-YET", "clocks").within_environment("tls"),
        Case::new("signed by itself", through("own"), "tls", "LYX-TLS-AUTHORITY", "ca_file").within_environment("tls"),
        Case::new("made for clients", through("client"), "tls", "LYX-TLS-CERTIFICATE", "for servers")
            .within_environment("tls"),
        Case::new("expires in three days", through("soon"), "tls.2", "LYX-TLS-EXPIRING", "renew it")
            .within_environment("tls")
            .warns(),
        Case::new(
            "open to everybody",
            format!("mongodb://0.0.0.0:{}/?tls=false", plain.port),
            "privileges",
            "LYX-AUTH-OPEN",
            "authorization",
        )
        .warns(),
        Case::new(
            "TLS off over the network",
            format!("mongodb://0.0.0.0:{}/?tls=false", plain.port),
            "url",
            "LYX-URL-UNWISE",
            "tls=true",
        )
        .warns(),
    ];
    run(&project, "mongodb", &cases);
}
