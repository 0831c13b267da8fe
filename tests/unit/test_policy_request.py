"""What a server may ask for itself: every type that a form or the REST API can send, and what is said of bad ones."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spawner_limits.errors import RequestError
from spawner_limits.limits import FIELDS
from spawner_limits.policy.keys import REQUESTABLE
from spawner_limits.policy.user_options import KEYS, Request, without_ours
from spawner_limits.units import GIB, MIB

NONE = Request()
READ = {
    "nothing": (None, NONE),
    "an empty object": ({}, NONE),
    "an empty list, as some clients send": ([], NONE),
    "nothing for each": (dict.fromkeys(KEYS), NONE),
    "a size": ({"size": "small"}, Request(size="small")),
    "a size of a form": ({"size": ["small"]}, Request(size="small")),
    "no size of a form": ({"size": [""]}, NONE),
    "no size": ({"size": ""}, NONE),
    "a size in any script": ({"size": "größer 大"}, Request(size="größer 大")),
    "a size that is a number": ({"size": 2}, Request(size="2")),
    "memory as text": ({"mem_limit": "512M"}, Request(limits={"mem_limit": 512 * MIB})),
    "memory as bytes": ({"mem_limit": GIB}, Request(limits={"mem_limit": GIB})),
    "memory as JavaScript writes bytes": ({"mem_limit": float(GIB)}, Request(limits={"mem_limit": GIB})),
    "memory of a form": ({"mem_limit": ["1G"]}, Request(limits={"mem_limit": GIB})),
    "memory with blanks around it": ({"mem_limit": " 1G "}, Request(limits={"mem_limit": GIB})),
    "cores as text": ({"cpu_limit": "0.5"}, Request(limits={"cpu_limit": 0.5})),
    "cores as a number": ({"cpu_limit": 0.5}, Request(limits={"cpu_limit": 0.5})),
    "whole cores": ({"cpu_limit": 2}, Request(limits={"cpu_limit": 2.0})),
    "processes": ({"pids_limit": 64}, Request(limits={"pids_limit": 64})),
    "whole processes with a point": ({"pids_limit": 64.0}, Request(limits={"pids_limit": 64})),
    "all that one may have": (
        {"mem_limit": "unlimited", "cpu_limit": ["unlimited"], "pids_limit": "unlimited"},
        Request(limits={"mem_limit": None, "cpu_limit": None, "pids_limit": None}),
    ),
    "everything": (
        {"size": "small", "mem_limit": "1G", "cpu_limit": 1, "pids_limit": 9},
        Request(size="small", limits={"mem_limit": GIB, "cpu_limit": 1.0, "pids_limit": 9}),
    ),
}


@pytest.mark.parametrize(("options", "request_"), READ.values(), ids=READ)
def test_a_request_is_read(options: object, request_: Request) -> None:
    """Forms send lists of texts, JSON sends numbers, and both mean what the policy file would take."""
    found = Request.read(options)
    assert found == request_
    assert {name: type(value) for name, value in found.limits.items()} == {
        name: type(value) for name, value in request_.limits.items()
    }


THEIRS = {
    "of other spawners": {
        "image": "jupyter/scipy",
        "profile": "gpu",
        "profile-option-gpu--image": "x",
        "req_memory": "1",
    },
    "other limits, near ours": {"gpu_limit": 1, "disk_limit": "1G", "time_limit": 60, "io_limit": 5, "fd_limit": 9},
    "fields that only the administrator gives": {"cpuset_cpus": "0", "mem_guarantee": "1G", "memswap_limit": "1G"},
    "near the size, which is a common word": {"sizes": ["a"], "Size": "a", "site": "x", "resize": True},
    "no texts": {1: 2, None: 3, (): 4, False: 5, 2.5: 6},
    "empty, and long": {"": 1, "m": 2, "x" * 10_000_000: 3, "m" * 10_000_000: 4},
    "of other scripts": {"メモリ": 1, "мем_limit": "1G", "\ud800": 2},
}


@pytest.mark.parametrize("options", THEIRS.values(), ids=THEIRS)
def test_keys_of_others_are_theirs(options: dict[Any, Any]) -> None:
    """They are neither read nor refused, and stay when ours are taken out."""
    assert Request.read(options) == NONE
    assert without_ours(options | dict.fromkeys(KEYS, "x")) == options


SLIPS = {
    "mem_limt": "mem_limit",
    "memlimit": "mem_limit",
    "memLimit": "mem_limit",
    "MEM_LIMIT": "mem_limit",
    "mem-limit": "mem_limit",
    "mem_limits": "mem_limit",
    "memory_limit": "mem_limit",
    " mem_limit": "mem_limit",
    "cpu_limt": "cpu_limit",
    "cpus_limit": "cpu_limit",
    "pid_limit": "pids_limit",
    "pids_limit ": "pids_limit",
}


@pytest.mark.parametrize(("key", "meant"), SLIPS.items())
def test_a_slip_of_a_key_is_refused_and_forgotten(key: str, meant: str) -> None:
    """Unread, it would give more than was asked for; kept, it would refuse every later spawn."""
    with pytest.raises(RequestError) as refusal:
        Request.read({key: "1G"})
    told = key if key.strip() == key else f'"{key}"'
    assert (refusal.value.field, str(refusal.value)) == (told, f'{told}: unknown key; did you mean "{meant}"?')
    assert without_ours({key: "1G", "image": "x"}) == {"image": "x"}


def test_a_slip_is_shown_without_what_a_terminal_would_obey() -> None:
    """A key is anyone's text, and goes into the log and onto a page: on one line."""
    with pytest.raises(RequestError) as refusal:
        Request.read({"mem_limit\x1b\n": "1G"})
    assert str(refusal.value) == r'"mem_limit\x1b\n": unknown key; did you mean "mem_limit"?'


