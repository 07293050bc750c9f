"""`python -m rumpci` is the command `rumpci`; without the package click, a smaller one."""

try:
    from rumpci.tools.main import main
except ModuleNotFoundError as error:
    if error.name != "click":
        raise
    from rumpci.tools.plain import main

main()
