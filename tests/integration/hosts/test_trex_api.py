"""A TRex server is asked by what is installed on hosts; libzmq answers, as in TRex."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest
import zmq
from ansible_collections.labkit.host.plugins.module_utils import trex_api


@contextmanager
def answering(answer):
    """A server that gives every request this answer. Yields its port, and a list of the requests."""
    requests = []
    ended = threading.Event()

    def serve(rpc):
        while not ended.is_set():
            if rpc.poll(20):
                requests.append(json.loads(rpc.recv()))
                rpc.send(answer if isinstance(answer, bytes) else json.dumps(answer).encode())

    with zmq.Context() as context, context.socket(zmq.REP) as rpc:
        port = rpc.bind_to_random_port("tcp://127.0.0.1")
        thread = threading.Thread(target=serve, args=(rpc,))
        thread.start()
        try:
            yield port, requests
        finally:
            ended.set()
            thread.join()


VERSION = {"jsonrpc": "2.0", "id": 1, "result": {"version": "v3.08", "mode": "STL"}}


def test_server_is_asked_and_answers():
    with answering(VERSION) as (port, requests):
        assert trex_api.ask("get_version", port=port) == VERSION["result"]
        assert trex_api.ask("get_version", port=port) == VERSION["result"]

    assert requests == [{"jsonrpc": "2.0", "id": 1, "method": "get_version", "params": {}}] * 2


def test_long_answer_comes_whole():
    long = {"result": {"version": "v" * 100_000}}
    with answering(long) as (port, _):
        assert trex_api.ask("get_version", port=port) == long["result"]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"error": {"code": -32601, "message": "Method not found"}}, "was answered by .*Method not found"),
        (b"no JSON", "Expecting value"),
        ([1], r"was answered by \[1\]"),
    ],
)
def test_other_answers_are_reported(answer, expected):
    with answering(answer) as (port, _), pytest.raises(trex_api.NoAnswer, match=expected):
        trex_api.ask("get_version", port=port)


@contextmanager
def listening(greeting=b""):
    """A port that is no ZeroMQ's."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            connection, _ = server.accept()
            with connection:
                connection.sendall(greeting)
                while not greeting and connection.recv(64):  # until the other end gives up
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            thread.join()


@pytest.mark.parametrize(
    ("greeting", "expected"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n" + b" " * 64, "expected the greeting of ZMTP 3"),
        (b"\xff" + bytes(8) + b"\x7f\x03\0CURVE" + bytes(47), "expected the mechanism NULL"),
        (b"SSH", "the server closed the connection|Connection reset|Broken pipe"),
        (b"", "no answer in time|timed out"),
    ],
)
def test_another_server_on_the_port_is_reported(greeting, expected):
    with listening(greeting) as port, pytest.raises(trex_api.NoAnswer, match=expected):
        trex_api.ask("get_version", port=port, timeout_s=30 if greeting else 0.3)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def run(*arguments, **environment):
    command = [sys.executable, "-I", trex_api.__file__, *arguments]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
        timeout=60,
    )


def configuration(folder, port):
    file = folder / "trex.yaml"
    file.write_text(f'-\n  "version": 2\n  "zmq_rpc_port": {port}\n')
    return ["--configuration", str(file)]


def test_version_is_printed_and_waiting_ends_with_the_first_answer(tmp_path):
    with answering(VERSION) as (port, _):
        version = run("version", *configuration(tmp_path, port))
        waited = run("wait", *configuration(tmp_path, port))

    assert json.loads(version.stdout)["version"] == "v3.08"
    assert (waited.returncode, waited.stdout, waited.stderr) == (0, "", "")


def test_waiting_ends_when_the_server_has(tmp_path):
    ended = subprocess.Popen(["true"])
    ended.wait()
    began = time.monotonic()

    done = run("wait", *configuration(tmp_path, free_port()), MAINPID=str(ended.pid))

    assert (done.returncode, done.stderr) == (1, "TRex: the server has ended\n")
    assert time.monotonic() - began < 50, "it waited for its time instead"


def test_waiting_ends_in_its_time(tmp_path):
    done = run("wait", "--timeout", "0.3", *configuration(tmp_path, free_port()))

    assert done.returncode == 1
    assert "no answer in 0.3 s: 127.0.0.1:" in done.stderr


def test_ports_are_those_of_trex_unless_the_configuration_has_others(tmp_path):
    file = tmp_path / "trex.yaml"
    for text, ports in (
        ("- version: 2\n", (4501, 4500)),
        ("- zmq_rpc_port: 4601\n  zmq_pub_port : 4600\n", (4601, 4600)),
        ('-\n  "zmq_pub_port": 4700\n', (4501, 4700)),
    ):
        file.write_text(text)
        assert trex_api.ports_of(str(file)) == ports
    assert trex_api.ports_of("") == (4501, 4500)
