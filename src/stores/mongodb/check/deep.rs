//! What `--deep` tries at MongoDB: a write that is taken back, and a login at every member of the set.

use bson::{Bson, doc};

use super::topology;
use crate::config::Endpoint;
use crate::error::{Code, Error, Result};
use crate::stores::mongodb::connect::{Connected, connect};
use crate::stores::mongodb::error::refusal;
use crate::stores::stages::{Request, Stages, limit};

/// Writes a document in a transaction that is aborted; a standalone server has none, so there it is removed.
pub async fn write(request: &Request<'_>, connected: &Connected) -> Result<((), String)> {
    let name = format!("lyrox_check_{}", uuid::Uuid::new_v4().simple());
    let failed = |error: mongodb::error::Error| {
        let why = refusal(&error).map_or_else(|| "no answer".to_owned(), |refusal| refusal.shown());
        let code = match refusal(&error).map(|refusal| refusal.code) {
            Some(13) => Code::Privilege,
            _ => Code::WriteProbe,
        };
        Error::new(code, "a write that was tried and taken back failed")
            .why(why)
            .data("nothing stays of it")
            .hint(format!("give the user the role readWrite on `{}`", request.target.namespace))
    };
    let collection = connected.database.collection::<bson::Document>(&name);
    let document = doc! { "_id": &name };
    if connected.has_transactions() {
        let mut session = connected.client.start_session().await.map_err(failed)?;
        session.start_transaction().await.map_err(failed)?;
        let written = collection.insert_one(document).session(&mut session).await;
        let aborted = session.abort_transaction().await;
        written.map_err(failed)?;
        aborted.map_err(failed)?;
        return Ok(((), "a document; the transaction was aborted".to_owned()));
    }
    let written = collection.insert_one(document).await;
    let dropped = collection.drop().await;
    written.map_err(failed)?;
    dropped.map_err(failed)?;
    Ok(((), "a document; removed again".to_owned()))
}

/// Logs in to each member of the replica set.
pub async fn hosts(stages: &mut Stages<'_>, request: &Request<'_>, connected: &Connected) {
    let members: Vec<&str> = ["hosts", "passives"]
        .into_iter()
        .filter_map(|key| connected.hello.get_array(key).ok())
        .flat_map(|hosts| hosts.iter().filter_map(Bson::as_str))
        .collect();
    let tries = members.iter().map(|member| async move {
        let Some(url) = topology::alone(&request.endpoint.url, member) else { return (*member, None) };
        let one = Endpoint { url, origin: request.endpoint.origin.clone() };
        let login = connect(&one, request.target.ca_file.as_deref(), &request.target.namespace);
        let failure = match tokio::time::timeout(limit::REST, login).await {
            Ok(Ok(connected)) => {
                connected.client.shutdown().immediate(true).await;
                None
            }
            Ok(Err(error)) => Some(error.why_text().unwrap_or(error.what()).to_owned()),
            Err(_) => Some("no answer in time".to_owned()),
        };
        (*member, failure)
    });
    let tried = futures_util::future::join_all(tries).await;
    let good = tried.iter().filter(|(_, failure)| failure.is_none()).count();
    if good == tried.len() {
        if good > 0 {
            stages.pass("hosts", format!("{good} of {good} take the login"));
        }
        return;
    }
    for (member, failure) in tried {
        if let Some(why) = failure {
            let hint = "mend that member before a fail-over needs it; rs.status() shows its state";
            stages.warn("hosts", Code::ConnectHost, format!("{member}: {why}"), hint);
        }
    }
}
