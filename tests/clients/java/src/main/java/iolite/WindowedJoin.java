package iolite;

import java.time.Duration;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.kstream.JoinWindows;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.StreamJoined;
import org.apache.kafka.streams.state.Stores;
import org.apache.kafka.streams.state.WindowBytesStoreSupplier;

/**
 * Joins two streams, exactly once: for each two records of one key whose times are no further apart than the window, {@code
 * LEFT+RIGHT} goes out. However late one comes, nothing is left out.
 *
 * <p>Usage: WindowedJoin BOOTSTRAP LEFT RIGHT OUTPUT WINDOW_MS STATE_DIRECTORY. Runs until it is told to stop.
 */
public final class WindowedJoin {
    private static final Duration GRACE = Duration.ofDays(1);

    private WindowedJoin() {}

    public static void main(String[] args) {
        var window = Duration.ofMillis(Long.parseLong(args[4]));
        var builder = new StreamsBuilder();
        KStream<String, String> left = builder.stream(args[1]);
        KStream<String, String> right = builder.stream(args[2]);
        StreamJoined<String, String, String> stores = StreamJoined.with(store("left", window), store("right", window));
        left.join(
                        right,
                        (one, other) -> one + "+" + other,
                        JoinWindows.ofTimeDifferenceAndGrace(window, GRACE),
                        stores.withName("join"))
                .to(args[3]);
        Application.run("windowed-join", args[0], args[5], builder);
    }

    private static WindowBytesStoreSupplier store(String name, Duration window) {
        var size = window.multipliedBy(2);
        return Stores.inMemoryWindowStore(name, size.plus(GRACE), size, true);
    }
}
