//! A user that lives for one verification, with the rules of a tenant's: it logs in and tries. Its custom data tells it
//! from every other, so that the next run removes what a kill left.

use bson::{Bson, Document, doc};

use super::super::super::connect;
use super::super::super::error::refusal;
use super::super::MongodbStore;
use super::super::place::ROLE;
use super::users::quoted;
use crate::config::Endpoint;
use crate::engine::tenant::verify::proof::{Proof, Weight};
use crate::error::Result;
use crate::secret::Secret;
use crate::stores::tenant_verify::Ask;

/// So many databases are tried.
const MOST: usize = 200;

impl MongodbStore {
    fn throwaway_mark(&self) -> Document {
        doc! { "lyrox_verify": self.books.project.as_str() }
    }

    /// Drops every such user of the project and its database; says which.
    pub(super) async fn drop_throwaways(&self) -> mongodb::error::Result<Vec<String>> {
        let command = doc! { "usersInfo": { "forAllDBs": true } };
        let reply = match self.connected.client.database("admin").run_command(command).await {
            Ok(reply) => reply,
            // Who may not look at users made none.
            Err(error) if refusal(&error).is_some() => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut removed = Vec::new();
        for user in reply.get_array("users").into_iter().flatten().filter_map(Bson::as_document) {
            if user.get_document("customData").ok() != Some(&self.throwaway_mark()) {
                continue;
            }
            let (Ok(name), Ok(db)) = (user.get_str("user"), user.get_str("db")) else { continue };
            let database = self.connected.client.database(db);
            // The database first: without its user nobody knows whose it is.
            database.drop().await?;
            database.run_command(doc! { "dropUser": name }).await?;
            removed.push(format!("MongoDB's user `{name}`"));
        }
        Ok(removed)
    }

    pub(super) async fn try_throwaway(&mut self, ask: &Ask<'_>, proof: &mut Proof) -> Result<()> {
        proof.area("logins", "A user with a tenant's rules was tried at the tenants' databases");
        if !ask.terms.tenancy.users || ask.tenants.is_empty() {
            return Ok(());
        }
        if !ask.run.may_write {
            let why = "a user would be made, and the environment is protected";
            proof.untried("login", "throw-away user", why, "lyrox tenant verify --write");
            return Ok(());
        }
        let name = format!("lyrox_verify_{}", ask.run.id);
        let password = Secret::new(uuid::Uuid::new_v4().simple().to_string());
        let command = doc! {
            "createUser": name.as_str(), "pwd": password.expose(), "roles": [{ "role": ROLE, "db": name.as_str() }],
            "customData": self.throwaway_mark(),
        };
        if let Err(error) = self.connected.client.database(&name).run_command(command).await {
            let Some(refused) = refusal(&error) else { return Err(self.failed("make a user")(error)) };
            let close = "db.getSiblingDB(\"admin\").grantRolesToUser(USER, [\"userAdminAnyDatabase\"])";
            proof.untried("login", "throw-away user", format!("no user can be made: {}", refused.shown()), close);
            return Ok(());
        }
        let tried = self.as_throwaway(ask, &name, password, proof).await;
        let dropped = self.drop_throwaways().await;
        tried?;
        dropped.map(drop).map_err(self.failed("remove the user of the verification"))
    }

    async fn as_throwaway(&self, ask: &Ask<'_>, name: &str, password: Secret, proof: &mut Proof) -> Result<()> {
        let url = self.endpoint.url.with_login(name, password).with_database(name).with_option("authSource", name);
        let endpoint = Endpoint { url, origin: self.endpoint.origin.clone() };
        let connected = match connect::connect(&endpoint, ask.ca_file.as_deref(), name).await {
            Ok(connected) => connected,
            Err(error) => {
                proof.untried("login", "throw-away user", format!("it cannot log in: {}", error.what()), "");
                return Ok(());
            }
        };
        // What it may do has to work: else its refusals prove nothing.
        let own = doc! { "insert": "own", "documents": [{ "lyrox": 1 }] };
        if let Err(error) = connected.database.run_command(own).await {
            let why = refusal(&error).map_or_else(|| "no answer".into(), |refused| refused.shown());
            proof.untried("login", "throw-away user", format!("it cannot write in its own database: {why}"), "");
            return Ok(());
        }
        proof.held(1);
        for tenant in ask.tenants.iter().take(MOST) {
            let db = tenant.name();
            let database = connected.client.database(&db);
            let attempts = [
                ("find", doc! { "find": "lyrox_verify", "limit": 1 }),
                ("listCollections", doc! { "listCollections": 1, "nameOnly": true }),
            ];
            for (what, attempt) in attempts {
                match database.run_command(attempt).await {
                    Err(error) if refusal(&error).is_some_and(|refused| refused.code == 13) => proof.held(1),
                    Err(error) => {
                        let Some(refused) = refusal(&error) else { return Err(self.failed("try a user")(error)) };
                        proof.untried("login", format!("database {db}"), format!("{what}: {}", refused.shown()), "");
                    }
                    Ok(_) => proof.of(
                        tenant.key(),
                        Weight::Leak,
                        "authorization",
                        format!("database {db}"),
                        format!("a user with rights in another database only could call `{what}` here"),
                        format!(
                            "security.authorization: enabled in the server's configuration; then db.getSiblingDB({}).getUsers()",
                            quoted("admin")
                        ),
                    ),
                }
            }
        }
        let listed =
            connected.client.database("admin").run_command(doc! { "listDatabases": 1, "nameOnly": true }).await;
        if let Ok(reply) = listed {
            let seen = reply.get_array("databases").into_iter().flatten().filter_map(Bson::as_document);
            let mut seen = seen.filter_map(|database| database.get_str("name").ok());
            match seen.find(|seen| ask.all.iter().any(|tenant| tenant.name() == **seen)) {
                None => proof.held(1),
                Some(seen) => proof.leak(
                    "lists_databases",
                    "command listDatabases",
                    format!("it shows a tenant's user the database {seen} of another one"),
                    "db.adminCommand({ setParameter: 1, authorizedDatabases: true }), or take listDatabases from its roles",
                ),
            }
        }
        Ok(())
    }
}
