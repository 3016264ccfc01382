"""Interrupts leave isolated cores, those that can't are reported, and all that are still there go back."""

from __future__ import annotations

import errno
import json

import pytest
from ansible_collections.labkit.host.plugins.module_utils import irqs, undo
from ansible_collections.labkit.host.plugins.module_utils.state import State, StateUnreadable

FIXED = "the kernel lets nobody move it"


class Host:
    """A tree like /proc/irq, where a write to `smp_affinity_list` sets the effective affinity too."""

    def __init__(self, root, monkeypatch):
        self.root = root
        self.managed: set[int] = set()
        self.idle: set[int] = set()
        (root / "proc/irq").mkdir(parents=True)
        (root / "proc/irq/default_smp_affinity").write_text("f\n")
        (root / "sys/devices/system/cpu").mkdir(parents=True)
        (root / "sys/devices/system/cpu/present").write_text("0-3\n")
        written = irqs.Irq.move

        def move(irq, cores):
            if irq.number in self.managed:
                raise OSError(errno.EIO, "Input/output error")
            written(irq, cores)
            if irq.number not in self.idle:
                (irq.folder / "effective_affinity_list").write_text(f"{min(cores)}\n")

        monkeypatch.setattr(irqs.Irq, "move", move)

    def add(self, number, name, affinity, effective):
        folder = self.root / f"proc/irq/{number}"
        (folder / name).mkdir(parents=True)
        (folder / "smp_affinity_list").write_text(affinity + "\n")
        (folder / "effective_affinity_list").write_text(effective + "\n")
        return folder / "smp_affinity_list"

    def affinity(self, number):
        return (self.root / f"proc/irq/{number}/smp_affinity_list").read_text().strip()

    def default(self):
        return (self.root / "proc/irq/default_smp_affinity").read_text().strip()

    def change(self, isolated="1-3", **more):
        return irqs.change("cpu_isolation", isolated, root=self.root, **more)


@pytest.fixture
def host(tmp_path, monkeypatch):
    host = Host(tmp_path, monkeypatch)
    host.add(24, "virtio0-config", "0-3", "2")
    host.add(25, "eth0-rx", "1", "1")
    host.add(26, "ttyS0", "0", "0")
    return host


def test_isolated_cores_are_taken_out_of_every_affinity_and_of_the_default(host):
    outcome = host.change(isolated="1-2")

    assert outcome.moved == ["24 (virtio0-config)", "25 (eth0-rx)"]
    assert (outcome.changed, outcome.stay, outcome.on_isolated) == (True, {}, [])
    assert [host.affinity(number) for number in (24, 25, 26)] == ["0,3", "0,3", "0"]
    assert host.default() == "9"


def test_second_run_changes_nothing(host):
    assert host.change(persist=True).changed
    assert not host.change(persist=True).changed


def test_core_that_is_isolated_no_more_gets_its_irqs_back(host):
    host.change(isolated="1-3", persist=True)

    assert host.change(isolated="2-3", persist=True, check=True).changed
    assert host.affinity(25) == "0"
    assert host.change(isolated="2-3", persist=True).changed
    assert [host.affinity(number) for number in (24, 25, 26)] == ["0-1", "1", "0"]
    assert host.default() == "3"
    assert not host.change(isolated="2-3", persist=True).changed
    undo.undo("cpu_isolation", host.root)
    assert [host.affinity(number) for number in (24, 25, 26)] == ["0-3", "1", "0"]
    assert host.default() == "f"


def test_check_mode_tells_what_a_run_then_does(host):
    in_check_mode = host.change(check=True)

    assert host.affinity(24) == "0-3"
    assert host.default() == "f"
    assert sorted(path.name for path in host.root.iterdir()) == ["proc", "sys"]
    done = host.change()
    assert (in_check_mode.changed, in_check_mode.moved, in_check_mode.on_isolated) == (
        done.changed,
        done.moved,
        done.on_isolated,
    )
    assert not host.change(check=True).changed


def test_irq_that_nobody_may_move_is_reported_and_does_not_make_every_run_a_change(host):
    host.managed = {25}

    first, check, second = host.change(), host.change(check=True), host.change()

    assert first.moved == ["24 (virtio0-config)"]
    assert first.stay == {"25 (eth0-rx)": FIXED}
    assert first.on_isolated == ["25 (eth0-rx)"]
    assert [(one.changed, one.stay) for one in (check, second)] == [(False, first.stay)] * 2


def test_newer_kernels_tell_by_the_mode_what_can_not_be_moved(host):
    (host.root / "proc/irq/25/smp_affinity_list").chmod(0o444)

    assert host.change(check=True).stay == {"25 (eth0-rx)": FIXED}
    assert host.change().moved == ["24 (virtio0-config)"]
    assert host.affinity(25) == "1"


def test_irq_without_room_on_the_others_is_tried_again_by_the_next_run(host, monkeypatch):
    def full(irq, cores):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(irqs.Irq, "move", full)
        assert set(host.change().stay.values()) == {"No space left on device"}
    assert host.change().moved == ["24 (virtio0-config)", "25 (eth0-rx)"]


def test_irq_that_moves_with_its_next_interrupt_is_reported_as_still_there(host):
    host.idle = {25}

    first, second = host.change(), host.change()

    assert first.moved == ["24 (virtio0-config)", "25 (eth0-rx)"]
    assert not second.changed
    assert [(one.on_isolated, one.waiting) for one in (first, second)] == [([], ["25 (eth0-rx)"])] * 2


