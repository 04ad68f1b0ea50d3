"""Reads a topic in a group, writes what it read to another and commits both in transactions, some of which it aborts.

Usage: confluent_transactions.py BOOTSTRAP INPUT OUTPUT COUNT. Ends when COUNT records are committed; then has another
instance take its transactional id over, and says whether it was fenced.
"""

import sys

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

BOOTSTRAP, INPUT, OUTPUT, COUNT = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
TIMEOUT = 30


def producer():
    made = Producer(
        {
            "bootstrap.servers": BOOTSTRAP,
            "transactional.id": f"copies-{INPUT}",
            "transaction.timeout.ms": TIMEOUT * 1000,
            # All clients of the tests read this one.
            "compression.type": "gzip",
        }
    )
    made.init_transactions(TIMEOUT)
    return made


def seek_to_committed(consumer):
    for place in consumer.committed(consumer.assignment(), TIMEOUT):
        offset = max(place.offset, 0)
        consumer.seek(TopicPartition(place.topic, place.partition, offset))


def copy(writer, consumer):
    committed = aborted = 0
    while committed < COUNT:
        messages = consumer.consume(COUNT // 8, 1.0)
        if not messages:
            continue
        writer.begin_transaction()
        for message in messages:
            assert not message.error(), message.error()
            writer.produce(OUTPUT, message.value(), key=message.key())
        places = [place for place in consumer.position(consumer.assignment()) if place.offset >= 0]
        writer.send_offsets_to_transaction(places, consumer.consumer_group_metadata(), TIMEOUT)
        if (committed // 7 + aborted) % 3 == 1:
            # What was written so far is in the log, not only in the client.
            writer.flush(TIMEOUT)
            writer.abort_transaction(TIMEOUT)
            aborted += 1
            seek_to_committed(consumer)
        else:
            writer.commit_transaction(TIMEOUT)
            committed += len(messages)
    return aborted


def is_fenced(writer):
    producer()
    try:
        writer.begin_transaction()
        writer.produce(OUTPUT, b"from the past")
        writer.commit_transaction(TIMEOUT)
    except KafkaException as failure:
        return failure.args[0].code() == KafkaError._FENCED
    return False


def main():
    writer = producer()
    consumer = Consumer(
        {
            "bootstrap.servers": BOOTSTRAP,
            "group.id": f"copiers-{INPUT}",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
        }
    )
    consumer.subscribe([INPUT])
    aborted = copy(writer, consumer)
    consumer.close()
    print(f"aborted {aborted} transactions")
    print("fenced" if is_fenced(writer) else "not fenced")


main()
