"""A member of a group that may die at any moment, and leaves behind what it did until then.

Usage: soak_member.py BOOTSTRAP CONFIG INPUT VALUES [OUTPUT TRANSACTIONAL_ID]

Prints what it owns as it changes, each line with the machine's clock in nanoseconds, and by which id the group knows it: `at 1
assigned 0,3 ID`, `at 2 revoked 0`, `at 3 lost 3`, `at 4 ended`. Without an output it appends each value to the file VALUES before it commits it: at least once.
With one it copies the values there, in transactions that commit the offsets too: exactly once.

Ends cleanly on SIGTERM; with status 3 where it was fenced or lost its place for good, as an application would that is then
started again.
"""

import faulthandler
import json
import os
import signal
import sys
import time

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

BOOTSTRAP, CONFIG, INPUT, VALUES = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3], sys.argv[4]
OUTPUT, TRANSACTIONAL_ID = (sys.argv[5:7] + [None, None])[:2]

FENCED = 3
# By default librdkafka (2.16) forgets all brokers when none is to be reached, and then waits for ever for the forgotten one when
# a transaction's offsets are to be committed: `send_offsets_to_transaction` does not come back.
COMMON = {"bootstrap.servers": BOOTSTRAP, "metadata.recovery.strategy": "none"}
BATCH = 100
TIMEOUT_SECONDS = 60
TRANSACTION_TIMEOUT_MS = 8_000

has_to_end = False


def end(_signal, _frame):
    global has_to_end
    has_to_end = True


class Owned:
    """The partitions that are owned, each with a number that tells one ownership from the next."""

    def __init__(self):
        self.since = {}
        self.changes = 0

    def tell(self, what, partitions, more=""):
        numbers = ",".join(str(partition.partition) for partition in partitions)
        print(f"at {time.time_ns()} {what} {numbers} {more}", flush=True)
        self.changes += 1

    def assigned(self, consumer, partitions):
        self.tell("assigned", partitions, consumer.memberid())
        for partition in partitions:
            self.since[partition.partition] = self.changes

    def gone(self, what):
        def callback(_consumer, partitions):
            # Before the others may hear of it.
            self.tell(what, partitions)
            for partition in partitions:
                self.since.pop(partition.partition, None)

        return callback


def read(consumer, owned):
    values = os.open(VALUES, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    while not has_to_end:
        message = consumer.poll(0.1)
        if message is None or message.error():
            continue
        os.write(values, message.value() + b"\n")
        if message.partition() in owned.since:
            consumer.store_offsets(message)


class Batch:
    """Messages that are not committed yet."""

    def __init__(self):
        self.messages = []
        # By partition and ownership.
        self.first = {}
        self.next = {}

    def add(self, message, since):
        partition = message.partition()
        self.messages.append(message)
        self.first.setdefault((partition, since), message.offset())
        self.next[partition] = message.offset() + 1

    def rewind(self, consumer, owned):
        """Reads again from where it began what is still owned. What was given away begins where it was committed."""
        for (partition, since), offset in self.first.items():
            if since is not None and owned.since.get(partition) == since:
                consumer.seek(TopicPartition(INPUT, partition, offset))


def gather(consumer, owned):
    """Some messages; none where what is owned changed meanwhile."""
    batch = Batch()
    changes = owned.changes
    until = time.monotonic() + 0.2
    while len(batch.messages) < BATCH and time.monotonic() < until:
        message = consumer.poll(0.05)
        if owned.changes != changes:
            # What the poll brought belongs to the new ownership, or to nobody: it is read again.
            if message is not None and not message.error():
                batch.add(message, owned.since.get(message.partition()))
            batch.rewind(consumer, owned)
            return None
        if message is not None and not message.error():
            batch.add(message, owned.since.get(message.partition()))
    return batch if batch.messages else None


def retried(call, *arguments):
    while True:
        try:
            return call(*arguments)
        except KafkaException as failure:
            if not failure.args[0].retriable():
                raise


def copy_batch(writer, consumer, batch):
    writer.begin_transaction()
    for message in batch.messages:
        writer.produce(OUTPUT, message.value(), key=message.key())
        writer.poll(0)
    places = [TopicPartition(INPUT, partition, offset) for partition, offset in batch.next.items()]
    retried(writer.send_offsets_to_transaction, places, consumer.consumer_group_metadata(), TIMEOUT_SECONDS)
    retried(writer.commit_transaction, TIMEOUT_SECONDS)


def copy(consumer, owned):
    writer = Producer(
        {
            **COMMON,
            "transactional.id": TRANSACTIONAL_ID,
            "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS,
            "linger.ms": 5,
        }
    )
    retried(writer.init_transactions, TIMEOUT_SECONDS)
    while not has_to_end:
        batch = gather(consumer, owned)
        if batch is None:
            continue
        try:
            copy_batch(writer, consumer, batch)
        except KafkaException as failure:
            if not failure.args[0].txn_requires_abort():
                raise
            print(f"aborted: {failure}", flush=True)
            retried(writer.abort_transaction, TIMEOUT_SECONDS)
            batch.rewind(consumer, owned)


def main():
    signal.signal(signal.SIGTERM, end)
    faulthandler.register(signal.SIGUSR1)
    owned = Owned()
    consumer = Consumer(
        {
            **COMMON,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": OUTPUT is None,
            "enable.auto.offset.store": False,
            "auto.commit.interval.ms": 100,
            **CONFIG,
        }
    )
    consumer.subscribe(
        [INPUT], on_assign=owned.assigned, on_revoke=owned.gone("revoked"), on_lost=owned.gone("lost")
    )
    try:
        if OUTPUT is None:
            read(consumer, owned)
        else:
            copy(consumer, owned)
    except KafkaException as failure:
        print(f"at {time.time_ns()} ended {failure}", flush=True)
        # As if killed: the group finds out by itself.
        os._exit(FENCED)
    print(f"at {time.time_ns()} ended", flush=True)
    consumer.close()


main()
