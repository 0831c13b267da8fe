"""`spawner-limits set`: one rule changes, everything else in the file stays, and only what can be used is written."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import tempfile
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from spawner_limits.cli import policy_file
from spawner_limits.errors import UsageError
from spawner_limits.policy.parse import parse
from spawner_limits.policy.set_rule import Target, change, read_values
from tests.conftest import COMMAND, spawner_limits
from tests.unit.command import run

__all__ = ["run"]

NOW = datetime(2026, 12, 1, 10, tzinfo=UTC)
LATER = NOW + timedelta(hours=2)
POLICY = """\
# who gets what
version:   1   # the only one

defaults: {mem_limit: 512M, cpu_limit: 0.5, pids_limit: 256}   # everybody

ceiling:
  mem_limit: 3G

groups:
  'students':
    mem_limit: 1G   # for the course

users:
  alice:   # the tutor
    mem_limit: "1G"
    cpu_limit: 0.5

  # on leave
  carol:
    mem_limit: 2G
"""


@pytest.fixture
def written(run):
    """`set`, on this policy."""
    Path("limits.yaml").write_bytes(POLICY.encode())

    def written(*arguments):
        return run("set", *arguments)

    return written


def content():
    return Path("limits.yaml").read_bytes().decode()


# -- what is changed -----------------------------------------------------------------------------------------------

EDITS = {
    "a value": ("user:alice", ["mem_limit=2G"], '    mem_limit: "1G"\n', '    mem_limit: "2G"\n'),
    "a value in braces": ("defaults", ["pids_limit=512"], "pids_limit: 256}", "pids_limit: 512}"),
    "a key": (
        "group:students",
        ["cpu_shares=2048"],
        "    mem_limit: 1G   # for the course\n",
        "    mem_limit: 1G   # for the course\n    cpu_shares: 2048\n",
    ),
    "two keys, one of all servers": (
        "user:carol",
        ["servers.count=2", "mem_limit=1G"],
        "    mem_limit: 2G\n",
        "    mem_limit: 1G\n    servers:\n      count: 2\n",
    ),
    "a rule": ("ceiling", ["cpu_limit=2"], "  mem_limit: 3G\n", "  mem_limit: 3G\n  cpu_limit: 2\n"),
    "a name as the hub has it": ("user:ALICE", ["cpu_limit=1"], "cpu_limit: 0.5\n\n  #", "cpu_limit: 1\n\n  #"),
    "off, as one says": (
        "user:carol",
        ["thread_hints=off"],
        "mem_limit: 2G\n",
        "mem_limit: 2G\n    thread_hints: false\n",
    ),
    "true, as the file has it": (
        "group:students",
        ["thread_hints=true"],
        "    mem_limit: 1G   # for the course\n",
        "    mem_limit: 1G   # for the course\n    thread_hints: true\n",
    ),
    "no limit": ("user:carol", ["cpu_limit=unlimited"], "mem_limit: 2G\n", "mem_limit: 2G\n    cpu_limit: unlimited\n"),
}


@pytest.mark.parametrize(("target", "given", "before", "after"), EDITS.values(), ids=EDITS)
def test_nothing_else_changes(written, target, given, before, after):
    """Byte for byte: comments, quotes, blanks, the order."""
    assert POLICY.count(before) == 1
    assert written(target, *given).code == 0
    assert content() == POLICY.replace(before, after)


def test_what_it_says(written):
    """A unified diff of what changed, and from when it counts."""
    ended = written("user:alice", "cpu_limit=1")
    assert (ended.code, ended.stderr) == (0, "")
    assert (
        ended.stdout
        == """\
--- limits.yaml
+++ limits.yaml
@@ -14,5 +14,5 @@
   alice:   # the tutor
     mem_limit: "1G"
-    cpu_limit: 0.5
+    cpu_limit: 1
\x20
   # on leave

