//! The broker that coordinates a group or a transactional id: found by the name, asked until it is done, and found again
//! when it proves to be another.

use std::cell::Cell;

use protocol::api::ApiKey;
use protocol::error::KafkaError;
use protocol::messages::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
use protocol::types::BrokerId;

use crate::Client;
use crate::connection::Connection;
use crate::error::ClientError;

/// What is coordinated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Group,
    TransactionalId,
}

impl Kind {
    const fn wire(self) -> i8 {
        match self {
            Self::Group => 0,
            Self::TransactionalId => 1,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Group => "group",
            Self::TransactionalId => "transactional id",
        }
    }
}

/// Who coordinates one name.
pub(crate) struct Coordinator {
    client: Client,
    kind: Kind,
    name: String,
    broker: Cell<Option<BrokerId>>,
}

impl Coordinator {
    pub(crate) fn new(client: &Client, kind: Kind, name: &str) -> Self {
        Self { client: client.clone(), kind, name: name.to_owned(), broker: Cell::new(None) }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Asks the coordinator, whichever broker that is, until it is done or takes too long.
    pub(crate) async fn until_done<T>(
        &self,
        doing: &str,
        attempt: impl AsyncFn(Connection) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        self.client
            .until_done(doing, async || {
                let broker = self.broker().await?;
                let outcome = match self.client.connection(broker).await {
                    Ok(connection) => attempt(connection).await,
                    Err(error) => Err(error),
                };
                let is_elsewhere =
                    |error: &ClientError| error.kafka() != Some(KafkaError::ConcurrentTransactions);
                if outcome.as_ref().is_err_and(is_elsewhere) {
                    // Whatever went wrong, the coordinator may be another one now; asking costs little.
                    self.forget();
                }
                outcome
            })
            .await
    }

    /// The coordinator, as it is known or found.
    pub(crate) async fn broker(&self) -> Result<BrokerId, ClientError> {
        let broker = match self.broker.get() {
            Some(broker) => broker,
            None => self.find().await?,
        };
        self.broker.set(Some(broker));
        Ok(broker)
    }

    pub(crate) fn forget(&self) {
        self.broker.set(None);
    }

    async fn find(&self) -> Result<BrokerId, ClientError> {
        let doing = format!("find the coordinator of {} {}", self.kind.name(), self.name);
        let connection = self.client.any_connection().await?;
        let takes_lists = connection.version(ApiKey::FindCoordinator)? >= 4;
        let request = FindCoordinatorRequest {
            key: if takes_lists { "" } else { &self.name },
            key_type: self.kind.wire(),
            coordinator_keys: if takes_lists { vec![&self.name] } else { Vec::new() },
        };
        let answer = connection.call(&request).await?;
        let response: FindCoordinatorResponse<'_> = answer.decode()?;
        self.client.check(&doing, response.error_code, response.error_message)?;
        if !takes_lists {
            return Ok(response.node_id);
        }
        let coordinator = response.coordinators.first().ok_or_else(|| ClientError::Kafka {
            doing: doing.clone(),
            error: KafkaError::CoordinatorNotAvailable,
            message: None,
        })?;
        self.client.check(&doing, coordinator.error_code, coordinator.error_message)?;
        Ok(coordinator.node_id)
    }
}
