"""The notebook as a file, and its functions one by one. Running it whole is the integration tests' business."""

from __future__ import annotations

import ast
import hashlib
import itertools
import json
import math
import os
import re
import sys
from pathlib import Path

import nbformat
import pytest

FOLDER = Path(__file__).parents[2] / "notebook"
NOTEBOOK = nbformat.read(FOLDER / "mnist.ipynb", as_version=nbformat.NO_CONVERT)
CODE = [cell for cell in NOTEBOOK.cells if cell.cell_type == "code"]
DATA_SHA256 = "014ff4b1a855c54d171d1a732e76e818a722746d3e3ea044422d7275ec6227a5"
MIB, GIB = 1 << 20, 1 << 30


def tags(cell):
    return cell.metadata.get("tags", [])


def definitions():
    """What the notebook defines: its settings and tools, and the functions of the other cells; no press is run."""
    names = {"PLACES": dict.fromkeys(("cpu", "cpuacct", "memory", "pids"), (None, None))}
    for cell in CODE:
        module = ast.parse(cell.source)
        if not {"parameters", "functions"} & set(tags(cell)):
            constants = (ast.Constant, ast.BinOp)
            module.body = [
                one
                for one in module.body
                if isinstance(one, ast.FunctionDef)
                or (isinstance(one, ast.Import) and one.names[0].name in sys.stdlib_module_names)
                or (isinstance(one, ast.Assign) and isinstance(one.value, constants))
            ]
        exec(compile(module, cell.id, "exec"), names)
    return names


@pytest.fixture
def nb():
    return type("Names", (), {name: staticmethod(value) for name, value in definitions().items()})


# --- the file ---------------------------------------------------------------------------------------------------------


def test_valid():
    """It is a notebook of format 4.5 for the kernel that every Jupyter image has."""
    nbformat.validate(NOTEBOOK)
    assert (NOTEBOOK.nbformat, NOTEBOOK.nbformat_minor) == (4, 5)
    assert NOTEBOOK.metadata.kernelspec.name == "python3"


def test_clean():
    """No output and no count is stored: what a user sees is what this server did."""
    assert [cell.id for cell in CODE if cell.outputs or cell.execution_count is not None] == []


def test_ids():
    """Each cell has a readable name of its own, so that a diff and an error tell where."""
    ids = [cell.id for cell in NOTEBOOK.cells]
    assert len(set(ids)) == len(ids)
    assert [one for one in ids if not re.fullmatch(r"[a-z]+(-[a-z]+)*", one)] == []


def test_no_walls_of_code():
    """No code cell is longer than 40 lines or wider than 110 columns."""
    assert [cell.id for cell in CODE if len(cell.source.splitlines()) > 40] == []
    assert [line for cell in CODE for line in cell.source.splitlines() if len(line) > 110] == []


def test_every_cell_is_introduced():
    """Before each code cell, Markdown says what is done."""
    pairs = itertools.pairwise(NOTEBOOK.cells)
    assert [cell.id for before, cell in pairs if cell.cell_type == "code" and before.cell_type != "markdown"] == []


def test_tools_are_closed():
    """JupyterLab shows the tools closed, and nothing else: what runs can be read at once."""
    closed = {cell.id for cell in CODE if cell.metadata.get("jupyter", {}).get("source_hidden")}
    assert closed == {cell.id for cell in CODE if "functions" in tags(cell)}


def test_stands_alone():
    """It imports the standard library and what TensorFlow images have, never this package."""
    imported = set()
    for node in itertools.chain.from_iterable(ast.walk(ast.parse(cell.source)) for cell in CODE):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module.partition(".")[0])
    assert imported - sys.stdlib_module_names == {"IPython", "matplotlib", "numpy", "tensorflow"}


def test_settings_are_documented():
    """The table of settings names exactly the environment variables that the parameters cell reads."""
    [parameters] = [cell for cell in CODE if "parameters" in tags(cell)]
    [text] = [cell for cell in NOTEBOOK.cells if cell.id == "parameters-text"]
    names = re.compile(r"MNIST_[A-Z_]+")
    assert sorted(set(names.findall(parameters.source))) == sorted(names.findall(text.source))


