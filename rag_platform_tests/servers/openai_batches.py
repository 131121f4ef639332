"""The Batch API for the scripted server: files, batches, and what goes wrong with them.

`with OpenAIServer() as server: service = serve_batches(server)`. A batch is answered by
`server.chat`, which also books what it charges (at half the price, which is up to the caller).
"""

import email
import email.policy
import json
import random
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rag_platform_tests.servers.openai_api import OpenAIServer, Reply
from rag_platform_tests.servers.openai_chat import Body, Charge

# What becomes of the question with this number in its file: "ok", a fault of the chat endpoint,
# "http_400" and the like, "silent" (answered, charged, and left out) or "expired".
Script = Callable[[int], str]


@dataclass
class Batch:
    """A batch as the service keeps it."""

    id: str
    name: str
    input_file: str
    created_at: float
    looks: int
    status: str = "validating"
    output_file: str | None = None
    error_file: str | None = None

    def shown(self) -> Body:
        """As the API shows it."""
        return {
            "id": self.id,
            "object": "batch",
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
            "status": self.status,
            "input_file_id": self.input_file,
            "output_file_id": self.output_file,
            "error_file_id": self.error_file,
            "created_at": int(self.created_at),
            "metadata": {"rag_platform_batch": self.name, "other": "x"},
        }


@dataclass
class BatchService:
    """Files and batches of a server, whose `refuse` looks at each question too.

    A batch ends as `ends` ("completed", "expired", "failed" …) when it was looked at `looks`
    times. `lose` creations are answered with a 500 after they were done; `refuse_creation` is the
    status of a refusal. `at_creation` is called when a batch was made, before that is answered.
    """

    server: OpenAIServer
    script: Script = lambda number: "ok"
    ends: str = "completed"
    looks: int = 2
    lose: int = 0
    refuse_creation: int | None = None
    page: int = 100
    at_creation: Callable[[], None] = lambda: None
    files: dict[str, bytes] = field(default_factory=dict)
    batches: list[Batch] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    charged: list[Charge] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(
        self, method: str, path: str, headers: Mapping[str, str], content: bytes
    ) -> Reply | None:
        path, _, query = path.partition("?")
        with self.lock:
            self.log.append(f"{method} {path}")
            if (method, path) == ("POST", "/v1/files"):
                return self._upload(headers, content)
            if (method, path) == ("POST", "/v1/batches"):
                return self._create(json.loads(content))
            if (method, path) == ("GET", "/v1/batches"):
                return self._list(query)
            if found := re.fullmatch(r"/v1/batches/([\w-]+)", path):
                return self._look(found[1])
            if found := re.fullmatch(r"/v1/files/([\w-]+)(/content)?", path):
                return self._file(method, found[1])
        return None

    @property
    def questions(self) -> list[Body]:
        """Every line of the files of all batches, in order."""
        return [line for batch in self.batches for line in self.lines(batch)]

    def lines(self, batch: Batch) -> list[Body]:
        """The questions of a batch; its file may be deleted by now."""
        return [json.loads(line) for line in self.files[batch.input_file].splitlines()]

    def _upload(self, headers: Mapping[str, str], content: bytes) -> Reply:
        kind = next(value for name, value in headers.items() if name.lower() == "content-type")
        whole = f"Content-Type: {kind}\r\n\r\n".encode() + content
        message = email.message_from_bytes(whole, policy=email.policy.HTTP)
        parts = {
            str(part.get_param("name", header="content-disposition")): part
            for part in message.iter_parts()
        }
        assert parts["purpose"].get_content().strip() == "batch"
        payload = parts["file"].get_payload(decode=True)
        assert isinstance(payload, bytes)
        return _json({"id": self._store(payload), "object": "file", "purpose": "batch"})

    def _store(self, content: bytes) -> str:
        name = f"file-{len(self.files) + 1}"
        self.files[name] = content
        return name

    def _create(self, body: Body) -> Reply:
        if self.refuse_creation is not None:
            return _error(self.refuse_creation)
        assert (body["endpoint"], body["completion_window"]) == ("/v1/chat/completions", "24h")
        batch = Batch(
            f"batch_{len(self.batches) + 1}",
            body["metadata"]["rag_platform_batch"],
            body["input_file_id"],
            time.time(),
            self.looks,
        )
        self.batches.append(batch)
        self.at_creation()
        if self.lose:
            self.lose -= 1
            return _error(500)
        return _json(batch.shown())

    def _list(self, query: str) -> Reply:
        newest = self.batches[::-1]
        if found := re.search(r"after=([\w-]+)", query):
            ids = [batch.id for batch in newest]
            newest = newest[ids.index(found[1]) + 1 :]
        page = [batch.shown() for batch in newest[: self.page]]
        return _json({"object": "list", "data": page, "has_more": len(newest) > len(page)})

    def _look(self, name: str) -> Reply:
        batch = next((batch for batch in self.batches if batch.id == name), None)
        if batch is None:
            return _error(404)
        batch.looks -= 1
        if batch.looks <= 0 and batch.status not in ("completed", "expired", "failed", "cancelled"):
            self._answer(batch)
        return _json(batch.shown())

    def _file(self, method: str, name: str) -> Reply:
        if name not in self.files or name in self.deleted:
            return _error(404)
        if method == "DELETE":
            self.deleted.append(name)
            return _json({"id": name, "object": "file", "deleted": True})
        return Reply(200, self.files[name], "application/octet-stream")

    def _answer(self, batch: Batch) -> None:
        """Answer the questions in no order, into two files."""
        batch.status = self.ends
        if self.ends == "failed":
            return
        good: list[Body] = []
        bad: list[Body] = []
        for number, line in enumerate(self.lines(batch)):
            self._answer_one(line, self.script(number), good, bad)
        random.Random(7).shuffle(good)
        if good:
            batch.output_file = self._store(_lines(good))
        if bad:
            batch.error_file = self._store(_lines(bad))

    def _answer_one(self, line: Body, fate: str, good: list[Body], bad: list[Body]) -> None:
        answer: Body = {"id": "batch_req_1", "custom_id": line["custom_id"], "error": None}
        refusal = self.server.refuse(line["body"]) if self.server.refuse else None
        if refusal:
            error = {name: getattr(refusal, name) for name in ("message", "code", "param")}
            response = {"status_code": refusal.status, "body": {"error": error}}
            bad.append(answer | {"response": response})
        elif fate == "expired":
            error = {"code": "batch_expired", "message": "This request could not be executed."}
            bad.append(answer | {"response": None, "error": error})
        elif fate.startswith("http_"):
            status = int(fate.removeprefix("http_"))
            body = {"error": {"message": "scripted", "code": "scripted"}}
            bad.append(answer | {"response": {"status_code": status, "body": body}})
        else:
            chat = self.server.chat
            booked = len(chat.charged)
            body = chat(line["body"], "ok" if fate == "silent" else fate)
            # What a batch charges is not what is charged at once.
            self.charged += chat.charged[booked:]
            del chat.charged[booked:]
            if fate != "silent":
                good.append(answer | {"response": {"status_code": 200, "body": body}})


def serve_batches(server: OpenAIServer, **rules: Any) -> BatchService:
    """Give a server the Batch API."""
    service = BatchService(server, **rules)
    server.extensions.append(service)
    return service


def _lines(values: list[Body]) -> bytes:
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


def _json(value: Any) -> Reply:
    return Reply(200, json.dumps(value).encode())


def _error(status: int) -> Reply:
    error = {"message": "scripted", "type": "scripted", "param": None, "code": "scripted"}
    return Reply(status, json.dumps({"error": error}).encode())
