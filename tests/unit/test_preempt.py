"""A seed is an interleaving: it finds the planted race, and repeats it."""

import runpy
from pathlib import Path

import pytest

from rumpci.autoconf import Console, Driver
from rumpci.drivers.edu import Edu
from rumpci.errors import DriverAttachError, DriverError
from rumpci.load import load_classes
from rumpci.pci import PciAttachArgs
from rumpci.supervisor.inside import Job, run
from rumpci.tools.main import main

EXAMPLES = Path(__file__).parents[2] / "examples"


def attempt(driver: type[Driver], seed: int | None, host: str = "model:edu") -> str:
    lines: list[str] = []
    job = Job([driver.name], [driver], host, {})
    try:
        run(job, Console(lines.append), seed)
    except DriverAttachError as error:
        return f"{''.join(lines)}{error}"
    return "".join(lines)


def racy() -> type[Driver]:
    return load_classes(str(EXAMPLES / "lostwake.py"), Driver)[-1]


def test_race_is_not_seen_without_a_seed() -> None:
    assert all("10! = 3628800" in attempt(racy(), None) for _ in range(20))


def test_sweep_finds_the_race_and_names_a_seed(capsys: pytest.CaptureFixture[str]) -> None:
    path = str(EXAMPLES / "lostwake.py")
    with pytest.raises(SystemExit) as exit_:
        main(["run", path, "--on", "model:edu", "--preempt-sweep", "40"])
    assert exit_.value.code == 1
    text = capsys.readouterr().out
    assert "waiting for 'edufact'" in text
    assert "to see it again: rumpci run" in text


def test_a_seed_repeats_its_interleaving_exactly() -> None:
    outcomes = [attempt(racy(), seed) for seed in range(20)]
    assert outcomes == [attempt(racy(), seed) for seed in range(20)]
    failed = ["not signalled" in outcome for outcome in outcomes]
    assert any(failed)
    assert not all(failed)


def test_honest_driver_survives_every_seed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["run", "edu", "--on", "model:edu", "--preempt-sweep", "200"])
    assert exit_.value.code == 0
    assert capsys.readouterr().out == "200 seeds, 0 failed\n"


@pytest.mark.parametrize("how", ["intx", "shim", "msi"])
def test_honest_driver_survives_however_it_interrupts(how: str) -> None:
    for seed in range(50):
        run(Job(["edu"], [Edu], "model:edu", {"edu": {"intr": how}}), Console(str), seed)


def test_a_handler_that_raises_fails_the_run(caplog: pytest.LogCaptureFixture) -> None:
    class Clumsy(Edu):
        def intr(self, arg: object) -> bool:
            raise KeyError("clumsy")

        def factorial(self, n: int) -> int:
            self.raise_intr(1)
            from rumpci.kern import delay

            delay(1000)
            return n

    with pytest.raises(DriverError, match="1 raised, the first KeyError"):
        run(Job(["clumsy"], [Clumsy], "model:edu", {}), Console(str), None)
    assert "its interrupt handler raised" in caplog.text
    assert "KeyError: 'clumsy'" in caplog.text


def test_what_a_run_leaves_behind_ends_with_it() -> None:
    class Leaver(Edu):
        def attach(self, pa: PciAttachArgs) -> None:
            from rumpci.kern import IPL_HIGH, mutex_enter, mutex_init

            mutex_enter(mutex_init(IPL_HIGH))

        def detach(self) -> None:
            pass

    run(Job(["leaver"], [Leaver], "model:edu", {}), Console(str), 1)
    assert "10! = 3628800" in attempt(Edu, 1)


@pytest.mark.parametrize("url", ["model:edu"])
def test_asyncio_example(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    example = runpy.run_path(str(EXAMPLES / "aio.py"))
    assert example["main"](url) == 0
    assert capsys.readouterr().out.splitlines() == [f"event {n}: cause {n:#x}" for n in (1, 2, 3)]
