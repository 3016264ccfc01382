"""The command line: real GRUB runs recorded menus, and the collection must say the same of each."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.labkit.host.plugins.module_utils import boot_line, boot_trial, grub_menu, grub_script
from ansible_collections.labkit.host.plugins.module_utils.boot_line import Tried
from ansible_collections.labkit.host.plugins.module_utils.boot_trial import Trial
from ansible_collections.labkit.host.plugins.module_utils.grub import Grub
from real_grub import EMULATOR, MISSING, RealGrub

pytestmark = [pytest.mark.beside, pytest.mark.skipif(EMULATOR is None, reason=MISSING)]

DATA = Path(__file__).parents[1] / "unit/hosts/data"
OURS = ("isolcpus=managed_irq,domain,2-3", "nohz_full=2-3")
BEHIND_HEADER = "### END /etc/grub.d/00_header ###\n"
PLAIN = 'set tuned_params="isolcpus=2-3 nohz_full=2-3"'
EXPORTED = f"{PLAIN}\nexport tuned_params"
TRIALS = [
    *(("debian12", header, default) for header in ("", PLAIN, EXPORTED) for default in ("0", "1> 2")),
    ("debian13", EXPORTED, "1> 2"),
    ("ubuntu2404", EXPORTED, "1> 2"),
]


def recorded(name, default="1> 2", header="", word=""):
    """As update-grub wrote it, with another default, a snippet behind the header, and words on every kernel line."""
    text = (DATA / f"grub-{name}.cfg").read_text()
    assert BEHIND_HEADER in text
    text = text.replace('set default="0"', f'set default="{default}"')
    return text.replace(BEHIND_HEADER, f"{header}\n{BEHIND_HEADER}").replace(" ro ", f" ro {word} ")


@pytest.fixture
def grub(tmp_path):
    return RealGrub(tmp_path)


@pytest.mark.parametrize("default", ["0", "1> 2"])
@pytest.mark.parametrize(
    ("header", "word", "environment"),
    [
        ("", "", []),
        (PLAIN, "$tuned_params", []),
        (EXPORTED, "a=1 $tuned_params b=2", []),
        ('set tuned_params=""', "a=1 $tuned_params", []),
        ("if true; then export kernelopts; fi", "${kernelopts} c=3", ["kernelopts=quiet isolcpus=4-N"]),
        ("export kernelopts", "${kernelopts} c=3", ["kernelopts=quiet isolcpus=4-N"]),
        ("", '"a=b c" d=\'e f\' g=\\"h\\" i="j"', []),
    ],
)
def test_command_line_is_what_grub_gives_to_the_kernel(grub, default, header, word, environment):
    text = recorded("debian12", default, header, word)
    menu, known = grub_menu.read(text), dict(one.split("=", 1) for one in environment)
    entry = menu.chosen(known)

    image, *given = grub.linux(text, environment)

    assert entry.linux.split()[0] == image
    if "if true" in header and default != "0":
        assert menu.filled(entry, known)["${kernelopts}"] is None, "what a command decides is unknown"
    else:
        # The loader escapes and quotes what it was given; the words themselves are compared.
        as_words = [f"'{one}'" for one in given]
        assert menu.line(entry, known) == grub_script.handed(as_words, grub_script.Values())


@pytest.mark.parametrize(("name", "header", "default"), TRIALS)
def test_trial_gives_what_the_boots_after_it_will_give(grub, tmp_path, name, header, default):
    """grub.cfg as update-grub writes it with our arguments: all of the trial, less the trial's own words."""
    before = recorded(name, default, header, "$tuned_params")
    folder = tmp_path / "host/boot/grub"
    folder.mkdir(parents=True)
    (folder / "grub.cfg").write_text(before)
    loader = Grub(lambda _: "", tmp_path / "host")
    old = loader.default()
    trial = Trial(old, old, (), OURS, panic_s=5, confirm_s=60)

    image, *tried = grub.linux(before, [f"next_entry={trial.entry}"], trial.block())

    assert f"labkit.trial={trial.id}" in tried
    tried = Tried(old.release, tuple(boot_trial.without(tried)))
    after = "".join(
        line.replace("quiet", f"quiet {' '.join(OURS)}") if "\tlinux" in line else line
        for line in before.splitlines(keepends=True)
    )
    (folder / "grub.cfg").write_text(after)
    next_image, *given = grub.linux(after)
    assert next_image == image
    assert boot_line.differences(replace(old, arguments=tuple(given), variables=()), tried) == []
    assert boot_line.differences(loader.default(), tried) == []
