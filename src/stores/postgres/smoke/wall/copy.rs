//! COPY, which reads tables by a road of its own.

use futures_util::TryStreamExt as _;

use super::super::PostgresSmoke;
use super::world::World;
use crate::engine::tenant::verify::proof::Proof;
use crate::error::Result;
use crate::kind::StoreKind;
use crate::stores::postgres::ident::Ident;
use crate::stores::trips;

/// So many tables are copied; the road is the same for all of them.
const TABLES: usize = 8;

impl PostgresSmoke<'_> {
    /// `COPY ... TO STDOUT` as the application gives the other tenant's row to nobody.
    pub(super) async fn try_copy(
        &mut self,
        tables: &[String],
        role: &str,
        us: &World,
        them: &World,
        proof: &mut Proof,
    ) -> Result<()> {
        let act = self.set_tenant(Some(&us.key));
        for name in tables.iter().filter(|name| them.rows.contains_key(*name)).take(TABLES) {
            let object = format!("table {}", Ident::new(name)?);
            if proof.leaks(&object) {
                continue;
            }
            self.send(&format!("ROLLBACK TO SAVEPOINT lyrox_rows; {act} SAVEPOINT lyrox_rows")).await?.ok();
            trips::count(StoreKind::Postgres);
            let copy = format!("COPY {} TO STDOUT", Ident::new(name)?);
            let mut seen = String::new();
            let answer = async {
                let mut stream = self.store.connection.copy_out_raw(&copy).await?;
                while let Some(part) = stream.try_next().await? {
                    seen.push_str(&String::from_utf8_lossy(&part));
                }
                Ok::<(), sqlx::Error>(())
            }
            .await;
            let needle = them.key.replace('\\', "\\\\");
            match answer {
                Ok(()) if seen.contains(&needle) => proof.leak(
                    "copy",
                    object,
                    format!("`{copy}` as {role} gives another tenant's row"),
                    format!(
                        "ALTER TABLE {}.{} FORCE ROW LEVEL SECURITY",
                        self.store.settings.schema,
                        Ident::new(name)?
                    ),
                ),
                // What the role may not read it does not copy.
                Ok(()) | Err(sqlx::Error::Database(_)) => proof.held(1),
                Err(error) => return Err(super::super::super::error::catalog_error("a try was cut short", &error)),
            }
        }
        self.queue(&format!("ROLLBACK TO SAVEPOINT lyrox_rows; SAVEPOINT lyrox_rows; {act}"));
        Ok(())
    }
}
