//! ConsumerGroupDescribe.

use super::{ConsumerGroup, Member, Name, Partitions};
use crate::group::GroupSettings;
use crate::group::reply::{DescribedConsumer, DescribedConsumerGroup, DescribedTopic};
use crate::metadata::Image;
use protocol::types::PartitionIndex;

impl ConsumerGroup {
    /// The group as it is.
    pub(in crate::group) fn describe(
        &self,
        settings: &GroupSettings,
        image: &Image,
    ) -> DescribedConsumerGroup {
        let members = self.members.iter().map(|(id, member)| self.describe_member(image, id, member));
        DescribedConsumerGroup {
            state: self.state_name(),
            epoch: self.epoch,
            target_epoch: self.target_epoch,
            assignor: self.assignor(settings).name(),
            members: members.collect(),
        }
    }

    fn describe_member(&self, image: &Image, id: &Name, member: &Member) -> DescribedConsumer {
        let wants = &member.wants;
        let assigned: Partitions = member
            .current
            .assigned
            .iter()
            .map(|(topic, partitions)| (*topic, partitions.keys().copied().collect()))
            .collect();
        DescribedConsumer {
            member_id: id.clone(),
            instance_id: wants.instance_id.clone(),
            rack_id: wants.rack_id.clone(),
            epoch: member.current.epoch,
            client_id: wants.client_id.clone(),
            client_host: wants.client_host.clone(),
            topics: wants.topics.iter().cloned().collect(),
            expression: wants.expression_used().cloned(),
            speaks_classic: wants.classic.is_some(),
            assignment: named(image, &assigned),
            target: self.target.get(id).map(|target| named(image, target)).unwrap_or_default(),
        }
    }
}

/// Partitions with the names of their topics; those of topics that are gone are left out, as Kafka does.
fn named(image: &Image, partitions: &Partitions) -> Vec<DescribedTopic> {
    let known = partitions.iter().filter_map(|(id, partitions)| Some((image.topic_by_id(*id)?, partitions)));
    let told = known.map(|(topic, partitions)| DescribedTopic {
        topic_id: topic.id,
        topic: topic.name.clone(),
        partitions: partitions.iter().copied().collect::<Vec<PartitionIndex>>(),
    });
    told.collect()
}
