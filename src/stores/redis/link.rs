//! One connection to Redis: a single server, or a cluster behind the same face.

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{MultipleNodeRoutingInfo, ResponsePolicy, RoutingInfo, SingleNodeRoutingInfo};
use redis::{Cmd, Pipeline, RedisFuture, Value};

use crate::kind::StoreKind;
use crate::stores::trips;

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

    /// What INFO tells: of the server, or of one master of a cluster.
    ///
    /// # Errors
    /// Those of the server.
    pub async fn info(&mut self) -> redis::RedisResult<redis::InfoDict> {
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
                let (host, port) = node.rsplit_once(':').unwrap_or((node, "6379"));
                let routing =
                    SingleNodeRoutingInfo::ByAddress { host: host.to_owned(), port: port.parse().unwrap_or(6379) };
                connection.route_command(command.clone(), RoutingInfo::SingleNode(routing)).await?.extract_error()
            }
        }
    }
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
