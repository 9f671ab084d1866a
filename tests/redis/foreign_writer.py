"""Another program that writes a user's events itself: it appends each to the user's stream, and then tells of it.

Arguments: the port of Redis, the user's id, this writer's number, how many events, and the database unless it is 0.
"""

import json
import sys

import redis


def main(port: int, user: str, writer: int, count: int, database: int = 0) -> None:
    client = redis.Redis(port=port, db=database)
    for number in range(count):
        event = {"type": "sync.done", "payload": {"writer": writer, "number": number, "text": "ünïcode"}}
        fields = {"event": json.dumps(event)}
        event_id = client.xadd(f"user:{user}:stream", fields, maxlen=1000, approximate=True)
        client.publish(f"user:{user}", json.dumps({"id": event_id.decode(), **event}))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:]))
