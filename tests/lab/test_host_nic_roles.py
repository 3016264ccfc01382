"""The roles that tune interfaces and give devices away, on a host of their own."""

from __future__ import annotations

import hashlib
import re
import shutil
import sys
import tarfile
from pathlib import Path

import pytest
from host_namespace import ANSIBLE, Host

pytestmark = pytest.mark.beside

ETC = ("/etc/security/limits.d", "/etc/udev/rules.d", "/etc/modules-load.d")
FILES = "cd /sys/class/net/va0; cat mtu napi_defer_hard_irqs gro_flush_timeout"
QUIET = {"replay_enabled": False, "labkit_host_group": "daemon"}


@pytest.fixture
def host(tmp_path):
    host = Host(tmp_path, *ETC)
    host.run(
        """ip link add va0 numtxqueues 4 numrxqueues 4 type veth peer name vb0
        ip link add vc0 numtxqueues 4 numrxqueues 4 type veth peer name vd0
        ip link set va0 up; ip link set vb0 up"""
    )
    yield host
    host.end()


REPLAY = "ansible_collections.labkit.host.plugins.module_utils.replay"


def changed(printed: str) -> int:
    found = re.search(r"changed=(\d+) .*failed=0", printed)
    assert found, printed
    return int(found.group(1))


def plain(printed: str) -> str:
    return re.sub(r"\s+", " ", printed)


def written(host: Host) -> dict[str, str]:
    return {file.name: file.read_text() for file in host.folder.glob("own*/*")}


def test_both_roles_tune_as_check_mode_predicted_once_and_go_back(host):
    roles = ["af_xdp", "nic_tuning"]
    variables = {
        **QUIET,
        "af_xdp_packages": [],
        "nic_tuning_packages": [],
        "af_xdp_memlock_kib": "unlimited",
        "af_xdp_interfaces": [
            {
                "name": "va0",
                "mtu": 3000,
                "queues": 2,
                "napi_defer_hard_irqs": 2,
                "gro_flush_timeout_ns": 20000,
            }
        ],
        "nic_tuning_interfaces": [{"name": "vc0", "features": {"gro": True}, "channels": {"rx": 1, "tx": 3}}],
    }

    before = host.run("ethtool -k vc0; ethtool -l vc0")
    predicted = changed(host.play(roles, variables, "--check"))
    untouched = host.run("ethtool -k vc0; ethtool -l vc0")
    first = changed(host.play(roles, variables))
    second = changed(host.play(roles, variables))
    tuned = host.run(FILES).split()
    features, channels = host.run("ethtool -k vc0"), host.run("ethtool -l vc0 | tail -4").split()
    limits = written(host)
    back = host.play(roles[::-1], variables, revert=True)

    assert untouched == before
    assert (predicted, second) == (first, 0)
    assert tuned == ["3000", "2", "20000"]
    assert "generic-receive-offload: on" in features
    assert channels[:4] == ["RX:", "1", "TX:", "3"]
    assert limits["90-labkit-af_xdp.conf"].splitlines()[-1] == "@daemon - memlock unlimited"
    assert changed(back) == 2
    assert host.run("ethtool -k vc0; ethtool -l vc0") == before
    assert host.run(FILES).split() == ["1500", "0", "0"]
    assert written(host) == {}
    assert list(host.lib.iterdir()) == []


def test_other_channels_are_detected_by_the_check(host):
    """The fault that no emulated NIC allows: a veth link has channels that can be changed."""
    wanted = host.folder / "desired.yml"
    wanted.write_text("nic_tuning_interfaces: [{name: vc0, channels: {rx: 2, tx: 4}}]\n")
    host.run("ethtool -L vc0 rx 2 tx 4")

    output = host.run(
        f"cd {ANSIBLE.parent}; python -m tests.infra.fault_injection --host localhost --desired {wanted} "
        "-k '^nic_tuning.channels$'",
        check=False,
    )

    assert re.search(r"^detected +nic_tuning.channels .* found vc0 channels rx 1", output, re.MULTILINE), (
        output
    )
    assert host.run("ethtool -l vc0 | tail -4").split()[:4] == ["RX:", "2", "TX:", "4"]


@pytest.mark.parametrize(
    ("role", "interface"),
    [
        ("af_xdp", {"name": "uplink-by-another-name", "mtu": 3000}),
        ("nic_tuning", {"name": "va0", "features": {"gro": True}}),
    ],
)
def test_roles_leave_the_way_to_the_host_alone(host, role, interface):
    host.run(
        """ip link property add dev va0 altname uplink-by-another-name
        ip link add link va0 name mv0 type macvlan; ip link set mv0 up
        ip address add 198.18.0.1/24 dev mv0; ip route add default via 198.18.0.2"""
    )

    printed = host.play([role], {**QUIET, f"{role}_packages": [], f"{role}_interfaces": [interface]})

    assert "because the way to this host needs it: it is the parent of mv0" in plain(printed)
    assert host.run(FILES).split() == ["1500", "0", "0"]
    assert host.notes(role) == [] or [note["kind"] for note in host.notes(role)] == ["mount"]


