//! One connection to Redis: a single server, or a cluster behind the same face.

use futures_util::{StreamExt as _, TryStreamExt as _};
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{MultipleNodeRoutingInfo, ResponsePolicy, RoutingInfo, SingleNodeRoutingInfo};
use redis::{Cmd, Pipeline, RedisFuture, Value};

use crate::kind::StoreKind;
use crate::stores::trips;

/// So many commands are under way to the nodes of a cluster.
const AT_ONCE: usize = 64;

/// Fewer than so many go one after another.
const FEW: usize = 4;

/// Replies of one node, in the order of the commands.
pub type Replies = Vec<redis::RedisResult<Value>>;

/// A connection. Clones share it.
#[derive(Clone)]
pub enum Link {
    /// One server.
    Single(MultiplexedConnection),
    /// A cluster: commands go to the node that holds their key.
    Cluster(ClusterConnection),
}

impl Link {
    /// Whether keys are spread over nodes.
    pub const fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }

    /// Sends a command to every master and answers the first one's reply: libraries and users live on each.
    ///
    /// # Errors
    /// Those of any master.
    pub async fn everywhere(&mut self, command: &Cmd) -> redis::RedisResult<Value> {
        match self {
            Self::Single(connection) => connection.send_packed_command(command).await?.extract_error(),
            Self::Cluster(connection) => {
                let routing =
                    RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, Some(ResponsePolicy::AllSucceeded)));
                connection.route_command(command.clone(), routing).await?.extract_error()
            }
        }
    }

    /// Sends a command to each master and answers every reply with the node it came from.
    ///
    /// # Errors
    /// Those of any master.
    pub async fn each_master(&mut self, command: &Cmd) -> redis::RedisResult<Vec<(String, Value)>> {
        match self {
            Self::Single(connection) => {
                Ok(vec![(String::new(), connection.send_packed_command(command).await?.extract_error()?)])
            }
            Self::Cluster(connection) => {
                let routing = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
                let replies = connection.route_command(command.clone(), routing).await?.extract_error()?;
                let pairs = replies.into_map_iter().map_err(|_| {
                    redis::RedisError::from((redis::ErrorKind::UnexpectedReturnType, "no reply per node"))
                })?;
                pairs.map(|(node, reply)| Ok((redis::from_redis_value::<String>(node)?, reply))).collect()
            }
        }
    }

    /// Sends a pipeline of so many commands to each master, to all of them at once, and answers the replies of each with the
    /// node they came from. What a server refuses is an error among the replies.
    ///
    /// # Errors
    /// Those of the way to any master.
    pub async fn pipeline_each(&mut self, pipe: &Pipeline, count: usize) -> redis::RedisResult<Vec<(String, Replies)>> {
        if let Self::Single(_) = self {
            let replies = self.req_packed_commands(pipe, 0, count).await?;
            return Ok(vec![(String::new(), replies.into_iter().map(Value::extract_error).collect())]);
        }
        let nodes = self.each_master(&redis::cmd("PING")).await?;
        let asked = nodes.into_iter().map(|(node, _)| {
            let link = self.clone();
            async move {
                let Self::Cluster(mut connection) = link else { return Ok((node, Vec::new())) };
                trips::count(StoreKind::Redis);
                let route = by_address(&node);
                let replies = connection.route_pipeline(pipe.clone(), 0, count, route).await?;
                Ok((node, replies.into_iter().map(Value::extract_error).collect()))
            }
        });
        futures_util::future::try_join_all(asked).await
    }

    /// What INFO tells: of the server, or of one master of a cluster.
    ///
    /// # Errors
    /// Those of the server.
    pub async fn info(&mut self) -> redis::RedisResult<redis::InfoDict> {
        trips::count(StoreKind::Redis);
        let reply = match self {
            Self::Single(connection) => connection.send_packed_command(&redis::cmd("INFO")).await?.extract_error()?,
            Self::Cluster(connection) => {
                let routing = RoutingInfo::SingleNode(SingleNodeRoutingInfo::RandomPrimary);
                connection.route_command(redis::cmd("INFO"), routing).await?.extract_error()?
            }
        };
        Ok(redis::from_redis_value(reply)?)
    }

    /// Sends a command to one master by its address; the empty address is the single server.
    ///
    /// # Errors
    /// Those of the server.
    pub async fn at(&mut self, node: &str, command: &Cmd) -> redis::RedisResult<Value> {
        trips::count(StoreKind::Redis);
        match self {
            Self::Single(connection) => connection.send_packed_command(command).await?.extract_error(),
            Self::Cluster(connection) => {
                let routing = RoutingInfo::SingleNode(by_address(node));
                connection.route_command(command.clone(), routing).await?.extract_error()
            }
        }
    }
}

