// The Java client behind the driver protocol of tests/clients/README.md: one JSON request a line in, one answer a line out.
package iolite;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.utils.AppInfoParser;

/** Reads requests from standard input until it ends. */
public final class Driver {
    static final ObjectMapper JSON = new ObjectMapper();
    static final long DEADLINE_MS = 60_000;

    private final String bootstrap;
    private final AdminOps admin;

    private Driver(String bootstrap) {
        this.bootstrap = bootstrap;
        this.admin = new AdminOps(bootstrap);
    }

    public static void main(String[] args) throws Exception {
        var driver = new Driver(args[0]);
        var in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        var out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            out.println(JSON.writeValueAsString(driver.answer(JSON.readTree(line))));
        }
        driver.admin.close();
    }

    private ObjectNode answer(JsonNode request) {
        try {
            return switch (request.get("op").asText()) {
                case "hello" -> JSON.createObjectNode().put("client", "kafka-clients " + AppInfoParser.getVersion());
                case "produce" -> produce(request);
                case "consume" -> consume(request);
                case "group" -> group(request);
                default -> admin.answer(request);
            };
        } catch (Throwable failure) {
            return error(failure);
        }
    }

    static ObjectNode error(Throwable failure) {
        while ((failure instanceof ExecutionException || failure instanceof CompletionException)
                && failure.getCause() != null) {
            failure = failure.getCause();
        }
        var answer = JSON.createObjectNode();
        answer.putObject("error").put("code", Errors.forException(failure).code()).put("message", failure.toString());
        return answer;
    }

    private ObjectNode produce(JsonNode request) throws Exception {
        var config = new HashMap<String, Object>();
        config.put("bootstrap.servers", bootstrap);
        config.put("key.serializer", ByteArraySerializer.class);
        config.put("value.serializer", ByteArraySerializer.class);
        config.put("acks", request.get("acks").asText());
        config.put("enable.idempotence", request.get("idempotent").asBoolean());
        config.put("compression.type", request.get("compression").asText());
        config.put("max.request.size", 1 << 21);
        config.put("linger.ms", request.path("linger_ms").asInt(5));
        config.put("batch.size", request.path("batch_bytes").asInt(16384));
        config.put("delivery.timeout.ms", (int) DEADLINE_MS);
        config.put("request.timeout.ms", 20_000);
        config.put("max.block.ms", DEADLINE_MS);

        var offsets = JSON.createArrayNode();
        try (var producer = new KafkaProducer<byte[], byte[]>(config)) {
            var sent = new ArrayList<Future<RecordMetadata>>();
            for (JsonNode record : request.get("records")) {
                var headers = new ArrayList<Header>();
                for (JsonNode header : record.get("h")) {
                    headers.add(new RecordHeader(header.get(0).asText(), bytes(header.get(1))));
                }
                JsonNode time = record.get("t");
                sent.add(producer.send(new ProducerRecord<>(
                        request.get("topic").asText(),
                        record.get("p").asInt(),
                        time.isNull() ? null : time.asLong(),
                        bytes(record.get("k")),
                        bytes(record.get("v")),
                        headers)));
            }
            for (Future<RecordMetadata> one : sent) {
                offsets.add(one.get(DEADLINE_MS, TimeUnit.MILLISECONDS).offset());
            }
        }
        ObjectNode answer = JSON.createObjectNode();
        answer.set("offsets", offsets);
        return answer;
    }

    private ObjectNode group(JsonNode request) {
        var config = new HashMap<String, Object>();
        config.put("bootstrap.servers", bootstrap);
        config.put("key.deserializer", ByteArrayDeserializer.class);
        config.put("value.deserializer", ByteArrayDeserializer.class);
        config.put("group.id", request.get("group").asText());
        config.put("auto.offset.reset", "earliest");
        config.put("enable.auto.commit", false);
        ArrayNode values = JSON.createArrayNode();
        try (var consumer = new KafkaConsumer<byte[], byte[]>(config)) {
            consumer.subscribe(List.of(request.get("topic").asText()));
            long deadline = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(DEADLINE_MS);
            while (values.size() < request.get("count").asInt() && System.nanoTime() < deadline) {
                for (var record : consumer.poll(Duration.ofMillis(500))) {
                    values.add(HexFormat.of().formatHex(record.value()));
                }
            }
            consumer.commitSync();
        }
        var answer = JSON.createObjectNode();
        answer.set("values", values);
        return answer;
    }

    private ObjectNode consume(JsonNode request) {
        var config = new HashMap<String, Object>();
        config.put("bootstrap.servers", bootstrap);
        config.put("key.deserializer", ByteArrayDeserializer.class);
        config.put("value.deserializer", ByteArrayDeserializer.class);
        config.put("auto.offset.reset", "none");
        config.put("enable.auto.commit", false);
        for (var option : request.path("options").properties()) {
            config.put(option.getKey(), option.getValue().asText());
        }
        var left = new HashMap<TopicPartition, Integer>();
        ArrayNode records = JSON.createArrayNode();
        try (var consumer = new KafkaConsumer<byte[], byte[]>(config)) {
            for (JsonNode wanted : request.get("partitions")) {
                left.put(new TopicPartition(request.get("topic").asText(), wanted.get(0).asInt()), wanted.get(2).asInt());
            }
            consumer.assign(left.keySet());
            for (JsonNode wanted : request.get("partitions")) {
                consumer.seek(new TopicPartition(request.get("topic").asText(), wanted.get(0).asInt()), wanted.get(1).asLong());
            }
            left.values().removeIf(count -> count == 0);
            long deadline = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(DEADLINE_MS);
            while (!left.isEmpty() && System.nanoTime() < deadline) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(500))) {
                    var partition = new TopicPartition(record.topic(), record.partition());
                    if (left.containsKey(partition)) {
                        left.computeIfPresent(partition, (key, count) -> count == 1 ? null : count - 1);
                        records.add(toJson(record));
                    }
                }
            }
        }
        ObjectNode answer = JSON.createObjectNode();
        answer.set("records", records);
        return answer;
    }

    private static ObjectNode toJson(ConsumerRecord<byte[], byte[]> record) {
        ObjectNode node = JSON.createObjectNode();
        node.put("p", record.partition()).put("o", record.offset()).put("t", record.timestamp());
        node.put("k", hex(record.key())).put("v", hex(record.value()));
        ArrayNode headers = node.putArray("h");
        for (Header header : record.headers()) {
            headers.addArray().add(header.key()).add(hex(header.value()));
        }
        return node;
    }

    static byte[] bytes(JsonNode hex) {
        return hex.isNull() ? null : HexFormat.of().parseHex(hex.asText());
    }

    static String hex(byte[] bytes) {
        return bytes == null ? null : HexFormat.of().formatHex(bytes);
    }

    static Map<String, String> strings(JsonNode object) {
        var map = new HashMap<String, String>();
        object.properties().forEach(entry -> map.put(entry.getKey(), entry.getValue().asText()));
        return map;
    }

    static List<String> list(JsonNode array) {
        var list = new ArrayList<String>();
        array.forEach(item -> list.add(item.asText()));
        return list;
    }
}
