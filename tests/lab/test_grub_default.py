"""Which entry boots: GRUB's own emulator (Debian's package grub-emu) is asked, and the collection must say the same."""

from __future__ import annotations

import re

import pytest
from ansible_collections.labkit.host.plugins.module_utils import grub_menu
from real_grub import EMULATOR, MISSING, RealGrub

pytestmark = [pytest.mark.beside, pytest.mark.skipif(EMULATOR is None, reason=MISSING)]

SIZES = {"top": 3, "in": 10, "number": 20}
CUSTOM = "if [ -f $prefix/custom.cfg ]; then\n  source $prefix/custom.cfg\nfi\n"


def entry(name, title):
    return f"menuentry '{title}' --id {name} {{\n echo 'BOOTED {name}'\n reboot\n}}\n"


def menu(start):
    """A menu with submenus two deep, titles with > and titles that begin with a number."""
    return (
        f"set timeout=0\n{start}\n"
        + "".join(entry(f"top{at}", f"Title {at}") for at in range(SIZES["top"]))
        + "submenu 'Sub > one' --id sub {\n"
        + "".join(entry(f"in{at}", f"In {at}") for at in range(SIZES["in"]))
        + "submenu 'Deep' --id deep {\n"
        + "".join(entry(f"deep{at}", f"Bottom {at}") for at in range(2))
        + "}\n}\n"
        + "".join(entry(f"number{at}", f"6.{at} kernel") for at in range(SIZES["number"]))
        + "submenu 'More' --id more {\n"
        + "".join(entry(f"more{at}", f"More {at}") for at in range(2))
        + "}\n"
        + CUSTOM
    )


@pytest.fixture
def booted(tmp_path):
    """Has the real GRUB boot a grub.cfg, and tells the entry that it took."""

    def boot(text, environment=(), custom=None):
        said = RealGrub(tmp_path).run(text, environment, custom)
        found = re.findall(r"BOOTED (\w+)", said)
        assert found, said
        return found[0]

    return boot


def said(text, environment=(), custom=""):
    found = grub_menu.read(grub_menu.with_custom(text, custom))
    return found.chosen(dict(one.split("=", 1) for one in environment)).id


# How-tos write the blank; GRUB's strtoul takes it.
PATHS = ["3> 4", "3>4", "3 > 4", "3>\t4", " 3> 0x5", "3>", "3>4>1", "3>10>1", "3> 10> 1", "24> 1", "1>2"]
# Where a number ends does not matter, and it has no sign.
NUMBERS = ["0", "2", "3", "2x", "2 ", "1.5", "6.5 kernel", "1st", "-1", "+1", "3>-1", "1e", "2'"]
BASES = ["0x2", "0X2", "0x", "0xf", "0x18>1", "02", "010", "018", "08", "09", "00x3", "3>08", "3>010"]
LARGE = [
    "99",
    "25",
    "3>99",
    "3>11",
    "2147483648",
    "4294967295",
    "18446744073709551616",
    "3>18446744073709551616",
]
NAMES = [
    "Title 2",
    "top2",
    "title 2",
    "top2 ",
    " top2",
    "top2>",
    "top2>x",
    "sub",
    "in5",
    "",
    "x",
    "unknown>1",
]
BELOW = [
    "sub>in5",
    "sub> in5",
    "sub>in5 ",
    "sub>5x",
    "sub>deep>deep1",
    "sub>Deep> 1",
    "sub>Deep>Bottom 1",
    "sub>",
]
ARROWS = ["Sub >> one>In 4", "Sub > one>In 4", "Sub >> one", "sub>>in5", "3>>4", ">3", ">>3", "more> More 1"]


@pytest.mark.parametrize("default", [*PATHS, *NUMBERS, *BASES, *LARGE, *NAMES, *BELOW, *ARROWS])
def test_default_is_read_as_grub_reads_it(booted, default):
    text = menu(f'set default="{default}"')

    assert said(text) == booted(text)


HEADER = """if [ -s $prefix/grubenv ]; then
  set have_grubenv=true
  load_env
fi
if [ "${next_entry}" ] ; then
   set default="${next_entry}"
   set next_entry=
   set boot_once=true
else
   set default="DEFAULT"
fi
if [ "${prev_saved_entry}" ]; then
  set saved_entry="${prev_saved_entry}"
  set prev_saved_entry=
  set boot_once=true
fi
"""


# As EL counts boots that failed (08_fallback_counting).
COUNTED = """if [ -n "${boot_counter}" -a "${boot_success}" = "0" ]; then
  if  [ "${boot_counter}" = "0" -o "${boot_counter}" = "-1" ]; then
    set default=1
  fi
fi"""
COUNTERS = (
    [],
    ["boot_counter=0", "boot_success=0"],
    ["boot_counter=-1", "boot_success=0"],
    ["boot_counter=2", "boot_success=0"],
    ["boot_counter=0", "boot_success=1"],
)
CONDITIONS = (
    "[ a = a -a b = c ]",
    "[ a = b -o b = b ]",
    "[ a = a -o b = c -a c = d ]",
    "[ ! a = a ]",
    "[ ! a = b -a b = b ]",
    "test -z $next_entry",
    '[ "" ]',
)


@pytest.mark.parametrize(
    ("default", "environment", "later"),
    [
        ("${saved_entry}", ["saved_entry=3> 4"], ""),
        ("${saved_entry}", ["saved_entry=sub>in5", "next_entry="], ""),
        ("${saved_entry}", [], ""),
        ("3>2", ["saved_entry=1"], ""),
        ("0", [], "set default='Sub >> one>In 3'"),
        ("0", [], "default=2"),
        ("0", [], "# set default=2"),
        ("0", [], "set one=3; set default=${one}'> '\"7\""),
        # As 10_linux writes it for the title of an entry in a submenu. It compares x and the title with the title.
        ("In 3", [], "if [ \"x$default\" = 'In 3' ]; then default='Sub >> one>In 3'; fi;"),
        ("In 3", [], "if [ \"$default\" = 'In 3' ]; then default='Sub >> one>In 3'; fi;"),
        ("1", [], 'if [ "$default" = 0 ]; then set default=2; elif [ "$default" = 1 ]; then default=sub\nfi'),
        *(("2", environment, COUNTED) for environment in COUNTERS),
        *(("2", [], f"if {one}; then set default=3; fi") for one in CONDITIONS),
        ("1", [], 'if [ "$default" != 1 ]; then set default=2; else default="3>1"; fi'),
    ],
)
def test_what_else_sets_the_default_is_followed(booted, default, environment, later):
    text = menu(HEADER.replace("DEFAULT", default) + later)

    assert said(text, environment) == booted(text, environment)


@pytest.mark.parametrize("default", ["25", "own", "0", "more>1", "26"])
def test_entries_of_custom_cfg_count(booted, default):
    text, custom = menu(f'set default="{default}"'), entry("own", "Own") + entry("other", "Other")

    assert said(text, custom=custom) == booted(text, custom=custom)


def test_entry_for_one_boot_is_taken_before_the_default(booted):
    """What the trial of a kernel rests on."""
    text = menu(HEADER.replace("DEFAULT", "1"))

    assert booted(text, ["next_entry=trial"], entry("trial", "x")) == "trial"
    assert booted(text, [], entry("trial", "x")) == said(text) == "top1"
