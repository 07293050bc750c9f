"""`rumpci run --reload`: a saved driver takes the place of the old one; the machine stays."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from .needs import qemu
from .runs import STAY, Begin, Run, children, run, write

HOSTS = ["model:edu", pytest.param("qemu:edu", marks=qemu)]


def save(path: str, *body: str) -> None:
    """As most editors save: a new file over the old one."""
    write(path + ".new", *body)
    os.replace(path + ".new", path)


def qemus(one: Run) -> set[int]:
    found = children(one.process.pid)
    return {pid for pid in found if "qemu" in Path(f"/proc/{pid}/comm").read_text()}


def say(word: str) -> str:
    return f"aprint_normal_dev(self, {word!r})"


@pytest.mark.parametrize("host", HOSTS)
def test_a_save_is_running_soon_on_the_same_machine(
    tmp_path: Path, host: str, begin: Begin, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = write(str(tmp_path / "odd.py"), say("one"), STAY)
    one = begin(odd, "--on", host)
    one.until("odd0: one")
    before = qemus(one)
    assert len(before) == host.startswith("qemu")
    times = []
    for word in ("two", "six", "ten"):  # of one length, within one second
        save(odd, say(word), STAY)
        one.until("odd0: detached")
        times.append(one.reloaded(f"odd0: {word}"))
    assert qemus(one) == before
    assert one.interrupt() == 130
    with capsys.disabled():
        print(f"\n{host}: reloaded in {times} ms")


@pytest.mark.parametrize("mistake", ["if ==", "pass\nnothing_of_this_name"])
def test_a_file_that_does_not_load_leaves_the_old_driver_running(
    tmp_path: Path, mistake: str, begin: Begin
) -> None:
    odd = write(str(tmp_path / "odd.py"), "for n in range(10**9):", "    print(n, flush=True)",
                "    kern.delay(10_000)")  # fmt: skip
    one = begin(odd, "--on", "model:edu")
    one.until("^9$")
    save(odd, mistake)
    line = 9 + mistake.count("\n")
    found = one.until(rf"Error: .*odd\.py:{line}\).*; the old driver keeps running")
    assert found[0]
    last = int(one.until(r"^(\d+)$")[1])
    one.until(f"^{last + 20}$")
    save(odd, say("mended"), STAY)
    one.reloaded("odd0: mended")
    assert one.interrupt() == 130


@pytest.mark.parametrize("host", HOSTS)
def test_a_driver_that_crashed_waits_for_the_next_save(
    tmp_path: Path, host: str, begin: Begin
) -> None:
    odd = write(str(tmp_path / "odd.py"), "ctypes.string_at(0)")
    one = begin(odd, "--on", host)
    one.until("---- report: odd0")
    one.until("killed by SIGSEGV")
    one.until("odd.py:9 in run")
    one.until("rumpci: waiting for a save")
    before = qemus(one)
    save(odd, "if ==")
    one.until(r"odd\.py:9\).*; waiting for the next save")
    save(odd, "super().run()", say("mended"))
    one.reloaded("odd0: 10! = 3628800", "odd0: mended")
    one.until("rumpci: waiting for a save")
    assert qemus(one) == before
    assert one.interrupt() == 130


def test_what_the_driver_imports_counts_and_nothing_else(tmp_path: Path, begin: Begin) -> None:
    (tmp_path / "words.py").write_text("WORD = 'one'\n")
    (tmp_path / "other.py").write_text("")
    odd = write(str(tmp_path / "odd.py"), "import words", "aprint_normal_dev(self, words.WORD)")
    text = Path(odd).read_text().replace("        import words\n", "")
    Path(odd).write_text("import words\n" + text.replace("words.WORD)", f"words.WORD); {STAY}"))
    one = begin(odd, "--on", "model:edu")
    one.until("odd0: one")
    (tmp_path / "other.py").write_text("1 / 0")
    (tmp_path / "words.py").write_text("WORD = 'two'\n")
    one.reloaded("odd0: two")
    assert "".join(one.said).count("reloaded in") == 1
    assert one.interrupt() == 130


KEEP = """
from rumpci.drivers.edu import Edu
from rumpci import kern
class Odd(Edu):
    def attach(self, pa):
        super().attach(pa)
        print('kept', self.kept, flush=True)
    def run(self): kern.delay(60_000_000)
    def detach(self):
        super().detach()
        return """


@pytest.mark.parametrize("how", [["--keep-state"], []])
def test_what_detach_returns_is_the_next_attachs(
    tmp_path: Path, how: list[str], begin: Begin
) -> None:
    odd = tmp_path / "odd.py"
    odd.write_text(KEEP + "{'n': (self.kept or {'n': 0})['n'] + 1}\n")
    one = begin(str(odd), "--on", "model:edu", *how)
    one.until("kept None")
    for n in (1, 2):
        odd.write_text(odd.read_text() + "# and more\n")
        one.until(re.escape(f"kept {{'n': {n}}}" if how else "kept None"))
    assert one.interrupt() == 130


@pytest.mark.parametrize(("state", "why"), [("{1, 2}", "set is not JSON"), ("'x' * 40000", "40")])
def test_what_cannot_be_kept_is_refused_and_the_next_driver_runs(
    tmp_path: Path, state: str, why: str, begin: Begin
) -> None:
    odd = tmp_path / "odd.py"
    odd.write_text(KEEP + state + "\n")
    one = begin(str(odd), "--on", "model:edu", "--keep-state")
    one.until("kept None")
    odd.write_text(KEEP + "None\n")
    one.until(f"rumpci: keeping the state of odd0: .*{why}.*; let detach return")
    one.until("kept None")


@pytest.mark.parametrize("how", [["--in-process"], ["--preempt", "1"]])
def test_it_needs_a_process_of_the_drivers_own(tmp_path: Path, how: list[str]) -> None:
    odd = write(str(tmp_path / "odd.py"), "pass")
    status, _, err = run(odd, "--on", "model:edu", "--reload", *how)
    assert (status, "process of their own" in err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["edu", "--reload"], "no DRIVER is a file"),
        (["./none.py", "--reload"], "there is no file none.py"),
        (["edu", "--keep-state"], "--keep-state is for"),
        (["edu", "--reload", "--restart", "always"], "--reload at a save"),
    ],
)
def test_what_it_cannot_do_is_refused(arguments: list[str], why: str) -> None:
    status, _, err = run(*arguments, "--on", "model:edu")
    assert status == 2
    assert why in " ".join(err.split())


ROOT = Path(__file__).parents[2]


def shown(block: str) -> list[str]:
    """The lines of a block of the README as patterns: times and directories are others."""
    lines = [re.escape(line) for line in block.splitlines()]
    lines = [re.sub(r"(\\ )*(\\-)?\d+(\\\.\d+)?\\ ms", r" *-?[\\d.]+ ms", line) for line in lines]
    return [re.sub(r"(\\\.){3}/examples", r"\\S*", line) for line in lines]


@qemu
def test_a_signal_when_the_driver_is_done_already_is_what_ended_the_run(
    tmp_path: Path, begin: Begin
) -> None:
    """Without it, the next save would be waited for; its process had no more to say."""
    late = "atexit.register(lambda: (print('ending', flush=True), time.sleep(1)))"
    odd = write(str(tmp_path / "odd.py"), "import atexit", late)
    one = begin(odd, "--on", "model:edu")
    one.until("^ending$")
    assert one.interrupt() == 130


def test_the_readmes_mistakes_are_named_mended_and_run(tmp_path: Path, begin: Begin) -> None:
    broken, mended = re.findall(r"```text\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    text = (ROOT / "examples/mistakes.py").read_text()
    file = tmp_path / "mistakes.py"
    file.write_text(text)
    one = begin(str(file), "--on", "qemu:edu")
    for line in shown(broken):
        one.until(f"^{line}$")
    before = qemus(one)
    text = text.replace(" + PAGE  # a page too high", "")
    file.write_text(text.replace("source = 0  # never set", "source = bytes(buffer)"))
    one.reloaded(*(f"^{line}$" for line in shown(mended)))
    assert qemus(one) == before
    assert one.interrupt() == 130
