"""Hugepages are granted, counted and given back; a short grant says how much memory there is and how it is cut up."""

from __future__ import annotations

import pytest
from ansible_collections.labkit.host.plugins.module_utils import (
    hugepages_have,
    hugepages_look,
    hugepools,
    undo,
)
from ansible_collections.labkit.host.plugins.module_utils.hugepages import Pool
from ansible_collections.labkit.host.plugins.module_utils.settings import Setting
from ansible_collections.labkit.host.plugins.module_utils.state import State

NODE0, NODE1 = Pool(2048, 256, 0), Pool(2048, 128, 1)


class Host:
    """Two nodes; a kernel that grants no more than `most` pages of a pool."""

    def __init__(self, root, monkeypatch):
        self.root = root
        self.most = 1000
        pages = "hugepages/hugepages-2048kB"
        for folder in (
            f"sys/kernel/mm/{pages}",
            *(f"sys/devices/system/node/node{node}/{pages}" for node in (0, 1)),
        ):
            (root / folder).mkdir(parents=True)
            (root / folder / "nr_hugepages").write_text("0\n")
            (root / folder / "free_hugepages").write_text("0\n")
        for node in (0, 1):
            (root / f"sys/devices/system/node/node{node}/meminfo").write_text(
                f"Node {node} MemTotal:  4194304 kB\nNode {node} MemFree:  {1048576 * (node + 1)} kB\n"
            )
        (root / "proc").mkdir()
        (root / "proc/meminfo").write_text(
            "MemTotal:  8388608 kB\nMemFree:  3145728 kB\nHugepagesize:    2048 kB\n"
        )
        (root / "proc/buddyinfo").write_text("Node 0, zone   Normal  9 8 7\nNode 1, zone   Normal  1 2 3\n")
        (root / "proc/cmdline").write_text("ro quiet hugepagesz=2M hugepages=256 isolcpus=1\n")
        written = Setting.write

        def write(setting, value):
            if int(value) <= self.most:
                written(setting, value)
                return
            real = Setting.read  # the kernel takes the value and makes fewer
            reads = iter([real(setting), str(self.most)])
            with monkeypatch.context() as patch:
                patch.setattr(Setting, "read", lambda _: next(reads))
                written(setting, value)

        monkeypatch.setattr(Setting, "write", write)

    def count(self, pool):
        return int((self.root / hugepools.count_file(pool)[1:]).read_text())

    def set(self, pool, count):
        (self.root / hugepools.count_file(pool)[1:]).write_text(f"{count}\n")

    def grant(self, pool, **more):
        return hugepools.grant("hugepages", pool, root=self.root, **more)

    def changes(self):
        return State("hugepages", self.root).changes()


@pytest.fixture
def host(tmp_path, monkeypatch):
    return Host(tmp_path, monkeypatch)


def test_each_node_has_its_pages_once_and_gives_them_back(host):
    host.set(NODE1, 16)

    assert [host.grant(pool, persist=True) for pool in (NODE0, NODE1)] == [True, True]
    assert [host.grant(pool, persist=True) for pool in (NODE0, NODE1)] == [False, False]
    assert [host.count(pool) for pool in (NODE0, NODE1)] == [256, 128]
    assert all(change.persist for change in host.changes())

    assert undo.undo("hugepages", host.root)[1] == []
    assert [host.count(pool) for pool in (NODE0, NODE1)] == [0, 16]


def test_check_mode_changes_nothing(host):
    assert host.grant(NODE0, check=True)
    assert host.count(NODE0) == 0
    assert not (host.root / "var").exists()


def test_short_grant_is_an_error_and_puts_the_old_count_and_note_back(host):
    host.set(NODE1, 3)
    host.most = 100

    with pytest.raises(hugepools.ShortGrant) as raised:
        host.grant(NODE1)

    output = str(raised.value)
    assert "Asked for 128 hugepages of 2 MB: " in output
    assert "wrote '128', read back '100'; the old value '3' is restored" in output
    assert "Free memory: 2048 MiB of 4096 MiB on node 1" in output
    assert "Node 1, zone   Normal  1 2 3" in output
    assert "Node 0, zone" not in output
    assert host.count(NODE1) == 3
    assert host.changes() == []


def test_short_grant_of_a_later_run_keeps_the_first_old_value(host):
    host.grant(NODE0)
    host.most = 300

    with pytest.raises(hugepools.ShortGrant):
        host.grant(Pool(2048, 512, 0))

    assert host.count(NODE0) == 256
    assert [(change.old["value"], change.new) for change in host.changes()] == [("0", "256")]
    assert not host.grant(NODE0)


