"""Produces the numbers from 0 on, so many a second, until it is told to end; then says how many there are.

Usage: soak_producer.py BOOTSTRAP TOPIC PER_SECOND. Idempotent and patient: whatever becomes of the broker meanwhile, each
number up to the last is in the topic once.
"""

import signal
import sys
import time

from confluent_kafka import Producer

BOOTSTRAP, TOPIC, PER_SECOND = sys.argv[1], sys.argv[2], int(sys.argv[3])

has_to_end = False


def end(_signal, _frame):
    global has_to_end
    has_to_end = True


def delivered(error, _message):
    if error:
        sys.exit(f"not delivered: {error}")


def main():
    signal.signal(signal.SIGTERM, end)
    producer = Producer(
        {"bootstrap.servers": BOOTSTRAP, "enable.idempotence": True, "linger.ms": 5, "message.timeout.ms": 0}
    )
    began = time.monotonic()
    count = 0
    while not has_to_end:
        due = int((time.monotonic() - began) * PER_SECOND)
        while count < due:
            producer.produce(TOPIC, str(count).encode(), on_delivery=delivered)
            count += 1
            producer.poll(0)
        producer.poll(0.01)
    producer.flush()
    print(f"produced {count}", flush=True)


main()
