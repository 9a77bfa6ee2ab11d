"""Download the files of a dataset: mirrors in their order, resumed where they broke off, verified.

What is whole is noted in `downloads.json` (size, time of change, sha256), so that gigabytes are
hashed once. A file that somebody put into the folder by hand is verified like a downloaded one.
Archives (`.zip`) are unpacked where they lie.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from http.client import HTTPException, HTTPResponse
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from filelock import FileLock, Timeout

from gen.progress import progress
from gen.schema import FileConfig, ImportConfig
from splits.errors import UserError
from splits.files import write_json

LEDGER = "downloads.json"
BLOCK_BYTES = 1 << 20
SILENCE_SECONDS = 60.0
"""without a byte for so long, a mirror counts as dead"""
RANGE_NOT_SATISFIABLE = 416


class MirrorError(Exception):
    """What a mirror did wrong; the next one is asked."""


def download(config: ImportConfig, folder: Path) -> list[str]:
    """Fetch, verify and unpack the files that `config` names; what is there already is kept.

    Args:
        config: of the dataset.
        folder: where the files go.

    Returns:
        A sentence about each file.

    Raises:
        UserError: there is nothing to fetch, no mirror gives a file, or a file is a wrong one.
    """
    if not config.downloads:
        raise UserError(
            f"no files can be fetched for {config.name}",
            fix="get it from its authors (the comment in its configuration says where) and use: "
            f"clipgen dataset import {config.name} --from DIR",
        )
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / f".{LEDGER}.lock", blocking=False):
            return [_provide(file, folder) for file in config.downloads]
    except Timeout:
        raise UserError("another process downloads into this folder", where=str(folder)) from None


def _provide(file: FileConfig, folder: Path) -> str:
    """One file, whole and verified; a sentence on how it came."""
    path, how = folder / file.name, "verified"
    if not path.is_file():
        how = f"fetched from {_fetch(file, folder)}"
    elif wrong := _wrong(path, file, _sha256(path)):
        raise UserError(
            f"{path} is not the published file: {wrong}",
            where=f"kept as {_rename(path, f'{file.name}.wrong')}",
            fix="run the same command again to fetch it, or put the right one there",
        )
    sha256 = _sha256(path)
    if not file.sha256:
        how += f" (nobody published a sha256: it has {sha256}, noted in {LEDGER})"
    if path.suffix == ".zip" and _unpack(path):
        how += ", unpacked"
    return f"{file.name}: {how}, {path.stat().st_size} bytes"


# ---------------------------------------------------------------------------- verification


def _sha256(path: Path) -> str:
    """Hash of a file; computed once for each state of it, by its size and time of change."""
    status, entry = path.stat(), _ledger(path.parent).get(path.name, {})
    state = {"bytes": status.st_size, "mtime_ns": status.st_mtime_ns}
    if any(entry.get(key) != value for key, value in state.items()):
        with path.open("rb") as file:
            entry = state | {"sha256": hashlib.file_digest(file, "sha256").hexdigest()}
        _note(path, entry)
    return str(entry["sha256"])


def _ledger(folder: Path) -> dict[str, Any]:
    """Content of downloads.json: by file name what is known of a file."""
    path = folder / LEDGER
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}
    except ValueError:
        raise UserError(
            "the list of downloads is not readable", where=str(path), fix="delete it"
        ) from None


def _note(path: Path, entry: dict[str, Any]) -> None:
    write_json(path.parent / LEDGER, _ledger(path.parent) | {path.name: entry})


def _rename(path: Path, name: str) -> Path:
    """Give a file another name in its folder and in the ledger."""
    ledger = _ledger(path.parent)
    os.replace(path, path.with_name(name))
    if path.name in ledger:
        ledger[name] = ledger.pop(path.name)
        write_json(path.parent / LEDGER, ledger)
    return path.with_name(name)


def _wrong(path: Path, file: FileConfig, sha256: str) -> str:
    """What is wrong with a file; empty where nothing is, or nothing is known of it."""
    size = path.stat().st_size
    if file.bytes and size != file.bytes:
        return f"it has {size} bytes, not {file.bytes}"
    if file.sha256 and sha256 != file.sha256:
        return f"its sha256 is {sha256}, not {file.sha256}"
    return ""


# ---------------------------------------------------------------------------- fetching


def _fetch(file: FileConfig, folder: Path) -> str:
    """Fetch a file from the first mirror that gives it whole; return that mirror's address."""
    path, part = folder / file.name, folder / f"{file.name}.part"
    problems = []
    for url in file.urls:
        try:
            _fetch_from(url, file, part)
            if wrong := _wrong(part, file, _sha256(part)):
                raise MirrorError(f"{wrong}; kept as {_rename(part, f'{file.name}.wrong')}")
            _rename(part, file.name)
            return url
        except MirrorError as error:
            problems.append(f"{url}: {error}")
    known = f"{file.bytes or 'an unknown number of'} bytes, sha256 {file.sha256 or 'unknown'}"
    raise UserError(
        f"no mirror gave {file.name}:" + "".join(f"\n    {problem}" for problem in problems),
        expected=known,
        fix=f"get the file from anywhere, put it at {path} and run the same command again: it is "
        "then verified instead of fetched; or try later: what has come is kept",
    )