limits.yaml: written; it counts at the next spawn
Servers that run keep what they have.
"""
    )


def test_what_it_says_where_changes_are_applied(run):
    """Servers that run do not keep what they have then."""
    Path("limits.yaml").write_text(HEAD + "auto_apply: true\n", encoding="utf-8")
    said = run("set", "defaults", "pids_limit=9").stdout
    assert said.endswith(
        "written; it counts at the next spawn\n"
        "Servers that run are changed by the Hub service, if it runs (auto_apply).\n"
    )


def test_dry_run(written):
    """The diff, and nothing is written."""
    ended = written("user:alice", "cpu_limit=1", "--dry-run")
    assert "+    cpu_limit: 1\n" in ended.stdout
    assert ended.stdout.endswith("\nlimits.yaml: not written (--dry-run)\n")
    assert content() == POLICY


def test_what_it_says_already(written):
    """Nothing is written: the file keeps its time."""
    before = Path("limits.yaml").stat()
    ended = written("user:alice", "mem_limit=1G")
    assert (ended.code, ended.stdout) == (0, "limits.yaml: says so already; nothing to change\n")
    assert Path("limits.yaml").stat() == before


def test_json(written):
    """What changed, and until when; null has a reason."""
    told = written("group:staff", "mem_limit=1G", "--json").json
    assert {key: told[key] for key in ("schema_version", "file", "target", "changed", "written", "counts_from")} == {
        "schema_version": 1,
        "file": "limits.yaml",
        "target": "group:staff",
        "changed": True,
        "written": True,
        "counts_from": "next spawn",
    }
    assert (told["until"], told["until_reason"], told["notes"]) == (None, "for good", [])
    assert told["sha256_after"] == parse(Path("limits.yaml").read_bytes(), "x").sha256
    assert told["sha256_before"] == parse(POLICY.encode(), "x").sha256
    assert [line for line in told["diff"] if line.startswith(("+", "-"))] == [
        "--- limits.yaml",
        "+++ limits.yaml",
        "+  staff:",
        "+    mem_limit: 1G",
    ]


def test_line_ends_and_a_byte_order_mark_stay(written):
    """A file from Windows stays one."""
    data = b"\xef\xbb\xbf" + POLICY.replace("\n", "\r\n").encode()
    Path("limits.yaml").write_bytes(data)
    written("group:students", "cpu_limit=1")
    line = b"    mem_limit: 1G   # for the course\r\n"
    assert Path("limits.yaml").read_bytes() == data.replace(line, line + b"    cpu_limit: 1\r\n")


def test_a_byte_order_mark_is_not_shown(written):
    """It would be there twice, in front of what is compared."""
    Path("limits.yaml").write_bytes(b"\xef\xbb\xbf" + HEAD.encode())
    shown = written("defaults", "mem_limit=1G").stdout
    assert " version: 1\n" in shown
    assert "\ufeff" not in shown


def test_a_mistake_can_be_mended(written):
    """A file that can't be used is one that this may be for."""
    Path("limits.yaml").write_text(POLICY.replace("512M", "-1"), encoding="utf-8")
    assert written("defaults", "mem_limit=512M").code == 0
    assert content() == POLICY


NOTES = {
    "the ceiling": (["mem_limit=4G"], POLICY, "But mem_limit is lowered to the ceiling's 3.00 GiB (line 7).\n"),
    "a temporary value": (
        ["cpu_limit=1"],
        POLICY + "    temporarily: {cpu_limit: 2, until: 2126-12-01}\n",
        "But until 2126-12-02 00:00 UTC the temporary cpu_limit counts instead.\n",
    ),
    "a rule that ends": (
        ["cpu_limit=1"],
        POLICY + "    until: 2126-01-01\n",
        "But the rule as a whole counts until 2126-01-02 00:00 UTC only.\n",
    ),
    "a rule that is over": (
        ["cpu_limit=1"],
        POLICY + "    until: 2020-01-01\n",
        "But the rule is over since 2020-01-02 00:00 UTC, and does not count: give it a\nnew until.\n",
    ),
}


@pytest.mark.parametrize(("given", "policy", "note"), NOTES.values(), ids=NOTES)
def test_what_counts_less_than_it_says(written, given, policy, note):
    """It is written, and the administrator is told."""
    Path("limits.yaml").write_text(policy, encoding="utf-8")
    ended = written("user:carol", *given)
    assert ended.code == 0
    assert ended.stdout.endswith(note)


# -- for a time ----------------------------------------------------------------------------------------------------

