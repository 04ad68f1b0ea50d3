package iolite;

import java.nio.file.Path;
import java.time.Duration;
import java.util.Arrays;
import java.util.Properties;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.state.Stores;

/**
 * Counts the words of lines, exactly once: for each word that comes, its count so far goes out.
 *
 * <p>Usage: WordCount BOOTSTRAP INPUT OUTPUT STATE_DIRECTORY. Runs until it is told to stop.
 */
public final class WordCount {
    private WordCount() {}

    public static void main(String[] args) {
        var config = new Properties();
        config.put("bootstrap.servers", args[0]);
        config.put("application.id", "word-count");
        config.put("processing.guarantee", "exactly_once_v2");
        config.put("state.dir", Path.of(args[3]).toString());
        config.put("default.key.serde", Serdes.StringSerde.class);
        config.put("default.value.serde", Serdes.StringSerde.class);
        config.put("replication.factor", 1);
        config.put("commit.interval.ms", 100);
        // Every count goes out, not only the last before a commit.
        config.put("statestore.cache.max.bytes", 0);
        // One that was killed is soon missed, and its transaction aborted.
        config.put("session.timeout.ms", 6_000);
        config.put("heartbeat.interval.ms", 1_000);
        config.put("producer.transaction.timeout.ms", 6_000);
        config.put("auto.offset.reset", "earliest");

        var builder = new StreamsBuilder();
        builder.<String, String>stream(args[1])
                .flatMapValues(line -> Arrays.asList(line.split(" ")))
                .groupBy((key, word) -> word)
                .count(Materialized.as(Stores.inMemoryKeyValueStore("counts")))
                .toStream()
                .mapValues(count -> Long.toString(count))
                .to(args[2]);

        var streams = new KafkaStreams(builder.build(), config);
        streams.setUncaughtExceptionHandler(failure -> {
            failure.printStackTrace();
            return StreamThreadExceptionResponse.REPLACE_THREAD;
        });
        Runtime.getRuntime().addShutdownHook(new Thread(() -> streams.close(Duration.ofSeconds(20))));
        streams.start();
    }
}