_SIZE = 'expected a size such as "512M" or "1.5G", or "unlimited"'
_CORES = 'expected a number of cores such as "0.5" or "2", or "unlimited"'
_COUNT = 'expected a whole number, or "unlimited"'
_NAME = "expected the name of a size"
_DIGITS = "found a number of thousands of digits"
REFUSED = {
    "a text": ("mem_limit=1G", "user_options: found str; expected an object"),
    "a list": ([{"mem_limit": "1G"}], "user_options: found list; expected an object"),
    "a number": (1, "user_options: found int; expected an object"),
    "true": (True, "user_options: found bool; expected an object"),
    "too many keys": ({str(key): 1 for key in range(1_001)}, "user_options: found 1001 keys; expected at most 1000"),
    "memory that is true": ({"mem_limit": True}, f"mem_limit: found true or false; {_SIZE}"),
    "cores that are false": ({"cpu_limit": False}, f"cpu_limit: found true or false; {_CORES}"),
    "memory that is empty": ({"mem_limit": ""}, f'mem_limit: found ""; {_SIZE}'),
    "memory of blanks": ({"mem_limit": "  "}, f'mem_limit: found "  "; {_SIZE}'),
    "memory of a form, empty": ({"mem_limit": [""]}, f'mem_limit: found ""; {_SIZE}'),
    "memory in a list of none": ({"mem_limit": []}, f"mem_limit: found a list; {_SIZE}"),
    "memory in a list of two": ({"mem_limit": ["1G", "2G"]}, f"mem_limit: found a list; {_SIZE}"),
    "memory in a list in a list": ({"mem_limit": [["1G"]]}, f"mem_limit: found a list; {_SIZE}"),
    "memory in a list of nothing": ({"mem_limit": [None]}, f"mem_limit: found nothing; {_SIZE}"),
    "memory in an object": ({"mem_limit": {"max": "1G"}}, f"mem_limit: found an object; {_SIZE}"),
    "memory in bytes of Python": ({"mem_limit": b"1G"}, f"mem_limit: found bytes; {_SIZE}"),
    "memory in a number of Python": ({"mem_limit": Decimal(1)}, f"mem_limit: found Decimal; {_SIZE}"),
    "no memory": ({"mem_limit": 0}, 'mem_limit: found "0"; expected a size above 0, or "unlimited"'),
    "no memory, with a point": ({"mem_limit": -0.0}, 'mem_limit: found "0"; expected a size above 0, or "unlimited"'),
    "less memory than Docker takes": (
        {"mem_limit": 2},
        'mem_limit: found "2"; expected at least 6 MiB (Docker starts no container with less), or "unlimited"',
    ),
    "negative memory": ({"mem_limit": -1}, f'mem_limit: found "-1"; {_SIZE}'),
    "half a byte": (
        {"mem_limit": 10_000_000.5},
        'mem_limit: found "10000000.5"; expected whole bytes, or a size such as "512M" or "1.5G", or "unlimited"',
    ),
    "memory without end": ({"mem_limit": float("inf")}, f'mem_limit: found "inf"; {_SIZE}'),
    "memory that is no number": ({"mem_limit": float("nan")}, f'mem_limit: found "nan"; {_SIZE}'),
    "cores without end": ({"cpu_limit": float("-inf")}, f'cpu_limit: found "-inf"; {_CORES}'),
    "cores with an exponent": ({"cpu_limit": 1e-7}, f'cpu_limit: found "1e-07"; {_CORES}'),
    "more cores than there are": (
        {"cpu_limit": 9_000},
        'cpu_limit: found "9000"; expected at most 8192 cores, or "unlimited"',
    ),
    "half a process": ({"pids_limit": 1.5}, f'pids_limit: found "1.5"; {_COUNT}'),
    "no process": (
        {"pids_limit": 0},
        'pids_limit: found "0"; expected at least 1 (the Linux kernel\'s pids.max), or "unlimited"',
    ),
    "a huge number": (
        {"mem_limit": 10**100},
        f'mem_limit: found "1{"0" * 59}…"; expected a size below 8 EiB, or "unlimited"',
    ),
    "a huge number with a point": ({"mem_limit": 1e300}, f'mem_limit: found "{str(int(1e300))[:60]}…"; {_SIZE}'),
    "a number that Python does not write": ({"pids_limit": 10**5_000}, f"pids_limit: {_DIGITS}; {_COUNT}"),
    "a size that Python does not write": ({"size": 10**5_000}, f"size: {_DIGITS}; {_NAME}"),
    "the word in capitals": ({"cpu_limit": "Unlimited"}, f'cpu_limit: found "Unlimited"; {_CORES}'),
    "the word with a blank": ({"cpu_limit": "unlimited "}, f'cpu_limit: found "unlimited "; {_CORES}'),
    "digits of another script": ({"pids_limit": "６４"}, f'pids_limit: found "６４"; {_COUNT}'),
    "half of a surrogate pair": ({"mem_limit": "\ud800"}, rf'mem_limit: found "\ud800"; {_SIZE}'),
    "what a terminal would obey": ({"mem_limit": "\x1b[2J"}, rf'mem_limit: found "\x1b[2J"; {_SIZE}'),
    "a text of ten megabytes": ({"mem_limit": "9" * 10_000_000}, f'mem_limit: found "{"9" * 60}…"; {_SIZE}'),
    "a size of ten megabytes": ({"size": "s" * 10_000_000}, f'size: found "{"s" * 60}…"; {_NAME}'),
    "a size that is true": ({"size": True}, f"size: found true or false; {_NAME}"),
    "a size in a list of two": ({"size": ["s", "m"]}, f"size: found a list; {_NAME}"),
    "a size in an object": ({"size": {}}, f"size: found an object; {_NAME}"),
}


