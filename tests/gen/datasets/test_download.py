"""Downloads go on where they broke off, try every mirror, and end with verified files or an error.

The mirror is a server on this machine that can be told to misbehave.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from gen.cli import main
from gen.datasets import download as module
from gen.datasets.download import download
from gen.schema import FileConfig, ImportConfig
from splits.errors import UserError

CONTENT = bytes(range(256)) * 40_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Mirror(ThreadingHTTPServer):
    """Serves `content`.

    Attributes:
        ranges: whether it can give a part of a file.
        dies_after: bytes after which the first `deaths` responses break off.
        etag: name of this version of the content.
        requests: (path, Range header) of every request.
    """

    content = CONTENT
    etag = ""
    ranges = True
    dies_after = len(CONTENT)
    deaths = 0

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.requests: list[tuple[str, str | None]] = []

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Answer(BaseHTTPRequestHandler):
    server: Mirror

    def do_GET(self) -> None:
        mirror, wanted = self.server, self.headers.get("Range")
        mirror.requests.append((self.path, wanted))
        if "missing" in self.path:
            self.send_error(404)
            return
        same = self.headers.get("If-Range") in (None, mirror.etag)
        partial = bool(wanted and mirror.ranges and same)
        start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if partial else 0
        size = len(mirror.content)
        if start >= size:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{size}")
            self.end_headers()
            return
        self.send_response(206 if partial else 200)
        if partial:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        if mirror.etag:
            self.send_header("ETag", mirror.etag)
        self.send_header("Content-Length", str(size - start))
        self.end_headers()
        end = start + mirror.dies_after if mirror.deaths > 0 else size
        mirror.deaths -= 1
        with contextlib.suppress(ConnectionError):  # a client may leave before the end
            self.wfile.write(mirror.content[start:end])

    def log_message(self, *_) -> None:
        pass


@pytest.fixture
def mirror(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    server = Mirror()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def config(*urls: str, name: str = "data.bin", sha256: str = SHA256, size: int = len(CONTENT)):
    file = FileConfig(name=name, urls=list(urls), bytes=size, sha256=sha256)
    return ImportConfig(name="pairs", pixels=32, downloads=[file])


def test_a_file_comes_whole_and_is_fetched_and_hashed_once(mirror, tmp_path, monkeypatch):
    said = download(config(mirror.url("data.bin")), tmp_path)
    assert (tmp_path / "data.bin").read_bytes() == CONTENT
    assert len(said) == 1
    assert "fetched from http" in said[0]
    monkeypatch.setattr(module.hashlib, "file_digest", None)
    assert "verified" in download(config(mirror.url("data.bin")), tmp_path)[0]
    assert len(mirror.requests) == 1
    assert json.loads((tmp_path / "downloads.json").read_text())["data.bin"]["sha256"] == SHA256
    visible = {path.name for path in tmp_path.iterdir() if not path.name.startswith(".")}
    assert visible == {"data.bin", "downloads.json"}


def test_a_file_changed_after_it_was_verified_is_noticed(mirror, tmp_path):
    download(config(mirror.url("data.bin")), tmp_path)
    (tmp_path / "data.bin").write_bytes(CONTENT[::-1])
    with pytest.raises(UserError, match="sha256"):
        download(config(mirror.url("data.bin")), tmp_path)


def test_a_connection_that_breaks_off_is_taken_up_where_it_broke(mirror, tmp_path):
    mirror.deaths, mirror.dies_after = 2, 3_000_000
    download(config(mirror.url("data.bin")), tmp_path)
    assert (tmp_path / "data.bin").read_bytes() == CONTENT
    assert [wanted for _, wanted in mirror.requests] == [None, "bytes=3000000-", "bytes=6000000-"]


def test_a_later_command_goes_on_with_what_has_come(mirror, tmp_path):
    (tmp_path / "data.bin.part").write_bytes(CONTENT[:5_000_000])
    download(config(mirror.url("data.bin")), tmp_path)
    assert (tmp_path / "data.bin").read_bytes() == CONTENT
    assert mirror.requests == [("/data.bin", "bytes=5000000-")]


def test_a_mirror_that_gives_no_parts_starts_again(mirror, tmp_path):
    mirror.ranges = False
    (tmp_path / "data.bin.part").write_bytes(b"x" * 5_000_000)
    download(config(mirror.url("data.bin")), tmp_path)
    assert (tmp_path / "data.bin").read_bytes() == CONTENT


def test_a_mirror_that_always_breaks_off_is_given_up(mirror, tmp_path):
    mirror.ranges, mirror.deaths, mirror.dies_after = False, 1_000_000, 3_000_000
    with pytest.raises(UserError, match="broke off"):
        download(config(mirror.url("data.bin")), tmp_path)
    assert len(mirror.requests) == 2


def test_a_part_that_is_whole_is_verified_and_not_fetched(mirror, tmp_path):
    (tmp_path / "data.bin.part").write_bytes(CONTENT)
    download(config(mirror.url("data.bin")), tmp_path)
    assert (tmp_path / "data.bin").read_bytes() == CONTENT
    assert not mirror.requests


@pytest.mark.parametrize("size", [0, len(CONTENT)])
@pytest.mark.parametrize("more", [b"", b"x"])
def test_a_part_as_long_as_the_file_or_longer_does_no_harm(mirror, tmp_path, more, size):
    (tmp_path / "data.bin.part").write_bytes(CONTENT + more)
    download(config(mirror.url("data.bin"), size=size), tmp_path)
    assert (tmp_path / "data.bin").read_bytes() == CONTENT


def test_the_next_mirror_is_asked_where_one_is_dead(mirror, tmp_path):
    dead = "http://127.0.0.1:9/data.bin"
    said = download(config(dead, mirror.url("missing"), mirror.url("good")), tmp_path)
    assert "good" in said[0]
    assert (tmp_path / "data.bin").read_bytes() == CONTENT


def test_where_all_mirrors_are_dead_the_error_tells_everything(mirror, tmp_path):
    urls = ["http://127.0.0.1:9/data.bin", mirror.url("missing"), "nonsense"]
    with pytest.raises(UserError) as error:
        download(config(*urls), tmp_path)
    for part in (*urls, "refused", "HTTP 404", "unknown url", SHA256, str(len(CONTENT))):
        assert part in str(error.value)
    assert f"put it at {tmp_path / 'data.bin'} and run the same command again" in str(error.value)


def test_a_file_put_there_by_hand_is_verified_and_not_fetched(mirror, tmp_path):
    (tmp_path / "data.bin").write_bytes(CONTENT)
    assert "verified" in download(config("http://127.0.0.1:9/dead"), tmp_path)[0]


def test_a_wrong_file_put_there_by_hand_is_set_aside(tmp_path):
    (tmp_path / "data.bin").write_bytes(CONTENT[::-1])
    wrong = hashlib.sha256(CONTENT[::-1]).hexdigest()
    with pytest.raises(UserError, match=rf"{wrong}, not {SHA256}(?s:.*)data\.bin\.wrong"):
        download(config("http://127.0.0.1:9/dead"), tmp_path)
    assert (tmp_path / "data.bin.wrong").read_bytes() == CONTENT[::-1]
    assert not (tmp_path / "data.bin").exists()


def test_wrong_content_of_a_mirror_is_set_aside_and_the_next_one_asked(mirror, tmp_path):
    mirror.content = CONTENT[::-1]
    wrong = hashlib.sha256(CONTENT[::-1]).hexdigest()
    urls = [mirror.url("a"), "http://127.0.0.1:9/dead"]
    with pytest.raises(UserError, match=rf"{wrong}, not {SHA256}(?s:.*)\.wrong(?s:.*)refused"):
        download(config(*urls), tmp_path)
    assert (tmp_path / "data.bin.wrong").read_bytes() == CONTENT[::-1]
    assert not (tmp_path / "data.bin").exists()
    assert not (tmp_path / "data.bin.part").exists()


def test_a_page_in_place_of_a_file_is_not_even_fetched(mirror, tmp_path):
    mirror.content = b"<html>please log in</html>"
    with pytest.raises(UserError, match=f"offers 26 bytes, not {len(CONTENT)}"):
        download(config(mirror.url("a")), tmp_path)
    assert not (tmp_path / "data.bin.wrong").exists()


def test_an_unknown_hash_is_computed_noted_and_said(mirror, tmp_path):
    said = download(config(mirror.url("a"), sha256="", size=0), tmp_path)[0]
    assert f"nobody published a sha256: it has {SHA256}" in said
    assert json.loads((tmp_path / "downloads.json").read_text())["data.bin"]["sha256"] == SHA256


@pytest.mark.parametrize(("tag", "resumed"), [('"v1"', True), ('W/"v1"', False), ("", False)])
def test_without_a_hash_only_the_same_version_is_taken_up(mirror, tmp_path, tag, resumed):
    mirror.etag, mirror.deaths, mirror.dies_after = tag, 1, 3_000_000
    download(config(mirror.url("a"), sha256="", size=0), tmp_path)
    assert (tmp_path / "data.bin").read_bytes() == CONTENT
    assert mirror.requests[1][1] == ("bytes=3000000-" if resumed else None)


def test_without_a_hash_two_versions_are_never_mixed(mirror, tmp_path):
    mirror.etag, mirror.deaths, mirror.dies_after = '"v1"', 1_000_000, 3_000_000
    mirror.ranges = False
    unknown = config(mirror.url("a"), sha256="", size=0)
    with pytest.raises(UserError, match="broke off"):
        download(unknown, tmp_path)
    assert (tmp_path / "data.bin.part").stat().st_size == 3_000_000
    mirror.etag, mirror.deaths, mirror.ranges, mirror.content = '"v2"', 0, True, CONTENT[::-1]
    download(unknown, tmp_path)
    assert (tmp_path / "data.bin").read_bytes() == CONTENT[::-1]


def test_an_error_of_the_disk_is_not_the_mirrors(mirror, tmp_path):
    (tmp_path / "data.bin.part").mkdir()
    with pytest.raises(OSError, match="directory"):
        download(config(mirror.url("a")), tmp_path)


# ---------------------------------------------------------------------------- archives


def archive(path, members: dict[str, str]) -> None:
    with zipfile.ZipFile(path, "w") as opened:
        for name, content in members.items():
            opened.writestr(name, content)


def unpack(tmp_path) -> str:
    return download(config("http://127.0.0.1:9/", name="x.zip", sha256="", size=0), tmp_path)[0]


def test_an_archive_is_unpacked_once(tmp_path):
    archive(tmp_path / "x.zip", {"a/1.txt": "one", "a/b/2.txt": "two", "top.txt": "three"})
    assert "unpacked" in unpack(tmp_path)
    assert (tmp_path / "a" / "b" / "2.txt").read_text() == "two"
    assert (tmp_path / "top.txt").read_text() == "three"
    assert not list(tmp_path.glob(".*unpacking"))
    assert "unpacked" not in unpack(tmp_path)


def test_unpacking_goes_on_with_the_files_that_are_lacking(tmp_path):
    archive(tmp_path / "x.zip", {"a/1.txt": "one", "a/2.txt": "two"})
    (tmp_path / ".x.zip.unpacking" / "a").mkdir(parents=True)
    (tmp_path / ".x.zip.unpacking" / "a" / "1.txt").write_text("half")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "2.txt").write_text("two")
    assert "unpacked" in unpack(tmp_path)
    assert (tmp_path / "a" / "1.txt").read_text() == "one"


@pytest.mark.parametrize("name", ["../evil.txt", "/evil.txt", "a/../../evil.txt", "..\\evil.txt"])
def test_an_archive_cannot_write_outside_of_its_folder(tmp_path, name):
    folder = tmp_path / "inner"
    folder.mkdir()
    archive(folder / "x.zip", {"good.txt": "good", name: "evil"})
    with pytest.raises(UserError, match="leads out of the folder"):
        unpack(folder)
    assert [path.name for path in tmp_path.rglob("*.txt")] == []


def test_a_file_in_the_way_of_an_archive_is_named_and_kept(tmp_path):
    archive(tmp_path / "x.zip", {"a/1.txt": "one"})
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.txt").write_text("the user's own")
    with pytest.raises(UserError, match=r"a/1\.txt is there, but is not the one in x\.zip"):
        unpack(tmp_path)
    assert (tmp_path / "a" / "1.txt").read_text() == "the user's own"


@pytest.mark.parametrize("place", [40, -10])
def test_a_damaged_archive_is_named(tmp_path, place):
    archive(tmp_path / "x.zip", {"a/1.txt": "one" * 100})
    data = bytearray((tmp_path / "x.zip").read_bytes())
    data[place] ^= 0xFF
    (tmp_path / "x.zip").write_bytes(data)
    with pytest.raises(UserError, match="not a whole zip archive"):
        unpack(tmp_path)
    assert not (tmp_path / "a").exists()


# ---------------------------------------------------------------------------- command


def test_a_dataset_without_files_says_where_to_go(tmp_path):
    with pytest.raises(UserError, match=r"no files can be fetched for pairs(?s:.*)dataset import"):
        download(ImportConfig(name="pairs", pixels=32), tmp_path)


def test_two_processes_do_not_fetch_into_one_folder(tmp_path):
    with (
        module.FileLock(tmp_path / ".downloads.json.lock"),
        pytest.raises(UserError, match="another process"),
    ):
        download(config("http://127.0.0.1:9/"), tmp_path)


def test_the_command_fetches_the_files_of_a_configuration(mirror, tmp_path, capsys):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "kind: tsv\nname: mine\npixels: 32\ndownloads:\n"
        f"  - {{name: data.bin, urls: ['{mirror.url('a')}'], sha256: {SHA256}}}\n"
    )
    assert main(["dataset", "download", str(path), "--to", str(tmp_path / "new")]) == 0
    assert (tmp_path / "new" / "data.bin").read_bytes() == CONTENT
    assert "data.bin: fetched" in capsys.readouterr().out


def test_the_command_downloads_no_icons(tmp_path, capsys):
    assert main(["dataset", "download", "icons-small", "--to", str(tmp_path)]) == 2
    assert "dataset build icons-small" in capsys.readouterr().err
