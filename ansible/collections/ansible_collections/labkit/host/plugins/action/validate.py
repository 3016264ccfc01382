"""Validates a host's variables against the roles' argument specs, on the controller, before anything is changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.labkit.host.plugins.plugin_utils import renamed, schema
from ansible_collections.labkit.host.plugins.plugin_utils.origin import place, set_below


class ActionModule(ActionBase):
    """See plugins/modules/validate.py."""

    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """All problems in one message; `desired` has what the roles will read, as far as it is right."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        roles = self._task.args.get("roles_path") or f"{self._loader.get_basedir()}/roles"
        known = schema.Schema.of(Path(roles))
        if not known.roles:
            raise AnsibleError(f"{roles}: no role with meta/argument_specs.yml in it")

        defaults = {
            name: value
            for name, value in known.defaults.items()
            if "{{" not in str(value) and name not in variables
        }
        templar = self._templar.copy_with_new_env(available_variables={**defaults, **variables})

        def value_of(name: str) -> Any:  # noqa: ANN401 (any YAML)
            try:
                return templar.template(variables[name])
            except AnsibleError as error:
                raise ValueError(f"it can't be worked out: {error}") from error

        # What the roles looked up in an earlier playbook of the same run is not the host's.
        given = [name for name in variables if not set_below(roles, name)]
        problems = schema.check(given, known, value_of)
        wrong = {problem.variable for problem in problems}
        reported = [f"{problem}{place(problem.found) or place(problem.variable)}" for problem in problems]
        right = [name for name in given if known.known(name) and name not in wrong]
        desired = {**defaults, **{name: value_of(name) for name in right}}
        renamed.warn(desired.get("hugepages_pools") or [])
        result.update(changed=False, problems=reported, desired=desired)
        if reported:
            result.update(
                failed=True,
                msg="\n".join(
                    [f"{len(reported)} wrong in the host's variables. Nothing was changed.", *reported]
                ),
            )
        return result
