"""Users, packages and the probe."""

from __future__ import annotations

import re
import shlex

from labkit.doctor.host.desired import Desired

from .ways import FOLDER, Fault, emptied, uncover

_SUDOERS = "/etc/sudoers.d/zz-labkit-fault"
_STATUS = "/var/lib/dpkg/status"


def _user(desired: Desired) -> tuple[str, str]:
    return shlex.quote(desired.text("labkit_host_user")), shlex.quote(desired.text("labkit_host_group"))


def _package_gone(desired: Desired) -> str:
    """The package manager's own list, without one of them."""
    name = re.escape(desired["labkit_host_packages"][0].partition("|")[0])
    return (
        f"mkdir -p {FOLDER}; sed '/^Package: {name}$/,/^$/s/^Status: .*/Status: deinstall ok config-files/' {_STATUS} "
        f">{FOLDER}/status; mount --bind {FOLDER}/status {_STATUS}"
    )


def _of_af_packet_engine(desired: Desired, what: str) -> str:
    return f"for file in {desired.text('labkit_host_probe_dir')}/*/labkit-probe-af_packet; do setcap {what} $file; done"


HOST = (
    Fault(
        check="labkit_host.user",
        inject=lambda desired: "gpasswd --delete {} {}".format(*_user(desired)),
        revert=lambda desired: "gpasswd --add {} {}".format(*_user(desired)),
        also=("dpdk.memlock", "af_xdp.memlock"),
    ),
    Fault(
        check="labkit_host.sudo",
        # The last rule that matches counts, so a file that sorts last takes away what an earlier one gave.
        inject=lambda desired: f"umask 0337; echo {_user(desired)[0]} 'ALL=(ALL:ALL) !ALL' >{_SUDOERS}",
        revert=lambda desired: f"rm -f {_SUDOERS}",
    ),
    emptied(
        "labkit_host.probe",
        lambda desired: desired.text("labkit_host_probe_dir"),
        also=("labkit_host.capabilities",),
    ),
    Fault(
        check="labkit_host.capabilities",
        inject=lambda desired: _of_af_packet_engine(desired, "-r"),
        revert=lambda desired: _of_af_packet_engine(
            desired, f"{desired['labkit_host_engine_capabilities']['af_packet']}=ep"
        ),
    ),
    emptied("labkit_host.labkit", lambda _: "/usr/local/lib/labkit/python"),
    Fault(check="labkit_host.packages", inject=_package_gone, revert=lambda desired: uncover(_STATUS)),
)
