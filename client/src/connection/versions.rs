//! Which version of each API a connection speaks: the highest that both sides know (KIP-35, KIP-511).

use protocol::api::ApiKey;
use protocol::error::{ErrorCode, KafkaError};
use protocol::messages::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use rustc_hash::FxHashMap;

use super::{Answer, Connection};
use crate::error::{ConnectionError, SendError};

/// The highest common version of each API.
#[derive(Debug, Default)]
pub(super) struct Versions(FxHashMap<ApiKey, i16>);

impl Versions {
    /// The version to use, if the broker offers one that this client knows.
    pub(super) fn highest(&self, api: ApiKey) -> Option<i16> {
        self.0.get(&api).copied()
    }

    fn of(answer: &ApiVersionsResponse<'_>) -> Self {
        let common = answer.api_keys.iter().filter_map(|offered| {
            let api = ApiKey::from_key(offered.api_key)?;
            let (first, last) = api.versions().into_inner();
            let version = last.min(offered.max_version);
            (version >= first.max(offered.min_version)).then_some((api, version))
        });
        Self(common.collect())
    }
}

/// Asks what the broker offers, in the newest version known here and then, if that is too new, in the broker's newest.
pub(super) async fn negotiate(connection: &Connection) -> Result<Versions, ConnectionError> {
    let newest = *ApiKey::ApiVersions.versions().end();
    let answer = ask(connection, newest).await?;
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
