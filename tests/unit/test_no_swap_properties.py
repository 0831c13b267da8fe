"""No swap as Docker is asked for it: whatever the limits are, so that it stays, and the kernel shows the same."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from spawner_limits.engines.docker import UNLIMITED, allows_no_swap, host_config, may_get_swap, translate
from spawner_limits.engines.enforcement import pages, swap_texts
from spawner_limits.limits import FIELDS, Limits
from spawner_limits.units import MIB, TIB

PAGES = st.sampled_from([4096, 16384, 65536])
LEAST = FIELDS["mem_limit"].minimum
MEMORY = st.one_of(
    st.integers(LEAST, 8 * TIB),
    # around the ends of pages of any size
    st.builds(lambda pages_of_64k, byte: pages_of_64k * 65536 + byte, st.integers(97, 10_000), st.integers(-2, 2)),
)
MORE = st.one_of(st.integers(1, 8192), st.integers(1, TIB))


def asked(page, mem, memswap):
    return translate(Limits(mem_limit=mem, memswap_limit=memswap), page_size_bytes=page)


def texts(enforcement):
    """Field → the texts of v1's file and of v2's."""
    return {one.field: (one.v1[0].accept, one.v2[0].accept) for one in enforcement.expect}


@given(page=PAGES, mem=MEMORY)
def test_no_swap_is_a_byte_above_whole_pages(page, mem):
    """Memory as the kernel would have cut it, and a byte that is never a page, neither on v1 nor on v2."""
    found = asked(page, mem, mem)
    memory, both = found.ask["mem_limit"], found.ask["memswap_limit"]
    assert LEAST <= memory <= mem
    assert (memory % page, mem - memory < page, both) == (0, True, memory + 1)
    assert both // page == memory // page
    assert allows_no_swap(host_config(found.ask))


@given(page=PAGES, mem=MEMORY, more=MORE)
def test_swap_that_is_given_is_asked_to_the_byte(page, mem, more):
    """Nothing is rounded or added where the policy allows swap."""
    assert asked(page, mem, mem + more).ask == {"mem_limit": mem, "memswap_limit": mem + more}
    assert asked(page, mem, None).ask == {"mem_limit": mem, "memswap_limit": UNLIMITED}


@given(page=PAGES, mem=MEMORY, more=st.one_of(st.just(0), st.none(), MORE))
def test_equal_is_never_asked(page, mem, more):
    """For that is what systemd forgets; both are always named."""
    found = host_config(asked(page, mem, None if more is None else mem + more).ask)
    assert set(found) == {"Memory", "MemorySwap"}
    assert not may_get_swap(found)


@given(page=PAGES, mem=MEMORY, more=st.one_of(st.just(0), st.none(), MORE))
def test_the_kernel_shows_what_the_policy_says(page, mem, more):
    """The same texts as for the policy's own numbers: the byte shows in none of them."""
    memswap = None if more is None else mem + more
    v1, v2 = swap_texts(memswap, mem, page)
    found = texts(asked(page, mem, memswap))
    assert found == {"mem_limit": (pages(mem, page), pages(mem, page)), "memswap_limit": (v1[0], v2[0])}
    if more == 0:
        assert found["memswap_limit"] == (found["mem_limit"][0], ("0",))


def test_a_page_is_never_gained():
    """What the rounding is for: from a byte below the end of a page, one more would be a page of swap on v1."""
    found = asked(4096, 64 * MIB + 4095, 64 * MIB + 4095)
    assert found.ask == {"mem_limit": 64 * MIB, "memswap_limit": 64 * MIB + 1}
    assert texts(found)["memswap_limit"] == (("67108864",), ("0",))
