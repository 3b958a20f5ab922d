//! One question to one store and its answer, whatever the store. Knows no driver.

use std::time::Duration;

use serde_json::Value;
use tokio::time::timeout;

use super::{mongodb, postgres, redis};
use crate::config::{Config, Endpoint, Target};
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;

/// How long a polite good-bye may take.
const CLOSE: Duration = Duration::from_secs(1);

/// What a query answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// The names of the columns, where the answer has any.
    pub columns: Vec<String>,
    /// The rows, each with a value per column.
    pub rows: Vec<Vec<Value>>,
    /// The whole answer as JSON.
    pub value: Value,
    /// How a person reads it.
    pub shown: Shown,
    /// More was there than was asked for.
    pub is_cut: bool,
}

/// How a person reads an answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Shown {
    /// As an aligned table of columns and rows.
    #[default]
    Table,
    /// As JSON, indented.
    Json,
    /// As this text.
    Text(String),
}

/// How a query is to be run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The query may change data.
    pub may_write: bool,
    /// How long the server may work on it.
    pub time: Duration,
    /// At most this many rows or documents are read.
    pub limit: usize,
    /// PostgreSQL, row model: the setting that policies read, and the tenant to be.
    pub tenant: Option<(String, String)>,
    /// PostgreSQL: fail rather than leave rows out that policies hide.
    pub needs_all_rows: bool,
    /// What `{{prefix}}` stands for in Redis commands.
    pub prefix: String,
    /// PostgreSQL: the schema that names are looked up in.
    pub schema: String,
}

/// Connects to a store, runs one query and closes.
///
/// # Errors
/// Those of connecting, `LYX-QUERY-FAILED`, `LYX-USAGE`.
pub async fn ask(
    config: &Config,
    target: &Target,
    endpoint: &Endpoint,
    text: &str,
    options: &Options,
) -> Result<Answer> {
    let ca_file = target.ca_file.as_deref();
    // The server is told the limit; this is for one that does not answer at all.
    let bound = options.time + Duration::from_secs(5);
    let silent = |_| {
        Error::new(Code::ConnectTimeout, format!("no answer within {} s", bound.as_secs()))
            .why("the server took the query and does not answer")
    };
    match target.kind {
        StoreKind::Postgres => {
            let mut session = postgres::connect::connect(endpoint, ca_file, &config.settings.project.name).await?;
            let answer = timeout(bound, postgres::query::run(&mut session, text, options)).await.map_err(silent)?;
            let _ = timeout(CLOSE, postgres::query::close(session)).await;
            answer
        }
        StoreKind::Mongodb => {
            let connected = mongodb::connect::connect(endpoint, ca_file, &target.namespace).await?;
            let work = mongodb::query::run(&connected, endpoint, text, options);
            let answer = timeout(bound, work).await.map_err(silent)?;
            let _ = timeout(CLOSE, connected.client.clone().shutdown().immediate(true)).await;
            answer
        }
        StoreKind::Redis => {
            let mut connected = redis::connect::connect(endpoint, ca_file).await?;
            timeout(bound, redis::query::run(&mut connected.link, endpoint, text, options)).await.map_err(silent)?
        }
    }
}
