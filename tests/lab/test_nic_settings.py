"""What an interface loses with its driver is captured and given back: on a veth that is made anew."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.beside

MAKE = "ip link add name data0 type veth peer name peer0"
SETTINGS = (
    "ip link set data0 mtu 3000; ip link set data0 address 02:00:00:00:00:07; ip link set data0 up; "
    "ethtool -K data0 gro off tso off; echo 1 > /proc/sys/net/ipv4/conf/data0/rp_filter; "
    "echo 0 > /proc/sys/net/ipv6/conf/data0/accept_ra; echo 2 > /sys/class/net/data0/napi_defer_hard_irqs"
)
SCRIPT = """
import json, subprocess, sys
from labkit.machine import nic_settings
before = nic_settings.capture("data0")
subprocess.run("ip link del data0; " + sys.argv[1], shell=True, check=True)
lost = nic_settings.capture("data0")
left = nic_settings.put_back("data0", before)
print(json.dumps({"before": before, "lost": lost, "left": left, "after": nic_settings.capture("data0")}))
"""


def test_settings_come_back_with_the_interface():
    script = f'set -e; mount -t sysfs none /sys; {MAKE}; {SETTINGS}; exec "$@"'
    done = subprocess.run(
        ["unshare", "--net", "--mount", "sh", "-c", script, "sh", sys.executable, "-c", SCRIPT, MAKE],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    before, lost = found["before"], found["lost"]

    assert found["left"] == []
    assert found["after"] == before
    assert before["interface"] == {"mac": "02:00:00:00:00:07", "state": "up"}
    assert before["groups"]["features"]["generic-receive-offload"] == "off"
    differing = {group for group, values in before["groups"].items() if values != lost["groups"][group]}
    assert {"mtu", "features", "napi"} <= differing, "the new interface had them already"
    assert before["sysctls"] != lost["sysctls"]
