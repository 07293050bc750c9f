"""Disks for other programs: a server of the NBD protocol (fixed newstyle, baseline).

proto.py has the protocol's numbers and structs, session.py what is said to one client,
bytewise.py a disk as bytes, server.py the sockets and the loop.
"""

from rumpci.nbd.server import Server as Server