def test_more_pages_than_asked_for_are_left_as_they_are(host):
    host.set(NODE0, 512)

    assert not host.grant(NODE0)
    assert host.count(NODE0) == 512
    assert host.changes() == []


def test_what_we_added_is_known_also_after_a_run_that_was_killed_before_it_added_more(host, monkeypatch):
    host.grant(NODE0)
    with monkeypatch.context() as patch:
        patch.setattr(hugepools, "_set", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            host.grant(Pool(2048, 512, 0))

    assert host.grant(Pool(2048, 100, 0))
    assert host.count(NODE0) == 100


def test_only_what_we_added_is_taken_away_when_fewer_are_asked_for(host):
    host.set(NODE0, 100)
    host.grant(NODE0)

    assert host.grant(Pool(2048, 50, 0))
    assert host.count(NODE0) == 100
    assert not host.grant(Pool(2048, 50, 0))
    host.set(NODE0, 400)  # by somebody else
    assert not host.grant(Pool(2048, 50, 0))
    assert host.count(NODE0) == 400


def test_pool_that_is_no_longer_asked_for_is_given_back(host):
    host.grant(NODE0)
    host.grant(NODE1)
    keep = [hugepools.count_file(NODE1)]

    assert hugepools.release("hugepages", keep, [], root=host.root, check=True)
    assert host.count(NODE0) == 256
    assert hugepools.release("hugepages", keep, [], root=host.root)
    assert [host.count(pool) for pool in (NODE0, NODE1)] == [0, 128]
    assert not hugepools.release("hugepages", keep, [], root=host.root)


def test_pages_that_the_boot_makes_by_now_are_not_given_back(host):
    host.grant(NODE0)

    assert hugepools.release("hugepages", [], [hugepools.count_file(NODE0)], root=host.root)

    assert host.count(NODE0) == 256
    assert host.changes() == []


def test_after_a_boot_they_are_made_again_and_never_fewer_than_there_are(host):
    host.grant(NODE0, persist=True)
    host.grant(NODE1, persist=True)
    host.set(NODE0, 0)
    host.set(NODE1, 300)

    for change in host.changes():
        hugepools.again(change, host.root)

    assert [host.count(pool) for pool in (NODE0, NODE1)] == [256, 300]


def test_pages_in_use_that_stay_are_reported_with_the_way_out(host, monkeypatch):
    host.grant(NODE0)
    monkeypatch.setattr(Setting, "read", lambda _: "256")

    _, [left] = undo.undo("hugepages", host.root)

    assert "Pages in use stay: end what uses them" in left
    assert len(host.changes()) == 1


def test_short_grant_at_boot_is_reported_with_the_memory(host):
    pool = Pool(2048, 256, scope="boot")
    host.set(pool, 200)

    output = hugepools.missing_at_boot(pool, root=host.root)

    assert "The kernel was booted with 256 hugepages of 2 MB, and granted 200." in output
    assert "Free memory: 3072 MiB of 8192 MiB." in output
    assert "Node 0, zone" in output
    assert "Node 1, zone" in output
    host.set(pool, 256)
    assert hugepools.missing_at_boot(pool, root=host.root) is None
    assert "this kernel has no hugepages of 1 GB" in hugepools.missing_at_boot(
        Pool(1 << 20, 1), root=host.root
    )


@pytest.mark.parametrize(
    ("arguments", "booted"),
    [
        (["hugepagesz=2M", "hugepages=256"], True),
        (["hugepagesz=2M", "hugepages=512"], False),
        (["hugepages=256", "hugepagesz=2M"], False),
        (["hugepagesz=2M", "isolcpus=1"], False),
        (["hugepages=25"], False),
    ],
)
def test_arguments_are_in_effect_only_in_one_piece_and_order(host, arguments, booted):
    assert hugepools.booted_with(arguments, root=host.root) is booted


def test_host_is_looked_at_with_all_who_set_hugepages(host):
    for path, text in {
        "etc/sysctl.conf": "vm.swappiness = 1\n",
        "etc/sysctl.d/10-x.conf": "#vm.nr_hugepages=1\n",
        "etc/sysctl.d/30-dpdk.conf": "vm.nr_hugepages=8\nvm/nr_hugepages = 512\n",
        "usr/lib/sysctl.d/30-dpdk.conf": "vm.nr_hugepages = 4\n",  # hidden by that of /etc
        "usr/lib/sysctl.d/50-more.conf": "vm.nr_hugepages_mempolicy = 4\n",
        "etc/default/grub": 'GRUB_CMDLINE_LINUX="quiet hugepagesz=1G hugepages=4"\n#GRUB_CMDLINE_LINUX="hugepages=2"\n',
        "etc/default/grub.d/90-labkit.cfg": 'GRUB_CMDLINE_LINUX_DEFAULT="$GRUB_CMDLINE_LINUX_DEFAULT hugepages=9"\n',
    }.items():
        (host.root / path).parent.mkdir(parents=True, exist_ok=True)
        (host.root / path).write_text(text)
    (host.root / "etc/sysctl.d/99-sysctl.conf").symlink_to("../sysctl.conf")

    found = hugepages_look.look(host.root)

    assert (found.total_kib, found.default_kib, found.sizes_kib) == (8 << 20, 2048, {2048})
    assert found.nodes_kib == {0: 4 << 20, 1: 4 << 20}
    assert found.sysctls == {"/etc/sysctl.d/30-dpdk.conf": "512"}
    assert found.arguments == {"/etc/default/grub": "hugepages=4"}


def test_arguments_in_boot_entries_of_others_are_found_and_ours_are_not(host):
    def write(name, options):
        file = host.root / "boot/loader/entries" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"title EL\nlinux /vmlinuz-5.14\noptions root=/dev/vda1 ro {options} $tuned_params\n")

    (host.root / "proc/meminfo").write_text("MemTotal: 8388608 kB\n")
    ours = ["hugepagesz=1G", "hugepages=2"]
    State("boot", host.root).note("boot", "menu", {"release": "5.14"}, ours)
    write("1-5.14.conf", " ".join(ours))
    write("1-5.15.conf", "hugepages=64 " + " ".join(ours))
    write("1-5.16.conf", "quiet")
    write("1-0-rescue.conf", "hugepages=8")

    assert hugepages_look.look(host.root).arguments == {"/boot/loader/entries/1-5.15.conf": "hugepages=64"}


