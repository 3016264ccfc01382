"""Which entry a default names. What Debian's GRUB 2.06 and 2.12 take was recorded; tests/lab asks the emulator anew."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from ansible_collections.labkit.host.plugins.module_utils import grub_choice, grub_menu, grub_script


@dataclass
class Entry:
    title: str
    id: str
    submenu: bool = False


ENTRIES = [Entry("First", "one"), Entry("A > b", "two"), Entry("6.1 kernel", "three"), *[Entry("", "")] * 9]


@pytest.mark.parametrize(
    ("text", "value", "rest"),
    [
        (" 4", 4, ""),
        ("\t4", 4, ""),
        ("4th", 4, "th"),
        ("1.5", 1, ".5"),
        ("0x1f", 31, ""),
        ("0X1f", 0, "X1f"),
        ("0x", None, ""),
        ("010", 8, ""),
        ("018", 1, "8"),
        ("08", 8, ""),
        ("-1", None, "-1"),
        ("+1", None, "+1"),
        ("", None, ""),
        ("x", None, "x"),
    ],
)
def test_number_is_read_as_grub_does(text, value, rest):
    assert (grub_choice.number(text).value, grub_choice.number(text).rest) == (value, rest)


@pytest.mark.parametrize(
    ("wanted", "grub", "el"),
    [
        ("0", 0, 0),
        (" 2", 2, 2),
        ("2 ", 2, None),
        ("2x", 2, None),
        ("1>2", 1, None),
        ("6.1 kernel", 6, 2),
        ("one", 0, 0),
        ("one>x", 0, 0),
        ("one x", None, None),
        (" one", None, None),
        ("A >> b", 1, 1),
        ("A > b", None, None),
        ("99", None, None),
        ("2147483648", None, None),
        ("18446744073709551616", None, None),
        ("-1", None, None),
    ],
)
def test_entry_is_found_by_the_rule_of_its_grub(wanted, grub, el):
    assert grub_choice.index(ENTRIES, wanted) == grub
    assert grub_choice.index(ENTRIES, wanted, el=True) == el


@pytest.mark.parametrize(
    ("wanted", "first", "rest"),
    [
        ("a>b>c", "a", "b>c"),
        ("a >> b> 4", "a > b", " 4"),
        ("a>", "a", ""),
        (">a", "", "a"),
        ("a>>>b", "a>", "b"),
    ],
)
def test_path_is_taken_apart_at_single_arrows(wanted, first, rest):
    assert grub_choice.parts(wanted) == (first, rest)


MENU = """if [ "${next_entry}" ] ; then
   set default="${next_entry}"
   save_env next_entry
else
   set default="DEFAULT"
fi
menuentry 'One' --id one {
  linux /vmlinuz-1
}
if [ "$grub_platform" = "efi" ]; then
  fwsetup --is-supported
  if [ "$?" = 0 ]; then
    menuentry 'Firmware' --id firmware {
      fwsetup
    }
  fi
fi
menuentry 'Two' --id two {
  linux /vmlinuz-2
}
"""


@pytest.mark.parametrize(
    ("default", "later", "doubt"),
    [
        ("0", "", None),
        ("two", "", None),
        ("one", "if [ -f /x ]; then true; fi", None),
        ("2", "", "counts entries that are not there on every machine"),
        ("4294967297", "", "reads otherwise on BIOS than on UEFI"),
        ("two>4294967297", "", "reads otherwise on BIOS than on UEFI"),
        ("one", "if keystatus --shift; then\n set default=two\nfi", "decided at each boot ('one', 'two')"),
        ("one", 'set default="$nobody_knows"', "decided at each boot ( or another)"),
        (
            "one",
            "if cmostest 5:0 ; then default=two ; else default=two ; fi",
            "decided at each boot ('one', 'two')",
        ),
        ("one", 'if [ "$default" = two ]; then set default=$x; fi', None),
    ],
)
def test_default_that_the_text_does_not_tell_is_doubted(default, later, doubt):
    found = grub_menu.read(MENU.replace("DEFAULT", default) + later).doubt({})

    assert (found is None) == (doubt is None)
    assert doubt is None or doubt in found


def test_saved_default_of_one_boot_alone_is_not_the_one_that_stays():
    """Of grub-reboot before 2.00 and of GRUB_SAVEDEFAULT's function: GRUB puts prev_saved_entry back at that boot."""
    menu = grub_menu.read(MENU.replace("DEFAULT", "${saved_entry}"))

    assert menu.chosen({"saved_entry": "one", "prev_saved_entry": "two"}).id == "two"
    assert menu.chosen({"saved_entry": "one", "prev_saved_entry": ""}).id == "one"
    assert menu.chosen({"saved_entry": "one", "next_entry": "two"}).id == "one"


