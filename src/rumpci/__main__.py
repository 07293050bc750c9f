"""`python -m rumpci` is the command `rumpci`."""

from rumpci.tools.main import main

main()
