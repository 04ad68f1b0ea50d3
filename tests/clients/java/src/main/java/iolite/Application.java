package iolite;

import java.nio.file.Path;
import java.time.Duration;
import java.util.Properties;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;

/** What the applications on Kafka Streams share: text in and out, exactly once, until they are told to stop. */
final class Application {
    private Application() {}

    static void run(String id, String bootstrap, String stateDirectory, StreamsBuilder builder) {
        var config = new Properties();
        config.put("bootstrap.servers", bootstrap);
        config.put("application.id", id);
        config.put("processing.guarantee", "exactly_once_v2");
        config.put("state.dir", Path.of(stateDirectory).toString());
        config.put("default.key.serde", Serdes.StringSerde.class);
        config.put("default.value.serde", Serdes.StringSerde.class);
        config.put("replication.factor", 1);
        config.put("commit.interval.ms", 100);
        // Everything goes out, not only the last before a commit.
        config.put("statestore.cache.max.bytes", 0);
        // One that was killed is soon missed, and its transaction aborted.
        config.put("session.timeout.ms", 6_000);
        config.put("heartbeat.interval.ms", 1_000);
        config.put("producer.transaction.timeout.ms", 6_000);
        config.put("auto.offset.reset", "earliest");

        var streams = new KafkaStreams(builder.build(), config);
        streams.setUncaughtExceptionHandler(failure -> {
            failure.printStackTrace();
            return StreamThreadExceptionResponse.REPLACE_THREAD;
        });
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            var isClosed = streams.close(Duration.ofSeconds(20));
            System.out.println(isClosed ? "closed" : "not closed in time");
        }));
        streams.start();
    }
}
