"""Listings of image–caption data without classes: tables of files (TSV) and webdataset shards.

A listing says which images there are, where their bytes lie and what their captions are; no pixel
is read. What cannot be listed is refused with a reason: every row of a table and every key of a
shard is either in the listing or among the refused.

Tables have no quoting and no missing values: a caption may start with a quotation mark, or be
`null`. Readers of CSV files swallow rows at the one and lose captions at the other.

Shards are webdataset tars as img2dataset writes them: KEY.jpg (or jpeg, png, webp) with KEY.txt,
or else `caption` in KEY.json. Members that webdataset itself passes over are no samples: those
without extension, whose name starts with a dot, or in a folder wrapped in `__`. Files beside the
shards (`*_stats.json`, `*.parquet`) are not looked at.
"""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, BinaryIO

import polars as pl

from gen.datasets.listing import LISTING, REJECTED
from gen.progress import progress
from gen.schema import DatasetKind, ImportConfig
from splits.errors import UserError

BLOCK_BYTES = 1 << 25
FIRST_ROW = 2
"""line number of a table's first row: the header is line 1"""
BOM = b"\xef\xbb\xbf"
IMAGES = ("jpg", "jpeg", "png", "webp")
TAR_BLOCK = 512
NO_SAMPLE = re.compile(r"__[^/]*__/")
MEMBER = re.compile(r"((?:.*/)?[^/.]+)\.([^/]+)")
"""key and extension of a member: the file's name is cut at its first dot"""

Listed = tuple[pl.DataFrame, pl.DataFrame, dict[str, Any]]


def list_captioned(config: ImportConfig, root: Path, *, workers: int = 1) -> Listed:
    """List the image–caption pairs below `root`.

    Args:
        config: of kind `tsv` or `webdataset`.
        root: folder of the images and the table, or of the shards.
        workers: processes that list shards.

    Returns:
        The listing (columns LISTING, in the order of the table or the shards), the refused
        (columns REJECTED), and what the manifest says about the source.

    Raises:
        UserError: there is no such table, column or shard.
    """
    root = root.absolute()
    if config.kind is DatasetKind.tsv:
        return _list_table(config, root)
    return _list_shards(config, root, workers)


# ---------------------------------------------------------------------------- tables


def _list_table(config: ImportConfig, root: Path) -> Listed:
    path = root / config.table
    if not config.table or not path.is_file():
        raise UserError(
            f"there is no table {path}",
            expected="a TSV file with a header",
            fix="name it with table=FILE; its path is relative to the folder of --from",
        )
    digest, start, listed, refused = hashlib.sha256(), 0, [], []
    with path.open("rb") as file, progress(path.stat().st_size, path.name, "B") as bar:
        line = file.readline()
        digest.update(line)
        bar.update(len(line))
        columns = _columns(line, config, path)
        for block in _line_blocks(file):
            digest.update(block)
            rows = _rows(_lines(block.removesuffix(b"\n")), columns, root, start)
            listed.append(_listing(rows.filter(pl.col("reason").is_null()), config.name, root))
            refused.append(rows.filter(pl.col("reason").is_not_null()).drop("caption"))
            start += rows.height
            bar.update(len(block))
    listing = pl.concat([pl.DataFrame(schema=LISTING), *listed], rechunk=False)
    first = listing["id"].is_first_distinct()
    again = listing.filter(~first).select("position", "id", reason=pl.lit("duplicated key"))
    rejected = pl.concat([*refused, again]).sort("position") if refused else again
    reason = pl.format("{}: line {}", "reason", pl.col("position") + FIRST_ROW)
    table = pl.lit(str(path)).alias("path")
    rejected = rejected.select(pl.col("id").fill_null(""), table, reason.alias("reason"))
    source = {"kind": "tsv", "table": config.table, "bytes": path.stat().st_size}
    source |= {"sha256": digest.hexdigest(), "rows": start}
    return listing.filter(first) if again.height else listing, rejected, source


def _columns(line: bytes, config: ImportConfig, path: Path) -> tuple[int, int, int]:
    """Number of columns, and the places of path and caption, by the header."""
    try:
        header = line.removeprefix(BOM).decode("utf-8").rstrip("\r\n").split("\t")
    except UnicodeDecodeError:
        raise UserError("the header is not UTF-8", expected="a TSV file", where=str(path)) from None
    for key in ("path_column", "caption_column"):
        if header.count(getattr(config, key)) != 1:
            raise UserError(
                f"the table has no column `{getattr(config, key)}`, or several",
                expected=f"one of {', '.join(f'`{name}`' for name in header)}",
                where=str(path),
                fix=f"{key}=NAME; columns are separated by tabs",
            )
    return len(header), header.index(config.path_column), header.index(config.caption_column)