def test_data():
    """The images beside it are the genuine ones, and their licence and authors stand beside them."""
    data = (FOLDER / "mnist_2k_500.npz").read_bytes()
    licence = (FOLDER / "MNIST-LICENSE.md").read_text(encoding="utf-8")
    assert hashlib.sha256(data).hexdigest() == DATA_SHA256
    for wanted in (DATA_SHA256, f"{len(data):,} bytes", "Yann LeCun", "Corinna Cortes", "Attribution-ShareAlike 3.0"):
        assert wanted in licence


# --- settings and promises --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "default", "number"),
    [("", 2, 2), (" 3 ", 2, 3), ("0", 2, 0), ("0.5", 8.0, 0.5)],
)
def test_setting(nb, text, default, number):
    """A setting is the environment's number, else the default."""
    assert nb.setting("MNIST_X", default, 0, {"MNIST_X": text}) == number


@pytest.mark.parametrize("text", ["-1", "1.5", "two", "1e9", "nan"])
def test_bad_setting(nb, text):
    """A setting that makes no sense is refused with what was expected."""
    with pytest.raises(ValueError, match=rf"^MNIST_X={re.escape(text)}: expected a whole number of at least 0$"):
        nb.setting("MNIST_X", 2, 0, {"MNIST_X": text})


@pytest.mark.parametrize(
    ("name", "text", "number"),
    [("MEM_LIMIT", "1073741824", GIB), ("CPU_LIMIT", "0.5", 0.5), ("CPU_LIMIT", "2", 2.0), ("PIDS_LIMIT", "", None)],
)
def test_promised(nb, name, text, number):
    """A promise is read as the hub writes it; an empty one promises nothing."""
    assert nb.promised(name, text) == number


@pytest.mark.parametrize("text", ["1G", "0", "-1", "inf", "nan"])
def test_bad_promise(nb, text):
    """A promise that can't be understood stops the notebook: it must not pass as none."""
    with pytest.raises(ValueError, match=rf"^MEM_LIMIT={text}: expected a number above 0, or nothing$"):
        nb.promised("MEM_LIMIT", text)


@pytest.mark.parametrize(
    ("promise", "kernel", "limit"),
    [(0.5, math.inf, 0.5), (0.5, 1.0, 0.5), (None, 1.0, 1.0), (None, math.inf, None), (None, None, None)],
)
def test_in_force(nb, promise, kernel, limit):
    """What was promised is judged, whatever the Linux kernel has; without a promise, what the Linux kernel has."""
    assert nb.in_force(promise, kernel) == limit


# --- the Linux kernel's files -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "where", "number"),
    [
        ("1073741824\n", 0, GIB),
        ("50000 100000\n", 1, 100_000),
        ("max 100000\n", 0, math.inf),
        ("max\n", 0, math.inf),
        ("-1\n", 0, math.inf),
        ("9223372036854771712\n", 0, math.inf),
        ("0\n", 0, 0),
        ("nr_periods 62\nnr_throttled 56\nthrottled_time 2\n", "nr_throttled", 56),
        ("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n", "oom_kill", 1),
        ("max 3\n", "max", 3),
    ],
)
def test_pick(nb, text, where, number):
    """One number is found in each form that the Linux kernel writes; its ways to say "no limit" are one."""
    assert nb.pick(text, where) == number


V1_HOST_NAMESPACE = """\
120 119 0:57 / {root} rw,nosuid,nodev,noexec,relatime - tmpfs tmpfs rw,mode=755
121 120 0:29 /docker/b81c {root}/cpu ro,nosuid,nodev,noexec,relatime - cgroup cgroup rw,cpu
122 120 0:30 /docker/b81c {root}/cpuacct ro,nosuid,nodev,noexec,relatime - cgroup cgroup rw,cpuacct
124 120 0:32 /docker/b81c {root}/memory ro,nosuid,nodev,noexec,relatime - cgroup cgroup rw,memory
128 120 0:36 /docker/b81c {root}/pids ro,nosuid,nodev,noexec,relatime - cgroup cgroup rw,pids
129 120 0:37 /docker/b81c {root}/systemd ro,nosuid,nodev,noexec,relatime - cgroup cgroup rw,name=systemd
"""
V1_MEMBER = "9:name=systemd:{path}\n8:pids:{path}\n4:memory:{path}\n2:cpuacct:{path}\n1:cpu:{path}\n0::{path}\n"
HYBRID_EXTRA = "41 31 0:38 / {root}/unified rw,relatime - cgroup2 cgroup2 rw\n"
TOGETHER = "33 31 0:30 / {root}/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
V2 = "30 23 0:26 / {root} ro,nosuid,nodev,noexec,relatime - cgroup2 cgroup rw,nsdelegate,memory_recursiveprot\n"


