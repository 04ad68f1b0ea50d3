//! What the broker at the other end offers: of each API the highest version that both sides know (KIP-35, KIP-511), the
//! levels of the cluster's features (KIP-584), and which native batches it takes.

use protocol::api::ApiKey;
use protocol::error::{ErrorCode, KafkaError};
use protocol::messages::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use protocol::types::BrokerId;
use rustc_hash::FxHashMap;

use super::{Answer, Connection};
use crate::error::{ConnectionError, SendError};

/// What the broker offers.
#[derive(Debug, Default)]
pub(super) struct Versions {
    /// The highest common version of each API.
    apis: FxHashMap<ApiKey, i16>,
    /// The level in force of each feature of the cluster.
    features: FxHashMap<String, i16>,
    native: i8,
}

impl Versions {
    /// The version to use, if the broker offers one that this client knows.
    pub(super) fn highest(&self, api: ApiKey) -> Option<i16> {
        self.apis.get(&api).copied()
    }

    /// The level of a feature that the cluster goes by; 0 where it goes by none.
    pub(super) fn feature_level(&self, name: &str) -> i16 {
        self.features.get(name).copied().unwrap_or_default()
    }

    /// The highest version of native batches that the broker takes; 0 for none.
    pub(super) fn native(&self) -> i8 {
        self.native
    }

    fn of(answer: &ApiVersionsResponse<'_>) -> Self {
        let common = answer.api_keys.iter().filter_map(|offered| {
            let api = ApiKey::from_key(offered.api_key)?;
            let (first, last) = api.versions().into_inner();
            let version = last.min(offered.max_version);
            (version >= first.max(offered.min_version)).then_some((api, version))
        });
        let in_force = answer.finalized_features.iter();
        Self {
            apis: common.collect(),
            features: in_force.map(|one| (one.name.to_owned(), one.max_version_level)).collect(),
            native: answer.native_version,
        }
    }
}

/// The next one says whom the client takes the broker for, which this client never does; and brokers that don't know it would
/// have to be asked twice.
const NEWEST_ASKED: i16 = 4;

/// Asks what the broker offers, in the newest version known here and then, if that is too new, in the broker's newest.
pub(super) async fn negotiate(connection: &Connection) -> Result<Versions, ConnectionError> {
    let answer = ask(connection, NEWEST_ASKED).await?;
    let refusal: Result<ApiVersionsResponse<'_>, _> = answer.decode_in(0);
    let is_too_new = |code: ErrorCode| code.known() == Some(KafkaError::UnsupportedVersion);
    let Some(refusal) = refusal.ok().filter(|refusal| is_too_new(refusal.error_code)) else {
        return read(connection, &answer);
    };
    let theirs = Versions::of(&refusal).highest(ApiKey::ApiVersions).unwrap_or(0);
    read(connection, &ask(connection, theirs).await?)
}

async fn ask(connection: &Connection, version: i16) -> Result<Answer, ConnectionError> {
    let request = ApiVersionsRequest {
        client_software_name: "iolite-client",
        client_software_version: env!("CARGO_PKG_VERSION"),
        cluster_id: None,
        node_id: BrokerId(-1),
    };
    match connection.try_send_in(version, &request) {
        Ok(reply) => reply.await,
        Err(SendError::Connection(error)) => Err(error),
        Err(error) => unreachable!("the first request of a connection always fits: {error}"),
    }
}

fn read(connection: &Connection, answer: &Answer) -> Result<Versions, ConnectionError> {
    let response: ApiVersionsResponse<'_> = answer.decode()?;
    if response.error_code.is_none() {
        return Ok(Versions::of(&response));
    }
    let address = connection.address();
    Err(ConnectionError::Unsupported { address, api: ApiKey::ApiVersions })
}
