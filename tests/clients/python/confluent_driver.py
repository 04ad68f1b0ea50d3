"""confluent-kafka (librdkafka) behind the driver protocol."""

import sys
import time

import confluent_kafka
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from driver import DEADLINE_SECONDS, Refused, from_hex, serve, take_one, to_hex

BOOTSTRAP = sys.argv[1]


def places_of(request):
    return [TopicPartition(request["topic"], *place) for place in request["offsets"]]


def code_of(failure):
    return failure.args[0].code() if isinstance(failure, KafkaException) else None


class Operations:
    def __init__(self):
        self.admin = AdminClient({"bootstrap.servers": BOOTSTRAP})
        self.transactional = {}

    def hello(self, _request):
        return {"client": f"confluent-kafka {confluent_kafka.version()} (librdkafka {confluent_kafka.libversion()[0]})"}

    def produce(self, request):
        producer = Producer(
            {
                "bootstrap.servers": BOOTSTRAP,
                "acks": request["acks"],
                "enable.idempotence": request["idempotent"],
                "compression.type": request["compression"],
                "linger.ms": request.get("linger_ms", 5),
                "batch.size": request.get("batch_bytes", 1000000),
                "message.max.bytes": 2000000,
                "message.timeout.ms": DEADLINE_SECONDS * 1000,
            }
        )
        offsets = [None] * len(request["records"])
        errors = []

        def delivered(index):
            def report(error, message):
                if error is not None:
                    errors.append(error)
                offsets[index] = -1 if message is None or message.offset() is None or message.offset() < 0 else message.offset()

            return report

        for index, record in enumerate(request["records"]):
            more = {} if record["t"] is None else {"timestamp": record["t"]}
            producer.produce(
                request["topic"],
                value=from_hex(record["v"]),
                key=from_hex(record["k"]),
                partition=record["p"],
                headers=[(name, from_hex(value)) for name, value in record["h"]],
                on_delivery=delivered(index),
                **more,
            )
            producer.poll(0)
        left = producer.flush(DEADLINE_SECONDS)
        if errors:
            raise Refused(errors[0].code(), str(errors[0]))
        if left:
            raise Refused(-1, f"{left} records were not delivered in time")
        return {"offsets": offsets}

    def consume(self, request):
        config = {
            "bootstrap.servers": BOOTSTRAP,
            "group.id": "unused",
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "check.crcs": True,
        }
        config.update(request.get("options", {}))
        consumer = Consumer(config)
        left = {partition: count for partition, _, count in request["partitions"] if count}
        consumer.assign([TopicPartition(request["topic"], partition, start) for partition, start, _ in request["partitions"]])
        records = []
        deadline = time.monotonic() + DEADLINE_SECONDS
        while left and time.monotonic() < deadline:
            for message in consumer.consume(100, timeout=0.1):
                if message.error() and message.topic() is None:
                    # What ails the group coordinator does not concern a reader of assigned partitions.
                    print(message.error(), file=sys.stderr)
                    continue
                if message.error():
                    raise Refused(message.error().code(), str(message.error()))
                if not take_one(left, message.partition()):
                    continue
                records.append(
                    {
                        "p": message.partition(),
                        "o": message.offset(),
                        "t": message.timestamp()[1],
                        "k": to_hex(message.key()),
                        "v": to_hex(message.value()),
                        "h": [[name, to_hex(value)] for name, value in message.headers() or []],
                    }
                )
        consumer.close()
        return {"records": records}

    def group(self, request):
        consumer = Consumer(
            {
                "bootstrap.servers": BOOTSTRAP,
                "group.id": request["group"],
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
            }
        )
        consumer.subscribe([request["topic"]])
        values = []
        deadline = time.monotonic() + DEADLINE_SECONDS
        while len(values) < request["count"] and time.monotonic() < deadline:
            for message in consumer.consume(100, timeout=0.1):
                if message.error():
                    raise Refused(message.error().code(), str(message.error()))
                values.append(to_hex(message.value()))
        if values:
            consumer.commit(asynchronous=False)
        consumer.close()
        return {"values": values}

    def commit_as_member(self, request):
        assigned = []
        consumer = Consumer({"bootstrap.servers": BOOTSTRAP, "enable.auto.commit": False, **request["config"]})
        consumer.subscribe([request["topic"]], on_assign=lambda _consumer, partitions: assigned.extend(partitions))
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not assigned and time.monotonic() < deadline:
            consumer.poll(0.1)
        for place in consumer.commit(offsets=places_of(request), asynchronous=False):
            if place.error is not None:
                raise Refused(place.error.code(), str(place.error))
        consumer.close()
        return {}

    def init_transactions(self, request):
        name = request["transactional_id"]
        self.transactional[name] = Producer(
            {"bootstrap.servers": BOOTSTRAP, "transactional.id": name, "transaction.timeout.ms": request["timeout_ms"]}
        )
        self.transactional[name].init_transactions(DEADLINE_SECONDS)
        return {}

    def begin_transaction(self, request):
        self.transactional[request["transactional_id"]].begin_transaction()
        return {}

    def send(self, request):
        errors = []
        producer = self.transactional[request["transactional_id"]]

        def delivered(error, _message):
            if error is not None:
                errors.append(error)

        producer.produce(
            request["topic"],
            value=from_hex(request["v"]),
            partition=request["p"],
            timestamp=request["t"],
            on_delivery=delivered,
        )
        if producer.flush(DEADLINE_SECONDS):
            raise Refused(-1, "the record was not delivered in time")
        if errors:
            raise Refused(errors[0].code(), str(errors[0]))
        return {}

    def send_offsets(self, request):
        reader = Consumer({"bootstrap.servers": BOOTSTRAP, "group.id": request["group"]})
        producer = self.transactional[request["transactional_id"]]
        producer.send_offsets_to_transaction(places_of(request), reader.consumer_group_metadata(), DEADLINE_SECONDS)
        reader.close()
        return {}

    def end_transaction(self, request):
        producer = self.transactional[request["transactional_id"]]
        end = producer.commit_transaction if request["commit"] else producer.abort_transaction
        end(DEADLINE_SECONDS)
        return {}

    def create_topic(self, request):
        topic = NewTopic(request["topic"], request["partitions"], config=request["configs"])
        self.admin.create_topics([topic], operation_timeout=DEADLINE_SECONDS)[request["topic"]].result()
        return {}

    def delete_topic(self, request):
        self.admin.delete_topics([request["topic"]], operation_timeout=DEADLINE_SECONDS)[request["topic"]].result()
        return {}

    def list_topics(self, _request):
        return {"topics": sorted(self.admin.list_topics(timeout=DEADLINE_SECONDS).topics)}

    def describe_topic(self, request):
        partitions = self._metadata(request["topic"]).partitions
        return {"leaders": [partitions[index].leader for index in sorted(partitions)]}

    def _metadata(self, topic):
        metadata = self.admin.list_topics(topic, timeout=DEADLINE_SECONDS).topics[topic]
        if metadata.error is not None:
            raise Refused(metadata.error.code(), str(metadata.error))
        return metadata

    def create_partitions(self, request):
        self.admin.create_partitions([NewPartitions(request["topic"], request["count"])])[request["topic"]].result()
        return {}

    def delete_records(self, request):
        where = TopicPartition(request["topic"], request["partition"], request["before"])
        (deleted,) = self.admin.delete_records([where]).values()
        return {"low_watermark": deleted.result().low_watermark}

    def list_offsets(self, request):
        at = request["at"]
        spec = {
            "earliest": OffsetSpec.earliest,
            "latest": OffsetSpec.latest,
            "max_timestamp": OffsetSpec.max_timestamp,
        }.get(at, lambda: OffsetSpec.for_timestamp(at))()
        (listed,) = self.admin.list_offsets({TopicPartition(request["topic"], request["partition"]): spec}).values()
        result = listed.result()
        return {"offset": result.offset, "timestamp": result.timestamp}

    def describe_configs(self, request):
        resource = ConfigResource(ResourceType.TOPIC, request["topic"])
        configs = self.admin.describe_configs([resource])[resource].result()
        return {"configs": {name: {"value": entry.value, "default": entry.is_default} for name, entry in configs.items()}}

    def alter_configs(self, request):
        changes = [ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in request["set"].items()]
        changes += [ConfigEntry(name, None, incremental_operation=AlterConfigOpType.DELETE) for name in request["delete"]]
        resource = ConfigResource(ResourceType.TOPIC, request["topic"], incremental_configs=changes)
        self.admin.incremental_alter_configs([resource])[resource].result()
        return {}

    def describe_cluster(self, _request):
        cluster = self.admin.describe_cluster(request_timeout=DEADLINE_SECONDS).result()
        return {
            "cluster_id": cluster.cluster_id,
            "controller": cluster.controller.id,
            "nodes": [{"id": node.id, "port": node.port} for node in cluster.nodes],
        }


serve(Operations(), code_of)