@pytest.mark.parametrize(
    ("mountinfo", "membership", "expected"),
    [
        (V1_HOST_NAMESPACE, V1_MEMBER.format(path="/docker/b81c"), ("memory", 1, ["memory"])),
        (V1_HOST_NAMESPACE.replace("/docker/b81c", "/"), V1_MEMBER.format(path="/"), ("cpuacct", 1, ["cpuacct"])),
        (V1_HOST_NAMESPACE.replace("/docker/b81c", "/"), V1_MEMBER.format(path="/job"), ("cpu", 1, ["cpu/job", "cpu"])),
        (V1_HOST_NAMESPACE, V1_MEMBER.format(path="/../other"), ("memory", 1, ["memory"])),
        (HYBRID_EXTRA + V1_HOST_NAMESPACE, V1_MEMBER.format(path="/docker/b81c"), ("pids", 1, ["pids"])),
        (TOGETHER, "3:cpu,cpuacct:/\n", ("cpuacct", 1, ["cpu,cpuacct"])),
        (V2, "0::/\n", ("memory", 2, [""])),
        (V2, "0::/system.slice/jupyter.service\n", ("cpu", 2, ["system.slice/jupyter.service", "system.slice", ""])),
        (V2, "0::/not/there\n", ("cpu", 2, [""])),
        ("", "", ("cpu", 2, [])),
    ],
)
def test_directories(nb, tmp_path, mountinfo, membership, expected):
    """A process's directories are found on v1, v2 and hybrid hosts, with private and host cgroup namespaces."""
    (tmp_path / "cpu/job").mkdir(parents=True)
    (tmp_path / "system.slice/jupyter.service").mkdir(parents=True)
    controller, version, below = expected
    found = nb.directories(controller, mountinfo.format(root=tmp_path), membership)
    assert found == (version, [tmp_path / one for one in below])


def write(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def test_tightest(nb, tmp_path):
    """Where a directory above has the tighter limit, the limit and the counters are read there."""
    write(tmp_path, cpu__max="50000 100000\n", cpu__stat="usage_usec 7000000\n", memory__max="max\n", pids__max="max\n")
    own = tmp_path / "app"
    write(own, cpu__max="max 100000\n", cpu__stat="usage_usec 1\n", memory__max="1073741824\n")
    places = nb.find_places(V2.format(root=tmp_path), "0::/app\n")
    assert places == {"cpu": (2, tmp_path), "memory": (2, own), "pids": (2, own), "cpuacct": (2, tmp_path)}
    assert (nb.cores_allowed(places), nb.cpu_seconds(places)) == (0.5, 7.0)
    assert nb.read(places, "memory_limit") == GIB


def test_v1_figures(nb, tmp_path):
    """Version 1 counts CPU time in nanoseconds and in another directory; its quota is cores times period."""
    write(tmp_path / "cpu", cpu__cfs_quota_us="150000\n", cpu__cfs_period_us="100000\n")
    write(tmp_path / "cpuacct", cpuacct__usage="2500000000\n")
    places = nb.find_places(V1_HOST_NAMESPACE.format(root=tmp_path), V1_MEMBER.format(path="/docker/b81c"))
    assert (nb.cores_allowed(places), nb.cpu_seconds(places)) == (1.5, 2.5)


def test_unreadable(nb, tmp_path):
    """What can't be read is None, never 0: no file, no such line, no cgroup at all."""
    write(tmp_path, memory__events="low 0\n", memory__max="what?\n")
    places = nb.find_places(V2.format(root=tmp_path), "0::/\n")
    assert [nb.read(places, what) for what in ("memory_used", "oom_kill", "memory_limit")] == [None, None, None]
    nowhere = nb.find_places("", "")
    assert [nb.read(nowhere, what) for what in nb.FILES] == [None] * len(nb.FILES)
    assert (nb.cores_allowed(nowhere), nb.cpu_seconds(nowhere)) == (None, None)


# --- what is said -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("resource", "used", "limit", "said"),
    [
        ("CPU", 0.47, 0.5, "0.47 / 0.50 cores (94%)"),
        ("memory", GIB, GIB, "1.00 / 1.00 GiB (100%)"),
        ("memory", 300 * MIB, GIB, "300 MiB / 1.00 GiB (29%)"),
        ("processes", 295, 256, "295 / 256 processes (115%)"),
    ],
)
def test_usage(nb, resource, used, limit, said):
    """Usage is told in the one form of this project; a unit that both share is said once."""
    assert nb.usage(resource, used, limit) == said


