"""Run the command in this process, as `main` does, for the tests of its verbs."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest

from spawner_limits.cli.main import run as run_verb


@dataclass(frozen=True)
class Ended:
    code: int
    stdout: str
    stderr: str

    @property
    def json(self):
        """What a program would read."""
        return json.loads(self.stdout)


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """Run `spawner-limits` with these arguments, in an empty directory, at 80 columns."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            run_verb([str(one) for one in arguments])
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return Ended(ended.value.code or 0, out, err)

    return run
