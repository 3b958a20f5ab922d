//! A MongoDB sharded cluster: the commands that follow a migration where the server is a router, so that the collections it
//! makes are spread by their tenant. The server itself does the distributing. Pure.

use bson::{Document, doc};

use super::script::{Command, Kind};
use crate::project::distribute::Spread;
use crate::project::migration::Script;
use crate::project::text::sha256;

/// The commands that the directives of a script stand for, for a database behind a router. A collection that has this key
/// already is left as it is by the server, so that they may run again.
pub fn commands(script: &Script, database: &str) -> Vec<Command> {
    let mut commands = Vec::new();
    for distribution in &script.header.distribute {
        let Spread::Collection { collection, key, is_unique } = &distribution.what else { continue };
        let mut fields = Document::new();
        for (name, is_hashed) in key {
            if *is_hashed {
                fields.insert(name, "hashed");
            } else {
                fields.insert(name, 1);
            }
        }
        let mut document = doc! { "shardCollection": format!("{database}.{collection}"), "key": fields };
        if *is_unique {
            document.insert("unique", true);
        }
        let shown = serde_json::to_string(&document).unwrap_or_default();
        let line = script.text.get(distribution.offset..).unwrap_or("").lines().next().unwrap_or("").trim_end();
        // The database's name is no part of the file.
        let hash = sha256(line.trim().as_bytes())[..16].to_owned();
        commands.push(Command {
            document,
            kind: Kind::Read,
            offset: distribution.offset,
            width: line.chars().count(),
            shown,
            hash,
        });
    }
    commands
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::kind::StoreKind;
    use crate::project::migration::read_header;

    #[test]
    fn each_directive_is_one_command_for_the_router() {
        let text = "// carts of tenants\n// lyrox: shard carts by companyId, _id unique\n// lyrox: shard logs by companyId:hashed\n[{ \"create\": \"carts\" }]\n";
        let header = read_header("1.up.json", text, StoreKind::Mongodb).expect("a header");
        let script = Script::of("1.up.json".into(), text.into(), header, BTreeMap::new());
        let made = commands(&script, "app");
        let shown: Vec<&str> = made.iter().map(|command| command.shown.as_str()).collect();
        assert_eq!(
            shown,
            [
                r#"{"shardCollection":"app.carts","key":{"companyId":1,"_id":1},"unique":true}"#,
                r#"{"shardCollection":"app.logs","key":{"companyId":"hashed"}}"#,
            ]
        );
        assert_eq!((made[0].place(&script).line, made[1].place(&script).line), (2, 3));
        let other = commands(&script, "t_acme");
        assert_eq!(made[0].hash, other[0].hash, "the same file for every tenant's database");
    }
}
