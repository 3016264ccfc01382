"""The role trex where systemd runs: installed, started, upgraded, broken, checked by host checks, and reverted."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import trex_stub
import yaml
from ansible_collections.labkit.host.plugins.module_utils import snapshot, trex_unit
from container import CHECKOUT
from systemd_container import systemd_container
from test_site_container import changed

from tests import real_trex

pytestmark = pytest.mark.beside

HERE = ["util-linux"]
"""A package that every machine has: nothing is downloaded."""
FOLDER = "/root/archives"
PORTS = [{"interface": "port0"}, {"interface": "port1"}]
COPY = "/var/tmp/labkit-trex-archive"
OWN, OTHER = "198.18.0.1", "198.18.0.2"
LINKS = f"""
ip netns add other
ip link add data0 type veth peer name data1 netns other
ip address add {OWN}/24 dev data0
ip link set data0 up
ip netns exec other ip address add {OTHER}/24 dev data1
ip netns exec other ip link set data1 up
for number in 0 1; do
    ip link add port$number type veth peer name peer$number
    ip link set port$number up
    ip link set peer$number up
done
"""
"""An interface by which others reach the host, and two for TRex."""
CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=2)"


class Host:
    """One that systemd runs on, with archives in it."""

    def __init__(self, made, archives):
        self.made = made
        self.archives = archives
        self.runs = 0

    def site(self, version, *words, ports=PORTS, playbook="site.yml", **more):
        """Run a playbook with these variables."""
        self.runs += 1
        wanted = {
            "ansible_connection": "local",
            "ansible_python_interpreter": "/usr/bin/python3",
            "labkit_host_packages": HERE,
            "dpdk_packages": HERE,
            "af_xdp_packages": HERE,
            "trex_version": version,
            "trex_sha256": self.archives.get(version, ""),
            "trex_url": f"{FOLDER}/{version}.tar.gz",
            "trex_ports": ports,
            **more,
        }
        inventory = f"/root/hosts-{self.runs}.yml"
        text = yaml.safe_dump({"all": {"hosts": {"localhost": wanted}}})
        self.made.run("sh", "-ec", f'printf %s "$1" >{inventory}', "sh", text)
        done = self.made.play(playbook, Path(inventory), "--tags", "trex", *words)
        done.inventory = inventory
        return done

    def pid(self):
        shown = self.made.run("systemctl", "show", "--property=MainPID", "--value", trex_unit.UNIT)
        return int(shown.stdout)

    def version(self, unit=trex_unit.UNIT):
        """What the server says in its own network namespace."""
        ask = f"nsenter --net=/proc/$(systemctl show --property=MainPID --value {unit})/ns/net "
        done = self.made.run("sh", "-ec", f"{ask} /usr/bin/python3 {trex_unit.API_PATH} version")
        return json.loads(done.stdout)["version"] if done.returncode == 0 else done.stderr

    def connects(self, address, port, namespace=()):
        """Whether a connection to it is made, from another network namespace."""
        return (
            self.made.run(*namespace, "/usr/bin/python3", "-c", CONNECT, address, str(port)).returncode == 0
        )


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    place = tmp_path_factory.mktemp("archives")
    archives = {
        version: trex_stub.archive(place / f"{version}.tar.gz", version=version, **more)
        for version, more in (
            ("v3.08", {}),
            ("v3.09", {}),
            ("v3.10", {"says": "v3.06"}),
            ("v3.11", {"more": {"fails": "EAL: Cannot set up DPDK on this host"}}),
        )
    }
    with systemd_container(tmp_path_factory.mktemp("container")) as made:
        links = made.run("sh", "-ec", LINKS)
        assert links.returncode == 0, links.stderr
        made.put(place, FOLDER)
        yield Host(made, archives)


def ended_well(done):
    assert done.returncode == 0, done.stdout[-4000:]
    return done


@pytest.fixture(scope="module")
def before(host):
    return host.made.snapshot()


@pytest.fixture(scope="module")
def made(host, before):
    """The server runs. The tests leave it so."""
    assert before
    predicted = ended_well(host.site("v3.08", "--check"))
    assert not host.pid()
    runs = predicted, ended_well(host.site("v3.08")), ended_well(host.site("v3.08"))
    assert host.pid()
    return runs


def test_check_mode_foretells_what_a_run_then_changes_and_a_second_run_changes_nothing(made):
    predicted, first, second = made

    assert changed(predicted) == changed(first)
    assert len(changed(first)) == 3
    assert changed(second) == []


def test_server_is_reached_over_loopback_and_by_nobody_else(host, made):
    assert host.version() == "v3.08"
    other = ("ip", "netns", "exec", "other")
    listener = "import socket; s = socket.create_server(('', 4502)); print(flush=True); s.accept(); input()"
    with subprocess.Popen(
        [*host.made.enter, "/usr/bin/python3", "-c", listener], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        assert host.connects(OWN, 4502, other), "nothing else keeps connections away"
        process.kill()

    for port in (4500, 4501):
        assert host.connects("127.0.0.1", port)
        assert not host.connects(OWN, port, other)
        assert not host.connects(OWN, port)


def test_each_fault_is_detected_by_its_host_check(host, made):
    command = ("python", "-m", "tests.infra.fault_injection", "--host", "localhost", "-i", made[1].inventory)

    done = host.made.run(
        "env",
        f"PYTHONPATH={CHECKOUT}",
        "sh",
        "-c",
        'cd "$0" && exec "$@"',
        str(CHECKOUT),
        *command,
        "-k",
        "^trex",
    )

    verdicts = re.findall(r"^(\w+) +trex\.(\w+)", done.stdout, re.MULTILINE)
    assert {verdict for verdict, _ in verdicts} == {"detected"}, done.stdout + done.stderr
    assert {name for _, name in verdicts} == {"version", "files", "unit", "ports", "api", "reach"}
    assert done.returncode == 0
    assert host.version() == "v3.08"


@pytest.mark.long
def test_changed_port_starts_the_server_anew(host, made):
    before = host.pid()
    ports = [{**PORTS[0], "dest_mac": "02:00:00:00:00:01"}, PORTS[1]]

    done = ended_well(host.site("v3.08", ports=ports))

    assert len(changed(done)) == 1
    assert host.pid() not in (0, before)
    assert "02:00:00:00:00:01" in host.made.run("cat", trex_unit.CONFIGURATION_PATH).stdout


@pytest.mark.long
def test_another_version_takes_the_place_of_the_first(host, made):
    before = host.pid()

    ended_well(host.site("v3.09"))

    assert host.version() == "v3.09"
    assert host.pid() != before
    assert host.made.run("ls", "/opt/trex").stdout.split() == ["current", "v3.09"]
    ended_well(host.site("v3.08"))
    assert host.version() == "v3.08"


@pytest.mark.long
def test_archive_that_lies_where_ansible_runs_is_copied_and_its_copy_removed(host, made):
    ended_well(host.site("v3.09", trex_archive=f"{FOLDER}/v3.09.tar.gz", trex_url="/nowhere"))

    assert host.version() == "v3.09"
    assert host.made.run("ls", COPY).returncode != 0
    ended_well(host.site("v3.08"))


SITE = """
import http.server, ssl, subprocess, sys
subprocess.run(
    ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "/root/key.pem", "-out", "/root/cert.pem"]
    + ["-days", "2", "-subj", "/CN=localhost"],
    check=True,
    capture_output=True,
)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/root/cert.pem", "/root/key.pem")
handler = lambda *words: http.server.SimpleHTTPRequestHandler(*words, directory=sys.argv[1])
server = http.server.ThreadingHTTPServer(("127.0.0.1", 8443), handler)
server.socket = context.wrap_socket(server.socket, server_side=True)
print("ready", flush=True)
server.serve_forever()
"""


@pytest.mark.long
@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl, to make a certificate")
def test_archive_of_a_site_whose_certificate_is_invalid_is_taken_only_where_that_is_allowed(host, made):
    url = "https://localhost:8443/v3.09.tar.gz"
    with subprocess.Popen(
        [*host.made.enter, "/usr/bin/python3", "-c", SITE, FOLDER],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdout.readline() == b"ready\n"
        try:
            refused = host.site("v3.09", trex_url=url)
            assert refused.returncode != 0
            output = re.sub(r"\s+", " ", refused.stdout)
            assert "CERTIFICATE_VERIFY_FAILED" in output
            assert "trex_validate_certs" in output
            assert host.version() == "v3.08"
            ended_well(host.site("v3.09", trex_url=url, trex_validate_certs=False))
        finally:
            process.kill()

    assert host.version() == "v3.09"
    ended_well(host.site("v3.08"))


@pytest.mark.long
def test_damaged_server_is_unpacked_again(host, made):
    host.made.run("sh", "-c", "echo half >/opt/trex/v3.08/_t-rex-64")

    done = ended_well(host.site("v3.08"))

    assert any("Unpack" in name for name in changed(done))
    assert host.made.run("grep", "-c", "half", "/opt/trex/v3.08/_t-rex-64").stdout.strip() != "1"


@pytest.mark.parametrize(
    ("version", "more", "expected"),
    [
        pytest.param("v3.12", {}, "trex_sha256 is empty, and trex_version is v3.12", marks=pytest.mark.long),
        pytest.param(
            "v3.12",
            {"trex_sha256": "0" * 64},
            "trex_url: /root/archives/v3.12.tar.gz: No such file",
            marks=pytest.mark.long,
        ),
        ("v3.09", {"trex_sha256": "0" * 64}, "expected sha256 0000"),
        pytest.param(
            "v3.09",
            {"trex_archive": "/root/gone.tar.gz"},
            "trex_archive: /root/gone.tar.gz: there is no such file",
            marks=pytest.mark.long,
        ),
        ("v3.09", {"ports": [*PORTS, {"interface": "peer0"}]}, "trex_ports has 3 ports"),
        pytest.param(
            "v3.09",
            {"ports": [{"interface": "data9"}]},
            "trex_ports[0]: data9: expected the name",
            marks=pytest.mark.long,
        ),
        ("v3.09", {"labkit_host_management_interfaces": ["port0"]}, "trex_ports[0]: port0 is left alone"),
        pytest.param(
            "v3.09",
            {"trex_ports": [{"interfaec": "port0"}]},
            "did you mean interface?",
            marks=pytest.mark.long,
        ),
    ],
)
def test_bad_input_is_reported_and_changes_nothing(host, made, version, more, expected):
    before = host.pid(), host.made.run("ls", "/opt/trex").stdout

    done = host.site(version, **more)

    assert done.returncode != 0
    output = re.sub(r"\s+", " ", done.stdout)
    assert expected in output, done.stdout[-3000:]
    assert "Nothing was changed" in output
    assert (host.pid(), host.made.run("ls", "/opt/trex").stdout) == before


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        pytest.param(
            "v3.10", "trex_version is v3.10, and the server says that it is v3.06", marks=pytest.mark.long
        ),
        ("v3.11", "EAL: Cannot set up DPDK on this host"),
    ],
)
def test_server_that_does_not_come_up_is_reported_with_its_log_and_stopped(host, made, version, expected):
    done = host.site(version)

    assert done.returncode != 0
    assert expected in re.sub(r"\s+", " ", done.stdout), done.stdout[-3000:]
    assert f"Starting TRex {'v3.06' if version == 'v3.10' else version}" in re.sub(r"\s+", " ", done.stdout)
    assert not host.pid()
    ended_well(host.site("v3.08"))
    assert host.version() == "v3.08"


@pytest.mark.long
def test_instance_of_another_configuration_has_a_network_of_its_own(host, made):
    text = json.dumps([{"version": 2, "interfaces": ["0000:3b:00.0", "0000:3b:00.1"]}])
    host.made.run("sh", "-ec", f"printf %s '{text[1:-1]}' >/etc/labkit/trex/try.yaml")

    started = host.made.run("systemctl", "start", "labkit-trex@try.service")

    try:
        assert started.returncode == 0, host.made.run("journalctl", "-n", "20", "-o", "cat").stdout
        assert host.version("labkit-trex@try.service") == "v3.08"
        host.made.run("systemctl", "stop", trex_unit.UNIT)
        assert not host.connects("127.0.0.1", 4501), (
            "that of trex_ports was stopped, and the other is not reached"
        )
    finally:
        host.made.run("systemctl", "stop", "labkit-trex@try.service")
        host.made.run("rm", "/etc/labkit/trex/try.yaml")
        host.made.run("systemctl", "start", trex_unit.UNIT)


@pytest.mark.long
def test_server_is_stopped_where_no_ports_are_asked_for_any_more(host, made):
    ended_well(host.site("v3.08", ports=[]))

    assert not host.pid()
    assert host.made.run("systemctl", "is-enabled", trex_unit.UNIT).stdout.strip() == "disabled"
    assert host.made.run("ls", "/opt/trex").stdout.split() == ["current", "v3.08"]
    assert changed(ended_well(host.site("v3.08", ports=[]))) == []
    ended_well(host.site("v3.08"))


@pytest.mark.parametrize("way", ["revert.yml", pytest.param("site.yml", marks=pytest.mark.long)])
def test_host_is_as_it_was_once_it_is_reverted_or_nothing_is_asked_for(host, before, made, way):
    ended_well(host.site("v3.08"))
    host.made.run("touch", COPY)  # of a run that was killed

    ended_well(host.site("", ports=[], playbook=way))

    assert snapshot.compare(before, host.made.snapshot()) == []
    assert not host.pid()
    assert host.made.run("ls", "/opt/trex").returncode != 0
    assert host.made.run("ls", COPY).returncode != 0


@pytest.mark.trex
def test_real_server_runs_in_the_unit(host, before, trex_directory, tmp_path):
    """Its archive is packed of the directory that is given; the version is what it says."""
    archive = real_trex.packed(trex_directory, tmp_path)
    version = archive.version
    host.archives[version] = archive.sha256
    host.made.put(tmp_path, FOLDER)

    ended_well(host.site(version))

    assert host.version() == version
    assert not host.connects(OWN, 4501, ("ip", "netns", "exec", "other"))
    assert changed(ended_well(host.site(version))) == []
    ended_well(host.site("", ports=[], playbook="revert.yml"))
    assert snapshot.compare(before, host.made.snapshot()) == []
