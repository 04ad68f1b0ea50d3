//! DescribeCluster (key 60): the cluster's id and its brokers.

use std::rc::Rc;

use logic::metadata::Image;
use protocol::api::ApiKey;
use protocol::error::KafkaError;
use protocol::messages::describe_cluster::{
    DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse,
};
use protocol::types::BrokerId;

use super::endpoints::endpoints;
use super::errors::told;
use super::operations;
use super::reply::Reply;
use crate::shard::Shard;

/// Whose addresses a client may ask for.
const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;
/// From this version on clients say whose, and know the errors about it.
const ENDPOINTS_VERSION_MIN: i16 = 1;

/// Answers.
pub fn handle(shard: &Rc<Shard>, request: &DescribeClusterRequest, reply: Reply) {
    let (image, version) = (shard.image(), reply.version());
    reply.send(&response(&image, request, shard.broker_id, version));
}

fn response<'a>(
    image: &'a Image,
    request: &DescribeClusterRequest,
    controller_id: BrokerId,
    version: i16,
) -> DescribeClusterResponse<'a> {
    let refusal = refusal(request.endpoint_type, version);
    let error = refusal.map_or(KafkaError::None, |(error, _)| error);
    let described = DescribeClusterResponse {
        throttle_time_ms: 0,
        error_code: told(ApiKey::DescribeCluster, error),
        error_message: refusal.map(|(_, reason)| reason),
        endpoint_type: BROKERS,
        cluster_id: "",
        controller_id: BrokerId(-1),
        brokers: Vec::new(),
        cluster_authorized_operations: operations::NOT_ASKED,
    };
    if refusal.is_some() {
        return described;
    }
    DescribeClusterResponse {
        cluster_id: image.cluster_id(),
        controller_id,
        brokers: brokers(image),
        cluster_authorized_operations: if request.include_cluster_authorized_operations {
            operations::CLUSTER
        } else {
            operations::NOT_ASKED
        },
        ..described
    }
}

fn refusal(endpoint_type: i8, version: i16) -> Option<(KafkaError, &'static str)> {
    let (error, reason) = match endpoint_type {
        BROKERS => return None,
        CONTROLLERS => (
            KafkaError::MismatchedEndpointType,
            "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER",
        ),
        _ => (KafkaError::UnsupportedEndpointType, "Unsupported endpoint type"),
    };
    let known = version >= ENDPOINTS_VERSION_MIN;
    Some((if known { error } else { KafkaError::InvalidRequest }, reason))
}

fn brokers(image: &Image) -> Vec<DescribeClusterBroker<'_>> {
    endpoints(image)
        .map(|endpoint| DescribeClusterBroker {
            broker_id: endpoint.id,
            host: endpoint.host,
            port: endpoint.port,
            rack: endpoint.rack,
            is_fenced: false,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::testing::{BROKER, in_every_version, one_broker};

    fn request(endpoint_type: i8) -> DescribeClusterRequest {
        DescribeClusterRequest {
            include_cluster_authorized_operations: true,
            endpoint_type,
            include_fenced_brokers: false,
        }
    }

    #[test]
    fn the_answer_goes_into_every_version() {
        let image = one_broker();
        in_every_version!(
            DescribeClusterResponse<'_>,
            |version| response(&image, &request(BROKERS), BROKER, version),
            |_version, read| {
                assert!(read.error_code.is_none());
                assert_eq!((read.cluster_id, read.controller_id), (image.cluster_id(), BROKER));
                let [broker] = read.brokers.as_slice() else { panic!("one broker: {read:?}") };
                assert_eq!((broker.host, broker.port), ("localhost", 9092));
                // Kafka's bits of a cluster without an authorizer.
                assert_eq!(read.cluster_authorized_operations, 8096);
            }
        );
    }

    #[test]
    fn controllers_are_not_found_here() {
        let image = one_broker();
        for (endpoint_type, error) in
            [(CONTROLLERS, KafkaError::MismatchedEndpointType), (7, KafkaError::UnsupportedEndpointType)]
        {
            in_every_version!(
                DescribeClusterResponse<'_>,
                |version| response(&image, &request(endpoint_type), BROKER, version),
                |version, read| {
                    let expected = if version == 0 { KafkaError::InvalidRequest } else { error };
                    assert_eq!(read.error_code, expected.into());
                    assert!(read.brokers.is_empty());
                }
            );
        }
    }
}
