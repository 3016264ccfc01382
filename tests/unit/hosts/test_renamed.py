"""The old name of an inventory option works, with a warning that has the new one; both at once are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible.utils.display import Display
from ansible_collections.labkit.host.plugins.filter import hugepages as filters
from ansible_collections.labkit.host.plugins.module_utils import hugepages_have
from ansible_collections.labkit.host.plugins.modules import hugepages as module
from ansible_collections.labkit.host.plugins.plugin_utils import renamed
from ansible_collections.labkit.host.plugins.plugin_utils.schema import Schema, check

ROLES = Path(__file__).parents[3] / "ansible" / "roles"
PAGES = {"size_kib": 2048, "count": 256}


@pytest.fixture
def warned(monkeypatch):
    """Deprecations that Ansible was given: text and what they are of."""
    found = []
    monkeypatch.setattr(Display(), "deprecated", lambda text, **of: found.append((text, of)))
    return found


def mistakes(pool):
    variables = {"hugepages_pools": [pool]}
    return [str(problem) for problem in check(variables, Schema.of(ROLES), variables.__getitem__)]


@pytest.mark.parametrize("key", ["scope", "when"])
def test_either_name_is_valid(key):
    assert mistakes({**PAGES, key: "boot"}) == []
    [problem] = mistakes({**PAGES, key: "later"})
    assert f"hugepages_pools[0].{key}: found 'later', expected one of 'runtime', 'boot'" in problem


def test_both_names_are_refused():
    [problem] = mistakes({**PAGES, "scope": "boot", "when": "boot"})

    assert problem.startswith("hugepages_pools[0]: parameters are mutually exclusive: scope|when; found")
    assert problem.endswith("Keep one of them.")


def test_old_name_warns_with_what_to_write(warned):
    renamed.warn([{**PAGES, "scope": "boot"}, {**PAGES, "when": "boot"}])

    assert warned == [
        (
            "hugepages_pools[1].when is the old name of scope: write scope: boot",
            {"version": "0.3.0", "collection_name": "labkit.host"},
        )
    ]


def test_new_name_does_not_warn(warned):
    renamed.warn([{**PAGES, "scope": "boot"}, PAGES])

    assert warned == []


def test_filter_gives_the_new_name_and_warns(warned):
    pools = [{**PAGES, "when": "boot"}, {**PAGES, "scope": "runtime"}]

    assert filters.scoped(pools) == [{**PAGES, "scope": "boot"}, {**PAGES, "scope": "runtime"}]
    assert len(warned) == 1


def test_filter_leaves_an_entry_with_both_to_be_refused(warned):
    both = {**PAGES, "scope": "boot", "when": "runtime"}

    assert filters.scoped([both]) == [both]


@pytest.mark.parametrize(
    ("key", "said"),
    [("when", ["hugepages_pools: `when` is the old name of `scope`: write scope: boot"]), ("scope", [])],
)
def test_module_itself_warns_of_the_old_name(monkeypatch, key, said):
    found, given = [], []

    def deprecate(_, text, **of):
        found.append(text)
        assert of == {"version": "0.3.0", "collection_name": "labkit.host"}

    def have(role, wanted, **_):
        given.append(wanted["hugepages_pools"])
        return False, []

    monkeypatch.setattr(module.AnsibleModule, "deprecate", deprecate)
    monkeypatch.setattr(hugepages_have, "have", have)
    wanted = {"hugepages_pools": [{**PAGES, key: "boot"}]}
    with (
        patch_module_args({"role": "try", "wanted": wanted, "count_file": "/none"}),
        pytest.raises(SystemExit),
    ):
        module.main()

    assert found == said
    assert given == [[{**PAGES, key: "boot"}]]
