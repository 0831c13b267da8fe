"""How a fuzzer runs: its corpus and dictionary come from code, what it finds goes into one folder. Knows no policy."""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import atheris

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Mutated: TypeAlias = Callable[[bytes, random.Random], bytes]
    """bytes and chance → other bytes"""


def fuzz(check: Callable[[bytes], None], *, seeds: Sequence[bytes], words: Sequence[str], mutated: Mutated) -> None:
    """Let libFuzzer look for bytes from which `check` raises. The process ends with it.

    Every other change is one of `mutated`: most changed bytes only make a text that is not YAML, or not JSON.
    The command line is `FOLDER [flags of libFuzzer]`, or a file that an earlier run left, to see its traceback.
    """
    place, *flags = sys.argv[1:]
    arguments = [place] if Path(place).is_file() else _prepared(Path(place), seeds, words)

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        chance = random.Random(seed)  # libFuzzer gives the seed, so that runs can be repeated
        if chance.random() < 1 / 2:
            return bytes(atheris.Mutate(data, max_size))
        return mutated(data, chance)[:max_size]

    atheris.Setup([sys.argv[0], *flags, *arguments], check, custom_mutator=mutate)
    atheris.Fuzz()


def _prepared(folder: Path, seeds: Sequence[bytes], words: Sequence[str]) -> list[str]:
    corpus, dictionary = folder / "corpus", folder / "words"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
    dictionary.write_text("".join(f'"{_escaped(word)}"\n' for word in words if word), encoding="ascii")
    return [f"-dict={dictionary}", f"-artifact_prefix={folder}/", str(corpus)]


def _escaped(word: str) -> str:
    """As libFuzzer's dictionary has it: https://llvm.org/docs/LibFuzzer.html#dictionaries."""
    return "".join(f"\\x{byte:02x}" for byte in word.encode("utf-8", "surrogatepass"))
