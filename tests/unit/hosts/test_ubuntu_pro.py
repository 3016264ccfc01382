"""The Ubuntu Pro client: asked, given back; its answers have the form of `pro status --format json`."""

from __future__ import annotations

import json

import pytest
from ansible_collections.labkit.host.plugins.module_utils import ubuntu_pro
from ansible_collections.labkit.host.plugins.module_utils.boot_commands import CommandFailed
from ansible_collections.labkit.host.plugins.module_utils.state import State

DETACHED = '{"attached": false, "services": [{"name": "realtime-kernel", "available": "yes"}]}'


class Client:
    def __init__(self, **service):
        self.service = {
            "name": "realtime-kernel",
            "available": "yes",
            "entitled": "yes",
            "status": "disabled",
            **service,
        }
        self.called = []

    def run(self, command):
        self.called.append(command[1:])
        if command[1] == "status":
            return json.dumps(
                {"attached": True, "services": [{"name": "esm-apps", "status": "enabled"}, self.service]}
            )
        self.service["status"] = {"enable": "enabled", "disable": "disabled"}[command[1]]
        return ""


def test_access_is_asked_for_without_the_kernel_and_given_back(tmp_path):
    client = Client()

    assert ubuntu_pro.change("kernel", "realtime-kernel", run=client.run, root=tmp_path)
    assert not ubuntu_pro.change("kernel", "realtime-kernel", run=client.run, root=tmp_path)
    assert ["enable", "realtime-kernel", "--access-only", "--assume-yes"] in client.called

    (change,) = State("kernel", tmp_path).changes()
    assert ubuntu_pro.restore(change, tmp_path, client.run) is None
    assert client.called[-1] == ["disable", "realtime-kernel", "--assume-yes"]


def test_service_that_was_enabled_before_is_not_noted(tmp_path):
    assert not ubuntu_pro.change("kernel", "realtime-kernel", run=Client(status="enabled").run, root=tmp_path)
    assert State("kernel", tmp_path).changes() == []


def test_host_that_is_not_attached_is_refused_with_the_way_out(tmp_path):
    with pytest.raises(ubuntu_pro.NotEntitled, match="run `pro attach`"):
        ubuntu_pro.change("kernel", "realtime-kernel", run=lambda _: DETACHED, root=tmp_path)
    assert State("kernel", tmp_path).changes() == []


@pytest.mark.parametrize("service", [{"available": "no"}, {"entitled": "no"}, {"name": "fips"}])
def test_service_that_is_not_for_this_host_is_refused(tmp_path, service):
    with pytest.raises(ubuntu_pro.NotEntitled, match="has no realtime-kernel for this host"):
        ubuntu_pro.change("kernel", "realtime-kernel", run=Client(**service).run, root=tmp_path)


def test_yes_that_means_nothing_is_found(tmp_path):
    client = Client()
    answers = {"enable": lambda: ""}

    def deaf(command):
        return answers[command[1]]() if command[1] in answers else client.run(command)

    with pytest.raises(CommandFailed, match="reported success, but pro status does not show it enabled"):
        ubuntu_pro.change("kernel", "realtime-kernel", run=deaf, root=tmp_path)


def test_check_mode_enables_nothing(tmp_path):
    client = Client()

    assert ubuntu_pro.change("kernel", "realtime-kernel", check=True, run=client.run, root=tmp_path)
    assert client.called == [["status", "--format", "json"]]
