"""The core's entry, given anything, for so many seconds: `./dev fuzz --core SECONDS [SEED]`.

With clang there is libFuzzer, which looks for inputs that go new ways and keeps them in
.cache/netbsd/corpus; without it, inputs are by chance.  A seed can be replayed.
"""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
import sys
import time

from tests.netbsd.build import CACHE, CORE, HARNESS, parts, program
from tests.netbsd.core import ENVIRONMENT

RUNS = 2000
"""Inputs of one seed."""


def by_chance(seconds: float, seed: int | None) -> int:
    """One seed after the other.  The exit status of the first that fails."""
    first = random.SystemRandom().getrandbits(32) if seed is None else seed
    fuzz, end, runs = str(program("fuzz")), time.monotonic() + seconds, 0
    while time.monotonic() < end:
        command = [fuzz, str(RUNS), str(first + runs)]
        done = subprocess.run(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, check=False)
        if done.returncode:
            print(f"failed: {fuzz} {RUNS} {first + runs}", file=sys.stderr)
            return 1
        runs += RUNS
    print(f"{runs} inputs from seed {first}: nothing found")
    return 0


def by_coverage(clang: str, seconds: float) -> int:
    """With libFuzzer."""
    made, corpus = CACHE / "libfuzzer", CACHE / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    flags = ["-g", "-O1", "-DLIBFUZZER", "-fsanitize=fuzzer,address,undefined"]
    include = ["-I", str(CORE), "-I", str(HARNESS)]
    subprocess.run([clang, *flags, *include, "-o", str(made), *map(str, parts("fuzz"))], check=True)
    limits = [f"-max_total_time={int(seconds)}", "-max_len=16384"]
    return subprocess.run([str(made), *limits, str(corpus)], check=False).returncode


def main() -> int:
    """So many seconds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("seconds", type=float)
    parser.add_argument("seed", type=int, nargs="?")
    given = parser.parse_args()
    clang = shutil.which("clang")
    if clang and given.seed is None:
        return by_coverage(clang, given.seconds)
    return by_chance(given.seconds, given.seed)


if __name__ == "__main__":
    sys.exit(main())