HEAD = "version: 1\ndefaults: {mem_limit: 512M, cpu_limit: 0.5, pids_limit: 256}\n"
FOR_A_TIME = {
    "no rule yet": (
        "users:\n  bob: {}\n",
        "users:\n  bob: {}\n  alice:\n    mem_limit: 4G\n    until: 2026-12-01T12:00Z\n",
    ),
    "a rule": (
        "users:\n  alice:\n    mem_limit: 1G # hers\n",
        (
            "users:\n  alice:\n    mem_limit: 1G # hers\n"
            "    temporarily:\n      mem_limit: 4G\n      until: 2026-12-01T12:00Z\n"
        ),
    ),
    "a rule that is for a time itself": (
        "users:\n  alice:\n    cpu_limit: 1\n    until: 2026-12-31\n",
        (
            "users:\n  alice:\n    cpu_limit: 1\n    until: 2026-12-31\n"
            "    temporarily:\n      mem_limit: 4G\n      until: 2026-12-01T12:00Z\n"
        ),
    ),
    "a rule that is over": (
        "users:\n  alice:\n    cpu_limit: 1\n    servers:\n      count: 2\n    until: 2026-12-01T10:00Z\n",
        "users:\n  alice:\n    until: 2026-12-01T12:00Z\n    mem_limit: 4G\n",
    ),
    "temporary values that count": (
        "users:\n  alice:\n    temporarily:\n      cpu_limit: 1\n      until: 2026-12-01T10:01Z\n",
        "users:\n  alice:\n    temporarily:\n      cpu_limit: 1\n      until: 2026-12-01T12:00Z\n      mem_limit: 4G\n",
    ),
    "temporary values that are over": (
        (
            "users:\n  alice:\n    cpu_limit: 2\n    temporarily:\n      cpu_limit: 1\n      mem_limit: 9G\n"
            "      servers: {count: 3}\n      until: 2026-11-30\n"
        ),
        "users:\n  alice:\n    cpu_limit: 2\n    temporarily:\n      mem_limit: 4G\n      until: 2026-12-01T12:00Z\n",
    ),
    "over, but not what is temporary": (
        (
            "users:\n  alice:\n    cpu_limit: 2\n    until: 2020-01-01\n"
            "    temporarily:\n      cpu_limit: 1\n      until: 2026-12-24\n"
        ),
        (
            "users:\n  alice:\n    cpu_limit: 2\n    until: 2020-01-01\n"
            "    temporarily:\n      cpu_limit: 1\n      until: 2026-12-01T12:00Z\n      mem_limit: 4G\n"
        ),
    ),
}


@pytest.mark.parametrize(("before", "after"), FOR_A_TIME.values(), ids=FOR_A_TIME)
def test_for_a_time(before, after):
    """A new rule ends by itself; an old one is left as it is, with what is temporary below it."""
    target, values = Target.read("user:alice"), {"mem_limit": "4G"}
    policy = parse((HEAD + before).encode(), "x")
    changed = change(HEAD + before, policy, target, values, file="x", now=NOW, until=LATER)
    assert changed == HEAD + after
    assert parse(changed.encode(), "x")


def test_a_groups_priority_stays():
    """Where priorities count, a rule that is over keeps its own."""
    text = HEAD + "combine: first\ngroups:\n  staff:\n    priority: 1\n    cpu_limit: 1\n    until: 2020-01-01\n"
    policy = parse(text.encode(), "x")
    changed = change(text, policy, Target.read("group:staff"), {"mem_limit": "4G"}, file="x", now=NOW, until=LATER)
    assert parse(changed.encode(), "x").groups["staff"].priority == 1


@pytest.mark.parametrize(("span", "length"), [("30m", {"minutes": 30}), ("2h", {"hours": 2}), ("3d", {"days": 3})])
def test_spans(written, span, length):
    """At least so long, to the full minute, in UTC."""
    before = datetime.now(UTC)
    told = written("user:bob", "mem_limit=1G", "--for", span, "--json").json
    until = datetime.fromisoformat(told["until"])
    assert timedelta(0) <= until - before - timedelta(**length) <= timedelta(minutes=1, seconds=30)
    assert (until.second, until.utcoffset()) == (0, timedelta(0))
    assert parse(content().encode(), "x").users["bob"].until == until


def test_a_grant_counts_and_ends(written, run):
    """What `explain` says now, and after it."""
    written("user:alice", "cpu_limit=2", "--for", "2h")
    cores = [
        run("explain", "alice", "--json", *at).json["limits"]["cpu_limit_cores"] for at in ((), ("--at", "2126-01-01"))
    ]
    assert [(one["value"], one["rule"]) for one in cores] == [(2.0, "user alice, temporarily"), (0.5, "user alice")]


# -- what is refused -----------------------------------------------------------------------------------------------

