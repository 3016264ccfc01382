"""vhost-user and memif links: the EAL --vdev value of each end.

Both ends run in one held namespace, so that the socket lies in a directory that is private and gone with the lab.
"""

from __future__ import annotations

from labkit.errors import LabkitBug
from labkit.lab.topology import Link, LinkKind, Role
from labkit.machine.namespaces import RUNTIME_DIRECTORY

_MEMIF_BUFFER_BYTES = 2048
"""One frame a buffer: the topology keeps the MTU below it."""


def socket_path(link: Link) -> str:
    """Where the two ends meet; short (a socket's path has 107 characters)."""
    return f"{RUNTIME_DIRECTORY}/{link.name}.sock"


def vdev(link: Link, role: Role, number: int) -> str:
    """The --vdev value of one end of the lab's link `number`.

    The DUT makes the socket (it starts first), the tester connects to it: as a virtual machine's NIC (virtio-user,
    tester) does to its switch (vhost-user, DUT).
    """
    path, port = socket_path(link), link.tester if role == "tester" else link.dut
    if link.kind is LinkKind.VHOST:
        if role == "dut":
            return f"net_vhost{number},iface={path},queues=1"
        return f"net_virtio_user{number},path={path},queues=1,queue_size={link.ring_frames},mac={port.mac}"
    if link.kind is LinkKind.MEMIF:
        side = "server" if role == "dut" else "client"
        return (
            f"net_memif{number},role={side},id={number},socket={path},socket-abstract=no,"
            f"rsize={link.ring_frames.bit_length() - 1},bsize={_MEMIF_BUFFER_BYTES},mac={port.mac}"
        )
    raise LabkitBug(f"a {link.kind} link has no vdev")