def _fetch_from(url: str, file: FileConfig, part: Path) -> None:
    """Fetch until the file is whole, asking again as long as that brings something new."""
    most = _size(part)
    while True:
        have = _resumable(url, file, part)
        if file.bytes and have == file.bytes:
            return
        try:
            return _continue(url, file, part, have)
        except MirrorError:
            if _size(part) <= most:
                raise
            most = _size(part)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _resumable(url: str, file: FileConfig, part: Path) -> int:
    """Bytes of a part that can be kept.

    Without a published hash only the same mirror, with the same version of the file, may go on:
    a mixture of two contents would never be noticed.
    """
    have = _size(part)
    if (file.sha256 or _version(url, part)) and have <= (file.bytes or have):
        return have
    part.unlink(missing_ok=True)
    return 0


def _version(url: str, part: Path) -> str:
    """A mirror's own name for the version of the file of which we have a part, if it gave one."""
    entry = _ledger(part.parent).get(part.name, {})
    return str(entry.get("version", "")) if entry.get("url") == url else ""


def _continue(url: str, file: FileConfig, part: Path, have: int) -> None:
    """Ask a mirror for what is missing, or for all where it cannot give a part of a file."""
    try:
        response = urlopen(_request(url, part, have), timeout=SILENCE_SECONDS)
    except HTTPError as error:
        if error.code == RANGE_NOT_SATISFIABLE and have:
            if error.headers.get("Content-Range") == f"bytes */{have}":
                return  # it is whole
            part.unlink()
            return _continue(url, file, part, 0)
        raise MirrorError(f"HTTP {error.code} {error.reason}") from None
    except (OSError, HTTPException, ValueError) as error:
        raise MirrorError(_words(error)) from None
    with response:
        start = _start(response, have)
        rest = response.headers.get("Content-Length")
        total = start + int(rest) if rest else file.bytes
        if file.bytes and total != file.bytes:
            raise MirrorError(f"it offers {total} bytes, not {file.bytes}")
        _note_version(url, response, part)
        _receive(response, part, start, total)


def _request(url: str, part: Path, have: int) -> Request:
    headers = {"User-Agent": "clipgen"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if version := _version(url, part):
            headers["If-Range"] = version  # else it sends the whole file
    return Request(url, headers=headers)


def _start(response: HTTPResponse, have: int) -> int:
    """Place of the response's first byte in the file."""
    if response.status != 206:  # all of it, from the start
        return 0
    if not (response.headers.get("Content-Range") or "").startswith(f"bytes {have}-"):
        raise MirrorError("it gave another part than it was asked for")
    return have


def _note_version(url: str, response: HTTPResponse, part: Path) -> None:
    """Keep the mirror's name for this version of the file, to go on later with the same one."""
    version = response.headers.get("ETag") or ""
    if not version or version.startswith("W/"):  # these do not promise equal bytes
        version = response.headers.get("Last-Modified") or ""
    _note(part, {"url": url, "version": version})


def _receive(response: HTTPResponse, part: Path, start: int, total: int) -> None:
    name = part.name.removesuffix(".part")
    with (
        part.open("r+b" if start else "wb") as opened,
        progress(total, name, "B", done=start) as bar,
    ):
        opened.seek(start)
        have = start
        for block in _blocks(response):
            opened.write(block)
            have += len(block)
            bar.update(len(block))
        opened.flush()
        os.fsync(opened.fileno())
    if total and have != total:
        raise MirrorError(f"it broke off after {have} of {total} bytes")


def _blocks(response: HTTPResponse) -> Iterator[bytes]:
    while True:
        try:
            block = response.read(BLOCK_BYTES)
        except (OSError, HTTPException) as error:  # not those of the disk, which mirrors can't mend
            raise MirrorError(f"it broke off: {_words(error)}") from None
        if not block:
            return
        yield block


def _words(error: Exception) -> str:
    return str(getattr(error, "reason", "") or error) or type(error).__name__


# ---------------------------------------------------------------------------- archives


def _unpack(path: Path) -> bool:
    """Unpack what an archive holds and its folder lacks; every file comes whole or not at all.

    Returns:
        Whether there was anything to do: what is unpacked already, by anybody, is kept.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            files = [member for member in archive.infolist() if not member.is_dir()]
            lacking = [file for file in files if _lacks(path, file)]
            if lacking:
                _extract(archive, lacking, path)
            return bool(lacking)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise UserError(
            f"{path} is not a whole zip archive ({error})", fix="delete it and download it again"
        ) from None


def _lacks(path: Path, member: zipfile.ZipInfo) -> bool:
    """Whether a member of an archive is not unpacked yet; it must stay within the folder."""
    parts = PurePosixPath(member.filename).parts
    if parts[0] == "/" or ".." in parts or "\\" in member.filename:
        raise UserError(
            f"{path} holds `{member.filename}`, which leads out of the folder",
            fix="delete the archive; do not trust where it came from",
        )
    place = path.parent / member.filename
    if place.exists() and not (place.is_file() and place.stat().st_size == member.file_size):
        raise UserError(
            f"{place} is there, but is not the one in {path.name}",
            fix="delete it, or its whole folder, and run the same command again",
        )
    return not place.exists()


def _extract(archive: zipfile.ZipFile, members: list[zipfile.ZipInfo], path: Path) -> None:
    temporary = path.with_name(f".{path.name}.unpacking")
    shutil.rmtree(temporary, ignore_errors=True)  # of a process that was killed
    try:
        with progress(sum(m.file_size for m in members), f"unpacking {path.name}", "B") as bar:
            for member in members:
                archive.extract(member, temporary)
                bar.update(member.file_size)
        for member in members:
            place = path.parent / member.filename
            place.parent.mkdir(parents=True, exist_ok=True)
            os.replace(temporary / member.filename, place)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