TARGETS = "expected one of user:NAME, group:NAME, size:NAME, defaults, ceiling"
BAD = {
    "a target that is none": (["x", "mem_limit=1G"], f'TARGET: found "x"; {TARGETS}'),
    "a target that is nearly one": (["usr:bob", "mem_limit=1G"], 'TARGET: found "usr:bob"; did you mean "user:bob"?'),
    "a section for a target": (["default", "mem_limit=1G"], 'TARGET: found "default"; did you mean "defaults"?'),
    "no name": (["user:", "mem_limit=1G"], 'TARGET: found "user:"; expected a name after user:, without blanks'),
    "a name of control characters": (
        ["user:a\n", "mem_limit=1G"],
        r'TARGET: found "user:a\n"; expected a name after user:, without blanks',
    ),
    "no value": (["user:bob", "mem_limit"], 'found "mem_limit"; expected FIELD=VALUE such as mem_limit=4G'),
    "an empty value": (
        ["user:bob", "mem_limit="],
        'mem_limit: found ""; expected a size such as "512M" or "1.5G", or "unlimited"',
    ),
    "a value that is none": (["user:bob", "cpu_shares=0"], ('cpu_shares: found "0"; expected at least 2 (the Linux '
                             "kernel's cpu.shares)")),
    "unlimited where it means nothing": (
        ["user:bob", "cpu_shares=unlimited"],
        'cpu_shares: found "unlimited"; expected a whole number',
    ),
    "a flag that is neither": (["user:bob", "thread_hints=no"], 'thread_hints: found "no"; expected true or false'),
    "a flag of a size": (
        ["size:small", "thread_hints=off"],
        "thread_hints: unknown for sizes.small; expected one of mem_limit, cpu_limit, pids_limit",
    ),
    "a slip": (["user:bob", "mem_limt=1G"], 'mem_limt: unknown for users.bob; did you mean "mem_limit"?'),
    "a key that a size can't have": (
        ["size:small", "cpu_shares=5"],
        "cpu_shares: unknown for sizes.small; expected one of mem_limit, cpu_limit, pids_limit",
    ),
    "a list": (["user:bob", "sizes=small"], "sizes: a list can't be set by this command; edit the file"),
    "a key twice": (["user:bob", "mem_limit=1G", "mem_limit=2G"], "mem_limit: given twice"),
    "no time": (["user:bob", "mem_limit=1G", "--for", "2"], '--for: found "2"; expected a time such as 30m, 2h or 3d'),
    "no time at all": (
        ["user:bob", "mem_limit=1G", "--for", "0h"],
        '--for: found "0h"; expected a time such as 30m, 2h or 3d',
    ),
    "defaults for a time": (
        ["defaults", "mem_limit=1G", "--for", "2h"],
        "--for is for users and groups; other rules have no time",
    ),
    "a priority for a time": (
        ["group:students", "priority=1", "--for", "2h"],
        "priority: can't be set for a time; leave out --for",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD)
def test_bad_input(written, arguments, message):
    """Exit code 2, one message, nothing written."""
    ended = written(*arguments)
    assert (ended.code, ended.stdout, ended.stderr) == (2, "", f"spawner-limits: {message}\n")
    assert content() == POLICY


def test_a_policy_that_could_not_be_used_is_not_written(written):
    """Each mistake is told at the place that it would have."""
    ended = written("user:alice", "mem_guarantee=2G", "cpu_guarantee=3")
    assert (ended.code, ended.stdout) == (2, "")
    assert ended.stderr == (
        "spawner-limits: this change would make mistakes, so nothing is written:\n"
        'limits.yaml:17:20: users.alice.mem_guarantee: found "2G", above mem_limit "1G"; expected at most as much (no '
        "more can be guaranteed than is allowed)\n"
        'limits.yaml:18:20: users.alice.cpu_guarantee: found "3", above cpu_limit "0.5"; expected at most as much (no '
        "more can be guaranteed than is allowed)\n"
        "spawner-limits: 2 mistakes in the policy\n"
    )
    assert content() == POLICY


def test_a_ceiling_is_never_unlimited(written):
    """It only lowers."""
    ended = written("ceiling", "cpu_limit=unlimited")
    assert ended.code == 2
    assert 'ceiling.cpu_limit: found "unlimited"; expected a limit, or no such line' in ended.stderr
    assert content() == POLICY


STRANGE = {
    "no file": (None, "limits.yaml: no such file"),
    "not UTF-8": (b"version: \xff\n", "limits.yaml:1:10: not UTF-8"),
    "not YAML": (b"version: [\n", "not YAML"),
    "empty": (b"", "defaults.cpu_limit: missing"),
    "a list": (b"- 1\n", "limits.yaml:1:1: users.alice.mem_limit: a list; expected a mapping"),
}


@pytest.mark.parametrize(("data", "message"), STRANGE.values(), ids=STRANGE)
def test_strange_files(written, data, message):
    """No traceback, nothing written."""
    Path("limits.yaml").unlink()
    if data is not None:
        Path("limits.yaml").write_bytes(data)
    for more in ([], ["--for", "2h"]):
        ended = written("user:alice", "mem_limit=1G", *more)
        assert (ended.code, ended.stdout) == (2, "")
        assert ended.stderr.strip()
    assert data is None or Path("limits.yaml").read_bytes() == data
    assert message in written("user:alice", "mem_limit=1G").stderr


# -- how it is written ---------------------------------------------------------------------------------------------


def test_mode_and_owner_stay(written):
    """The hub's account can read it as before."""
    path = Path("limits.yaml")
    path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(path, 4711, 4712)
    before = path.stat()
    assert written("user:alice", "cpu_limit=1").code == 0
    after = path.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert after.st_ino != before.st_ino
    assert after.st_mtime_ns > before.st_mtime_ns


def test_a_symbolic_link_stays(written):
    """What it leads to is replaced."""
    Path("real").mkdir()
    Path("limits.yaml").rename("real/policy.yaml")
    Path("limits.yaml").symlink_to("real/policy.yaml")
    assert written("user:alice", "cpu_limit=1").code == 0
    assert Path("limits.yaml").is_symlink()
    assert "cpu_limit: 1\n" in Path("real/policy.yaml").read_text(encoding="utf-8")
    assert os.listdir("real") == ["policy.yaml"]  # noqa: PTH208


def test_nothing_is_left_behind(written):
    """No temporary file, whether it was written or not."""
    written("user:alice", "cpu_limit=1")
    written("user:alice", "cpu_limit=-1")
    assert os.listdir() == ["limits.yaml"]  # noqa: PTH208


@contextmanager
def nobody(directory):
    """A directory of this user's that it may not write to; root becomes somebody else for it."""
    user = os.geteuid()
    directory.chmod(0o555)
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)
        directory.chmod(0o755)