def _line_blocks(file: BinaryIO) -> Iterator[bytes]:
    """The rest of a file in blocks of whole lines."""
    rest = b""
    while block := file.read(BLOCK_BYTES):
        lines, newline, tail = block.rpartition(b"\n")
        if newline:
            yield rest + lines + newline
            rest = tail
        else:
            rest += tail
    if rest:
        yield rest


def _lines(block: bytes) -> list[str | None]:
    """The lines of a block; None where one is not UTF-8."""
    try:
        return list(block.decode("utf-8").split("\n"))
    except UnicodeDecodeError:
        return [_text(line) for line in block.split(b"\n")]


def _text(data: bytes) -> str | None:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _rows(
    lines: list[str | None], columns: tuple[int, int, int], root: Path, start: int
) -> pl.DataFrame:
    """Columns position, id, caption and reason (null where nothing speaks against the row).

    An id is the path below the root, written in one way only; that makes duplicates visible.
    """
    width, path, caption = columns
    line = pl.col("line").str.strip_suffix("\r")
    fields = pl.col("fields").struct
    below = fields.field(f"field_{path}").str.replace_all(r"/(\.?/)+", "/")
    below = below.str.strip_prefix(f"{root}/").str.replace(r"^(\./)+", "")
    outside = pl.col("id").str.contains(r"^/|(^|/)\.\.(/|$)")
    reasons = (
        pl.when(pl.col("line").is_null())
        .then(pl.lit("not UTF-8"))
        .when(pl.col("tabs") != width - 1)
        .then(
            pl.format(
                f"row with another number of fields: {{}} instead of {width}", pl.col("tabs") + 1
            )
        )
        .when(pl.col("id") == "")
        .then(pl.lit("empty path"))
        .when(outside)
        .then(pl.lit("path outside of the root"))
        .when(pl.col("caption") == "")
        .then(pl.lit("empty caption"))
    )
    return (
        pl.DataFrame({"line": pl.Series(lines, dtype=pl.String)})
        .lazy()
        .select(
            pl.int_range(start, start + pl.len(), dtype=pl.Int64).alias("position"),
            pl.col("line"),
            line.str.count_matches("\t", literal=True).alias("tabs"),
            line.str.split_exact("\t", width - 1).alias("fields"),
        )
        .with_columns(id=below, caption=fields.field(f"field_{caption}").str.strip_chars())
        .select("position", "id", "caption", reason=reasons)
        .collect()
    )


def _listing(rows: pl.DataFrame, name: str, root: Path) -> pl.DataFrame:
    constants = {"domain": name, "class_name": "", "split": "train", "offset": None, "size": None}
    columns = {key: pl.lit(value, dtype=LISTING[key]) for key, value in constants.items()}
    path = pl.concat_str(pl.lit(f"{root}/"), "id")
    return rows.with_columns(path=path, **columns).select(*LISTING)


# ---------------------------------------------------------------------------- shards


@dataclass
class ShardContent:
    """What one shard holds.

    Attributes:
        path: of the shard.
        pairs: (key, offset and size of the image in bytes, caption) per sample.
        refused: (key, reason); the key is empty where it is about the shard.
    """

    path: Path
    pairs: list[tuple[str, int, int, str]] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)


def _list_shards(config: ImportConfig, root: Path, workers: int) -> Listed:
    paths = [] if Path(config.shards).is_absolute() else sorted(root.glob(config.shards))
    if not paths:
        raise UserError(
            f"there is no shard {config.shards} in {root}",
            expected="webdataset tars as img2dataset writes them (00000.tar, 00001.tar, …)",
            fix="give their folder with --from, and a pattern relative to it with shards=PATTERN",
        )
    contents = list(_read_shards(paths, workers))
    names = [content.path.relative_to(root).with_suffix("").as_posix() for content in contents]
    listing = pl.concat([_shard_listing(c, n) for c, n in zip(contents, names, strict=True)])
    size, caption = pl.col("size"), pl.col("caption").hash()
    copies = listing.select(~pl.struct("key", size, caption).is_first_distinct()).to_series()
    columns = {"domain": pl.lit(config.name), "class_name": pl.lit(""), "split": pl.lit("train")}
    listing = listing.with_row_index("position").with_columns(**columns)
    again = listing.filter(copies).select("id", "path", reason=pl.lit("duplicated key"))
    refused = [
        (f"{name}/{key}".rstrip("/"), str(content.path), reason)
        for content, name in zip(contents, names, strict=True)
        for key, reason in content.refused
    ]
    rejected = pl.concat([pl.DataFrame(refused, schema=REJECTED, orient="row"), again])
    facts = [{"name": c.path.name, "samples": len(c.pairs)} for c in contents]
    source = {"kind": "webdataset", "shards": facts}
    return listing.filter(~copies).select(*LISTING).cast(pl.Schema(LISTING)), rejected, source


