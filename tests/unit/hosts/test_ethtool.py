"""Settings of a NIC with rings, moderation and RSS, played by one that answers as ethtool does."""

from __future__ import annotations

import json
import subprocess

import pytest
from ansible_collections.labkit.host.plugins.module_utils import ethtool, ethtool_groups, links, undo
from ansible_collections.labkit.host.plugins.module_utils.ethtool_groups import EthtoolFailed, NotRestored
from ansible_collections.labkit.host.plugins.module_utils.protected import Network
from ansible_collections.labkit.host.plugins.module_utils.state import Change

MAC = "02:00:00:00:00:01"


class Nic:
    """A driver, by what `ethtool` prints of it and does to it."""

    def __init__(self):
        self.name = "eth1"
        self.mac = MAC
        self.log = []
        self.rings = {"rx": 512, "tx": 512}
        self.channels = 8
        self.moderation = {"rx-usecs": 50, "tx-usecs": 50}
        self.adaptive = "on"
        self.pause = {"autoneg": "off", "rx": "on", "tx": "on"}
        self.table = [slot % 8 for slot in range(16)]
        self.forgets = False
        """Whether other channels make rings and moderation anew, too."""
        self.stuck = {}
        """Setting to what the driver makes of any value."""
        self.refuses = {}
        """Option to what it says of any value."""

    def run(self, command, **_):
        option, name, *words = command[1:]
        if name != self.name:
            return subprocess.CompletedProcess(command, 1, "", "netlink error: No such device")
        if option.isupper() and option != "-P":
            self.log.append(f"{option} {' '.join(words)}")
            if option in self.refuses:
                return subprocess.CompletedProcess(command, 1, "", self.refuses[option])
            self.set(option, words)
            return subprocess.CompletedProcess(command, 0, "", "")
        return subprocess.CompletedProcess(command, 0, self.show(option), "")

    def set(self, option, words):
        values = dict(zip(words[::2], words[1::2], strict=False))
        values.update({key: self.stuck[key] for key in values if key in self.stuck})
        if option == "-G":
            self.rings.update({key: int(value) for key, value in values.items()})
        elif option == "-L":
            self.channels = int(values["combined"])
            self.table = [slot % self.channels for slot in range(16)]
            if self.forgets:
                self.rings, self.moderation = {"rx": 512, "tx": 512}, {"rx-usecs": 50, "tx-usecs": 50}
        elif option == "-C":
            self.adaptive = values.pop("adaptive-rx", self.adaptive)
            self.moderation.update({key: int(value) for key, value in values.items()})
        elif option == "-A":
            self.pause.update(values)
        elif words == ["default"]:
            self.table = [slot % self.channels for slot in range(16)]
        else:
            assert words[0] == "equal"
            self.table = [slot % int(words[1]) for slot in range(16)]

    def show(self, option):
        if option == "-P":
            return f"Permanent address: {self.mac}\n"
        if option == "-g":
            most = "Pre-set maximums:\nRX:\t\t4096\nRX Mini:\tn/a\nTX:\t\t4096\n"
            return f"{most}Current hardware settings:\nRX:\t\t{self.rings['rx']}\nTX:\t\t{self.rings['tx']}\n"
        if option == "-l":
            return (
                f"Pre-set maximums:\nCombined:\t16\nCurrent hardware settings:\nCombined:\t{self.channels}\n"
            )
        if option == "-c":
            lines = "".join(f"{key}: {value}\n" for key, value in self.moderation.items())
            return f"Adaptive RX: {self.adaptive}  TX: n/a\n{lines}"
        if option == "-a":
            return (
                f"Autonegotiate:\t{self.pause['autoneg']}\nRX:\t{self.pause['rx']}\nTX:\t{self.pause['tx']}\n"
            )
        assert option == "-x"
        rows = [" ".join(map(str, self.table[at : at + 8])) for at in (0, 8)]
        return f"with {self.channels} RX ring(s):\n    0: {rows[0]}\n    8: {rows[1]}\n"

    def all(self):
        return {
            "log": [],
            **{key: value for key, value in vars(self).items() if key not in ("log", "stuck", "refuses")},
        }


