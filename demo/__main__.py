"""`make demo` and `make hub`."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from demo import ending
from demo.hub import USERS, DemoHub
from spawner_limits.errors import LimitsError, UsageError

if TYPE_CHECKING:
    from types import FrameType

REPORTS = Path("reports")
REPORT = REPORTS / "demo.json"
DEFAULT_PORT = 8000
JUDGED = (0, 1, 3)
"""exit codes of a `verify` that came to a verdict"""


def prove() -> int:
    """Start the hub, prove every demonstration user's limits, and say how it went."""
    REPORTS.mkdir(exist_ok=True)
    _say("starting the hub")
    with DemoHub(log=REPORTS / "hub.log") as hub:
        _say(f"the hub answers at {hub.url} (its log: {REPORTS / 'hub.log'})")
        outputs = [f"--{kind}={REPORTS / f'demo.{suffix}'}" for kind, suffix in (("json", "json"), ("html", "html"))]
        REPORT.unlink(missing_ok=True)
        command = [str(Path(sys.executable).with_name("spawner-limits")), "verify", *USERS, "--control", *outputs]
        environment = {**os.environ, "JUPYTERHUB_API_URL": hub.api_url, "JUPYTERHUB_API_TOKEN": hub.token}
        code = _run(command, environment)
        _say("stopping the hub")
    for line in _ending(code):
        _say(line)
    return code


def _ending(code: int) -> list[str]:
    """The last lines: what the cause is where it ended badly, and where to read more."""
    if code not in JUDGED or not REPORT.exists():
        return [f"nothing was judged, for the reason above (exit code {code}); the hub's log: {REPORTS / 'hub.log'}"]
    report = json.loads(REPORT.read_text())
    return [*ending.causes(report), f"the report: {REPORTS / 'demo.html'} and {REPORT}"]


def _run(command: list[str], environment: dict[str, str]) -> int:
    """Run `verify`; when we are interrupted, wait until it has cleaned up."""
    with subprocess.Popen(command, env=environment) as process:
        try:
            return process.wait()
        except KeyboardInterrupt:
            process.send_signal(signal.SIGTERM)
            process.wait()
            raise


def keep() -> int:
    """Start the hub and leave it running until Ctrl-C, to be logged in to by browser."""
    port = int(os.environ.get("PORT", DEFAULT_PORT))
    _refuse_taken(port)
    with DemoHub(port=port) as hub:
        print(f"\nThe hub: {hub.url}  (this machine only; Ctrl-C ends it and removes its servers)\n")  # noqa: T201
        for user, password in hub.passwords.items():
            print(f"  {user:8} {password}")  # noqa: T201
        sys.stdout.flush()
        while True:
            time.sleep(3600)


def _refuse_taken(port: int) -> None:
    """The proxy would wait for ever, and say nothing."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError as error:
        why = os.strerror(error.errno or 0)
        raise UsageError(f"port {port} can't be had ({why}); name another: make hub PORT=8001") from error


def main() -> NoReturn:
    """Run what was asked for, and end as `spawner-limits` does."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        sys.exit(keep() if sys.argv[1:] == ["--keep"] else prove())
    except LimitsError as error:
        _say(str(error))
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        _say("interrupted; nothing is left behind")
        sys.exit(130)


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _say(text: str) -> None:
    print(f"demo: {text}", file=sys.stderr, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