/// Whether a slot is on its way from one master to another, or nobody says. A key that has gone already is asked for at its new
/// master after `ASKING`, which holds for the next command of that connection: only one may be under way.
async fn is_moving(link: &mut Link) -> redis::RedisResult<bool> {
    let mut nodes = redis::cmd("CLUSTER");
    nodes.arg("NODES");
    match link.each_master(&nodes).await {
        Ok(replies) => Ok(replies.iter().any(|(_, reply)| {
            let text = redis::from_redis_value_ref::<String>(reply).unwrap_or_default();
            text.lines().any(|line| line.contains("myself") && line.contains(" ["))
        })),
        Err(error) if super::error::refusal(&error).is_some() => Ok(true),
        Err(error) => Err(error),
    }
}

fn by_address(node: &str) -> SingleNodeRoutingInfo {
    let (host, port) = node.rsplit_once(':').unwrap_or((node, "6379"));
    SingleNodeRoutingInfo::ByAddress { host: host.to_owned(), port: port.parse().unwrap_or(6379) }
}

/// Sends commands whose order does not matter and answers their replies in theirs: one pipeline where all keys are on one
/// server; side by side where each goes to the node of its key, and is sent on where that key is moving.
///
/// # Errors
/// The first of the commands'.
pub async fn all_of(link: &mut Link, commands: Vec<Cmd>) -> redis::RedisResult<Vec<Value>> {
    if commands.is_empty() {
        return Ok(Vec::new());
    }
    if !link.is_cluster() {
        let mut pipe = redis::pipe();
        commands.into_iter().for_each(|command| {
            pipe.add_command(command);
        });
        return pipe.query_async(link).await;
    }
    if commands.len() < FEW || is_moving(link).await? {
        let mut replies = Vec::with_capacity(commands.len());
        for command in commands {
            replies.push(command.query_async(link).await?);
        }
        return Ok(replies);
    }
    let link = &*link;
    let sent = commands.into_iter().map(|command| {
        let mut link = link.clone();
        async move { command.query_async::<Value>(&mut link).await }
    });
    futures_util::stream::iter(sent).buffered(AT_ONCE).try_collect().await
}

/// Sends the commands of several keys: those of one key in their order, keys side by side where they are on several servers.
///
/// # Errors
/// The first of the commands'.
pub async fn each_in_order(link: &mut Link, keys: Vec<Vec<Cmd>>) -> redis::RedisResult<()> {
    if !link.is_cluster() {
        return all_of(link, keys.into_iter().flatten().collect()).await.map(drop);
    }
    if keys.len() < FEW || is_moving(link).await? {
        for command in keys.into_iter().flatten() {
            command.query_async::<Value>(link).await?;
        }
        return Ok(());
    }
    let link = &*link;
    let sent = keys.into_iter().map(|commands| {
        let mut link = link.clone();
        async move {
            for command in commands {
                command.query_async::<Value>(&mut link).await?;
            }
            Ok(())
        }
    });
    futures_util::stream::iter(sent).buffered(AT_ONCE).try_collect().await
}

impl ConnectionLike for Link {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        trips::count(StoreKind::Redis);
        match self {
            Self::Single(connection) => connection.req_packed_command(command),
            Self::Cluster(connection) => connection.req_packed_command(command),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        commands: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        trips::count(StoreKind::Redis);
        match self {
            Self::Single(connection) => connection.req_packed_commands(commands, offset, count),
            Self::Cluster(connection) => connection.req_packed_commands(commands, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Single(connection) => connection.get_db(),
            Self::Cluster(connection) => connection.get_db(),
        }
    }
}
