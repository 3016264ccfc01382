"""`python -m tests.vm`: boots a guest to look at, and ends it on Ctrl-C; or makes the guests' image alone."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path

from tests.vm import apt_source, image
from tests.vm.guest import Guest, GuestFailed, Nic, finish_image, link


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.vm", description=__doc__, allow_abbrev=False)
    parser.add_argument("--cpus", type=int, default=2)
    parser.add_argument("--memory-mib", type=int, default=2048)
    parser.add_argument("--inventory", type=Path, help="write an Ansible inventory of the guest to this file")
    parser.add_argument("--console", type=Path, help="write its serial console to this file")
    parser.add_argument(
        "--only-image", action="store_true", help="make the image, where it is missing, and end"
    )
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # clean up as after Ctrl-C
    try:
        stock = image.stock(finish_image, say=lambda text: print(text, file=sys.stderr))
        if not arguments.only_image:
            _run(arguments, stock)
    except (apt_source.NoSource, image.CannotBuild, GuestFailed) as error:
        print(error, file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        return 130
    return 0


def _run(arguments: argparse.Namespace, stock: image.Image) -> None:
    ends = link()
    nics = [Nic("virtio-net-pci", "52:54:00:00:01:01", 0x10, ends[0])]
    with Guest(
        "hand",
        stock,
        nics=nics,
        cpus=arguments.cpus,
        memory_mib=arguments.memory_mib,
        iommu=True,
        log=arguments.console,
    ) as guest:
        began = time.monotonic()
        print("booting (--console FILE keeps what it says) ...", file=sys.stderr)
        guest.wait()
        if arguments.inventory:
            arguments.inventory.write_text(inventory(guest))
        print(f"up after {time.monotonic() - began:.0f} s. Ctrl-C ends it.", file=sys.stderr)
        print(" ".join(["ssh", *guest.ssh_options, "lab@127.0.0.1"]), flush=True)
        while True:
            time.sleep(3600)


def inventory(guest: Guest) -> str:
    """An Ansible inventory with the guest alone."""
    options = " ".join(guest.ssh_options[4:])
    return (
        f"all:\n  hosts:\n    {guest.name}:\n      ansible_host: 127.0.0.1\n      ansible_port: {guest.port}\n"
        f"      ansible_user: lab\n      ansible_ssh_private_key_file: {guest.image.key}\n"
        f"      ansible_ssh_common_args: {options}\n      ansible_python_interpreter: /usr/bin/python3\n"
    )


if __name__ == "__main__":
    sys.exit(main())
