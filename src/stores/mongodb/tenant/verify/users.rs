//! A user for each tenant: what the server says it may do, custom roles and what they inherit included.

use bson::{Bson, Document, doc};

use super::super::MongodbStore;
use super::super::place::ROLE;
use crate::engine::tenant::Tenant;
use crate::engine::tenant::verify::proof::{Proof, Weight};
use crate::error::Result;
use crate::stores::tenant_verify::{Ask, Part};

/// So many users in one question.
const AT_ONCE: usize = 200;

impl MongodbStore {
    pub(super) async fn judge_users(&mut self, ask: &Ask<'_>, proof: &mut Proof) -> Result<()> {
        proof.area("users", "Each user may do nothing but in its own database");
        if !ask.terms.tenancy.users {
            if ask.part == Part::Tenants {
                return Ok(());
            }
            proof.untried(
                "no_users",
                "users of the tenants",
                "`users = false`: all tenants share the application's user, and only what the application names keeps them apart",
                "users = true under [tenancy] in lyrox.toml, then: lyrox tenant create KEY",
            );
            return Ok(());
        }
        let failed = |error| self.failed("look at users")(error);
        let admin = self.connected.client.database("admin");
        let asked = if ask.part == Part::Tenants { ask.tenants } else { &[] };
        for tenants in asked.chunks(AT_ONCE) {
            let wanted: Vec<Document> =
                tenants.iter().map(|tenant| doc! { "user": tenant.name(), "db": tenant.name() }).collect();
            let command = doc! { "usersInfo": wanted, "showPrivileges": true };
            let reply = admin.run_command(command).await.map_err(failed)?;
            for user in reply.get_array("users").into_iter().flatten().filter_map(Bson::as_document) {
                let name = user.get_str("user").unwrap_or_default();
                let Some(tenant) = tenants.iter().find(|tenant| tenant.name() == name) else { continue };
                judge(tenant, user, proof);
            }
        }
        if ask.part == Part::Tenants {
            return Ok(());
        }
        // Users that stand in a tenant's database and are not its own log in there as well.
        let reply = admin.run_command(doc! { "usersInfo": { "forAllDBs": true } }).await.map_err(failed)?;
        for user in reply.get_array("users").into_iter().flatten().filter_map(Bson::as_document) {
            let (name, db) = (user.get_str("user").unwrap_or_default(), user.get_str("db").unwrap_or_default());
            let Some(tenant) = ask.tenants.iter().find(|tenant| tenant.name() == db && db != name) else { continue };
            proof.of(
                tenant.key(),
                Weight::Leak,
                "foreign_user",
                format!("user {db}.{name}"),
                format!("it stands in the database of tenant {} and is not its user", tenant.shown()),
                format!("db.getSiblingDB({}).dropUser({})", quoted(db), quoted(name)),
            );
        }
        Ok(())
    }
}

/// A text as the shell writes it.
pub(super) fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default()
}

/// What a user may do beyond its own database.
fn judge(tenant: &Tenant, user: &Document, proof: &mut Proof) {
    let own = tenant.name();
    let object = format!("user {own}.{own}");
    let mut beyond: Vec<String> = Vec::new();
    for privilege in user.get_array("inheritedPrivileges").into_iter().flatten().filter_map(Bson::as_document) {
        let Ok(resource) = privilege.get_document("resource") else { continue };
        let place =
            match (resource.get_str("db"), resource.contains_key("cluster"), resource.contains_key("anyResource")) {
                (Ok(db), ..) if db == own => continue,
                (Ok(""), ..) => "every database".to_owned(),
                (Ok(db), ..) => format!("database {db}"),
                (_, true, _) => "the cluster".to_owned(),
                _ => "every resource".to_owned(),
            };
        let count = privilege.get_array("actions").map_or(0, Vec::len);
        if count > 0 && !beyond.contains(&place) {
            beyond.push(place);
        }
    }
    let roles: Vec<(String, String)> = user
        .get_array("roles")
        .into_iter()
        .flatten()
        .filter_map(Bson::as_document)
        .filter_map(|role| Some((role.get_str("role").ok()?.to_owned(), role.get_str("db").ok()?.to_owned())))
        .collect();
    let wrong: Vec<String> = roles
        .iter()
        .filter(|(role, db)| role != ROLE || *db != own)
        .map(|(role, db)| format!("{{ role: {}, db: {} }}", quoted(role), quoted(db)))
        .collect();
    let close =
        format!("db.getSiblingDB({}).revokeRolesFromUser({}, [{}])", quoted(&own), quoted(&own), wrong.join(", "));
    if !beyond.is_empty() {
        let why = format!("its roles reach {}: {}", beyond.join(", "), wrong.join(", "));
        proof.of(tenant.key(), Weight::Leak, "user_role", object, why, close);
    } else if roles.iter().any(|(role, _)| matches!(role.as_str(), "userAdmin" | "dbOwner")) {
        let why = "it may give itself other roles in its database, and make users there";
        proof.of(tenant.key(), Weight::Leak, "user_admin", object, why, close);
    } else {
        proof.held(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn privileges_beyond_the_own_database_are_leaks() {
        let tenant = Tenant::new("a", None).expect("a tenant");
        let user = |role: &str, db: &str, resource: Document| {
            doc! { "user": "t_a", "db": "t_a", "roles": [{ "role": role, "db": db }],
            "inheritedPrivileges": [{ "resource": resource, "actions": ["find"] }] }
        };
        for (user, kind) in [
            (user("readWrite", "t_a", doc! { "db": "t_a", "collection": "" }), None),
            (user("read", "t_b", doc! { "db": "t_b", "collection": "" }), Some("user_role")),
            (user("readAnyDatabase", "admin", doc! { "db": "", "collection": "" }), Some("user_role")),
            (user("clusterMonitor", "admin", doc! { "cluster": true }), Some("user_role")),
            (user("dbOwner", "t_a", doc! { "db": "t_a", "collection": "" }), Some("user_admin")),
        ] {
            let mut proof = Proof::default();
            judge(&tenant, &user, &mut proof);
            assert_eq!(proof.areas[0].findings.first().map(|finding| finding.kind), kind, "{user}");
        }
    }
}
