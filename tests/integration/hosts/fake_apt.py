#!/usr/bin/env -S python3 -I -S
"""A Debian in one JSON file ($FAKE_APT), called as dpkg, dpkg-query, dpkg-deb, apt-get or apt-cache.

It prints what the real ones print where labkit reads it, and keeps a list of what was called.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

PLACE = Path(os.environ["FAKE_APT"])
world = json.loads(PLACE.read_text())
installed, archive = world["installed"], world["archive"]


def leave(code=0, said=""):
    PLACE.write_text(json.dumps(world))
    print(said, end="\n" if said else "")
    sys.exit(code)


def there(name):
    return installed.get(name, {}).get("status") in ("installed", "triggers-pending")


def coming(names):
    """Names with what they depend on, dependencies first."""
    order = []

    def visit(name):
        if name in order or (there(name) and installed[name]["version"] == archive[name]["version"]):
            return
        for other in archive[name].get("depends", []):
            if not there(other) or archive[other]["version"] > installed[other]["version"]:
                visit(other)
        order.append(name)

    for name in names:
        visit(name)
    return order


def going(names):
    """Names with what depends on them."""
    gone = set(names)
    while more := {
        n for n in installed if there(n) and n not in gone and gone & set(archive[n].get("depends", []))
    }:
        gone |= more
    return sorted(
        name for name in gone if installed.get(name, {}).get("status") not in (None, "config-files")
    )


def apt_get(arguments):
    options = [word for word in arguments if word.startswith("-")]
    plain = [
        word
        for word, before in zip(arguments, ["", *arguments], strict=False)
        if word[0] != "-" and before != "-o"
    ]
    verb, names = plain[0], plain[1:]
    if verb == "update":
        world["index"] = sorted(archive)
        leave(
            100 if world.get("offline") else 0,
            "E: Temporary failure resolving 'deb'" if world.get("offline") else "",
        )
    if world.get("interrupted"):
        leave(
            100,
            "E: dpkg was interrupted, you must manually run 'dpkg --configure -a' to correct the problem.",
        )
    if verb == "install" and not names:  # --fix-broken
        names = [name for name in installed if installed[name]["status"].startswith("half")]
    if verb == "install":
        names = [Path(name).name.partition("_")[0] for name in names]
        if unknown := [name for name in names if name not in world["index"]]:
            leave(100, "\n".join(f"E: Unable to locate package {name}" for name in unknown))
        order = coming(names)
        conflicts = sorted({n for name in order for n in archive[name].get("conflicts", []) if there(n)})
        for name in conflicts:
            print(f"Remv {name} [1]")
        for name in order:
            old = f" [{installed[name]['version']}]" if there(name) else ""
            print(f"Inst {name}{old} ({archive[name]['version']} Debian:12 [amd64])")
        if "--simulate" in options:
            leave()
        if conflicts and "--no-remove" in options:
            leave(100, "E: Packages need to be removed but remove is disabled.")
        if world.get("stale"):
            world["stale"] = False
            world["log"].append("404")
            leave(100, "E: Failed to fetch http://deb/hello_1.deb  404  Not Found [IP: 198.18.0.1 80]")
        for name in order:
            broken = world.get("postinst_fails") == name
            status = "half-configured" if broken else "installed"
            installed[name] = {"status": status, "version": archive[name]["version"]}
            if broken:
                leave(
                    100,
                    "dpkg: error processing package\nE: Sub-process /usr/bin/dpkg returned an error code (1)",
                )
        leave()
    if verb == "remove":
        for name in going(names):
            print(f"Remv {name} [1]")
            if "--simulate" not in options:
                installed[name]["status"] = "config-files"
        leave()
    leave(100, f"E: Invalid operation {verb}")


def main():
    program, arguments = Path(sys.argv[0]).name, sys.argv[1:]
    world["log"].append(" ".join([program, *arguments]))
    if program == "dpkg" and arguments == ["--print-architecture"]:
        leave(0, "amd64")
    if program == "dpkg" and "--configure" in arguments:
        world["interrupted"] = False
        for name, one in installed.items():
            if (
                one["status"] not in ("config-files", "half-installed")
                and world.get("postinst_fails") != name
            ):
                one["status"] = "installed"
        leave()
    if program == "dpkg" and "--remove" in arguments:
        for name in arguments[2:]:
            installed[name]["status"] = "config-files"
        leave()
    if program == "dpkg" and arguments[0] == "--purge":
        for name in arguments[1:]:
            del installed[name]
        leave()
    if program == "dpkg-query":
        if world.get("interrupted"):
            print("dpkg-query: warning: parsing file '/var/lib/dpkg/updates/0001'", file=sys.stderr)
        lines = [
            "\t".join(
                [name, one.get("arch", "amd64"), one["status"], one["version"], one.get("provides", ""), ""]
            )
            for name, one in installed.items()
        ]
        leave(0, "\n".join(lines))
    if program == "dpkg-deb":
        name, _, version = Path(arguments[-1]).stem.partition("_")
        leave(0, f"{name} {version}")
    if program == "apt-cache" and "policy" in arguments:
        words = arguments[arguments.index("policy") + 1 :]
        known = [name for name in words if name in world["index"]]
        leave(
            0,
            "\n".join(
                f"{name}:\n  Installed: (none)\n  Candidate: {archive[name]['version']}" for name in known
            ),
        )
    if program == "apt-cache":
        names = [name for name in arguments if name in archive]
        leave(
            0, "\n".join(f"Package: {n}\nInstalled-Size: {archive[n].get('kib', 1)}\nSize: 1" for n in names)
        )
    if program == "apt-get":
        apt_get(arguments)
    leave(100, f"{program}: not known here")


main()