def test_tell(nb):
    """No limit and an unreadable one are told apart."""
    told = [nb.tell("memory", one) for one in (314572800, math.inf, None)]
    assert told == ["300 MiB", "no limit", "unreadable"]


EPOCHS = [{"epoch": 1, "accuracy": 0.82, "seconds": 1.5}, {"epoch": 2, "accuracy": 0.894, "seconds": 1.0}]


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ((EPOCHS, 0, True, 0, ""), "training: 2 epochs in 2.5 s; 89% of the test images read correctly (exit code 0)"),
        (
            ([], 137, True, 1, ""),
            "training: TensorFlow does not fit in 300 MiB; the Linux kernel ended it (exit code 137)",
        ),
        (([], 137, True, 0, ""), "training: TensorFlow failed (exit code 137): it said nothing"),
        (([], 137, False, 0, ""), "training: not done after 90 s, and stopped"),
        (([], 1, True, 0, "No module named 'x'"), "training: TensorFlow failed (exit code 1): No module named 'x'"),
    ],
)
def test_training_said(how, said):
    """An OOM kill is told only where the Linux kernel counted one; any other end has its own sentence."""
    names = definitions()
    names["LIMITS"] = {"memory": 300 * MIB}
    assert names["training_said"](*how) == said


def test_evidence(tmp_path, capsys):
    """Evidence is strict JSON, appended line by line, anew for each run; a bad path, told once, stops nothing."""
    names = definitions()
    record = names["record"]
    path = tmp_path / "evidence.jsonl"
    path.write_text("of an older run\n")
    names["EVIDENCE"] = str(path)
    assert record("limits", "limits: none", cpu_kernel_cores=math.inf) == "limits: none"
    record("memory", "memory: held", exit_code=137)
    lines = [json.loads(line, parse_constant=pytest.fail) for line in path.read_text().splitlines()]
    assert [line.pop("time")[-6:] for line in lines] == ["+00:00", "+00:00"]
    assert lines == [
        {"event": "limits", "cpu_kernel_cores": None, "say": "limits: none"},
        {"event": "memory", "exit_code": 137, "say": "memory: held"},
    ]
    names["EVIDENCE"] = str(tmp_path / "no/such/folder")
    record("cpu", "cpu: held")
    record("verdict", "cpu: held")
    reason = "can't be written: No such file or directory. The notebook goes on without it."
    assert capsys.readouterr().out == f"({tmp_path}/no/such/folder {reason})\n"


# --- presses ----------------------------------------------------------------------------------------------------------


def test_windows(nb):
    """The first second is left out; each window is 2 s or a little more, with what rose in it."""
    keys = ("seconds", "cpu_seconds", "nr_periods", "nr_throttled")
    samples = [dict(zip(keys, (100 + i / 5, i / 10, 2 * i, i), strict=True)) for i in range(41)]
    windows = nb.windows_of(samples)
    assert [round(window["seconds"], 1) for window in windows] in ([2.0, 2.0, 2.0], [2.0, 2.2, 2.0], [2.2, 2.0, 2.0])
    assert windows[0] == {"seconds": 2.0, "used_cores": 0.5, "nr_periods": 20, "nr_throttled": 10}


def test_windows_unread(nb):
    """A counter that can't be read is None in each window."""
    samples = [dict.fromkeys(("cpu_seconds", "nr_periods", "nr_throttled")) | {"seconds": s} for s in (0, 1, 3)]
    assert nb.windows_of(samples) == [{"seconds": 2, "used_cores": None, "nr_periods": None, "nr_throttled": None}]
    assert nb.windows_of(samples[:1]) == []


def hello(words):
    sys.stdout.write(words + "\n")
    if os.fork() == 0:  # an orphan that would stay
        os.execvp("sleep", ["sleep", "60"])


