"""Child processes with a time limit: a contestant that hangs must not hang the benchmark."""

import os
import signal
import subprocess

Done = subprocess.CompletedProcess[str]


class TimedOut(Exception):
    """A child did not end in time, and was ended with all that it had started."""


def run(command: list[str], *, limit_s: float) -> Done:
    """Run `command` to its end, whatever its exit code; raises `TimedOut`."""
    # Without bytecode every child would compile its libraries anew, which takes longer than a case.
    environ = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environ,
        start_new_session=True,
    ) as child:
        try:
            out, errors = child.communicate(timeout=limit_s)
        except BaseException as error:  # Ctrl-C as well: a session of its own does not hear of it
            os.killpg(child.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                raise TimedOut(f"timed out after {limit_s:,.0f} s") from None
            raise
    return Done(command, child.returncode, out, errors)
