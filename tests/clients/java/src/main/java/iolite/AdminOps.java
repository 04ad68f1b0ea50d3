// The admin half of the Java driver: one method per operation, each a thin call into Kafka's Admin client.
package iolite;

import static iolite.Driver.JSON;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.common.KafkaFuture;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;

final class AdminOps implements AutoCloseable {
    private final String bootstrap;
    private Admin admin;

    AdminOps(String bootstrap) {
        this.bootstrap = bootstrap;
    }

    @Override
    public void close() {
        if (admin != null) {
            admin.close();
        }
    }

    ObjectNode answer(JsonNode request) throws Exception {
        if (admin == null) {
            admin = Admin.create(Map.of("bootstrap.servers", bootstrap, "default.api.timeout.ms", "60000"));
        }
        return switch (request.get("op").asText()) {
            case "create_topic" -> createTopic(request);
            case "delete_topic" -> done(admin.deleteTopics(List.of(topic(request))).all());
            case "list_topics" -> listTopics();
            case "describe_topic" -> describeTopic(request);
            case "create_partitions" -> done(admin.createPartitions(
                    Map.of(topic(request), NewPartitions.increaseTo(request.get("count").asInt()))).all());
            case "delete_records" -> deleteRecords(request);
            case "list_offsets" -> listOffsets(request);
            case "describe_configs" -> describeConfigs(request);
            case "alter_configs" -> alterConfigs(request);
            case "describe_cluster" -> describeCluster();
            case "describe_log_dirs" -> describeLogDirs(request);
            default -> throw new IllegalArgumentException("unknown operation " + request.get("op"));
        };
    }

    private static <T> T await(KafkaFuture<T> future) throws Exception {
        return future.get(Driver.DEADLINE_MS, TimeUnit.MILLISECONDS);
    }

    private static ObjectNode done(KafkaFuture<?> future) throws Exception {
        await(future);
        return JSON.createObjectNode();
    }

    private static String topic(JsonNode request) {
        return request.get("topic").asText();
    }

    private static TopicPartition partition(JsonNode request) {
        return new TopicPartition(topic(request), request.get("partition").asInt());
    }

    private ObjectNode createTopic(JsonNode request) throws Exception {
        int partitions = request.get("partitions").asInt();
        var topic = new NewTopic(
                topic(request), partitions < 0 ? Optional.empty() : Optional.of(partitions), Optional.empty());
        topic.configs(Driver.strings(request.get("configs")));
        var result = admin.createTopics(List.of(topic));
        await(result.all());
        return JSON.createObjectNode()
                .put("partitions", await(result.numPartitions(topic(request))))
                .put("id", await(result.topicId(topic(request))).toString());
    }

    private ObjectNode listTopics() throws Exception {
        ObjectNode answer = JSON.createObjectNode();
        var names = answer.putArray("topics");
        await(admin.listTopics().names()).stream().sorted().forEach(names::add);
        return answer;
    }

    private ObjectNode describeTopic(JsonNode request) throws Exception {
        var description = await(admin.describeTopics(List.of(topic(request))).allTopicNames()).get(topic(request));
        ObjectNode answer = JSON.createObjectNode();
        answer.put("id", description.topicId().toString());
        var leaders = answer.putArray("leaders");
        description.partitions().forEach(one -> leaders.add(one.leader().id()));
        return answer;
    }

    private ObjectNode deleteRecords(JsonNode request) throws Exception {
        var result = admin.deleteRecords(
                Map.of(partition(request), RecordsToDelete.beforeOffset(request.get("before").asLong())));
        return JSON.createObjectNode()
                .put("low_watermark", await(result.lowWatermarks().get(partition(request))).lowWatermark());
    }

    private ObjectNode listOffsets(JsonNode request) throws Exception {
        JsonNode at = request.get("at");
        OffsetSpec spec = switch (at.asText()) {
            case "earliest" -> OffsetSpec.earliest();
            case "latest" -> OffsetSpec.latest();
            case "max_timestamp" -> OffsetSpec.maxTimestamp();
            default -> OffsetSpec.forTimestamp(at.asLong());
        };
        var info = await(admin.listOffsets(Map.of(partition(request), spec)).partitionResult(partition(request)));
        return JSON.createObjectNode().put("offset", info.offset()).put("timestamp", info.timestamp());
    }

    private static ConfigResource resource(JsonNode request) {
        return request.has("broker")
                ? new ConfigResource(ConfigResource.Type.BROKER, request.get("broker").asText())
                : new ConfigResource(ConfigResource.Type.TOPIC, topic(request));
    }

    private ObjectNode describeConfigs(JsonNode request) throws Exception {
        Config config = await(admin.describeConfigs(Set.of(resource(request))).all()).get(resource(request));
        ObjectNode answer = JSON.createObjectNode();
        ObjectNode configs = answer.putObject("configs");
        var sorted = new TreeMap<String, ConfigEntry>();
        config.entries().forEach(entry -> sorted.put(entry.name(), entry));
        sorted.forEach((name, entry) -> configs.putObject(name)
                .put("value", entry.value())
                .put("default", entry.source() != ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG));
        return answer;
    }

    private ObjectNode alterConfigs(JsonNode request) throws Exception {
        Collection<AlterConfigOp> changes = new ArrayList<>();
        Driver.strings(request.get("set")).forEach((name, value) ->
                changes.add(new AlterConfigOp(new ConfigEntry(name, value), AlterConfigOp.OpType.SET)));
        Driver.list(request.get("delete")).forEach(name ->
                changes.add(new AlterConfigOp(new ConfigEntry(name, null), AlterConfigOp.OpType.DELETE)));
        return done(admin.incrementalAlterConfigs(Map.of(resource(request), changes)).all());
    }

    private ObjectNode describeCluster() throws Exception {
        var cluster = admin.describeCluster();
        ObjectNode answer = JSON.createObjectNode();
        answer.put("cluster_id", await(cluster.clusterId())).put("controller", await(cluster.controller()).id());
        var nodes = answer.putArray("nodes");
        await(cluster.nodes()).forEach(node -> nodes.addObject().put("id", node.id()).put("port", node.port()));
        return answer;
    }

    private ObjectNode describeLogDirs(JsonNode request) throws Exception {
        int broker = await(admin.describeCluster().nodes()).iterator().next().id();
        var directories = await(admin.describeLogDirs(Set.of(broker)).allDescriptions()).get(broker);
        long sizeBytes = 0;
        for (var directory : directories.values()) {
            for (var replica : directory.replicaInfos().entrySet()) {
                if (replica.getKey().topic().equals(topic(request))) {
                    sizeBytes += replica.getValue().size();
                }
            }
        }
        return JSON.createObjectNode().put("size_bytes", sizeBytes);
    }
}