def test_all_goes_back_as_it_was(host):
    host.change()
    host.change(isolated="2-3")

    assert undo.undo("cpu_isolation", host.root) == (["irqs /proc/irq"], [])
    assert [host.affinity(number) for number in (24, 25, 26)] == ["0-3", "1", "0"]
    assert host.default() == "f"
    assert list((host.root / "run").iterdir()) == []
    assert not (host.root / "var/lib/labkit").exists()


def test_irq_that_somebody_moved_meanwhile_goes_back_to_where_it_was_first(host):
    host.change()
    (host.root / "proc/irq/24/smp_affinity_list").write_text("2\n")
    assert host.change().moved == ["24 (virtio0-config)"]

    undo.undo("cpu_isolation", host.root)

    assert host.affinity(24) == "0-3"


def test_irq_that_came_later_is_moved_and_one_that_is_another_by_now_is_not_reverted(host):
    host.change()
    (host.root / "proc/irq/25/eth0-rx").rename(host.root / "proc/irq/25/nvme0q1")
    host.add(27, "eth1-rx", "3", "3")
    assert host.change().moved == ["27 (eth1-rx)"]

    undo.undo("cpu_isolation", host.root)

    assert [host.affinity(number) for number in (24, 25, 27)] == ["0-3", "0", "3"]


def test_old_affinities_are_on_disk_before_the_first_irq_moves(host, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(irqs.Irq, "move", killed)
        with pytest.raises(KeyboardInterrupt):
            host.change()

    old = json.loads((host.root / "run/labkit-host/irqs.json").read_text())["old"]
    assert {number: one["affinity"] for number, one in old.items()} == {"24": "0-3", "25": "1"}
    assert host.change().moved == ["24 (virtio0-config)", "25 (eth0-rx)"]
    undo.undo("cpu_isolation", host.root)
    assert [host.affinity(number) for number in (24, 25)] == ["0-3", "1"]
    assert host.default() == "f"


def test_after_a_boot_they_are_moved_again_and_go_back_to_where_that_boot_had_them(host):
    host.change(persist=True)
    for path in (host.root / "run/labkit-host").iterdir():
        path.unlink()
    host.add(30, "eth0-rx", "2-3", "3")
    (host.root / "proc/irq/24/smp_affinity_list").write_text("0-2\n")
    (host.root / "proc/irq/default_smp_affinity").write_text("f\n")

    [change] = State("cpu_isolation", host.root).changes()
    assert change.persist
    irqs.again(change, host.root)

    assert [host.affinity(number) for number in (24, 30)] == ["0", "0"]
    assert host.default() == "1"
    undo.undo("cpu_isolation", host.root)
    assert [host.affinity(number) for number in (24, 30)] == ["0-2", "2-3"]
    assert host.default() == "f"


@pytest.mark.parametrize("isolated", ["0-3", "1-9", "0", "x"])
def test_cores_that_can_not_be_isolated_are_refused_before_anything_is_changed(host, isolated):
    with pytest.raises(ValueError, match="core"):
        host.change(isolated=isolated)

    assert host.affinity(24) == "0-3"
    assert not (host.root / "var").exists()


def test_journal_that_is_not_ours_is_an_error_and_nothing_moves(host):
    (host.root / "run/labkit-host").mkdir(parents=True)
    (host.root / "run/labkit-host/irqs.json").write_text("{")

    with pytest.raises(StateUnreadable, match=r"run/labkit-host/irqs.json: not what labkit writes"):
        host.change()
    assert host.affinity(24) == "0-3"


class TestSmtOff:
    """Cores 2 and 3 are the siblings of 0 and 1, present and offline."""

    @pytest.fixture
    def host(self, host, monkeypatch):
        (host.root / "sys/devices/system/cpu/online").write_text("0-1\n")
        taken = irqs.Irq.move

        def move(irq, cores):
            if not cores & {0, 1}:
                raise OSError(errno.EINVAL, "Invalid argument")
            taken(irq, cores)

        monkeypatch.setattr(irqs.Irq, "move", move)
        return host

    def test_irq_of_a_core_and_its_offline_sibling_leaves_the_isolated_core(self, host):
        host.add(28, "eth0-tx", "1,3", "1")

        outcome = host.change(isolated="1")

        assert (host.affinity(28), outcome.stay, outcome.on_isolated) == ("0,2-3", {}, [])
        assert not host.change(isolated="1").changed

    def test_offline_cores_among_the_isolated_are_reported(self, host):
        host.add(28, "eth0-tx", "1,3", "1")

        outcome = host.change(isolated="1,3")

        assert (host.affinity(28), outcome.stay, outcome.offline) == ("0,2", {}, "3")

    def test_irq_that_can_not_go_back_to_offline_cores_is_reported_with_the_reason(self, host):
        (host.root / "sys/devices/system/cpu/online").write_text("0-3\n")
        host.add(28, "eth0-tx", "1", "1")
        host.change(isolated="1")
        journal = json.loads((host.root / irqs.JOURNAL).read_text())
        journal["old"]["28"]["affinity"] = "3"
        (host.root / irqs.JOURNAL).write_text(json.dumps(journal))
        (host.root / "sys/devices/system/cpu/online").write_text("0-1\n")

        _, left = undo.undo("cpu_isolation", host.root)

        assert "IRQ 28 (eth0-tx) does not go back to cores 3: Invalid argument (3 offline by now)" in str(
            left
        )