def test_kernel_without_numa_has_no_nodes(tmp_path):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal: 1048576 kB\n")

    found = hugepages_look.look(tmp_path)

    assert (found.total_kib, found.nodes_kib, found.sizes_kib) == (1 << 20, {}, frozenset())


def have(host, *pools, count=0, **more):
    wanted = {"hugepages_count": str(count), "hugepages_pools": list(pools)}
    file = hugepools.count_file(Pool(2048, 0))
    return hugepages_have.have("hugepages", wanted, count=count, count_file=file, root=host.root, **more)


def pool(count, **more):
    return {"size_kib": 2048, "count": count, **more}


def test_pool_of_the_boot_waits_for_it_and_is_counted_after_it(host):
    host.set(Pool(2048, 0), 256)

    assert have(host, pool(128, scope="boot")) == (False, ["128 hugepages of 2 MB"])
    assert have(host, pool(256, scope="boot")) == (False, [])
    host.set(Pool(2048, 0), 255)
    with pytest.raises(hugepools.ShortGrant, match="booted with 256 hugepages of 2 MB, and granted 255"):
        have(host, pool(256, scope="boot"))


def test_pool_that_moves_from_run_time_to_boot_is_the_boots_and_is_not_made_again_by_us(host):
    have(host, pool(64), persist=True)
    host.set(Pool(2048, 0), 256)

    assert have(host, pool(256, scope="boot")) == (True, [])
    assert have(host, pool(256, scope="boot")) == (False, [])
    assert host.count(Pool(2048, 0)) == 256
    assert host.changes() == []


def test_count_of_zero_leaves_alone_what_an_earlier_one_added(host):
    have(host, count=128)

    assert have(host) == (False, [])
    assert host.count(Pool(2048, 0)) == 128
    assert have(host, pool(16, node=0)) == (True, [])  # the same pages, asked for otherwise
    assert host.count(Pool(2048, 0)) == 0
    assert host.count(NODE0) == 16


def test_what_can_not_be_is_refused_before_anything_is_changed(host):
    host.set(NODE0, 3)

    with pytest.raises(
        ValueError, match=r"on node 7: there is no such node, only 0, 1\. Nothing was changed"
    ):
        have(host, pool(16, node=0), pool(16, node=7))

    assert host.count(NODE0) == 3
    assert host.changes() == []