def test_variables_that_a_script_sets_are_filled_in():
    known = grub_script.run(
        'set tuned_params="isolcpus=2-3 a=\\"b\\""\nif [ x$y = xz ]; then set other=1; fi\nunset gone',
        {"gone": "x", "kernelopts": "ro quiet"},
    )

    assert grub_script.expanded("$tuned_params", known) == 'isolcpus=2-3 a="b"'
    assert grub_script.expanded("${kernelopts}", known) == "ro quiet"
    assert grub_script.expanded("$gone", known) == ""
    assert grub_script.expanded("$other", known) is None
    assert grub_script.expanded("$vt_handoff", known) is None


def test_entry_whose_name_leads_to_another_is_not_pinned():
    menu = grub_menu.read(
        "menuentry 'x' --id 1ab {\n linux /vmlinuz-1\n}\nmenuentry 'y' --id same {\n linux /vmlinuz-2\n}\n"
        "menuentry 'z' --id same {\n linux /vmlinuz-3\n}\n"
    )

    assert [entry.path for entry in menu.entries] == ["", "same", ""]


@pytest.mark.parametrize(
    ("script", "inside"),
    [
        ("set p=1", ""),
        ("set p=1\nexport p", "1"),
        ("export p\nset p=1", "1"),
        ("set p=1\nif [ -f /x ]; then export p; fi", None),
        ("set p=1\nif [ 1 = 2 ]; then export p; fi", ""),
        ("", None),
    ],
)
def test_submenu_sees_what_is_exported_alone(script, inside):
    """Recorded from GRUB 2.06. tuned's daemon sets its variable and exports none, its script in /etc/grub.d does."""
    assert grub_script.expanded("$p", grub_script.run(script, {}).below()) == inside


def test_words_are_handed_on_as_the_loader_writes_them():
    known = grub_script.run('set p="a=1 b=2"', {})

    assert grub_script.handed(["$p", '"c=d e"', "f='g'", "$unknown", '\\"h'], known) == [
        *("a=1", "b=2"),
        '"c=d e"',
        "f=g",
        None,
        '\\"h',
    ]


UBUNTU = """if [ "${initrdfail}" = 2 ]; then
   set initrdfail=
elif [ "${initrdfail}" = 1 ]; then
   set next_entry="${prev_entry}"
   set prev_entry=
   save_env prev_entry
   if [ "${next_entry}" ]; then
      set initrdfail=2
   fi
fi
"""
EL = """insmod increment
# Check if boot_counter exists and boot_success=0 to activate this behaviour.
if [ -n "${boot_counter}" -a "${boot_success}" = "0" ]; then
  if  [ "${boot_counter}" = "0" -o "${boot_counter}" = "-1" ]; then
    set default=1
    set boot_counter=-1
  else
    decrement boot_counter
  fi
  save_env boot_counter
fi
"""


@pytest.mark.parametrize("environment", [{}, {"initrdfail": "1", "prev_entry": "two"}])
def test_snippets_of_distributions_leave_no_doubt(environment):
    """Ubuntu's boot without an initrd (00_header), EL's counting of boots that failed (08_fallback_counting)."""
    menu = grub_menu.read(UBUNTU + MENU.replace("DEFAULT", "one") + EL)

    assert menu.doubt(environment) is None
    assert menu.chosen(environment).id == "one"


@pytest.mark.parametrize(
    ("environment", "chosen"),
    [
        ({"boot_counter": "0", "boot_success": "0"}, "firmware"),
        ({"boot_counter": "-1", "boot_success": "0"}, "firmware"),
        ({"boot_counter": "2", "boot_success": "0"}, "one"),
        ({"boot_counter": "0", "boot_success": "1"}, "one"),
    ],
)
def test_counted_boots_are_followed(environment, chosen):
    assert grub_menu.read(MENU.replace("DEFAULT", "one") + EL).chosen(environment).id == chosen


@pytest.mark.parametrize("name", ["debian12", "debian13", "ubuntu2404"])
def test_recorded_menus_leave_no_doubt(name):
    text = (Path(__file__).parent / f"data/grub-{name}.cfg").read_text()

    assert grub_menu.read(text).doubt({}) is None


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("[ a = a -a b = c ]", False),
        ("[ a = b -o b = b ]", True),
        ("[ ! a = a ]", False),
        ("[ -f /x -a a = b ]", False),
        ("[ -f /x -o a = a ]", True),
        ("[ -f /x -o a = b ]", None),
        ("[ ! -e /x ]", None),
        ('test -z "$next_entry"', True),
        ("keystatus --shift", None),
    ],
)
def test_conditions_are_followed_as_far_as_they_are_known(condition, holds):
    known = grub_script.run(f"set p=no\nif {condition}; then set p=yes; fi", {})

    assert known.get("p") == {True: "yes", False: "no", None: None}[holds]
