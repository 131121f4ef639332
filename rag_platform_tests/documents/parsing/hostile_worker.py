"""A worker whose parser obeys commands in the document: hang, hog memory, die, print, connect, or
report pages."""

import os
import signal
import socket
import sys
import time
from pathlib import Path

from rag_platform.documents.parsing import worker
from rag_platform.documents.parsing.result import Kind, Parsed, ParseFailure, ParseLimits, Progress


def obey(data: bytes, kind: Kind, limits: ParseLimits, progress: Progress) -> Parsed | ParseFailure:
    command, _, argument = data.decode("utf-8").partition(" ")
    match command:
        case "hang":
            time.sleep(3600)
        case "hog":
            bytearray(int(argument))
        case "abort":
            os.abort()
        case "abort_once":
            _abort_once(Path(argument))
        case "pages":  # how many, and the seconds that each takes
            pages, seconds = argument.split()
            for page in range(1, int(pages) + 1):
                time.sleep(float(seconds))
                progress(page, int(pages))
        case "pages_for_ever":
            while True:
                time.sleep(0.05)
                progress(1, 2)
        case "print":
            print("x" * 100_000)
            os.write(1, b"y" * 100_000)
            sys.stderr.write("z" * 100_000)
        case "connect":
            with socket.socket() as connection:
                connection.connect(("127.0.0.1", 9))
        case "spawn":
            os.system("true")
        case "write":
            Path(argument).write_text("anything", encoding="utf-8")
        case "environment":
            return Parsed(" ".join(sorted(os.environ)), "", kind)
        case "nonsense":
            raise LookupError("unforeseen\nby anyone")
    return Parsed(f"did {data.decode('utf-8')}", "", kind)


def _abort_once(marker: Path) -> None:
    """A directory remembers the first time: files cannot be written here."""
    try:
        marker.mkdir()
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    worker.main(obey)