@pytest.mark.parametrize(("options", "message"), REFUSED.values(), ids=REFUSED)
def test_a_malformed_request_is_refused(options: object, message: str) -> None:
    """The message names the key, what was found, and what the policy file would take."""
    with pytest.raises(RequestError) as refusal:
        Request.read(options)
    assert str(refusal.value) == message
    assert refusal.value.field == message.partition(":")[0]
    assert refusal.value.exit_code == 2


@pytest.mark.parametrize("options", [None, [], "x", 1, {str(key): 1 for key in range(1_001)}])
def test_what_can_not_be_sorted_is_forgotten_whole(options: object) -> None:
    """What is refused as a whole must not be there at the next spawn."""
    assert without_ours(options) == {}


_SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
_ANYTHING = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=5
)


@settings(deadline=None, max_examples=300)
@given(_ANYTHING | st.dictionaries(st.sampled_from([*KEYS, *SLIPS, "image"]) | st.text(), _ANYTHING, max_size=5))
def test_any_options_are_a_request_or_a_request_error(options: object) -> None:
    """Nothing that is sent makes `read` raise anything else; what is read is within bounds; messages are one line."""
    try:
        found = Request.read(options)
    except RequestError as error:
        assert str(error).isprintable()  # noqa: PT017
        assert error.field  # noqa: PT017
        assert Request.read(without_ours(options)) == NONE
    else:
        assert set(found.limits) <= set(REQUESTABLE)
        assert all(value is None or FIELDS[name].read(str(value)) == value for name, value in found.limits.items())


@settings(deadline=None)
@given(
    st.dictionaries(st.sampled_from(KEYS), st.sampled_from(["1G", "512M", "2", "0.5", 7, 1.5, 2.0, "unlimited", "s"]))
)
def test_a_form_and_the_rest_api_ask_the_same(options: dict[str, Any]) -> None:
    """A value alone and in a list of one, and after JSON, is read as the same, or refused in the same words."""

    def outcome(given: object) -> object:
        try:
            return Request.read(given)
        except RequestError as error:
            return str(error)

    assert outcome(options) == outcome({key: [value] for key, value in options.items()})
    assert outcome(options) == outcome(json.loads(json.dumps(options)))
