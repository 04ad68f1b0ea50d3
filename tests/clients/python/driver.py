"""The loop that the Python drivers share: one JSON request a line in, one answer a line out (tests/clients/README.md)."""

import json
import sys
import traceback

DEADLINE_SECONDS = 60


def from_hex(text):
    return None if text is None else bytes.fromhex(text)


def to_hex(data):
    return None if data is None else bytes(data).hex()


def take_one(left, partition):
    """Counts a record of `partition` off what is still wanted; false where enough were read."""
    if partition not in left:
        return False
    left[partition] -= 1
    if left[partition] == 0:
        del left[partition]
    return True


class Refused(Exception):
    """An error with Kafka's own code."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


def serve(operations, code_of):
    """Answers requests until standard input ends; `operations` has one method per operation."""
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = getattr(operations, request["op"])(request)
        except Exception as failure:  # whatever the client raises is the answer
            code = failure.code if isinstance(failure, Refused) else code_of(failure)
            if code is None:
                traceback.print_exc()
                code = -1
            answer = {"error": {"code": code, "message": f"{type(failure).__name__}: {failure}"}}
        print(json.dumps(answer), flush=True)
