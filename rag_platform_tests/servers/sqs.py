"""A queue that speaks SQS's protocol (AWS JSON 1.0) on the loopback, as far as it is used here."""

import hashlib
import json
import threading
import time
import uuid
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

QUEUE = "bucket-events"
_TARGET = "AmazonSQS."


@dataclass
class Message:
    """A message: its receipt is that of the last time that it was given out."""

    body: str
    attributes: dict[str, str]
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    hidden_until: float = 0.0
    receipt: str = ""
    received: int = 0


class SqsServer:
    """The server as a context manager, with one queue.

    A message that was given out is hidden for the time that was asked for, then it comes again; a
    receipt counts until the message is given out once more.
    """

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.failing: set[str] = set()
        self.calls: list[str] = []
        self._lock = threading.Lock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._http.server_port}"
        self.queue_url = f"{self.endpoint}/000000000000/{QUEUE}"

    def __enter__(self) -> "SqsServer":
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    def send(self, body: Any, **attributes: str) -> None:
        """Put a message into the queue; what is no text is sent as JSON."""
        text = body if isinstance(body, str) else json.dumps(body)
        with self._lock:
            self.messages.append(Message(text, attributes))

    def reset(self) -> None:
        """Be as new."""
        with self._lock:
            self.messages, self.failing, self.calls = [], set(), []

    def show_all(self) -> None:
        """Let the time pass for which messages are hidden."""
        with self._lock:
            for message in self.messages:
                message.hidden_until = 0.0

    def answer(self, operation: str, asked: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Status and body."""
        with self._lock:
            self.calls.append(operation)
            if operation in self.failing:
                return 403, {"__type": "com.amazonaws.sqs#AccessDeniedException"}
            if asked["QueueUrl"] != self.queue_url:
                return 400, {"__type": "com.amazonaws.sqs#QueueDoesNotExist"}
            return 200, getattr(self, f"_{operation}")(asked)

    def _ReceiveMessage(self, asked: dict[str, Any]) -> dict[str, Any]:
        now = time.monotonic()
        shown = [message for message in self.messages if message.hidden_until <= now]
        taken = shown[: asked["MaxNumberOfMessages"]]
        for message in taken:
            message.hidden_until = now + asked["VisibilityTimeout"]
            message.receipt = uuid.uuid4().hex
            message.received += 1
        return {"Messages": [_given(message, asked) for message in taken]} if taken else {}

    def _DeleteMessageBatch(self, asked: dict[str, Any]) -> dict[str, Any]:
        entries = asked["Entries"]
        assert 1 <= len(entries) <= 10
        receipts = {entry["ReceiptHandle"] for entry in entries}
        self.messages = [one for one in self.messages if one.receipt not in receipts]
        return {"Successful": [{"Id": entry["Id"]} for entry in entries], "Failed": []}

    def _GetQueueAttributes(self, asked: dict[str, Any]) -> dict[str, Any]:
        now = time.monotonic()
        shown = sum(message.hidden_until <= now for message in self.messages)
        return {"Attributes": {name: str(shown) for name in asked["AttributeNames"]}}


def _given(message: Message, asked: dict[str, Any]) -> dict[str, Any]:
    named = {
        name: {"DataType": "String", "StringValue": value}
        for name, value in message.attributes.items()
        if name in asked.get("MessageAttributeNames", ())
    }
    return {
        "MessageId": message.id,
        "ReceiptHandle": message.receipt,
        "MD5OfBody": hashlib.md5(message.body.encode(), usedforsecurity=False).hexdigest(),
        "Body": message.body,
        **({"MessageAttributes": named} if named else {}),
    }


def _handler(server: SqsServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            operation = self.headers["X-Amz-Target"].removeprefix(_TARGET)
            status, body = server.answer(operation, asked)
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.0")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    return Handler
