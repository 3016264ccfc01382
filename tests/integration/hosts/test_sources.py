"""What is built from an archive is that archive, whole, or nothing."""

from __future__ import annotations

import hashlib
import http.server
import shutil
import subprocess
import tarfile
import threading
from dataclasses import replace

import pytest
from ansible_collections.labkit.host.plugins.module_utils import sources, undo
from ansible_collections.labkit.host.plugins.module_utils.sources import Source, SourceRefused

BUILD = "project('thing', 'c', version: '1')\ninstall_data('word.txt', install_dir: 'share')\n"


@pytest.fixture
def archive(tmp_path):
    tree = tmp_path / "thing-1"
    tree.mkdir()
    (tree / "meson.build").write_text(BUILD.replace(", 'c'", ""))
    (tree / "word.txt").write_text("hello\n")
    with tarfile.open(tmp_path / "thing-1.tar.xz", "w:xz") as file:
        file.add(tree, "thing-1")
    return tmp_path / "thing-1.tar.xz"


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    return root


@pytest.fixture
def source(archive):
    return Source("thing", "1", str(archive), hashlib.sha256(archive.read_bytes()).hexdigest(), [])


needs_meson = pytest.mark.skipif(
    not (shutil.which("meson") and shutil.which("ninja")),
    reason="needs meson and ninja (apt-get install meson)",
)


def installed(root):
    return sorted(path.name for path in (root / sources.PREFIX).glob("*"))


def nothing_left(root):
    return (
        not installed(root)
        and not (root / "var/lib/labkit").exists()
        and not any((root / "var/tmp").iterdir())
    )


@needs_meson
@pytest.mark.parametrize("spelling", ["{}", "file://{}"])
def test_archive_on_the_host_is_built_once_and_removed_again(root, source, spelling):
    source = replace(source, url=spelling.format(source.url))

    assert sources.change("dpdk", source, root=root, check=True) is True
    assert not (root / "usr").exists()
    assert sources.change("dpdk", source, root=root) is True
    assert (root / sources.PREFIX / "thing-1/share/word.txt").read_text() == "hello\n"
    assert sources.change("dpdk", source, root=root) is False
    assert undo.undo("dpdk", root)[1] == []
    assert nothing_left(root)
    assert not (root / "usr").exists()


@needs_meson
def test_build_that_fails_leaves_nothing_and_says_why(root, source):
    with pytest.raises(SourceRefused, match=r'meson setup failed(.|\n)*Unknown options: "nonsense"'):
        sources.change("dpdk", replace(source, options=["-Dnonsense=1"]), root=root)
    assert installed(root) == []


@needs_meson
def test_build_that_was_killed_is_built_anew(root, source, monkeypatch):
    run = subprocess.run

    def dying(command, **more):
        if command[0] == "ninja":
            raise KeyboardInterrupt
        return run(command, **more)

    with monkeypatch.context() as patch:
        patch.setattr(sources.subprocess, "run", dying)
        with pytest.raises(KeyboardInterrupt):
            sources.change("dpdk", source, root=root)
    (root / sources.PREFIX / "thing-1/half").mkdir(parents=True)  # as kill -9 leaves it

    assert sources.change("dpdk", source, root=root) is True
    assert not (root / sources.PREFIX / "thing-1/half").exists()
    assert sources.change("dpdk", source, root=root) is False


def test_build_that_takes_for_ever_is_an_error_and_leaves_nothing(root, source, endless, monkeypatch):
    endless("meson")
    monkeypatch.setattr(sources, "_BUILD_S", 0.5)

    with pytest.raises(SourceRefused, match=r"meson setup: not done after 0.5 s, stopped"):
        sources.change("dpdk", source, root=root)
    assert installed(root) == []


@pytest.mark.parametrize("step", [sources.look, sources.change])
def test_half_a_file_is_refused(root, source, archive, step):
    archive.write_bytes(archive.read_bytes()[:100])

    with pytest.raises(
        SourceRefused, match=r"expected sha256 .*, got .* of 100 bytes: it is another file, or half"
    ):
        step("dpdk", source, root=root)
    assert nothing_left(root)


def test_look_at_the_right_archive_changes_nothing(root, source):
    sources.look("dpdk", source, root=root)

    assert nothing_left(root)


@needs_meson
def test_archive_of_what_is_installed_is_not_asked_for_again(root, source, archive):
    sources.change("dpdk", source, root=root)
    archive.unlink()

    sources.look("dpdk", source, root=root)
    assert sources.change("dpdk", source, root=root) is False


def test_file_that_is_not_there_is_refused(root, source):
    with pytest.raises(SourceRefused, match=r"thing-1.tar.xz.gone: .*No such file.*copy the archive to it"):
        sources.change("dpdk", replace(source, url=source.url + ".gone"), root=root)
    assert nothing_left(root)


@pytest.mark.parametrize("url", ["ftp://198.18.0.1/x", "http://127.0.0.1:1/x", "https://127.0.0.1:1/x"])
def test_url_that_cannot_be_had_is_refused(root, source, url):
    with pytest.raises(SourceRefused, match=r"Expected an http, https or file URL, or a path on the host"):
        sources.change("dpdk", replace(source, url=url), root=root)
    assert nothing_left(root)


@pytest.fixture
def server(archive):
    """Sends half of the archive, saying it is whole; at /missing that there is none."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            content = archive.read_bytes()
            self.send_response(404 if self.path == "/missing" else 200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.path != "/missing":
                self.wfile.write(content[: len(content) // 2])

        def log_message(self, *arguments):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("path", "why"), [("/half", "broke off|or half of it. Nothing was installed"), ("/missing", "Not Found")]
)
def test_download_that_breaks_off_is_refused(root, source, server, path, why):
    with pytest.raises(SourceRefused, match=why):
        sources.change("dpdk", replace(source, url=server + path), root=root)
    assert nothing_left(root)


def test_folder_that_is_not_ours_is_left_alone(root, source):
    (root / sources.PREFIX / "thing-1").mkdir(parents=True)

    with pytest.raises(SourceRefused, match="labkit did not make it"):
        sources.change("dpdk", source, root=root)
    assert installed(root) == ["thing-1"]


@pytest.mark.parametrize(
    ("key", "value"),
    [("name", "../x"), ("version", ""), ("version", "1/2"), ("sha256", "abc"), ("sha256", "A" * 64)],
)
def test_words_that_cannot_be_right_are_refused(source, key, value):
    with pytest.raises(ValueError, match=rf"^{key} "):
        replace(source, **{key: value})
