"""The verbs of notifications: try the channels, and send again what was given up."""

import click

from rag_platform.commands.context import fail, open_platform


@click.group()
def notify() -> None:
    """Channels by which people are told."""


@notify.command("test")
def test() -> None:
    """Send one message on every channel of the settings."""
    with open_platform() as platform:
        from rag_platform.operations.channels import channels_of, try_channels

        found = try_channels(channels_of(platform.settings.notifications))
        for name, problem in found.items():
            click.echo(f"{name}: {problem or 'sent'}")
    fail([f"{name}: {problem}" for name, problem in found.items() if problem])


@notify.command("retry")
def retry() -> None:
    """Send what a channel refused in the last week, now that it was put right."""
    with open_platform() as platform:
        from rag_platform.operations.channels import deliverer

        delivering = deliverer(platform.settings.notifications, platform.catalog)
        revived = delivering.revive()
        sent = delivering.deliver()
    told = ", ".join(f"{count:,} by {name}" for name, count in sent.items())
    click.echo(f"{revived:,} messages are tried again; sent: {told}")
