"""What `_native.pyx` is, where it was not compiled."""

from rumpci.plain.access import (
    BusSpaceHandle as BusSpaceHandle,
    Mapping as Mapping,
    Region as Region,
    bus_space_read_1 as bus_space_read_1,
    bus_space_read_2 as bus_space_read_2,
    bus_space_read_4 as bus_space_read_4,
    bus_space_read_8 as bus_space_read_8,
    bus_space_write_1 as bus_space_write_1,
    bus_space_write_2 as bus_space_write_2,
    bus_space_write_4 as bus_space_write_4,
    bus_space_write_8 as bus_space_write_8,
    check as check,
    fence as fence,
    pack as pack,
)
from rumpci.plain.many import read_many as read_many, write_many as write_many
