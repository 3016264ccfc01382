"""The variables of a host are held against the roles' argument specs: every mistake, and the way out of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from ansible_collections.labkit.host.plugins.plugin_utils.schema import Schema, check

ROLES = Path(__file__).parents[3] / "ansible" / "roles"

SPEC = """
argument_specs:
  main:
    options:
      nic_count: {type: int, description: How many.}
      nic_share: {type: float}
      nic_on: {type: bool}
      nic_iommu: {type: str, choices: [auto, "on", "off"]}
      nic_group: {type: str}
      nic_where: {type: path}
      nic_names: {type: list, elements: str}
      nic_kinds: {type: list, elements: str, choices: [rx, tx]}
      nic_features: {type: dict}
      nic_required: {type: str, required: true}
      nic_devices:
        type: list
        elements: dict
        options:
          pci: {type: str, required: true}
          driver: {type: str, choices: [vfio-pci, uio_pci_generic]}
          mode: {type: str}
          rings: {type: dict, options: {rx: {type: int}, tx: {type: int}}, required_together: [[rx, tx]]}
  revert:
    options:
      nic_forget: {type: bool}
"""


@pytest.fixture
def schema(tmp_path):
    role = tmp_path / "nic"
    for folder in ("meta", "defaults", "vars"):
        (role / folder).mkdir(parents=True)
    (role / "meta/argument_specs.yml").write_text(SPEC)
    (role / "defaults/main.yml").write_text("nic_count: 1\nnic_inner: 2\n")
    (role / "vars/main.yml").write_text("nic_knob: /sys/x\n")
    return Schema.of(tmp_path)


def problems_of(schema, text):
    variables = yaml.safe_load(text)
    return [str(problem) for problem in check(variables, schema, variables.__getitem__)]


@pytest.mark.parametrize(
    "right",
    [
        "nic_count: 5",
        "nic_count: '5'",  # as -e nic_count=5 comes
        "nic_on: 'true'",
        "nic_on: yes",
        "nic_share: 3",
        "nic_iommu: 'on'",
        "nic_group: 5",
        "nic_names: []",
        "nic_kinds: [rx]",
        "nic_features: {gro: false, x: 5}",
        "nic_devices: [{pci: '0000:03:00.0', driver: vfio-pci, mode: '0770', rings: {rx: 1, tx: '2'}}]",
        "nic_forget: true",
        "nic_knob: /sys/y",
        "nic_inner: 5",
        "nickname: theirs",
        "ansible_host: 127.0.0.1",
    ],
)
def test_what_is_right_is_taken(schema, right):
    assert problems_of(schema, right) == []


@pytest.mark.parametrize(
    ("wrong", "name", "found", "way_out"),
    [
        ("nic_count: yes please", "nic_count", "found 'yes please', expected a whole number", "How many."),
        ("nic_count: true", "nic_count", "found true, expected a whole number", "Give a number"),
        ("nic_count: 1.5", "nic_count", "found 1.5, expected a whole number", ""),
        ("nic_share: half", "nic_share", "found 'half', expected a number", ""),
        ("nic_on: maybe", "nic_on", "found 'maybe', expected true or false", ""),
        ("nic_iommu: on", "nic_iommu", "found true, expected one of 'auto', 'on', 'off'", "in quotes"),
        ("nic_iommu: sometimes", "nic_iommu", "found 'sometimes', expected one of 'auto', 'on', 'off'", ""),
        ("nic_group: [a]", "nic_group", "found ['a'], expected text", "Give one value"),
        ("nic_where: false", "nic_where", "found false, expected a path", "in quotes"),
        ("nic_names: a,b", "nic_names", "found 'a,b', expected a list of text", "[first, second]"),
        ("nic_names: [a, [b]]", "nic_names[1]", "found ['b'], expected text", "Give one value"),
        ("nic_kinds: [rx, ry]", "nic_kinds[1]", "found 'ry', expected one of 'rx', 'tx'", ""),
        ("nic_names:", "nic_names", "found nothing, expected a list of text", "Remove the line"),
        ("nic_features: gro=on", "nic_features", "found 'gro=on', expected a mapping", "{key: value}"),
        ("nic_devices: {pci: x}", "nic_devices", "expected a list of {pci, driver, mode, rings}", "a list"),
        ("nic_devices: [eth1]", "nic_devices[0]", "found 'eth1', expected a mapping of pci,", "{key: value}"),
        # YAML's own traps: base 60, a float that loses its zero, an octal.
        (
            "nic_devices: [{pci: 0000:03:00.0}]",
            "nic_devices[0].pci",
            "found 180.0, expected text",
            "in quotes",
        ),
        (
            "nic_devices: [{pci: a, mode: 0770}]",
            "nic_devices[0].mode",
            "found 504, expected text",
            "in quotes",
        ),
        ("nic_devices: [{driver: vfio-pci}]", "nic_devices[0]", "missing required arguments: pci", ""),
        ("nic_devices: [{pci: a, rings: {rx: 1}}]", "nic_devices[0].rings", "required together: rx, tx", ""),
        ("nic_devices: [{pci: a, rings: {rx: x, tx: 1}}]", "nic_devices[0].rings.rx", "found 'x'", ""),
        (
            "nic_devices: [{pci: a, drivr: b}]",
            "nic_devices[0].drivr",
            "no such option",
            "did you mean driver?",
        ),
        ("nic_cuont: 5", "nic_cuont", "the role nic has no such option", "did you mean nic_count?"),
        ("nic_zzz: 5", "nic_zzz", "the role nic has no such option", "nic_count, nic_devices"),
        ("nix_devices: []", "nix_devices", "no role reads this", "did you mean nic_devices?"),
    ],
)
def test_what_is_wrong_is_reported_by_name_with_the_way_out(schema, wrong, name, found, way_out):
    [problem] = problems_of(schema, wrong)

    assert problem.startswith(f"{name}: ")
    assert found in problem
    assert way_out in problem


def test_all_mistakes_are_reported_at_once(schema):
    problems = problems_of(
        schema, "{nic_count: x, nic_on: x, nic_devices: [{mode: 1.0, drivr: x}], nic_zzz: 1}"
    )

    assert [problem.partition(":")[0] for problem in problems] == [
        "nic_count",
        "nic_devices[0]",
        "nic_devices[0].drivr",
        "nic_devices[0].mode",
        "nic_on",
        "nic_zzz",
    ]


def test_template_that_cannot_be_worked_out_is_a_problem_of_its_variable(schema):
    def value_of(_):
        raise ValueError("'nosuch' is undefined")

    [problem] = check({"nic_count": "{{ nosuch }}"}, schema, value_of)

    assert str(problem) == "nic_count: 'nosuch' is undefined"


def test_longest_role_name_owns_a_variable(tmp_path):
    for role in ("lab", "lab_host"):
        (tmp_path / role / "meta").mkdir(parents=True)
        spec = {"argument_specs": {"main": {"options": {f"{role}_user": {"type": "str"}}}}}
        (tmp_path / role / "meta/argument_specs.yml").write_text(yaml.safe_dump(spec))

    [problem] = problems_of(Schema.of(tmp_path), "lab_host_usr: me")

    assert "the role lab_host has no such option: did you mean lab_host_user?" in problem


def test_defaults_of_every_role_fit_its_own_spec():
    schema = Schema.of(ROLES)
    written = {
        name: value
        for name, value in schema.defaults.items()
        if name in schema.options and not (isinstance(value, str) and "{{" in value)
    }

    assert "hugepages_count" in written
    assert [str(problem) for problem in check(written, schema, written.__getitem__)] == []
