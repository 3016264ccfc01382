"""A host in a folder: its GRUB, its kernels, and the programs that the boot modules call, as far as they matter."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ansible_collections.labkit.host.plugins.module_utils import boot_commands
from ansible_collections.labkit.host.plugins.module_utils.boot_look import Wanted
from ansible_collections.labkit.host.plugins.module_utils.grub_menu import read

DATA = Path(__file__).parent / "data"
STOCK = "6.1.0-56-amd64"
RT = "6.1.0-56-rt-amd64"
NEWER = "6.1.0-100-amd64"
"""Of an update: newer than the others, and before them in the order of letters."""
UUID = "bcc2f932-348a-4a34-a09a-5ff8b0bfc620"
VERSIONS = {
    STOCK: "#1 SMP PREEMPT_DYNAMIC Debian 6.1.192-2 (2026-11-16)",
    RT: "#1 SMP PREEMPT_RT Debian 6.1.192-2 (2026-11-16)",
    NEWER: "#1 SMP PREEMPT_DYNAMIC Debian 6.1.300-1 (2027-11-16)",
}
CONFIGS = {
    STOCK: "CONFIG_PREEMPT_VOLUNTARY=y\n# CONFIG_PREEMPT is not set\nCONFIG_PREEMPT_DYNAMIC=y\n",
    RT: "CONFIG_PREEMPT_LAZY=y\n# CONFIG_PREEMPT is not set\nCONFIG_PREEMPT_RT=y\n",
    NEWER: "CONFIG_PREEMPT_VOLUNTARY=y\nCONFIG_PREEMPT_DYNAMIC=y\n",
}
ISOLATED = ("isolcpus=managed_irq,domain,1", "nohz_full=1")
REAL_TIME = Wanted(arguments=ISOLATED, flavour="rt", packages=("linux-image-rt-amd64",))
_SAID: dict[tuple[object, ...], str] = {}


class Host:
    """Debian 12 with its stock kernel; boots by what its grub.cfg and grubenv say."""

    boots = 0
    extra_packages: Sequence[str] = ()
    """Lines of dpkg-query."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.called: list[str] = []
        self.broken: set[str] = set()
        """Releases that panic."""
        self.unit_runs = False
        self.file_system = "ext2"
        self.abstraction = ""
        self.write(
            "etc/default/grub", 'GRUB_DEFAULT=0\nGRUB_CMDLINE_LINUX_DEFAULT="quiet"\nGRUB_CMDLINE_LINUX=""\n'
        )
        for name in (
            "usr/sbin/update-grub",
            "var/lib/dpkg/status",
            "run/systemd/system/there",
            "etc/systemd/system/there",
        ):
            self.write(name, "")
        (root / "boot/grub").mkdir(parents=True)
        self.add_kernel(STOCK)
        self.start(read((root / "boot/grub/grub.cfg").read_text()).entries[0].linux)

    def write(self, path: str, text: str) -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def text(self, path: str) -> str:
        return (self.root / path).read_text()

    def add_kernel(self, release: str) -> None:
        """As a package's own scripts do."""
        for name in ("vmlinuz", "initrd.img"):
            self.write(f"boot/{name}-{release}", "")
        self.write(f"boot/config-{release}", CONFIGS[release])
        self.run(["update-grub"])

    # What boots

    def start(self, linux: str) -> None:
        """The kernel of a menu entry runs."""
        image, *arguments = linux.split()
        release = image.partition("vmlinuz-")[2]
        self.write("proc/sys/kernel/osrelease", release + "\n")
        self.write("proc/sys/kernel/version", VERSIONS[release] + "\n")
        self.write("proc/cmdline", " ".join([f"BOOT_IMAGE={image}", *arguments]) + "\n")
        mode = next(
            (word.partition("=")[2] for word in arguments[::-1] if word.startswith("preempt=")), "voluntary"
        )
        preempt = " ".join(f"({one})" if one == mode else one for one in ("none", "voluntary", "full"))
        self.write("sys/kernel/debug/sched/preempt", preempt + "\n")
        lists = [word.partition("=")[2] for word in arguments if word.startswith("isolcpus=")]
        first = re.sub("managed_irq,|domain,", "", lists[0]) if lists else ""
        self.write("sys/devices/system/cpu/isolated", first + "\n")
        self.write("sys/kernel/realtime", "1\n" if "PREEMPT_RT" in VERSIONS[release] else "0\n")
        self.new_boot_id()
        self.unit_runs = "systemd.wants=labkit-trial.service" in arguments

    def new_boot_id(self) -> None:
        self.boots += 1
        self.write("proc/sys/kernel/random/boot_id", f"boot {self.boots}\n")

    def boot(self) -> str:
        """Boot as GRUB would, again where the kernel panics; tells the release that runs in the end."""
        menu = read(self.text("boot/grub/grub.cfg"))
        custom = self.root / "boot/grub/custom.cfg"
        environment = self._environment()
        chosen = None
        if environment.get("next_entry"):
            extra = read(custom.read_text()).entries if custom.exists() else []
            chosen = next((entry for entry in extra if entry.id == environment["next_entry"]), None)
            self._write_environment({**environment, "next_entry": ""})
        if chosen:
            trial, old = re.findall(r"linux (.*?)(?:; then)?$", "\n".join(chosen.body), re.MULTILINE)
            linux = trial if (self.root / trial.split()[0].lstrip("/")).exists() else old
        else:
            linux = menu.chosen(environment).linux
        known = menu.values(environment)
        linux = " ".join(known.get(word[1:]) or "" if word[:1] == "$" else word for word in linux.split())
        if linux.split()[0].partition("vmlinuz-")[2] in self.broken:
            return self.boot()
        self.start(linux)
        return self.text("proc/sys/kernel/osrelease").strip()

    # Programs

    def run(self, command: Sequence[str]) -> str:
        """Stands for boot_commands.run."""
        self.called.append(" ".join(command))
        name = command[0].replace("-", "_")
        return getattr(self, f"_{name}")(*command[1:]) or ""

    def _sh(self, *arguments: str) -> str:
        """A real shell, once for the same script and the same files."""
        given = (
            (path.name, path.read_text())
            for path in Path(arguments[-1], "etc/default").rglob("*")
            if path.is_file()
        )
        key = (arguments[1], *sorted(given))
        if key not in _SAID:
            _SAID[key] = boot_commands.run(["sh", *arguments])
        return _SAID[key]

    def _update_grub(self) -> None:
        default, arguments = self._sh(
            "-c",
            'for f in "$1/etc/default/grub" "$1"/etc/default/grub.d/*.cfg; do [ ! -e "$f" ] || . "$f"; done; '
            'printf "%s\\n" "${GRUB_DEFAULT:-0}" "$GRUB_CMDLINE_LINUX $GRUB_CMDLINE_LINUX_DEFAULT"',
            "sh",
            str(self.root),
        ).splitlines()
        releases = sorted(
            (one.name[8:] for one in (self.root / "boot").glob("vmlinuz-*")),
            key=lambda one: "-rt-" not in one,
        )
        self.write(
            "boot/grub/grub.cfg",
            grub_cfg("${saved_entry}" if default == "saved" else default, arguments, releases),
        )

    def _environment(self) -> dict[str, str]:
        file = self.root / "boot/grub/grubenv"
        lines = file.read_text().splitlines() if file.exists() else []
        return dict(line.split("=", 1) for line in lines)

    def _write_environment(self, variables: dict[str, str]) -> None:
        self.write("boot/grub/grubenv", "".join(f"{name}={value}\n" for name, value in variables.items()))

    def _grub_editenv(self, file: str, verb: str, *words: str) -> str | None:
        assert file == str(self.root / "boot/grub/grubenv")
        variables = self._environment()
        if verb == "list":
            return "".join(f"{name}={value}\n" for name, value in variables.items())
        if verb == "set":
            variables.update(word.split("=", 1) for word in words)
        if verb == "unset":
            variables = {name: value for name, value in variables.items() if name not in words}
        self._write_environment(variables)
        return None

    def _grub_probe(self, target: str, _: str) -> str:
        return {"--target=fs": self.file_system, "--target=abstraction": self.abstraction}[target] + "\n"

    def _grub_script_check(self, _: str) -> None: ...

    def _systemctl(self, verb: str, *_: str) -> str | None:
        if verb == "stop":
            self.unit_runs = False
        return ("active\n" if self.unit_runs else "inactive\n") if verb == "show" else None

    def _update_initramfs(self, *_: str) -> None: ...

    def _dpkg_query(self, *_: str) -> str:
        lines = [
            "linux-image-amd64\tinstalled\tlinux-image-6.1.0-56-amd64 (= 6.1.192-2)",
            "linux-image-6.1.0-56-amd64\tinstalled\tkmod, linux-base (>= 4.3~), initramfs-tools (>= 0.120) | dracut",
        ]
        lines += self.extra_packages
        if (self.root / f"boot/vmlinuz-{RT}").exists():
            lines += [
                f"linux-image-rt-amd64\tinstalled\tlinux-image-{RT} (= 6.1.192-2)",
                f"linux-image-{RT}\tinstalled\tkmod, linux-base (>= 4.3~)",
            ]
        return "\n".join(lines) + "\n"


def grub_cfg(default: str, arguments: str, releases: Sequence[str]) -> str:
    """The recorded grub.cfg of Debian 12, with other kernels in it."""
    recorded = (DATA / "grub-debian12.cfg").read_text()
    head, _, rest = recorded.partition("menuentry 'Debian GNU/Linux' ")
    one = re.search(rf"^\tmenuentry '[^']*{STOCK}' .*?^\t}}\n", rest, re.MULTILINE | re.DOTALL).group()
    simple = "menuentry 'Debian GNU/Linux' " + rest.partition("submenu")[0]
    top = "submenu" + rest.partition("submenu")[2].partition("\n")[0] + "\n"
    tail = "}\n\n### END /etc/grub.d/10_linux ###" + rest.partition("### END /etc/grub.d/10_linux ###")[2]

    def filled(text: str, release: str) -> str:
        text = re.sub(r"6\.1\.0-56(-rt)?-amd64", release, text)
        return re.sub(r" ro .*", f" ro {arguments}".rstrip(), text)

    text = (
        head
        + filled(simple, releases[0])
        + top
        + "".join(filled(one, release) for release in releases)
        + tail
    )
    return text.replace('set default="0"', f'set default="{default}"')
