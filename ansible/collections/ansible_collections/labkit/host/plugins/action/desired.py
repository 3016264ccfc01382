"""Writes down what a host shall be, on the controller: the roles' variables, worked out as they read them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.labkit.host.plugins.action.validate import ActionModule as Validate
from ansible_collections.labkit.host.plugins.plugin_utils import schema

try:  # from ansible-core 2.19 on only text that is trusted is a template
    from ansible.template import trust_as_template
except ImportError:
    _OURS = {}
else:
    del trust_as_template
    _OURS = {"trusted_as_template": True}

CONNECTION = re.compile(r"ansible_(connection|host|port|user|ssh_.+|private_key_file)")
"""Variables that say how the host is reached."""
SSH_OPTIONS = {
    "ansible_host": "host",
    "ansible_port": "port",
    "ansible_user": "remote_user",
    "ansible_ssh_private_key_file": "private_key_file",
    "ansible_host_key_checking": "host_key_checking",
}
"""Variable to the option of Ansible's SSH connection that it sets. The others are lists of ssh's own options."""


class ActionModule(Validate):
    """See plugins/modules/desired.py."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Problems are written to the file too and do not fail the task: who reads the file reports them."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        roles = Path(self._task.args["roles_path"])
        variables = {
            **dict(self._read(roles, "defaults")),
            **(task_vars or {}),
            **dict(self._read(roles, "vars")),
        }
        variables.update(self._task.args.get("facts") or {})
        templar = self._templar.copy_with_new_env(available_variables=variables)
        known = schema.Schema.of(roles)
        answer: dict[str, Any] = {
            "host": variables["inventory_hostname"],
            "problems": result["problems"],
            "values": {},
            "connection": {},
            "unknown": {},
        }
        for name in sorted(variables):
            place = "connection" if CONNECTION.fullmatch(name) else "values"
            if place == "values" and not known.known(name):
                continue
            try:
                value = json.loads(json.dumps(templar.template(variables[name])))
                answer[place][name] = _typed(name, value, known.options.get(name))
            except (AnsibleError, TypeError) as error:
                answer["unknown"][name] = str(error)
        if self._connection.transport == "ssh":
            # Of variables (also by their former names), configuration or environment: as Ansible itself connects.
            for name, option in SSH_OPTIONS.items():
                if (value := self._connection.get_option(option)) is not None:
                    answer["connection"][name] = value
        Path(self._task.args["answer"]).write_text(json.dumps(answer), encoding="utf-8")
        return {"changed": False}

    def _read(self, roles: Path, part: str) -> Iterator[tuple[str, Any]]:
        for path in sorted(roles.glob(f"*/{part}/main.yml")):
            yield from (self._loader.load_from_file(str(path), **_OURS) or {}).items()


def _typed(name: str, value: Any, option: dict[str, Any] | None) -> Any:  # noqa: ANN401 (any YAML)
    """In the type of the role's specification: "no" is false where it is a bool."""
    if option is None or value is None:
        return value
    return ArgumentSpecValidator({name: option}).validate({name: value}).validated_parameters[name]
