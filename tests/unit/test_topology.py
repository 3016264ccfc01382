"""The lab file: what is read, and what is said of what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from labkit.errors import ConfigInvalid
from labkit.lab.topology import LinkKind, Napi, Topology
from labkit.lab.topology_file import load, names, parse
from labkit.session.preflight import load_checked

GOOD = """\
description: a lab
backends: [kernel]
cores: {tester: 0, dut: 1}
links:
  - name: veth0
    kind: veth
    mtu: 1500 B
    tester:
      name: tester0
      mac: 02:00:00:00:00:01
      ipv4: 198.18.0.1/24
      ipv6: 2001:2::1/64
    dut:
      name: dut0
      mac: 02:00:00:00:00:02
      ipv4: 198.18.0.2/24
      ipv6: 2001:2::2/64
"""


def read(old: str = "", new: str = "") -> Topology:
    assert old in GOOD
    return parse(GOOD.replace(old, new, 1) if old else GOOD, Path("lab.yml"))


def test_reads_a_lab() -> None:
    lab = read()
    (link,) = lab.links
    assert (lab.name, lab.tester_core, lab.dut_core, lab.backends) == ("lab", 0, 1, ("kernel",))
    assert (link.kind, link.mtu_bytes, link.napi, link.ring_frames) == (LinkKind.VETH, 1500, Napi.SOFTIRQ, 0)
    assert str(link.dut.ipv4) == "198.18.0.2/24"
    assert str(link.tester.ipv6) == "2001:2::1/64"
    assert not lab.forwards
    assert lab.text == GOOD


def test_reads_units_of_shared_memory() -> None:
    lab = read("    kind: veth\n", "    kind: memif\n    memory: 64 MiB\n    ring: 512\n    hugepages: no\n")
    assert (lab.links[0].memory_bytes, lab.links[0].ring_frames, lab.links[0].hugepages) == (
        64 << 20,
        512,
        False,
    )


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("backends:", "backend:", 2, "did you mean 'backends'?"),
        ("    mtu: 1500 B", "    mut: 1500 B", 7, "did you mean 'mtu'?"),
        ("[kernel]", "[kernl]", 2, "did you mean 'kernel'?"),
        ("    kind: veth", "    kind: memfi", 6, "did you mean 'memif'?"),
        ("    dut:\n", "    other:\n", 13, "unknown key 'other'"),
        ("      mac: 02:00:00:00:00:02\n", "", 13, "missing key 'mac'"),
        ("1500 B", "1500", 7, "units 'B'"),
        ("1500 B", "1500 Mpps", 7, "units 'B'"),
        ("1500 B", "1 MiB", 7, "from 1280 B to 9202 B"),
        ("1500 B", "1000 B", 7, "IPv6 at least 1280 B"),
        ("198.18.0.2/24", "198.18.0.1/24", 16, "already used by links[0].tester.ipv4 (line 11)"),
        ("2001:2::2/64", "2001:2::1/64", 17, "already used by links[0].tester.ipv6"),
        ("02:00:00:00:00:02", "02:00:00:00:00:01", 15, "already used by links[0].tester.mac"),
        ("02:00:00:00:00:02", "03:00:00:00:00:02", 15, "unicast"),
        ("name: dut0", "name: tester0", 14, "already used by links[0].tester.name"),
        ("198.18.0.2/24", "192.168.0.2/24", 16, "198.18.0.0/15"),
        ("2001:2::2/64", "2001:db8::2/64", 17, "2001:2::/48"),
        ("198.18.0.2/24", "198.18.9.2/24", 13, "in the tester's network"),
        ("198.18.0.2/24", "198.18.0.2", 16, "with prefix length"),
        ("198.18.0.2/24", "198.18.0.0/24", 16, "is the network address"),
        ("name: dut0", "name: a-very-long-interface", 14, "at most 15 characters"),
        ("{tester: 0, dut: 1}", "{tester: 1, dut: 1}", 3, "two different cores"),
        ("{tester: 0, dut: 1}", "{tester: x, dut: 1}", 3, "integer from 0"),
        ("{tester: 0, dut: 1}", "{tester: ٣, dut: 1}", 3, "integer from 0"),
        ("{tester: 0, dut: 1}", f"{{tester: {'9' * 5000}, dut: 1}}", 3, "integer from 0"),
        ("    kind: veth", "    kind: veth\n    hugepages: yes", 7, "has no 'hugepages'"),
        ("    kind: veth", "    kind: memif\n    ring: 1000", 7, "power of two"),
        ("    kind: veth", "    kind: memif\n    hugepages: maybe", 7, "yes or no"),
        ("description: a lab", "description: a lab\ndescription: b", 2, "duplicate key"),
        ("description: a lab", "description: [", 3, "expected YAML"),
        ("description: a lab", "description:", 1, "expected text"),
    ],
)
def test_says_where_it_is_wrong_and_what_to_do(old: str, new: str, line: int, said: str) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        read(old, new)
    assert str(caught.value).startswith(f"lab.yml:{line}: ")
    assert said in str(caught.value)


def test_says_all_that_is_wrong_at_once_each_with_its_line() -> None:
    text = GOOD.replace("description", "descripton").replace("[kernel]", "[kernel, xpd, kernal]")
    text = (
        text.replace("tester: 0,", "tester: x,")
        .replace("1500 B", "1500")
        .replace("    kind: veth", "    knd: veth")
    )
    text = text.replace("02:00:00:00:00:01", "03:00:00:00:00:01").replace("198.18.0.2/24", "192.168.0.2/24")
    text = text.replace("name: dut0", "name: tester0") + "banana: 1\n"
    with pytest.raises(ConfigInvalid) as caught:
        parse(text, Path("lab.yml"))
    said = str(caught.value).splitlines()
    lines = [int(line.split(":")[1]) for line in said if line.startswith("lab.yml:")]
    assert lines == [1, 2, 2, 3, 6, 7, 10, 14, 16, 18]
    assert said[-1] == "10 mistakes in all"
    for words in (
        "did you mean 'description'?",
        "'xpd'",
        "'kernal'",
        "integer",
        "did you mean 'kind'?",
        "units 'B'",
    ):
        assert any(words in line for line in said), words
    assert not any("missing key" in line for line in said), "what is misspelt is not missing as well"


def test_what_follows_from_a_mistake_is_no_mistake_of_its_own() -> None:
    """Of a kind, a tier or a key that is wrong nothing else is concluded."""
    for old, new in (
        ("    kind: veth", "    kind: memfi\n    ring: 512"),
        ("description: a lab", "description: a lab\ntier: hardwar"),
        ("    dut:\n", "    dtu:\n"),
    ):
        with pytest.raises(ConfigInvalid) as caught:
            read(old, new)
        assert str(caught.value).count("lab.yml:") == 1, caught.value
    with pytest.raises(ConfigInvalid) as caught:
        parse(
            GOOD.replace("198.18.0.2", "10.0.0.2").replace("cores", "tier: hardwar\ncores"), Path("lab.yml")
        )
    assert "set aside for benchmarks" not in str(caught.value)


def test_a_former_key_is_answered_with_the_new_one() -> None:
    text = (
        "description: x\ntier: simulated\nbackends: [dpdk]\nsimulation:\n  dpdk: {tester_ceiling: 5 Mpps}\n"
    )
    with pytest.raises(ConfigInvalid, match="'tester_ceiling' is now called 'max_offered_load'") as caught:
        parse(text, Path("sim.yml"))
    assert str(caught.value).startswith("sim.yml:5: simulation.dpdk.tester_ceiling: ")


def test_a_simulated_lab_says_all_that_is_wrong_too() -> None:
    text = (
        "description: x\ntier: simulated\nbackends: [kernel, dpdk]\nsimulation:\n"
        "  kernel: {capacity: 400, noise: 90 %}\n  dpdk:\n    capacity: 9 Mpps\n    buffer: 3\n"
    )
    with pytest.raises(ConfigInvalid) as caught:
        parse(text, Path("lab.yml"))
    lines = [line for line in str(caught.value).splitlines() if line.startswith("lab.yml:")]
    assert ["capacity" in lines[0], "noise" in lines[1], "'buffer'" in lines[2]] == [True] * 3, lines


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (
            "tier: simulated\nbackends: [kernel, foo, kernel]",
            [(3, "'foo'"), (3, "each backend once"), (5, "noise"), (6, "capacity")],
        ),
        ("tier: simulatd\nbackends: [kernel, dpdk]", [(2, "'simulatd'"), (5, "noise"), (6, "capacity")]),
        ("tier: simulated\nbackends: kernel", [(3, "expected a list"), (5, "noise"), (6, "capacity")]),
        ("tier: simulated\nbackends: [kernal]", [(3, "'kernal'"), (5, "noise"), (6, "capacity")]),
        ("tier: simulated\n", [(1, "missing key 'backends'"), (5, "noise"), (6, "capacity")]),
        (
            "tier: simulated\nbackends: [kernel, xdp, xpd]",
            [(3, "'xpd'"), (4, "missing key 'xdp'"), (5, "noise"), (6, "capacity")],
        ),
        ("tier: simulatd\nbackends: [kernel]", [(2, "'simulatd'"), (5, "noise"), (6, "unknown key 'dpdk'")]),
    ],
)
def test_what_depends_on_a_mistake_is_read_as_far_as_it_is_known(
    head: str, expected: list[tuple[int, str]]
) -> None:
    text = f"description: x\n{head}\nsimulation:\n  kernel: {{noise: 90 %}}\n  dpdk: {{capacity: 400}}\n"
    with pytest.raises(ConfigInvalid) as caught:
        parse(text, Path("lab.yml"))
    said = [line for line in str(caught.value).splitlines() if line.startswith("lab.yml:")]
    for (line, words), one in zip(expected, said, strict=True):
        assert one.startswith(f"lab.yml:{line}: ")
        assert words in one


def test_a_wrong_tier_hides_neither_links_nor_simulation() -> None:
    text = GOOD.replace("description: a lab", "description: a lab\ntier: hardwar").replace("1500 B", "1500")
    with pytest.raises(ConfigInvalid) as caught:
        parse(text + "simulation:\n  kernel: {noise: 90 %}\n", Path("lab.yml"))
    for words in ("'hardwar'", "units 'B'", "noise"):
        assert words in str(caught.value)


def test_refuses_links_of_different_kinds() -> None:
    second = GOOD[GOOD.index("  - name") :].replace("veth0", "m").replace("kind: veth", "kind: memif")
    second = second.replace("er0", "er1").replace("dut0", "dut1").replace("00:00:0", "01:00:0")
    second = second.replace("198.18.0", "198.18.1").replace("2001:2:", "2001:2:0:1:")
    with pytest.raises(ConfigInvalid, match="expected links of one kind, got veth and memif"):
        parse(GOOD + second, Path("lab.yml"))
    assert parse(GOOD + second.replace("memif", "veth"), Path("lab.yml")).forwards


def test_refuses_a_third_link_and_none() -> None:
    with pytest.raises(ConfigInvalid, match=r"one link .* or two"):
        parse("description: x\nbackends: [kernel]\nlinks: []\n", Path("lab.yml"))


def test_refuses_a_file_that_is_missing_and_suggests_names() -> None:
    with pytest.raises(ConfigInvalid, match="did you mean 'veth'"):
        load("vet")
    with pytest.raises(ConfigInvalid, match="no such topology file"):
        load("no/such.yml")


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("", "expected the name of a topology or a path to its file, got ''"),
        (" ", "got ' '"),
        (".", "no topology is named '.'"),
        ("..", "no topology is named '..'"),
        ("/", "/: is a folder, expected a topology file"),
        ("./", "./: is a folder"),
        ("a" * 300, "cannot be read: File name too long"),
        ("a" * 300 + ".yml", "cannot be read: File name too long"),
    ],
)
def test_refuses_what_is_no_file(wanted: str, said: str) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        load_checked(wanted)
    assert said in str(caught.value)


def test_targets_that_cannot_be_looked_at_are_reported_with_their_line() -> None:
    with pytest.raises(
        ConfigInvalid, match=r"lab\.yml:18: targets\[0\]: .*cannot be read: File name too long"
    ):
        parse(GOOD + f"targets: [{'a' * 300}]\n", Path("lab.yml"))


def test_loads_by_path_with_the_targets_beside_it(tmp_path: Path) -> None:
    (tmp_path / "mine.yml").write_text(GOOD)
    assert load(tmp_path / "mine.yml").targets == ()
    (tmp_path / "mine.targets.yml").write_text("")
    assert load(tmp_path / "mine.yml").targets == (tmp_path / "mine.targets.yml",)


def test_ships_labs_that_load() -> None:
    assert {"veth", "veth-forward", "vhost", "memif"} <= set(names())
    for name in names():
        lab = load(name)
        assert lab.name == name
        assert lab.text.startswith("# "), "each says what it is for"
    assert load("veth-forward").forwards
