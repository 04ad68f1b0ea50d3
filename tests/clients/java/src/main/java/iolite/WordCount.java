package iolite;

import java.util.Arrays;
import org.apache.kafka.streams.StreamsBuilder;
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
        var builder = new StreamsBuilder();
        builder.<String, String>stream(args[1])
                .flatMapValues(line -> Arrays.asList(line.split(" ")))
                .groupBy((key, word) -> word)
                .count(Materialized.as(Stores.inMemoryKeyValueStore("counts")))
                .toStream()
                .mapValues(count -> Long.toString(count))
                .to(args[2]);
        Application.run("word-count", args[0], args[3], builder);
    }
}