def _read_shards(paths: list[Path], workers: int) -> Iterator[ShardContent]:
    with ExitStack() as stack:
        bar = stack.enter_context(progress(len(paths), "listing", "shard"))
        run: Any = map
        if workers > 1 and len(paths) > 1:
            pool = ProcessPoolExecutor(min(workers, len(paths)), get_context("spawn"))
            run = partial(stack.enter_context(pool).map, chunksize=1)
        for content in run(read_shard, paths):
            bar.update()
            yield content


def _shard_listing(content: ShardContent, name: str) -> pl.DataFrame:
    schema = {"key": pl.String} | {c: LISTING[c] for c in ("offset", "size", "caption")}
    pairs = pl.DataFrame(content.pairs, schema=schema, orient="row")
    return pairs.with_columns(
        id=pl.concat_str(pl.lit(f"{name}/"), "key"), path=pl.lit(str(content.path))
    )


def read_shard(path: Path) -> ShardContent:
    """List the samples of a webdataset tar without unpacking it.

    A tar that breaks off or is damaged gives the samples before that place and one refusal.
    """
    content = ShardContent(path)
    with path.open("rb") as file:
        samples: dict[str, dict[str, list[tarfile.TarInfo]]] = {}
        for member in _members(file, content):
            name = MEMBER.fullmatch(member.name)
            if name and not NO_SAMPLE.match(member.name):
                key, extension = name[1], name[2].lower()
                samples.setdefault(key, {}).setdefault(extension, []).append(member)
        end = file.seek(0, 2)
        for key, parts in samples.items():
            copies = max(len(places) for places in parts.values()) - 1
            content.refused += [(key, "duplicated key")] * copies
            _add_sample(content, file, key, {ext: places[0] for ext, places in parts.items()}, end)
    return content


def _members(file: BinaryIO, content: ShardContent) -> Iterator[tarfile.TarInfo]:
    """The members of a tar; what is wrong with it is noted in `content`.

    tarfile ends without a word at a header that it cannot read: only a block of zeros is an end.
    """
    if not file.seek(0, 2):
        content.refused.append(("", "empty file"))
        return
    file.seek(0)
    try:
        tar = tarfile.open(fileobj=file, mode="r:")  # noqa: SIM115 (closing it would change nothing)
    except tarfile.ReadError:
        content.refused.append(("", "not a tar, or a compressed one"))
        return
    try:
        yield from (member for member in tar if not member.isdir())
        file.seek(tar.offset)
        whole = file.read(TAR_BLOCK) == bytes(TAR_BLOCK)
    except tarfile.ReadError:
        whole = False
    if not whole:
        byte = min(tar.offset, file.seek(0, 2))
        content.refused.append(("", f"truncated or damaged tar: not readable from byte {byte} on"))


def _add_sample(
    content: ShardContent, file: BinaryIO, key: str, parts: dict[str, tarfile.TarInfo], end: int
) -> None:
    """Add a sample, given its members by extension, to the pairs or to the refused."""
    images = [parts[extension] for extension in IMAGES if extension in parts]
    text = parts.get("txt", parts.get("json"))
    caption, reason = "", ""
    if len(images) != 1:
        reason = "several images" if images else _without_image(parts)
    elif text is None:
        reason = "no caption"
    elif not (images[0].isreg() and text.isreg()):
        reason = "not a regular file"
    elif max(part.offset_data + part.size for part in (images[0], text)) > end:
        reason = "truncated"
    else:
        caption, reason = _caption(file, text, is_json="txt" not in parts)
    if reason:
        content.refused.append((key, reason))
    else:
        content.pairs.append((key, images[0].offset_data, images[0].size, caption))


def _without_image(extensions: Iterable[str]) -> str:
    """Why there is no image: `a.1.jpg` is a member of `a` whose extension is `1.jpg`."""
    dotted = any("." in name and name.rsplit(".", 1)[1] in IMAGES for name in extensions)
    return "the name has more than one dot" if dotted else "no image"


def _caption(file: BinaryIO, member: tarfile.TarInfo, *, is_json: bool) -> tuple[str, str]:
    """Caption of a sample, and the reason why it has none."""
    file.seek(member.offset_data)
    caption = _text(file.read(member.size))
    if caption is None:
        return "", "caption is not UTF-8"
    if is_json:
        try:
            content = json.loads(caption)
        except ValueError:
            return "", "json is not readable"
        caption = content.get("caption") if isinstance(content, dict) else None
        if not isinstance(caption, str):
            return "", "no caption"
    return caption.strip(), "" if caption.strip() else "empty caption"
