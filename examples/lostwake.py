"""A driver with a real lost wake-up, and how to find it.

    rumpci run examples/lostwake.py --on model:edu                        works, again and again
    rumpci run examples/lostwake.py --on model:edu --preempt-sweep 200    names the seeds that fail
    rumpci run examples/lostwake.py --on model:edu --preempt SEED         fails each time

The handler may run between looking at `done` and going to sleep.  It then
signals while nobody waits, which nobody remembers, and the driver sleeps until
its limit.  The shipped edu looks again with the mutex held, and is right.
"""

from rumpci.autoconf import aprint_normal_dev
from rumpci.drivers.edu import Edu
from rumpci.drivers.edureg import EDU_FACTORIAL, EDU_STATUS
from rumpci.kern import cv_timedwait, mutex_enter, mutex_exit


class LostWake(Edu):
    """edu with the mistake."""

    def factorial_intr(self, n: int) -> int:
        """N! modulo 2**32; sleeps although the interrupt may be over.  Raises WaitTimeout."""
        self.done = False
        EDU_FACTORIAL.write(self.iot, self.ioh, n)
        if not self.done:
            status = EDU_STATUS.read(self.iot, self.ioh)
            aprint_normal_dev(self, f"waiting, status {status}")
            mutex_enter(self.lock)
            cv_timedwait(self.cv, self.lock, 2)
            mutex_exit(self.lock)
        return int(EDU_FACTORIAL.read(self.iot, self.ioh))
