"""Which steps lead from what a host has to the Onload that is wanted, and which kernels, CPUs and NICs it takes."""

from __future__ import annotations

import pytest
from ansible_collections.labkit.host.plugins.module_utils import onload_plan
from ansible_collections.labkit.host.plugins.module_utils.onload_plan import Found, Running, Stamp, Wanted

KERNEL, OTHER = "6.1.0-56-amd64", "6.1.0-57-amd64"
WANTED = Wanted("9.2.1", "a" * 64, sfc=False, helper=False, kernel=KERNEL)
STAMP = Stamp("9.2.1", "a" * 64, False, {KERNEL: "SRC1"})
THERE = Found(manifest=True, stamp=STAMP, modules={KERNEL: "SRC1"}, loaded=True)


def wanted(**more):
    return Wanted(**{**vars(WANTED), **more})


def found(**more):
    return Found(**{**vars(THERE), **more})


def test_nothing_is_done_where_it_is_installed_for_this_kernel():
    assert onload_plan.steps(WANTED, THERE) == []
    assert not onload_plan.compiles([], THERE)


@pytest.mark.parametrize(
    ("has", "expected"),
    [
        (Found(), ["build", "install"]),
        (Found(built_programs=True, built_modules=True), ["install"]),
        (Found(built_programs=True), ["build", "install"]),
        (Found(built_modules=True), ["build", "install"]),
        (Found(loaded=True), ["build", "unload", "install"]),
    ],
)
def test_tree_that_came_built_is_installed_without_another_build(has, expected):
    assert onload_plan.steps(WANTED, has) == expected
    assert onload_plan.compiles(expected, has) == ("build" in expected)


@pytest.mark.parametrize(
    "other",
    [
        {"stamp": None},  # an installation that was killed
        {"stamp": Stamp("9.1.2", "a" * 64, False, {KERNEL: "SRC1"})},
        {"stamp": Stamp("9.2.1", "b" * 64, False, {KERNEL: "SRC1"})},
        {"stamp": Stamp("9.2.1", "a" * 64, True, {KERNEL: "SRC1"})},
    ],
)
def test_another_installation_is_replaced_and_what_is_there_stays_until_the_new_one_is_built(other):
    assert onload_plan.steps(WANTED, found(**other)) == ["build", "unload", "uninstall", "install"]
    assert onload_plan.steps(WANTED, found(loaded=False, **other)) == ["build", "uninstall", "install"]


@pytest.mark.parametrize(
    "has",
    [
        {"modules": {}},  # removed with the kernel's folder
        {"modules": {KERNEL: "SRC2"}},  # somebody else's
        {"stamp": Stamp("9.2.1", "a" * 64, False, {OTHER: "SRC1"}), "modules": {OTHER: "SRC1"}},
    ],
)
def test_another_kernel_gets_modules_alone(has):
    there = found(loaded=False, **has)

    assert onload_plan.steps(WANTED, there) == ["rebuild"]
    assert onload_plan.compiles(["rebuild"], there)
    assert not onload_plan.compiles(["rebuild"], found(built_modules=True, **has))


def test_helper_is_added_where_it_is_missing_and_with_each_installation():
    assert onload_plan.steps(wanted(helper=True), THERE) == ["helper"]
    assert onload_plan.steps(wanted(helper=True), found(helper=True)) == []
    assert onload_plan.steps(wanted(helper=True), found(helper=True, stamp=None))[-2:] == [
        "install",
        "helper",
    ]
    assert onload_plan.compiles(["helper"], THERE)
    assert not onload_plan.compiles(["helper"], found(built_helper=True))


def test_stamp_is_read_as_it_was_written_and_nothing_else_is_taken_for_one():
    assert onload_plan.stamp_of(STAMP.text()) == STAMP
    for text in (
        "",
        "{}",
        "[]",
        '{"version": "9.2.1"}',
        '{"version": 1, "sha256": 2, "sfc": 0, "kernels": 3}',
    ):
        assert onload_plan.stamp_of(text) is None


@pytest.mark.parametrize(
    ("version", "kernel", "expected"),
    [
        ("9.2.1", "6.1.0-56-amd64", None),
        ("9.2.1", "7.0.3", None),
        ("v9.0.2", "6.9.12", None),
        (
            "9.0.2",
            "6.10.0-1-amd64",
            "Onload 9.0.2 is for kernels 5.11 to 6.9, and this one is 6.10.0-1-amd64: take",
        ),
        ("9.1.2", "6.18.4", "take Onload 9.2 or 10.0"),
        ("8.1.3", "6.1.0-56-amd64", "for kernels 4.15 to 5.19"),
        ("10.0.0-ef17681d", "5.15.0-1", "take Onload 8.1 or 9.0 or 9.1 or 9.2"),
        ("9.2.1", "7.1.0", "take another kernel, or a newer Onload"),
        ("11.0.0", "9.0.0", None),  # nobody says
        ("master", "6.1.0-56-amd64", None),
    ],
)
def test_kernel_must_be_one_that_the_release_is_for(version, kernel, expected):
    reason = onload_plan.kernel_wrong(version, kernel)

    assert (reason is None) if expected is None else (expected in reason)


