"""What the Linux kernel shows of a limit in its files: is it what was asked? Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spawner_limits import units

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spawner_limits.engines.enforcement import CgroupVersion, Expectation, KernelFile
    from spawner_limits.proof.evidence import Evidence
    from spawner_limits.proof.series import Series


def version_of(expectation: Expectation, series: Series) -> CgroupVersion:
    """The version of cgroups that carries the field here; a field without files is not in any."""
    return series.version(expectation.v1[0].controller) if expectation.v1 else 1


def readback(wanted: Sequence[KernelFile], series: Series) -> tuple[str, str]:
    """What is wrong in the limit's files, and why one could not be read; "" for neither."""
    wrong, unread = [], []
    for file in wanted:
        seen = series.texts(file.name)
        others = [text for text in seen if text not in file.accept]
        if others:
            wrong.append(f"the kernel shows {file.name} = {others[0]}, expected {' or '.join(file.accept)}")
        elif not seen:
            unread.append(series.unread(file.name) or f"{file.name} was not read")
    return "; ".join(wrong), "; ".join(unread)


def found_wrong(wanted: Sequence[KernelFile], expectation: Expectation, evidence: Evidence) -> tuple[str, str]:
    """The same, with processes that left the cgroup, and with the CPUs that count in the end."""
    wrong, unread = readback(wanted, evidence.series)
    found = (_escaped(wanted, evidence), wrong, _beyond_set(expectation, evidence.series))
    return "; ".join(filter(None, found)), unread


def _escaped(wanted: Sequence[KernelFile], evidence: Evidence) -> str:
    """Where a process of the container is under another cgroup's limits; "" for nowhere."""
    found = [evidence.strays[file.controller] for file in wanted if file.controller in evidence.strays]
    return f"a process of the container was moved to the cgroup {found[0]}" if found else ""


def _beyond_set(expectation: Expectation, series: Series) -> str:
    """Where the CPUs that count in the end are not among those of the set; v1 shows only what was written."""
    if expectation.field != "cpuset_cpus":
        return ""
    allowed = units.cpus_in(str(expectation.value))
    texts = filter(None, series.texts("cpuset.cpus.effective"))
    others = [text for text in texts if not units.cpus_in(text) <= allowed]
    if not others:
        return ""
    return f"the kernel shows cpuset.cpus.effective = {others[0]}, expected within {expectation.value}"


def limit_files(wanted: Sequence[KernelFile], series: Series) -> tuple[str, ...]:
    """Each with the text that the kernel shows, for people."""
    return tuple(f"{file.name} = {[*series.texts(file.name), 'not read'][0]}" for file in wanted)
