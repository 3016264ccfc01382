"""Interfaces are read from the kernel's own files, also where sudo has dropped what SSH had said."""

from __future__ import annotations

import pytest
from ansible_collections.labkit.host.plugins.module_utils import links, pci
from ansible_collections.labkit.host.plugins.module_utils.protected import Connection, Network


def process(root, pid, parent, name, environment=b""):
    folder = root / "proc" / str(pid)
    (folder / "fd").mkdir(parents=True)
    (folder / "net").mkdir()
    (folder / "environ").write_bytes(environment)
    (folder / "status").write_text(f"Name:\t{name}\nPPid:\t{parent}\n")
    return folder


def test_ssh_connection_is_found_above_a_sudo_that_dropped_it(tmp_path):
    process(tmp_path, 30, 20, "python3", b"PATH=/bin\0")
    process(tmp_path, 20, 10, "sudo", b"A=b\0SSH_CONNECTION=203.0.113.9 5000 192.0.2.10 22\0")

    assert list(links.ssh_connections(tmp_path, 30)) == [Connection(own="192.0.2.10", peer="203.0.113.9")]


@pytest.mark.parametrize(
    ("table", "local", "remote", "own", "peer"),
    [
        ("tcp", "0A0200C0", "097100CB", "192.0.2.10", "203.0.113.9"),
        (
            "tcp6",
            "B80D0120000000000000000001000000",
            "0000000000000000FFFF0000097100CB",
            "2001:db8::1",
            "::ffff:203.0.113.9",
        ),
    ],
)
def test_ssh_connection_is_found_by_the_socket_of_sshd(tmp_path, table, local, remote, own, peer):
    process(tmp_path, 30, 20, "python3")
    sshd = process(tmp_path, 20, 1, "sshd-session")
    (sshd / "fd/4").symlink_to("socket:[777]")
    line = f"   0: {{}}:0016 {remote}:1F90 {{}} 0 0 0 0 0 {{}} 1\n"
    (sshd / "net" / table).write_text(
        "header\n"
        + line.format(local, "01", 777)
        + line.format("01010101", "01", 778)
        + line.format(local, "0A", 777)
    )

    assert list(links.ssh_connections(tmp_path, 30)) == [Connection(own=own, peer=peer)]


def test_ssh_connection_of_another_session_is_found_but_not_that_of_a_container(tmp_path):
    process(tmp_path, 30, 1, "python3", b"SSH_CONNECTION=203.0.113.9 5000 192.0.2.10 22\0")
    (tmp_path / "proc/self/ns").mkdir(parents=True)
    (tmp_path / "proc/self/ns/net").symlink_to("net:[1]")
    for pid, local, namespace in ((40, "0B0200C0", 1), (50, "0C0200C0", 2)):
        sshd = process(tmp_path, pid, 1, "sshd")
        (sshd / "fd/4").symlink_to("socket:[777]")
        (sshd / "ns").mkdir()
        (sshd / "ns/net").symlink_to(f"net:[{namespace}]")
        lines = [f" 0: {own}:0016 097100CB:1F90 01 0 0 0 0 0 777 1\n" for own in (local, "0100007F")]
        (sshd / "net/tcp").write_text("header\n" + "".join(lines))

    assert [one.own for one in links.ssh_connections(tmp_path, 30)] == ["192.0.2.10", "192.0.2.11"]


def test_ssh_over_what_is_no_internet_address_is_passed_over(tmp_path):
    process(tmp_path, 30, 1, "sh", b"SSH_CONNECTION=UNKNOWN 65535 UNKNOWN 65535\0")

    assert list(links.ssh_connections(tmp_path, 30)) == []


def test_no_ssh_connection_is_reported_where_there_is_none(tmp_path):
    process(tmp_path, 30, 1, "bash")

    assert list(links.ssh_connections(tmp_path, 30)) == []


@pytest.mark.parametrize(
    ("device", "address"),
    [
        ("pci0000:00/0000:00:03.0/virtio1", "0000:00:03.0"),
        ("pci0000:00/0000:00:1c.0/0000:03:00.1", "0000:03:00.1"),
        ("platform/soc", None),
    ],
)
def test_pci_address_is_that_of_the_device_itself(tmp_path, device, address):
    real = tmp_path / "sys/devices" / device
    real.mkdir(parents=True)
    (tmp_path / "sys/class/net/eth0").mkdir(parents=True)
    (tmp_path / "sys/class/net/eth0/device").symlink_to(real)

    assert links.pci_of("eth0", tmp_path) == address
    assert links.pci_of("lo", tmp_path) is None


NETWORK = Network(
    links=[
        {"ifindex": 2, "ifname": "eth0", "altnames": ["enp3s0f0"]},
        {"ifindex": 3, "ifname": "eth1", "altnames": ["enp3s0f1"], "ifalias": "data"},
        {"ifindex": 4, "ifname": "eth2", "ifalias": "data"},
    ],
    addresses=[],
    routes=[{"dst": "default", "dev": "eth0"}],
    pci={"eth0": "0000:3b:00.0", "eth1": "0000:3b:00.1", "eth2": "0000:3b:00.1"},
)


@pytest.fixture
def network(monkeypatch):
    monkeypatch.setattr(links, "look", lambda root=None: NETWORK)
    monkeypatch.setattr(links, "ssh_connections", lambda root=None: [])


@pytest.mark.parametrize("spelling", ["eth0", "enp3s0f0", "0000:3b:00.0", "3B:00.0", "3b:0.0"])
def test_no_spelling_of_the_way_in_may_be_touched(network, spelling):
    with pytest.raises(
        links.Untouchable, match="the way to this host needs it: the default route goes over it"
    ):
        links.touchable(spelling, over_ssh=False, management=[])


def test_interface_of_a_name_may_be_touched(network):
    assert links.touchable("enp3s0f1", over_ssh=False, management=[]).name == "eth1"
    with pytest.raises(links.Untouchable, match="named in labkit_host_management_interfaces"):
        links.touchable("enp3s0f1", over_ssh=False, management=["eth1"])


@pytest.mark.parametrize(
    ("text", "found"),
    [("eth9", "none"), ("data", "eth1 and eth2"), ("3b:00.1", "eth1 and eth2"), ("", "none")],
)
def test_name_that_is_not_of_one_interface_is_reported_with_those_there_are(network, text, found):
    with pytest.raises(
        links.Untouchable, match=rf"of one interface, found {found}\. There are eth0, eth1, eth2\."
    ):
        links.touchable(text, over_ssh=False, management=[])


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("0000:03:00.0", "0000:03:00.0"),
        ("3B:0.0", "0000:3b:00.0"),
        ("10000:E1:00.7", "10000:e1:00.7"),
        (" 03:00.1 ", "0000:03:00.1"),
        ("eth0", None),
        ("03:00", None),
        ("03:00.8", None),
        ("0000:03:00.0.1", None),
    ],
)
def test_pci_address_is_read_in_every_spelling(text, address):
    assert pci.address(text) == address
