"""`rumpci run --pdb`: a debugger in the child, at a terminal."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import pytest

from .runs import TWO, AtTerminal, at, driver, run

PROMPT = r"\(Pdb\) "


def test_it_stops_where_it_was_raised_with_all_that_is_held(
    tmp_path: Path, at_terminal: AtTerminal
) -> None:
    odd = driver(tmp_path / "odd.py", 1, "word = 'here'", "self.nothing()")
    one = at_terminal(odd, "--on", "model:edu", "--pdb", "--watchdog", "2")
    said = one.until(PROMPT)
    assert "AttributeError: 'Odd' object has no attribute 'nothing'" in said
    assert re.search(r"> \S*odd.py\(\d+\)run\(\)\n-> self.nothing\(\)", said)
    one.type("p word, self.alive(5), self.factorial_intr(5)\n")  # registers, interrupts
    one.until(r"\('here', True, 120\)")
    one.until(PROMPT)
    time.sleep(3)  # longer than the watchdog lets it do nothing
    one.type("\x03")
    one.until("--KeyboardInterrupt--")
    one.until(PROMPT)
    one.type("import time; print('sleeps'); time.sleep(1000)\n")
    one.until("\nsleeps\n")
    one.type("\x03")
    one.until(PROMPT)
    one.type("p self.alive(6)\n")
    one.until("\nTrue")
    one.until(PROMPT)
    one.type("q\n")
    assert one.end() == 1
    assert "odd0: detached" in one.said
    assert re.search(r"why: running odd0: AttributeError", one.said)


@pytest.mark.parametrize("where", ["attach", "detach", "intr"])
def test_it_stops_wherever_a_driver_raises(
    tmp_path: Path, at_terminal: AtTerminal, where: str
) -> None:
    odd = tmp_path / "odd.py"
    odd.write_text(
        f"from rumpci.drivers.edu import Edu\nclass Odd(Edu):\n"
        f"    def {where}(self, *arguments):\n"
        f"        {'super().attach(*arguments)' if where == 'attach' else 'pass'}\n"
        f"        1 / 0\n"
    )
    one = at_terminal(str(odd), "--on", "model:edu", "--pdb")
    assert f"odd.py(5){where}()" in one.until(PROMPT)
    one.type("p self.alive(7)\n")
    one.until("\nTrue")
    one.until(PROMPT)
    one.type("q\n")
    if where == "intr":  # then the driver waits in vain for what its handler should have said
        one.until(PROMPT)
        one.type("q\n")
    assert one.end() == 1


def test_two_that_raise_have_the_terminal_one_after_the_other(
    tmp_path: Path, at_terminal: AtTerminal
) -> None:
    files = [driver(tmp_path / f"d{n}.py", at(n), "1 / 0") for n in (1, 2)]
    one = at_terminal(*files, "--on", TWO, "--pdb", "--watchdog", "2")
    seen = list[str]()
    for _ in files:
        said = one.until(PROMPT)
        assert not re.search(PROMPT, one.said)
        for before in seen:  # all that is said of it, and nothing of that after the prompt
            assert f"{before}: detached\n" in said
            assert re.search(rf"^why: running {before}: .*\n(?s:.*)^----\n", said, re.MULTILINE)
        one.type("p self.xname, self.alive(3)\n")
        found = re.search(r"\('(d\d0)', True\)", one.until(r"\('d\d0', True\)\n"))
        assert found
        seen.append(found[1])
        one.until(PROMPT)
        time.sleep(3)  # the other one waits for longer than the watchdog would let it
        one.type("q\n")
    assert sorted(seen) == ["d10", "d20"]
    assert one.end() == 1


@pytest.mark.parametrize("late", [False, True])
def test_what_hangs_after_the_debugger_is_ended_by_the_second_interrupt(
    tmp_path: Path, at_terminal: AtTerminal, *, late: bool
) -> None:
    odd = tmp_path / "odd.py"
    odd.write_text(
        "import time\nfrom rumpci.drivers.edu import Edu\nclass Odd(Edu):\n"
        "    def run(self):\n        1 / 0\n"
        "    def detach(self):\n"
        "        while True:\n"
        "            try:\n"
        "                print('stuck', flush=True)\n"
        "                time.sleep(1000)\n"
        "            except KeyboardInterrupt:\n                pass\n"
    )
    one = at_terminal(str(odd), "--on", "model:edu", "--pdb")
    one.until(PROMPT)
    if late:  # the supervisor hears of the debugger's end and of the interrupt at once
        os.kill(one.pid, signal.SIGSTOP)
    one.type("q\n")
    one.until("stuck\n")
    one.type("\x03")
    if late:
        os.kill(one.pid, signal.SIGCONT)
    one.until("stuck\n")
    one.type("\x03")
    assert one.end() == 130


def test_sigterm_ends_it_at_the_prompt(tmp_path: Path, at_terminal: AtTerminal) -> None:
    odd = driver(tmp_path / "odd.py", 1, "1 / 0")
    one = at_terminal(odd, "--on", "model:edu", "--pdb")
    one.until(PROMPT)
    os.kill(one.pid, signal.SIGTERM)
    assert one.end() == 143


def test_without_a_terminal_the_end_of_input_ends_the_debugger(tmp_path: Path) -> None:
    odd = driver(tmp_path / "odd.py", 1, "1 / 0")
    status, out, err = run(odd, "--on", "model:edu", "--pdb")
    assert status == 1
    assert "(Pdb) " in out
    assert "why: running odd0: ZeroDivisionError" in err
    status, _, err = run(odd, "--on", "model:edu", "--pdb", "--in-process")
    assert (status, "process of their own" in err) == (2, True)