def test_a_directory_that_can_not_be_written_to(run):
    """The cause is told, and nothing is changed."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "limits.yaml")
        path.write_text(POLICY, encoding="utf-8")
        path.chmod(0o666)
        with nobody(Path(name)):
            ended = run("set", "user:alice", "cpu_limit=1", "--file", path)
        assert (ended.code, ended.stdout) == (2, "")
        assert ended.stderr == (
            f"spawner-limits: {path}: can't be written: Permission denied ({name}); nothing is changed\n"
        )
        assert path.read_text(encoding="utf-8") == POLICY


def test_an_owner_that_can_not_be_kept(run):
    """Another account's file stays what it is, even in a directory that anybody may write to."""
    if os.geteuid() != 0:
        pytest.skip("only root can make another account's file")
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        path = Path(name, "limits.yaml")
        path.write_text(POLICY, encoding="utf-8")
        os.seteuid(65534)
        try:
            ended = run("set", "user:alice", "cpu_limit=1", "--file", path)
        finally:
            os.seteuid(0)
        assert (ended.code, ended.stdout) == (2, "")
        assert "Operation not permitted" in ended.stderr
        assert [one.name for one in Path(name).iterdir()] == ["limits.yaml"]
        assert path.read_text(encoding="utf-8") == POLICY


def test_a_change_of_somebody_else_is_kept(tmp_path):
    """What was read is no longer there: refused."""
    path = tmp_path / "limits.yaml"
    path.write_bytes(b"theirs")
    with pytest.raises(UsageError, match="it has changed since it was read, so nothing is changed; try again"):
        policy_file.replace(path, b"what was read", b"ours")
    assert path.read_bytes() == b"theirs"
    assert [one.name for one in tmp_path.iterdir()] == ["limits.yaml"]


def test_many_at_once(tmp_path):
    """Each either counts or was refused; none undoes another's."""
    path = tmp_path / "limits.yaml"
    path.write_text(POLICY, encoding="utf-8")
    started = [
        subprocess.Popen(
            [COMMAND, "set", f"user:u{number}", "mem_limit=1G", "--file", path],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(8)
    ]
    said = [process.communicate(timeout=60)[1] for process in started]
    codes = [process.returncode for process in started]
    users = parse(path.read_bytes(), "x").users
    assert [f"u{number}" in users for number in range(8)] == [code == 0 for code in codes]
    assert 0 in codes
    assert {re.sub(r"^.*limits.yaml: ", "", line) for line in said} <= {
        "",
        "it has changed since it was read, so nothing is changed; try again\n",
    }


def test_as_an_administrator_would(tmp_path):
    """The installed command, in a pipe: no colour."""
    path = tmp_path / "limits.yaml"
    path.write_text(POLICY, encoding="utf-8")
    path.chmod(0o600)
    ended = spawner_limits("set", "user:bob", "mem_limit=1G", "--file", path, TERM="xterm-256color")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "\x1b" not in ended.stdout
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_values_are_read_with_their_blanks_taken_off():
    """`mem_limit = 4G` in one argument is meant well."""
    assert read_values(Target.read("defaults"), ["mem_limit = 4G"]) == {"mem_limit": "4G"}