def test_management_interfaces_of_the_inventory_are_left_alone(host):
    printed = host.play(
        ["nic_tuning"],
        {
            **QUIET,
            "nic_tuning_packages": [],
            "labkit_host_management_interfaces": ["va0"],
            "nic_tuning_interfaces": [{"name": "va0", "features": {"gro": True}}],
        },
    )

    assert "named in labkit_host_management_interfaces" in plain(printed)


DPDK = {**QUIET, "dpdk_packages": [], "dpdk_group": "daemon", "dpdk_memlock_kib": "1048576"}


def test_group_is_let_in_as_predicted_once_and_out_again(host):
    predicted = changed(host.play(["dpdk"], DPDK, "--check"))
    untouched = written(host)
    first = changed(host.play(["dpdk"], DPDK))
    second = changed(host.play(["dpdk"], DPDK))
    files = written(host)
    fewer = changed(host.play(["dpdk"], {**DPDK, "dpdk_memlock_kib": ""}))
    left = written(host)
    back = changed(host.play(["dpdk"], DPDK, revert=True))

    assert untouched == {}
    assert (predicted, first, second) == (2, 2, 0)
    assert files["90-labkit-dpdk.conf"].splitlines()[-1] == "@daemon - memlock 1048576"
    assert 'GROUP="daemon", MODE="0660"' in files["90-labkit-vfio.rules"]
    assert (fewer, set(left)) == (1, {"90-labkit-vfio.rules"})
    assert back == 1
    assert written(host) == {}
    assert list(host.lib.iterdir()) == []


def nics() -> list[str]:
    """PCI addresses of this machine's NICs, which a namespace sees without their interfaces."""
    devices = sorted(Path("/sys/bus/pci/devices").iterdir())
    return [
        one.name
        for one in devices
        if (one / "class").read_text().startswith("0x02") and (one / "driver").exists()
    ]


@pytest.mark.skipif(not nics(), reason="needs a machine with a NIC on a PCI bus")
def test_nic_that_another_namespace_has_is_not_taken(host):
    printed = host.play(
        ["dpdk"], {**DPDK, "dpdk_devices": [{"pci": nics()[0], "driver": "vfio-pci"}]}, "--check"
    )

    assert "no interface that is seen here: somebody else may have it" in plain(printed)


@pytest.mark.parametrize(
    ("variables", "why"),
    [
        ({"dpdk_source_sha256": ""}, "expected dpdk_source_version and dpdk_source_sha256"),
        ({"dpdk_source_version": ""}, "expected dpdk_source_version and dpdk_source_sha256"),
        ({}, "expected sha256 0000000000"),
        ({"dpdk_source_url": "http://127.0.0.1:1/dpdk.tar.xz"}, "Network is unreachable"),
        ({"dpdk_source_url": "/nowhere/dpdk.tar.xz"}, "No such file or directory"),
    ],
    ids=["no checksum", "no version", "wrong checksum", "no network", "no file"],
)
def test_source_that_is_not_the_one_that_was_meant_installs_nothing(host, variables, why):
    archive = host.folder / "dpdk.tar.xz"
    archive.write_bytes(b"half of it")

    printed = host.play(
        ["dpdk"],
        {
            **DPDK,
            "dpdk_source_packages": ["labkit-no-such-package"],
            "dpdk_source_url": str(archive),
            "dpdk_source_version": "24.11",
            "dpdk_source_sha256": "0" * 64,
            **variables,
        },
    )

    assert why in plain(printed)
    assert not Path("/usr/local/lib/labkit/dpdk-24.11").exists()
    assert host.notes("dpdk") == []
    assert written(host) == {}


SOURCE = {
    "meson.build": """project('dpdk', 'c', version: '24.11')
shared_library('rte_eal', 'eal.c', version: '25', install: true)
install_data('libdpdk.pc', 'libdpdk-libs.pc', install_dir: get_option('libdir') / 'pkgconfig')
install_data('dpdk-testpmd', install_dir: 'bin', install_mode: 'rwxr-xr-x')
""",
    "eal.c": "int rte_eal_init(void) { return 0; }\n",
    "libdpdk.pc": "Name: DPDK\nDescription: d\nVersion: 24.11\nRequires: libdpdk-libs\n",
    "libdpdk-libs.pc": "Name: DPDK\nDescription: d\nVersion: 24.11\n",
    "dpdk-testpmd": "#!/bin/sh\necho EAL $1\n",
}
"""Of the shape of DPDK's source, which takes half an hour to build."""


def packed(folder: Path) -> Path:
    tree = folder / "dpdk-24.11"
    tree.mkdir()
    for name, text in SOURCE.items():
        (tree / name).write_text(text)
    with tarfile.open(folder / "dpdk.tar.gz", "w:gz") as archive:  # a small image has no xz
        archive.add(tree, tree.name)
    return folder / "dpdk.tar.gz"


