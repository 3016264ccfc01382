"""DPDK: poll-mode drivers in user space; for NICs, over shared memory, or over AF_XDP and AF_PACKET sockets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from labkit.backends.base import Dut, Mode
from labkit.backends.probe_dut import port_proofs, reflecting
from labkit.lab.live import Lab
from labkit.lab.topology import LinkKind, Topology

_AF_XDP_LARGEST_BYTES, _AF_PACKET_LARGEST_BYTES = 1796, 1986
"""With FCS, at the probe's and the drivers' own buffer sizes (DPDK 22.11). Larger frames are dropped by
net_af_xdp, and silently cut to 1982 bytes by net_af_packet."""
_NIC_LARGEST_BYTES = 2048
"""With FCS, which some drivers keep in the buffer: at the probe's buffer size."""


class Dpdk:
    """Any ethdev port; the driver that the EAL reports is the proof."""

    name = "dpdk"
    description = (
        "DPDK poll-mode drivers: NICs, vhost-user and memif shared memory, or AF_XDP/AF_PACKET on interfaces"
    )
    own_mac = False

    def modes(self, topology: Topology) -> tuple[Mode, ...]:
        """One mode on a shared-memory link; one per driver on interfaces, and on NICs that of the NIC itself."""
        kind = topology.links[0].kind
        base = ("dpdk", "probe_dpdk")
        # No check for hugepages: the lab allocates them if it may, else the link uses ordinary pages.
        if kind is LinkKind.VHOST:
            return (Mode(name="", description="vhost-user to virtio-user", requires=(*base, "dpdk_vhost")),)
        if kind is LinkKind.MEMIF:
            return (Mode(name="", description="memif", requires=(*base, "dpdk_memif")),)
        if not kind.has_interfaces:
            return ()
        on_nic = Mode(
            name="",
            description="the NIC's own driver, on vfio-pci",
            requires=(*base, "vfio_pci"),
            largest_frame_bytes=_NIC_LARGEST_BYTES,
            largest_frame_why="a buffer has 2048 bytes",
            on_vfio=True,
        )
        return (
            *((on_nic,) if kind is LinkKind.NIC else ()),
            Mode(
                name="net_af_xdp",
                description="the EAL's AF_XDP driver on the interface",
                requires=("namespaces", *base, "dpdk_af_xdp", "xdp_native", "af_xdp", "memlock"),
                largest_frame_bytes=_AF_XDP_LARGEST_BYTES,
                largest_frame_why="a buffer of 2048 bytes has 256 of headroom for XDP",
            ),
            Mode(
                name="net_af_packet",
                description="the EAL's AF_PACKET driver on the interface",
                requires=("namespaces", *base, "dpdk_af_packet"),
                largest_frame_bytes=_AF_PACKET_LARGEST_BYTES,
                largest_frame_why="a slot of its ring has 2048 bytes, including its headers",
                # Seen with DPDK 22.11: the kernel takes the outer tag off, and the driver puts one of 802.1Q there.
                no_qinq="sends an outer tag of 802.1ad on as one of 802.1Q",
            ),
        )

    @contextmanager
    def start(self, lab: Lab, mode: Mode, *, ip_version: int) -> Iterator[Dut]:
        """Reflect or forward between ethdev ports."""
        ports: list[dict[str, object]] = []
        for index, port in enumerate(lab.dut_ports):
            if port.pci is not None:
                ports.append({"pci": port.pci, "mtu_bytes": port.link.mtu_bytes})
            elif port.vdev is not None:
                ports.append({"vdev": port.vdev})
            else:
                ports.append({"vdev": f"{mode.name}{index},iface={port.interface}"})
        expected = _expected_drivers(lab, mode)

        def judge(read_back: Mapping[str, object], counters: Mapping[str, float]) -> tuple[bool, str]:
            drivers = [str(port.get("driver")) for port in port_proofs(read_back)]
            pages = "hugepages" if read_back.get("hugepages") else "ordinary pages"
            claim = f"EAL port driver {'/'.join(drivers)}, {pages}"
            if not mode.on_vfio:
                return bool(drivers) and all(driver in expected for driver in drivers), claim
            devices = [port.get("device") for port in port_proofs(read_back)]
            return devices == [port.pci for port in lab.dut_ports], f"{claim}, vfio-pci"

        huge = mode.on_vfio or bool(lab.facts.get("hugepages", False))
        options: dict[str, object] = {"huge": huge}
        with reflecting(lab, engine="dpdk", ports=ports, judge=judge, options=options) as dut:
            yield dut


def _expected_drivers(lab: Lab, mode: Mode) -> tuple[str, ...]:
    kind = lab.topology.links[0].kind
    if kind is LinkKind.VHOST:
        return ("net_vhost", "net_virtio_user")
    if kind is LinkKind.MEMIF:
        return ("net_memif",)
    return (mode.name,)


BACKEND = Dpdk()