@pytest.fixture
def nic(tmp_path, monkeypatch):
    nic = Nic()
    monkeypatch.setattr(ethtool_groups.subprocess, "run", nic.run)
    monkeypatch.setattr(links, "ssh_connections", lambda root=None: [])
    nic.network = lambda: Network([{"ifindex": 2, "ifname": nic.name, "altnames": ["long-name"]}], [], [])
    monkeypatch.setattr(links, "look", lambda root=None: nic.network())
    nic.root = tmp_path
    return nic


def change(nic, wanted, name="eth1", **more):
    return ethtool.change(
        "nic_tuning", name, wanted, **{"over_ssh": False, "management": [], "root": nic.root, **more}
    )


def notes(nic):
    file = nic.root / "var/lib/labkit/state/nic_tuning.json"
    return json.loads(file.read_text())["changes"] if file.exists() else []


ALL = {
    "rss": {"indirection": "equal 2"},
    "pause": {"rx": False, "tx": False},
    "coalescing": {"adaptive-rx": False, "rx-usecs": 0},
    "rings": {"rx": 4096, "tx": 1024},
    "channels": {"combined": 4},
}


def test_all_is_set_in_the_order_in_which_it_lasts_and_reverted_the_other_way_round(nic):
    before = nic.all()

    predicted = change(nic, ALL, check=True)
    assert nic.log == []
    assert change(nic, ALL) == predicted
    assert nic.log == [
        "-L combined 4",
        "-G rx 4096 tx 1024",
        "-C adaptive-rx off rx-usecs 0",
        "-A rx off tx off",
        "-X equal 2",
    ]
    assert change(nic, ALL) == ({}, {})
    nic.log.clear()

    assert undo.undo("nic_tuning", nic.root)[1] == []
    assert [line.partition(" ")[0] for line in nic.log] == ["-X", "-A", "-C", "-G", "-L"]
    assert nic.all() == before
    assert notes(nic) == []


@pytest.fixture
def tuned(nic):
    """A NIC that its user has tuned, and that forgets it with other channels."""
    nic.forgets = True
    nic.rings["rx"], nic.moderation["rx-usecs"], nic.table = 4096, 8, [0, 1] * 8
    return nic


@pytest.mark.parametrize("wanted", [{"channels": {"combined": 4}}, ALL])
@pytest.mark.parametrize("persist", [False, True])
def test_what_other_channels_make_anew_is_reverted_with_them(tuned, wanted, persist):
    before = tuned.all()

    predicted = change(tuned, wanted, persist=persist, check=True)
    assert change(tuned, wanted, persist=persist) == predicted
    assert change(tuned, wanted, persist=persist) == ({}, {})

    assert undo.undo("nic_tuning", tuned.root)[1] == []
    assert tuned.all() == before


def test_channels_that_do_not_take_leave_what_they_made_anew_as_it_was(tuned, monkeypatch):
    before = tuned.all()
    tuning = tuned.set

    def half(option, words):
        tuning(option, ["combined", "3"] if words == ["combined", "4"] else words)

    monkeypatch.setattr(tuned, "set", half)
    with pytest.raises(
        EthtoolFailed, match="set combined 4, read back combined 3; the old values are in effect"
    ):
        change(tuned, {"channels": {"combined": 4}})
    monkeypatch.undo()
    assert (tuned.rings, tuned.moderation, tuned.table) == (
        before["rings"],
        before["moderation"],
        before["table"],
    )
    assert notes(tuned) == []


def test_revert_that_is_killed_after_the_channels_is_repaired_by_the_next(tuned, monkeypatch):
    before = tuned.all()
    change(tuned, {"channels": {"combined": 4}})
    run = tuned.run

    def dying(command, **more):
        if command[1] == "-G":
            raise KeyboardInterrupt
        return run(command, **more)

    with monkeypatch.context() as patch:
        patch.setattr(ethtool_groups.subprocess, "run", dying)
        with pytest.raises(KeyboardInterrupt):
            undo.undo("nic_tuning", tuned.root)

    assert undo.undo("nic_tuning", tuned.root)[1] == []
    assert tuned.all() == before