def test_child(nb):
    """What a child prints is passed on line by line; neither it nor what it started is left behind."""
    with nb.Child(hello, "one\ntwo") as child:
        lines = list(itertools.islice(nb.follow("test", 10, child), 2))
    assert (lines, child.exit_code in (0, 137)) == (["one", "two"], True)
    with pytest.raises(ProcessLookupError):
        os.killpg(child.pid, 0)


def test_child_fails(nb):
    """A child's exception is its own: it prints a traceback, and ends with exit code 1."""
    with nb.Child(int, "seven") as child:
        lines = list(nb.follow("test", 10, child))
    assert (child.exit_code, child.closed) == (1, True)
    assert lines[-1] == "ValueError: invalid literal for int() with base 10: 'seven'"


def test_child_is_stopped(nb):
    """A child that takes too long is ended, and it can be told from one that ended by itself."""
    with nb.Child(nb.burn, 60) as child:
        assert list(nb.follow("test", 0.3, child)) == []
    assert (child.exit_code, child.closed) == (137, False)


def victim():
    sys.stdout.write(Path("/proc/self/oom_score_adj").read_text())


def test_child_is_the_victim(nb):
    """A child makes itself the OOM killer's first choice; the notebook stays what it was."""
    before = Path("/proc/self/oom_score_adj").read_text()
    with nb.Child(victim) as child:
        assert list(nb.follow("test", 10, child)) == ["1000"]
    assert Path("/proc/self/oom_score_adj").read_text() == before


def test_touch(nb):
    """Memory is taken in steps up to the ceiling, each told when it is really there."""
    with nb.Child(nb.touch, 10 * MIB, 4 * MIB) as child:
        assert list(nb.follow("test", 30, child)) == [str(4 * MIB), str(8 * MIB), str(12 * MIB)]
    assert child.exit_code == 0


def test_crowd(nb):
    """As many processes as asked for are started, told, and gone afterwards."""
    found = nb.press_processes(4)
    unread = {"highest_count": None, "refused_rise": None}
    assert found == {"started": 20, "refused": False, "exit_code": 0, **unread}


# --- verdicts ---------------------------------------------------------------------------------------------------------


def window(cores, throttled, periods=20):
    return {"seconds": 2.0, "used_cores": cores, "nr_periods": periods, "nr_throttled": throttled}


HELD_20 = "throttled in 20 of 20 periods, exceeded in none of 1 windows of 2 s"
BUSY = "not pressed: other work on this machine left too little CPU to reach the limit"


@pytest.mark.parametrize(
    ("windows", "limit", "verdict"),
    [
        ([window(0.5, 20)], 0.5, ("HELD", "0.50 / 0.50 cores (100%)", HELD_20)),
        ([window(0.529, 20)], 0.5, ("HELD", "0.53 / 0.50 cores (106%)", HELD_20)),
        (
            [window(0.5, 20), window(0.531, 20)],
            0.5,
            (
                "BROKEN",
                "0.52 / 0.50 cores (103%)",
                "0.531 cores in a window of 2.0 s; at most 0.530 is within the limit",
            ),
        ),
        (
            [window(0.3, 2), window(0.49, 10)],
            0.5,
            ("HELD", "0.49 / 0.50 cores (98%)", "throttled in 10 of 20 periods, exceeded in none of 2 windows of 2 s"),
        ),
        ([window(0.3, 2)], 0.5, ("UNKNOWN", "0.30 / 0.50 cores (60%)", BUSY)),
        ([window(0.5, 0)], 0.5, ("UNKNOWN", "0.50 / 0.50 cores (100%)", BUSY)),
        ([window(0.5, None, None)], 0.5, ("UNKNOWN", "0.50 / 0.50 cores (100%)", BUSY)),
        ([window(None, 20)], 0.5, ("UNKNOWN", "–", "the CPU time used can't be read")),
        ([], 0.5, ("UNKNOWN", "–", "the CPU time used can't be read")),
    ],
)
def test_judge_cpu(nb, windows, limit, verdict):
    """HELD needs throttling and no window over the limit, a period's slack and 1 %; without pressure it is UNKNOWN."""
    assert nb.judge_cpu({"busy_processes": 3, "windows": windows}, limit, 0.1) == verdict


