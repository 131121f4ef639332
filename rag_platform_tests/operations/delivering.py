"""A process that delivers an outbox once: a catalog and where Slack and mail are, as JSON."""

import json
import sys
from pathlib import Path

from rag_platform.operations.delivery import Deliverer
from rag_platform.operations.mail import MailChannel
from rag_platform.operations.notifications import Channel
from rag_platform.operations.slack import SlackChannel
from rag_platform_tests.catalogs import Place


def main() -> None:
    """Deliver on the channels that are named."""
    rules = json.loads(sys.argv[1])
    channels: list[Channel] = []
    if url := rules.get("webhook_url"):
        channels.append(SlackChannel(webhook_url=url))
    if port := rules.get("mail_port"):
        channels.append(
            MailChannel(
                "127.0.0.1",
                port,
                security="none",
                sender="from@example.org",
                recipients=["to@example.org"],
            )
        )
    for channel in channels:
        channel.interval_s = 0.0
    catalog = Place(rules["url"], Path(rules["locks"])).open()
    print("ready", flush=True)
    sys.stdin.readline()
    print(json.dumps(Deliverer(catalog, channels, lease_s=rules["lease_s"]).deliver()))
    catalog.close()


if __name__ == "__main__":
    main()