def test_channels_are_left_alone_that_would_lose_an_rss_table_for_good(tuned):
    tuned.table = [3, 0, 0, 1] * 4

    with pytest.raises(EthtoolFailed, match="could not be reverted, since ethtool has no words for it"):
        change(tuned, {"channels": {"combined": 4}})
    assert (tuned.log, notes(tuned)) == ([], [])


def test_value_that_does_not_take_is_reverted_and_reported_with_both(nic):
    nic.stuck = {"rx": "2048"}
    before = nic.all()

    with pytest.raises(
        EthtoolFailed,
        match=r"eth1 rings: set rx 4000, read back rx 2048; AND THE OLD VALUES .*COULD NOT BE RESTORED",
    ):
        change(nic, {"rings": {"rx": 4000}})
    nic.stuck = {}
    assert undo.undo("nic_tuning", nic.root)[1] == []
    assert nic.all() == before

    nic.stuck = {"tx-usecs": "50"}
    with pytest.raises(
        EthtoolFailed,
        match=r"set tx-usecs 7, read back tx-usecs 50; the old values are in effect \(rx-usecs 50, tx-usecs 50\)",
    ):
        change(nic, {"coalescing": {"rx-usecs": 8, "tx-usecs": 7}})
    assert nic.all() == before
    assert notes(nic) == []


def test_refusal_of_the_driver_is_reported_in_its_words(nic):
    nic.refuses = {"-A": "netlink error: link autonegotiation is on"}

    with pytest.raises(
        EthtoolFailed, match="ethtool -A eth1 rx off: link autonegotiation is on; the old values"
    ):
        change(nic, {"pause": {"rx": False}})
    assert notes(nic) == []


def test_earlier_notes_survive_a_later_run_that_fails(nic):
    change(nic, {"rings": {"rx": 1024}})
    nic.refuses = {"-G": "netlink error: Device or resource busy"}

    with pytest.raises(EthtoolFailed, match="busy"):
        change(nic, {"rings": {"rx": 2048, "tx": 2048}})

    [note] = notes(nic)
    assert (note["old"]["values"], note["new"]) == ({"rx": "512"}, {"rx": "1024"})


def test_later_run_that_wants_more_notes_the_old_value_of_what_is_new(nic):
    change(nic, {"rings": {"rx": 1024}})
    nic.rings["tx"] = 300
    change(nic, {"rings": {"rx": 2048, "tx": 2048}})

    assert [(note["old"]["values"], note["new"]) for note in notes(nic)] == [
        ({"rx": "512"}, {"rx": "2048"}),
        ({"tx": "300"}, {"tx": "2048"}),
    ]
    assert undo.undo("nic_tuning", nic.root)[1] == []
    assert nic.rings == {"rx": 512, "tx": 300}


def test_all_is_looked_at_before_the_first_change(nic):
    with pytest.raises(EthtoolFailed, match="rings rx 9999 is more than the driver's maximum, 4096"):
        change(nic, {"channels": {"combined": 1}, "rings": {"rx": 9999}})
    assert nic.log == []


@pytest.mark.parametrize(("group", "key"), [("rings", "rx"), ("mtu", "mtu")])
@pytest.mark.parametrize("value", ["²", "٤"])
def test_digit_that_is_none_for_ethtool_is_no_number(group, key, value):
    """It is left to the driver to refuse it."""
    assert ethtool_groups.slip(group, key, value) is None


