"""A member of a group, alone in its process: confluent-kafka (librdkafka) told what to read, until it is told to end.

Prints `assigned: topic [0], topic [1]` whenever what it owns changes, and each value that it reads; commits every tenth
of a second, and when it ends.
"""

import json
import signal
import sys

from confluent_kafka import Consumer

CONFIG = {"auto.offset.reset": "earliest", "auto.commit.interval.ms": 100}

has_to_end = False


def end(_signal, _frame):
    global has_to_end
    has_to_end = True


def main(bootstrap, config, topics):
    owned = set()

    def tell():
        print("assigned: " + ", ".join(f"{topic} [{partition}]" for topic, partition in sorted(owned)), flush=True)

    def changes(change):
        def changed(_consumer, partitions):
            change({(partition.topic, partition.partition) for partition in partitions})
            tell()

        return changed

    consumer = Consumer({"bootstrap.servers": bootstrap, **CONFIG, **config})
    gone = changes(owned.difference_update)
    consumer.subscribe(topics, on_assign=changes(owned.update), on_revoke=gone, on_lost=gone)
    signal.signal(signal.SIGTERM, end)
    while not has_to_end:
        message = consumer.poll(0.1)
        if message is None:
            continue
        if message.error():
            print(message.error(), file=sys.stderr, flush=True)
        else:
            print(message.value().decode(), flush=True)
    consumer.close()


main(sys.argv[1], json.loads(sys.argv[2]), sys.argv[3:])
