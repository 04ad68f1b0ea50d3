"""kafka-python behind the driver protocol."""

import sys
import time

import kafka
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import AlterConfigOp, ConfigResource, ConfigResourceType
from kafka.errors import KafkaError

from driver import DEADLINE_SECONDS, Refused, from_hex, serve, take_one, to_hex

BOOTSTRAP = sys.argv[1]
SPECS = {"latest": -1, "earliest": -2, "max_timestamp": -3}


def code_of(failure):
    return getattr(failure, "errno", None) if isinstance(failure, KafkaError) else None


class Operations:
    def __init__(self):
        self._admin = None

    @property
    def admin(self):
        if self._admin is None:
            self._admin = KafkaAdminClient(bootstrap_servers=BOOTSTRAP)
        return self._admin

    def hello(self, _request):
        return {"client": f"kafka-python {kafka.__version__}"}

    def produce(self, request):
        producer = KafkaProducer(
            bootstrap_servers=BOOTSTRAP,
            acks=request["acks"] if request["acks"] == "all" else int(request["acks"]),
            enable_idempotence=request["idempotent"],
            compression_type=None if request["compression"] == "none" else request["compression"],
            linger_ms=request.get("linger_ms", 5),
            batch_size=request.get("batch_bytes", 16384),
            max_request_size=1 << 21,
            delivery_timeout_ms=DEADLINE_SECONDS * 1000,
        )
        futures = [
            producer.send(
                request["topic"],
                value=from_hex(record["v"]),
                key=from_hex(record["k"]),
                headers=[(name, from_hex(value)) for name, value in record["h"]],
                partition=record["p"],
                timestamp_ms=record["t"],
            )
            for record in request["records"]
        ]
        try:
            return {"offsets": [future.get(timeout=DEADLINE_SECONDS).offset for future in futures]}
        finally:
            producer.close(timeout=DEADLINE_SECONDS)

    def consume(self, request):
        consumer = KafkaConsumer(
            bootstrap_servers=BOOTSTRAP,
            group_id=None,
            auto_offset_reset="none",
            enable_auto_commit=False,
            check_crcs=True,
            isolation_level=request.get("isolation", "read_uncommitted"),
        )
        left = {partition: count for partition, _, count in request["partitions"] if count}
        consumer.assign([TopicPartition(request["topic"], partition) for partition, _, _ in request["partitions"]])
        for partition, start, _ in request["partitions"]:
            consumer.seek(TopicPartition(request["topic"], partition), start)
        records = []
        deadline = time.monotonic() + DEADLINE_SECONDS
        while left and time.monotonic() < deadline:
            for partition, messages in consumer.poll(timeout_ms=500).items():
                for message in messages:
                    if not take_one(left, partition.partition):
                        continue
                    records.append(
                        {
                            "p": message.partition,
                            "o": message.offset,
                            "t": message.timestamp,
                            "k": to_hex(message.key),
                            "v": to_hex(message.value),
                            "h": [[name, to_hex(value)] for name, value in message.headers],
                        }
                    )
        consumer.close()
        return {"records": records}

    def group(self, request):
        consumer = KafkaConsumer(
            request["topic"],
            bootstrap_servers=BOOTSTRAP,
            group_id=request["group"],
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            isolation_level=request.get("isolation", "read_uncommitted"),
        )
        values = []
        deadline = time.monotonic() + DEADLINE_SECONDS
        while len(values) < request["count"] and time.monotonic() < deadline:
            for messages in consumer.poll(timeout_ms=500).values():
                values.extend(to_hex(message.value) for message in messages)
        if values:
            consumer.commit()
        consumer.close()
        return {"values": values}

    def create_topic(self, request):
        options = {"num_partitions": request["partitions"], "configs": request["configs"]}
        made = self.admin.create_topics({request["topic"]: options})
        return {"partitions": made["topics"][0]["num_partitions"], "id": str(made["topics"][0]["topic_id"])}

    def delete_topic(self, request):
        self.admin.delete_topics([request["topic"]])
        return {}

    def list_topics(self, _request):
        return {"topics": sorted(self.admin.list_topics())}

    def describe_topic(self, request):
        topic = self.admin.describe_topics([request["topic"]])[0]
        if topic["error_code"]:
            raise Refused(topic["error_code"], "describe_topics")
        partitions = sorted(topic["partitions"], key=lambda one: one["partition_index"])
        return {"id": str(topic["topic_id"]), "leaders": [one["leader_id"] for one in partitions]}

    def create_partitions(self, request):
        self.admin.create_partitions({request["topic"]: request["count"]})
        return {}

    def delete_records(self, request):
        where = TopicPartition(request["topic"], request["partition"])
        return {"low_watermark": self.admin.delete_records({where: request["before"]})[where]["low_watermark"]}

    def list_offsets(self, request):
        where = TopicPartition(request["topic"], request["partition"])
        found = self.admin.list_partition_offsets({where: SPECS.get(request["at"], request["at"])})[where]
        return {"offset": found.offset, "timestamp": found.timestamp}

    def describe_configs(self, request):
        resource = ConfigResource(ConfigResourceType.TOPIC, request["topic"])
        found = self.admin.describe_configs([resource], config_filter="all")["topic"][request["topic"]]
        return {"configs": {name: {"value": entry["value"], "default": entry["config_source"] != "DYNAMIC_TOPIC_CONFIG"} for name, entry in found.items()}}

    def alter_configs(self, request):
        changes = {name: (AlterConfigOp.SET, value) for name, value in request["set"].items()}
        changes.update({name: (AlterConfigOp.DELETE, None) for name in request["delete"]})
        resource = ConfigResource(ConfigResourceType.TOPIC, request["topic"], changes)
        result = self.admin.alter_configs([resource], raise_on_unknown=False)["topic"][request["topic"]]
        if result != "OK":
            code = int(result.split("]")[0].removeprefix("[Error ")) if result.startswith("[Error ") else -1
            raise Refused(code, result)
        return {}

    def describe_cluster(self, _request):
        cluster = self.admin.describe_cluster()
        return {
            "cluster_id": cluster["cluster_id"],
            "controller": cluster["controller_id"],
            "nodes": [{"id": node["broker_id"], "port": node["port"]} for node in cluster["brokers"]],
        }

    def describe_log_dirs(self, request):
        answers = self.admin.describe_log_dirs()
        return {"size_bytes": sum_sizes(answers, request["topic"])}


def sum_sizes(node, topic):
    """Adds up the sizes of one topic's partitions wherever the answer nests them."""
    if isinstance(node, dict):
        if node.get("name") == topic or node.get("topic") == topic:
            return sum(partition["partition_size"] for partition in node["partitions"])
        return sum(sum_sizes(value, topic) for value in node.values())
    if isinstance(node, (list, tuple)):
        return sum(sum_sizes(value, topic) for value in node)
    return 0


serve(Operations(), code_of)
