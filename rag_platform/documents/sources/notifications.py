"""Messages of a queue (SQS) that name objects of a bucket which may have changed.

A message is a hint: what became of its object is asked of the bucket. So it does no harm that
messages come twice, late or in another order. They are deleted once what followed from them has
been recorded; until then they come again.
"""

import json
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus, urlsplit

from rag_platform.documents.sources.base import SourceUnavailable
from rag_platform.storage.objects import S3Connection, display_url, explain, may_pass

logger = logging.getLogger(__name__)

_A_REQUEST = 10  # the most that the service gives or deletes at a time
_A_PASS = 10_000
# A pass that takes longer meets its messages again.
_HIDDEN_S = 600
_CONNECT_S, _READ_S = 5, 20
_AMAZON = re.compile(r"(?:sqs\.)?([a-z0-9-]+)(?:\.queue)?\.amazonaws\.com(?:\.cn)?")
# Where SeaweedFS keeps buckets; its messages have the path as an attribute.
_SEAWEED = "/buckets/"
_MAX_KEY = 1_024  # bytes, as S3 has it


@dataclass(frozen=True, slots=True)
class Hints:
    """The keys of a bucket that messages name; `unclear` ones may mean any other."""

    keys: list[str]
    unclear: bool


class EventQueue:
    """A queue of its own for the events of one bucket."""

    def __init__(self, url: str, bucket: str, client: Any) -> None:
        """`client` is boto3's for SQS."""
        self._url = url
        self._bucket = bucket
        self._client = client
        self._receipts: dict[str, str] = {}

    def take(self) -> Hints:
        """What the messages say that wait now; they stay hidden from others for a while.

        Raises `SourceUnavailable`.
        """
        self.keep()
        keys: dict[str, None] = {}
        unclear = 0
        for message in self._messages():
            self._receipts[message["MessageId"]] = message["ReceiptHandle"]
            try:
                keys.update(dict.fromkeys(map(_sound, _named(message, self._bucket))))
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
                unclear += 1
        if unclear:
            logger.warning(
                "%s: %d messages are no events of an object store; all objects are listed",
                display_url(self._url),
                unclear,
            )
        return Hints(list(keys), bool(unclear))

    def waiting(self) -> int:
        """About how many messages wait. Raises `SourceUnavailable`."""
        name = "ApproximateNumberOfMessages"
        found = self._ask("get_queue_attributes", AttributeNames=[name])
        return int(found["Attributes"][name])

    def keep(self) -> None:
        """Delete nothing of what was taken so far: it comes again."""
        self._receipts = {}

    def forget(self) -> None:
        """Delete what was taken last: it has been recorded."""
        entries = [
            {"Id": str(number), "ReceiptHandle": receipt}
            for number, receipt in enumerate(self._receipts.values())
        ]
        self._receipts = {}
        try:
            for start in range(0, len(entries), _A_REQUEST):
                self._ask("delete_message_batch", Entries=entries[start : start + _A_REQUEST])
        except SourceUnavailable as error:
            logger.warning("%s The messages come again, which does no harm.", error)

    def _messages(self) -> Iterator[dict[str, Any]]:
        while len(self._receipts) < _A_PASS:
            found = self._ask(
                "receive_message",
                MaxNumberOfMessages=_A_REQUEST,
                VisibilityTimeout=_HIDDEN_S,
                WaitTimeSeconds=1,  # asks all of the service's machines; 0 a few of them
                MessageAttributeNames=["key"],
            )
            messages = found.get("Messages") or []
            if not messages:
                return
            yield from messages

    def _ask(self, operation: str, **given: Any) -> Any:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return getattr(self._client, operation)(QueueUrl=self._url, **given)
        except (BotoCoreError, ClientError) as error:
            missing = "NonExistentQueue" in str(error) or "QueueDoesNotExist" in str(error)
            problem = "there is no such queue. Correct `events`." if missing else explain(error)
            raise SourceUnavailable(
                f"{display_url(self._url)}: the queue cannot be used: {problem}",
                transient=may_pass(error) and not missing,
            ) from error


def _named(message: dict[str, Any], bucket: str) -> list[str]:
    """The keys of a bucket that one message names."""
    attribute = message.get("MessageAttributes", {}).get("key", {}).get("StringValue", "")
    if attribute.startswith(_SEAWEED):
        name, _, key = attribute.removeprefix(_SEAWEED).partition("/")
        return [key] if name == bucket and key else []
    body = json.loads(message["Body"])
    if body.get("Type") == "Notification":  # passed on by SNS
        body = json.loads(body["Message"])
    return [key for name, key in _objects(body) if name == bucket]


def _objects(body: dict[str, Any]) -> list[tuple[str, str]]:
    """Buckets and keys: S3's own form, which MinIO, Ceph and others share, or EventBridge's."""
    if body.get("Event") == "s3:TestEvent":
        return []
    if "Records" in body:
        return [
            (record["s3"]["bucket"]["name"], unquote_plus(record["s3"]["object"]["key"]))
            for record in body["Records"]
        ]
    if "detail" in body:
        return [(body["detail"]["bucket"]["name"], body["detail"]["object"]["key"])]
    raise ValueError("no event of an object store")


def _sound(key: Any) -> str:
    if not isinstance(key, str) or len(key.encode()) > _MAX_KEY or "\0" in key:
        raise ValueError("no key of an object")
    return key


def queue_client(url: str, s3: S3Connection) -> Any:
    """A boto3 client for the service that an address of a queue names."""
    import boto3
    from botocore.config import Config

    parts = urlsplit(url)
    amazon = _AMAZON.fullmatch(parts.hostname or "")
    return boto3.Session(profile_name=s3.profile or None).client(
        "sqs",
        endpoint_url=None if amazon else f"{parts.scheme}://{parts.netloc}",
        region_name=amazon[1] if amazon else s3.region or "us-east-1",
        aws_access_key_id=s3.access_key_id,
        aws_secret_access_key=s3.secret_access_key,
        aws_session_token=s3.session_token,
        config=Config(
            connect_timeout=_CONNECT_S,
            read_timeout=_READ_S,
            retries={"max_attempts": 4, "mode": "standard"},
        ),
    )
