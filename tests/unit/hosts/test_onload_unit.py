"""The unit that registers an interface, its name, and the options of Onload's modules."""

from __future__ import annotations

import pytest
from ansible_collections.labkit.host.plugins.module_utils import onload_unit


@pytest.mark.parametrize(
    ("interface", "unit"),
    [
        ("enp3s0f1np1", "labkit-onload@enp3s0f1np1.service"),
        ("eth0.100", "labkit-onload@eth0.100.service"),
        # As systemd-escape prints them.
        ("port-1", r"labkit-onload@port\x2d1.service"),
        (".hidden", r"labkit-onload@\x2ehidden.service"),
        ("ü%i", r"labkit-onload@\xc3\xbc\x25i.service"),
    ],
)
def test_name_of_the_unit_has_the_interface_as_systemd_escapes_it(interface, unit):
    assert onload_unit.unit(interface) == unit


def test_options_of_the_modules_are_those_that_are_read_back():
    assert onload_unit.options(flow_filters=False, helper=False) == {
        "enable_af_xdp_flow_filters": "0",
        "bpf_link_helper": "(null)",
    }
    text = onload_unit.options_text(onload_unit.options(flow_filters=False, helper=False))
    assert text.splitlines()[1:] == ["options sfc_resource enable_af_xdp_flow_filters=0"]


def test_helper_and_flow_filters_are_options_where_they_are_asked_for():
    text = onload_unit.options_text(onload_unit.options(flow_filters=True, helper=True))

    assert text.splitlines()[1:] == [
        "options sfc_resource enable_af_xdp_flow_filters=1 "
        "bpf_link_helper=/usr/libexec/onload/bpf-link-helper"
    ]


def test_unit_is_started_after_the_settings_of_the_interface():
    lines = onload_unit.TEMPLATE.splitlines()

    [after] = [line for line in lines if line.startswith("After=")]
    assert {"systemd-modules-load.service", "labkit-host.service"} <= set(after[6:].split())
    assert f"ExecStart=/usr/bin/python3 {onload_unit.PROGRAM_PATH} %I" in lines


def test_first_interface_is_registered_before_the_others_at_boot():
    path, text = onload_unit.before("enp0s18", ["enp0s16", "port-1"])

    assert path == "/etc/systemd/system/labkit-onload@enp0s18.service.d/10-labkit.conf"
    assert text.splitlines()[1:] == [
        "[Unit]",
        r"Before=labkit-onload@enp0s16.service labkit-onload@port\x2d1.service",
    ]