@pytest.mark.parametrize("version", ["10.0.0", "v10.0.0", "10.0.0-ef17681d", "10.0.0.ef17681d"])
def test_version_is_that_of_the_tree_or_begins_with_it(version):
    text = "# of Onload\nONLOAD_VERSION=10.0.0\nTCPDIRECT_VERSION=master\n"

    assert onload_plan.source_wrong(version, text) is None
    assert onload_plan.source_wrong(version, None) is None
    assert onload_plan.source_wrong(version, "TCPDIRECT_VERSION=master") is None


@pytest.mark.parametrize("version", ["9.2.1", "10.0.01", "110.0.0", "master"])
def test_tree_of_another_version_is_refused(version):
    reason = onload_plan.source_wrong(version, "ONLOAD_VERSION=10.0.0\n")

    assert reason.startswith(f"openonload_version is {version}, and versions.env in the archive says 10.0.0")


CPU = "processor\t: 0\nvendor_id\t: {}\ncpu family\t: {}\nmodel\t\t: 107\n"


@pytest.mark.parametrize(
    ("cpuinfo", "refused"),
    [
        (CPU.format("AuthenticAMD", 15), True),  # QEMU's -cpu max
        (CPU.format("AuthenticAMD", 22), True),
        (CPU.format("AuthenticAMD", 23), False),
        (CPU.format("AuthenticAMD", 25), False),
        (CPU.format("GenuineIntel", 6), False),
        ("vendor_id\t: AuthenticAMD\n", True),
        ("", False),
    ],
)
def test_cpu_is_refused_as_onloads_installer_does(cpuinfo, refused):
    assert (onload_plan.cpu_unsupported(cpuinfo) is not None) == refused


@pytest.mark.parametrize(
    ("driver", "kernel", "native"),
    [
        ("virtio_net", KERNEL, True),
        (None, KERNEL, True),  # veth
        ("e1000e", KERNEL, False),
        ("e1000e", "6.18.4", False),
        ("vmxnet3", KERNEL, False),
        ("vmxnet3", "6.6.0", True),
        ("ixgbe", KERNEL, True),
    ],
)
def test_driver_without_xdp_of_its_own_is_known(driver, kernel, native):
    assert onload_plan.native_xdp(driver, kernel) == native


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([{"name": "eth1"}, {"name": "eth1"}], "openonload_interfaces[1].name: eth1 is named twice"),
        ([{"name": ""}], "openonload_interfaces[0].name is empty"),
        ([{"name": None}], "openonload_interfaces[0].name is empty"),
    ],
)
def test_mistake_in_the_list_of_interfaces_is_reported(entries, expected):
    [reason] = onload_plan.entries_wrong({"openonload_interfaces": entries})

    assert reason.startswith(expected)


@pytest.mark.parametrize("name", ["eth0", "enp3s0f1np1", "port-1", "eth0.100", "Ü"])
def test_name_that_an_interface_can_have_is_valid(name):
    assert onload_plan.valid_name(name)


@pytest.mark.parametrize("name", ["", ".", "..", "a b", "a/b", "a:b", "sixteen-letters-", "eth0\n", "eth0 4"])
def test_name_that_would_be_read_as_something_else_is_not(name):
    assert not onload_plan.valid_name(name)


OPTIONS = {"enable_af_xdp_flow_filters": "0", "bpf_link_helper": "(null)"}
NOW = Running(loaded=True, options={**OPTIONS, "other": "1"}, registered=("eth1", "eth2"))


def registration(*names, **more):
    done = onload_plan.registration(names, OPTIONS, Running(**{**vars(NOW), **more}))
    return done.unload, done.register


def test_interfaces_that_are_registered_stay():
    assert registration("eth1", "eth2") == (False, ())


def test_interface_that_is_added_is_registered_beside_the_others():
    assert registration("eth1", "eth2", "eth3") == (False, ("eth3",))


def test_interface_can_only_be_taken_out_by_unloading():
    assert registration("eth2") == (True, ("eth2",))
    assert registration() == (True, ())


@pytest.mark.parametrize(
    "other",
    [
        {"current": False},
        {"options": {**OPTIONS, "enable_af_xdp_flow_filters": "1"}},
        {"options": {}},
    ],
)
def test_other_modules_or_options_than_those_in_effect_are_loaded_anew(other):
    assert registration("eth1", "eth2", **other) == (True, ("eth1", "eth2"))


def test_all_is_registered_where_nothing_is_loaded():
    assert registration("eth1", "eth2", loaded=False, registered=()) == (False, ("eth1", "eth2"))


def test_interface_without_native_xdp_is_registered_before_all_others():
    now = Running(loaded=True, options=OPTIONS, registered=("eth1",))

    done = onload_plan.registration(["eth1", "eth2", "eth3"], OPTIONS, now, first=["eth3"])

    assert (done.unload, done.register) == (True, ("eth3", "eth1", "eth2"))
    again = Running(loaded=True, options=OPTIONS, registered=("eth1", "eth2", "eth3"))
    assert not onload_plan.registration(["eth1", "eth2", "eth3"], OPTIONS, again, first=["eth3"]).unload
