"""`python -m tests.linux.kmod [SERIES]` builds the modules."""

import sys

from tests.linux.archive import Unavailable
from tests.linux.kmod import build

if __name__ == "__main__":
    try:
        print(*build(*sys.argv[1:2]), sep="\n")  # a command
    except Unavailable as missing:
        sys.exit(str(missing))