def test_value_that_only_looks_like_a_number_is_compared_with_no_maximum(nic):
    nic.refuses["-G"] = "bad command line argument(s)"
    with pytest.raises(EthtoolFailed, match="bad command line"):
        change(nic, {"rings": {"rx": "²"}})


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        ({"mtu": {"mtu": 0}}, "eth1: mtu 0: expected at least 68 bytes"),
        ({"rings": {"rx": -5}}, "eth1: rings rx -5: expected 0 or more"),
        ({"features": {"gro": "of"}}, "eth1: features gro of: expected on or off"),
    ],
)
def test_value_that_no_driver_takes_is_refused_before_the_first_change(nic, wanted, why):
    with pytest.raises(EthtoolFailed, match=why):
        change(nic, {"channels": {"combined": 1}, **wanted})
    assert nic.log == []


@pytest.mark.parametrize("point", range(6))
@pytest.mark.parametrize("mend", ["again", "revert"])
def test_run_that_is_killed_at_any_point_is_repaired(nic, monkeypatch, point, mend):
    before = nic.all()
    run = nic.run

    def dying(command, **more):
        if len(nic.log) >= point and command[1].isupper() and command[1] != "-P":
            raise KeyboardInterrupt
        return run(command, **more)

    with monkeypatch.context() as patch:
        patch.setattr(ethtool_groups.subprocess, "run", dying)
        if point < 5:
            with pytest.raises(KeyboardInterrupt):
                change(nic, ALL)
        else:
            change(nic, ALL)

    if mend == "again":
        change(nic, ALL)
        assert (nic.channels, nic.rings["rx"], nic.table[:3]) == (4, 4096, [0, 1, 0])
    assert undo.undo("nic_tuning", nic.root)[1] == []
    assert nic.all() == before


def test_what_is_right_already_is_noted_where_the_next_boot_forgets_it(nic):
    assert change(nic, {"rings": {"rx": 512}}) == ({}, {})
    assert change(nic, {"rings": {"rx": 512}}, persist=True) == ({"rings": {"rx": "512"}},) * 2
    assert change(nic, {"rings": {"rx": 512}}, persist=True) == ({}, {})
    assert nic.log == []


def test_it_is_set_again_after_a_boot_also_under_another_name(nic):
    change(nic, {"rings": {"rx": 1024}}, persist=True)
    [note] = notes(nic)
    nic.rings["rx"], nic.name = 512, "renamed0"

    ethtool.again(Change(**note), nic.root)

    assert nic.rings["rx"] == 1024


def test_another_nic_that_has_the_name_now_is_left_alone(nic):
    change(nic, {"rings": {"rx": 1024}}, persist=True)
    [note] = notes(nic)
    nic.mac = "02:00:00:00:00:99"
    nic.log.clear()

    with pytest.raises(EthtoolFailed, match=rf"eth1 \({MAC}\) is not there: its rings are not set"):
        ethtool.again(Change(**note), nic.root)
    assert undo.undo("nic_tuning", nic.root)[1] == [
        f"ethtool eth1 rings rx: eth1 ({MAC}) is not there (it was rx 512)"
    ]
    with pytest.raises(EthtoolFailed, match="undo that first"):
        change(nic, {"rings": {"rx": 2048}})
    assert nic.log == []


def test_alternative_name_is_taken(nic):
    change(nic, {"rings": {"rx": 1024}}, name="long-name")

    assert nic.rings["rx"] == 1024


def test_rss_table_that_could_not_be_reverted_is_left_alone(nic):
    nic.table = [3, 0, 0, 1] * 4

    with pytest.raises(EthtoolFailed, match="could not be reverted, since ethtool has no words for it"):
        change(nic, {"rss": {"indirection": "equal 2"}})
    assert nic.log == []


def test_putting_back_that_fails_keeps_the_note(nic):
    nic.stuck = {"rx": "2048"}

    with pytest.raises(NotRestored):
        change(nic, {"rings": {"rx": 4000}})
    assert len(notes(nic)) == 1


def test_ethtool_that_is_missing_is_reported(nic, monkeypatch):
    def missing(command, **_):
        raise FileNotFoundError(command[0])

    monkeypatch.setattr(ethtool_groups.subprocess, "run", missing)

    with pytest.raises(EthtoolFailed, match="ethtool is not installed: role labkit_host installs it"):
        change(nic, {"rings": {"rx": 1024}})