LOADED = """
import ctypes
ctypes.CDLL("librte_eal.so.25")
print(next(line.split()[-1] for line in open("/proc/self/maps") if "librte_eal" in line))
"""
"""Which of them a program gets: the distribution's own may have the same soname (Debian 13)."""


@pytest.fixture
def disposable(host):
    """The same host, of whose /etc and /usr/local only a copy is written to."""
    (host.folder / "scratch").mkdir()
    host.run(f"mount -t tmpfs tmpfs {host.folder}/scratch")
    for number, target in enumerate(("/etc", "/usr/local")):
        upper, work = f"{host.folder}/scratch/upper{number}", f"{host.folder}/scratch/work{number}"
        options = f"lowerdir={target},upperdir={upper},workdir={work}"
        host.run(f"mkdir {upper} {work}; mount -t overlay overlay -o {options} {target}")
    return host


@pytest.mark.skipif(
    not (shutil.which("meson") and shutil.which("cc")), reason="needs meson and a compiler (role labkit_host)"
)
def test_dpdk_is_built_from_its_source_found_by_everybody_and_removed_again(disposable):
    host = disposable
    archive = packed(host.folder)
    variables = {
        **QUIET,
        "dpdk_source_packages": [],
        "dpdk_source_options": [],
        "dpdk_source_url": str(archive),
        "dpdk_source_version": "24.11",
        "dpdk_source_sha256": hashlib.sha256(archive.read_bytes()).hexdigest(),
    }
    found = "pkg-config --modversion libdpdk; dpdk-testpmd --help"
    before = host.run("find /etc /usr/local -xdev | sort")

    predicted = host.play(["dpdk"], variables, "--check")
    untouched = host.run("find /etc /usr/local -xdev | sort")
    first = host.play(["dpdk"], variables)
    assert "failed=0" in first, first
    printed = host.run(found)
    loaded = host.run(f"/usr/bin/python3 -c '{LOADED}'").strip()
    second = host.play(["dpdk"], variables)
    back = host.play(["dpdk"], variables, revert=True)

    assert untouched == before
    assert changed(predicted) > 0
    assert printed.split() == ["24.11", "EAL", "--help"]
    assert loaded == "/usr/local/lib/labkit/dpdk-24.11/lib/librte_eal.so.25"
    assert changed(first) > 0
    assert changed(second) == 0
    assert changed(back) == 2
    # The distribution's own may be there as well.
    assert "/usr/local/lib/labkit" not in host.run("ldconfig -p")
    assert host.run("find /etc /usr/local -xdev | sort") == before


VFIO = [{"pci": "0000:03:00.0", "driver": "vfio-pci"}]
UIO = [{"pci": "0000:03:00.0", "driver": "uio_pci_generic"}]
ARGUMENTS = [
    ({}, []),
    ({"dpdk_devices": UIO}, []),
    ({"dpdk_devices": VFIO}, ["intel_iommu=on", "iommu=pt"]),
    ({"dpdk_devices": UIO + VFIO}, ["intel_iommu=on", "iommu=pt"]),
    ({"dpdk_iommu": "on"}, ["intel_iommu=on", "iommu=pt"]),
    ({"dpdk_iommu": "off", "dpdk_devices": UIO}, ["intel_iommu=off", "amd_iommu=off"]),
    ({"dpdk_iommu": "noiommu", "dpdk_devices": VFIO}, []),
    ({"dpdk_boot_arguments": ["iommu=soft"]}, ["iommu=soft"]),
]


def test_iommu_is_asked_for_on_the_command_line_where_vfio_needs_it(host):
    say = {"name": "Say", "ansible.builtin.debug": {"msg": "found <{{ dpdk_boot_arguments | join(' ') }}>"}}
    role = {"name": "Ask", "ansible.builtin.import_role": {"name": "dpdk", "tasks_from": "boot_arguments"}}
    names = [f"host{at}" for at in range(len(ARGUMENTS))]  # a host keeps what it has said
    common = {"connection": "local", "gather_facts": False, "tasks": [role, say]}
    book = [
        {"hosts": name, "vars": given, **common} for name, (given, _) in zip(names, ARGUMENTS, strict=True)
    ]

    printed = host.book(book, "-i", ",".join(names))

    assert [one.split() for one in re.findall("found <(.*)>", printed)] == [
        expected for _, expected in ARGUMENTS
    ]


def test_what_a_boot_forgot_is_set_again(host):
    variables = {
        **QUIET,
        "nic_tuning_packages": [],
        "nic_tuning_interfaces": [{"name": "va0", "features": {"gro": True}, "channels": {"rx": 2}}],
    }
    host.play(["nic_tuning"], variables)
    host.run("ethtool -K va0 gro off; ethtool -L va0 rx 4")  # as after a boot

    printed = host.run(f"PYTHONPATH={ANSIBLE}/collections {sys.executable} -m {REPLAY}")

    assert printed.count("made again") == 2
    assert "generic-receive-offload: on" in host.run("ethtool -k va0")
    assert host.run("ethtool -l va0 | tail -4").split()[:2] == ["RX:", "2"]
