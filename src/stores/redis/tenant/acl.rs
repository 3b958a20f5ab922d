//! The rules of a tenant's user: its own keys and channels, and no command that tells of others. Pure.
//!
//! `-@dangerous` takes KEYS, FLUSHALL, INFO, CONFIG, SORT and the like. What is left and does not look at keys, or looks at
//! all of them, is withheld here by name: SCAN and RANDOMKEY list every tenant's keys, DBSIZE counts them, PUBSUB lists
//! channels, SCRIPT and FUNCTION change what all share, SELECT leaves the database, CLIENT TRACKING in broadcast mode is
//! told every key that changes, CLUSTER GETKEYSINSLOT lists keys, MEMORY STATS counts them.

use super::super::keys::Keys;
use crate::engine::tenant::Tenant;

/// Commands and categories, in the order in which the server is to take them.
const COMMANDS: [&str; 24] = [
    "+@all",
    "-@dangerous",
    "-@admin",
    "-scan",
    "-randomkey",
    "-dbsize",
    "-pubsub",
    "-script",
    "-function",
    "-select",
    "-swapdb",
    "-memory",
    "+memory|usage",
    "-client",
    "+client|id",
    "+client|setname",
    "+client|getname",
    "+client|reply",
    "-cluster",
    "+cluster|slots",
    "+cluster|nodes",
    "+cluster|myid",
    "+cluster|keyslot",
    "+cluster|info",
];

/// Subcommands that clients call at login where the server knows them: asked for with COMMAND INFO.
pub const OPTIONAL: [&str; 3] = ["client|setinfo", "cluster|shards", "client|capa"];

/// The name of a tenant's user.
pub fn user(tenant: &Tenant) -> String {
    tenant.name()
}

/// What the tenant's keys and channels begin with.
pub fn prefix(keys: &Keys, tenant: &Tenant) -> String {
    format!("{}{}", keys.prefix, tenant.key_prefix())
}

/// The pattern of a tenant's keys and channels: the project's prefix with what is special in it made plain, and the
/// slug, in which nothing is.
pub fn pattern(keys: &Keys, tenant: &Tenant) -> String {
    let project = keys.pattern();
    format!("{}{}*", project.strip_suffix('*').unwrap_or(&project), tenant.key_prefix())
}

/// The rules behind `ACL SETUSER name`: whatever the user had before is gone. `digest` is the SHA-256 of the password in
/// hexadecimal; none: nobody can log in. `optional` are those of [`OPTIONAL`] that the server knows.
pub fn rules(keys: &Keys, tenant: &Tenant, digest: Option<&str>, optional: &[&str]) -> Vec<String> {
    let pattern = pattern(keys, tenant);
    let mut rules = vec!["reset".to_owned()];
    match digest {
        Some(digest) => rules.extend(["on".to_owned(), format!("#{digest}")]),
        None => rules.push("off".to_owned()),
    }
    rules.extend([format!("~{pattern}"), "resetchannels".to_owned(), format!("&{pattern}")]);
    rules.extend(COMMANDS.iter().map(|rule| (*rule).to_owned()));
    rules.extend(optional.iter().map(|command| format!("+{command}")));
    rules
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_reach_one_tenant_whatever_the_prefix_holds() {
        let tenant = Tenant::new("acme", None).expect("a tenant");
        let keys = Keys::new("a*[b]:", false);
        assert_eq!(pattern(&keys, &tenant), "a\\*\\[b\\]:{acme}:*");
        assert_eq!(prefix(&keys, &tenant), "a*[b]:{acme}:");
        let rules = rules(&keys, &tenant, None, &["client|setinfo"]);
        assert_eq!(rules[..2], ["reset", "off"]);
        assert_eq!(rules.iter().filter(|rule| rule.starts_with(['~', '&'])).count(), 2);
        assert!(rules.iter().any(|rule| rule == "-scan") && rules.last().is_some_and(|rule| rule == "+client|setinfo"));
    }
}