def test_judge_cpu_of_a_small_host(nb):
    """A limit that this machine has not enough CPUs to reach is UNKNOWN, and the reason says so."""
    cpus = len(os.sched_getaffinity(0))
    outcome, _, reason = nb.judge_cpu({"windows": [window(0.99 * cpus, 0)]}, cpus, 0.1)
    assert (outcome, reason) == ("UNKNOWN", f"not pressed: there are only {cpus} CPUs to use")


def memory(taken, code, kills, peak, *, timed_out=False):
    return {"taken_bytes": taken, "exit_code": code, "timed_out": timed_out, "oom_kill_rise": kills, "peak_bytes": peak}


@pytest.mark.parametrize(
    ("press", "verdict"),
    [
        (
            memory(864 * MIB, 137, 1, GIB),
            ("HELD", "1.00 / 1.00 GiB (100%)", "the Linux kernel ended a child that had taken 864 MiB (exit code 137)"),
        ),
        (
            memory(1200 * MIB, 0, 0, 1800 * MIB),
            ("BROKEN", "1.76 / 1.00 GiB (176%)", "more than the limit was in use; a child took 1.17 GiB"),
        ),
        (
            memory(1000 * MIB, 137, 1, GIB + 4096),
            ("BROKEN", "1.00 / 1.00 GiB (100%)", "more than the limit was in use; a child took 1000 MiB"),
        ),
        (memory(1200 * MIB, 0, None, None), ("BROKEN", "–", "a child took 1.17 GiB, and lived")),
        (
            memory(1200 * MIB, 0, 0, GIB),
            ("HELD", "1.00 / 1.00 GiB (100%)", "a child took 1.17 GiB; what is over the limit went to swap"),
        ),
        (
            memory(864 * MIB, 137, 0, GIB),
            (
                "UNKNOWN",
                "1.00 / 1.00 GiB (100%)",
                "the child took 864 MiB and ended (exit code 137); no OOM kill was counted",
            ),
        ),
        (
            memory(864 * MIB, 137, None, None),
            ("UNKNOWN", "–", "the child took 864 MiB and ended (exit code 137); no OOM kill was counted"),
        ),
        (
            memory(864 * MIB, 137, 0, 900 * MIB, timed_out=True),
            ("UNKNOWN", "900 MiB / 1.00 GiB (88%)", "the child took 864 MiB, and then came no further"),
        ),
    ],
)
def test_judge_memory(nb, press, verdict):
    """HELD needs the Linux kernel's own count of a kill, not the exit code alone, and a peak within the limit."""
    assert nb.judge_memory(press, GIB) == verdict


def crowd(started, highest, rise, *, refused):
    return {"started": started, "refused": refused, "highest_count": highest, "refused_rise": rise, "exit_code": 0}


@pytest.mark.parametrize(
    ("press", "verdict"),
    [
        (
            crowd(233, 256, 1, refused=True),
            ("HELD", "256 / 256 processes (100%)", "after 233 more, the Linux kernel refused to start another"),
        ),
        (
            crowd(272, 295, 0, refused=False),
            ("BROKEN", "295 / 256 processes (115%)", "272 processes more were started"),
        ),
        (crowd(272, None, None, refused=False), ("BROKEN", "–", "272 processes more were started")),
        (
            crowd(100, 120, 0, refused=True),
            (
                "UNKNOWN",
                "120 / 256 processes (47%)",
                "a process was refused, but the container's counter of refusals did not rise (ulimit -u?)",
            ),
        ),
        (crowd(None, 20, 0, refused=None), ("UNKNOWN", "20 / 256 processes (8%)", "the press failed")),
    ],
)
def test_judge_processes(nb, press, verdict):
    """HELD needs a refusal that the container's own counter saw; one process more than the limit is BROKEN."""
    assert nb.judge_processes(press, 256) == verdict


@pytest.mark.parametrize("judge", ["judge_cpu", "judge_memory", "judge_processes"])
def test_not_pressed(judge):
    """What was not pressed is UNKNOWN, never HELD, with the reason why not."""
    more = (0.1,) if judge == "judge_cpu" else ()
    verdict = definitions()[judge]({"skipped": "there is no limit"}, None, *more)
    assert verdict == ("UNKNOWN", "–", "not pressed: there is no limit")
