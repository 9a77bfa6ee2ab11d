"""Listings of image–caption data: every row and every key is listed or refused with a reason."""

from __future__ import annotations

import io
import json
import shutil
import tarfile

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen.cli import main
from gen.datasets import captioned
from gen.datasets.captioned import list_captioned
from gen.datasets.listing import LISTING, REJECTED
from gen.datasets.samples import load_dataset
from gen.datasets.shards import encode_png, read_images
from gen.schema import DatasetKind, ImportConfig
from splits.errors import UserError

TRAPS = [
    '"an open quote',
    'a "quoted" word',
    "null",
    "N/A",
    "NA",
    "nan",
    "None",
    "#",
    "'",
    "\\",
    "?",
]
FIELDS = "row with another number of fields"


def config(kind: str, **keys) -> ImportConfig:
    return ImportConfig(kind=DatasetKind[kind], name="pairs", pixels=32, **keys)


def list_table(folder, content: str | bytes, **keys):
    data = content.encode() if isinstance(content, str) else content
    (folder / "pairs.tsv").write_bytes(data)
    return list_captioned(config("tsv", table="pairs.tsv", **keys), folder)


def reasons(rejected: pl.DataFrame) -> dict[str, str]:
    """Reason by line number."""
    parts = (reason.rsplit(": line ", 1) for reason in rejected["reason"])
    return {line: reason for reason, line in parts}


def test_a_table_is_listed_row_by_row(tmp_path):
    listing, rejected, source = list_table(
        tmp_path, "title\tfilepath\nA cat. \ta/1.jpg\ndog\t2.png"
    )
    assert listing.schema == pl.Schema(LISTING)
    assert rejected.schema == pl.Schema(REJECTED)
    expected = ("a/1.jpg", "pairs", "", "train", 0, f"{tmp_path}/a/1.jpg", None, None, "A cat.")
    assert listing.row(0) == expected
    assert listing["caption"].to_list() == ["A cat.", "dog"]
    assert (rejected.height, source["rows"], source["bytes"]) == (0, 2, 40)


def test_captions_that_csv_readers_misread_are_captions(tmp_path):
    rows = "".join(f"{number}.jpg\t{caption}\n" for number, caption in enumerate(TRAPS))
    listing, rejected, _ = list_table(tmp_path, "filepath\ttitle\n" + rows)
    assert listing["caption"].to_list() == TRAPS
    assert not rejected.height


CHARACTERS = st.characters(exclude_characters="\t\n\r\x1c\x1d\x1e\x1f", codec="utf-8")


@given(st.lists(st.text(CHARACTERS, max_size=9)))
def test_no_row_is_lost_or_merged(tmp_path_factory, captions):
    folder = tmp_path_factory.mktemp("table")
    rows = "".join(f"{number}.jpg\t{caption}\n" for number, caption in enumerate(captions))
    listing, rejected, source = list_table(folder, "filepath\ttitle\n" + rows)
    assert listing.height + rejected.height == source["rows"] == len(captions)
    for position, caption in listing.select("position", "caption").iter_rows():
        assert caption == captions[position].strip()


@pytest.mark.parametrize("size", [1, 2, 7, 30, 1000])
def test_the_listing_does_not_depend_on_the_blocks_in_which_it_is_read(tmp_path, monkeypatch, size):
    rows = "filepath\ttitle\r\n" + "".join(f"ü{n}.jpg\tcäption {n}\r\n" for n in range(20)) + "\n"
    whole = list_table(tmp_path, rows)
    monkeypatch.setattr(captioned, "BLOCK_BYTES", size)
    parts = list_table(tmp_path, rows)
    assert parts[0].equals(whole[0])
    assert parts[1].equals(whole[1])
    assert parts[2] == whole[2]
    assert (whole[0].height, reasons(whole[1])) == (20, {"22": f"{FIELDS}: 1 instead of 2"})


def test_bad_rows_are_refused_with_their_line_number(tmp_path):
    content = b"\n".join(
        [
            b"filepath\ttitle",
            b"1.jpg\tgood",
            b"2.jpg\ttoo\tmany",
            b"3.jpg",
            b"",
            b"4.jpg\t  ",
            b"\tno path",
            b"5.jpg\tinvalid \xff",
            b"./1.jpg\tagain",
            b"../6.jpg\toutside",
            b"/elsewhere/6.jpg\toutside",
            b"7.jpg\tgood too",
        ]
    )
    listing, rejected, source = list_table(tmp_path, content)
    assert listing["id"].to_list() == ["1.jpg", "7.jpg"]
    assert listing["position"].to_list() == [0, 10]
    assert reasons(rejected) == {
        "3": f"{FIELDS}: 3 instead of 2",
        "4": f"{FIELDS}: 1 instead of 2",
        "5": f"{FIELDS}: 1 instead of 2",
        "6": "empty caption",
        "7": "empty path",
        "8": "not UTF-8",
        "9": "duplicated key",
        "10": "path outside of the root",
        "11": "path outside of the root",
    }
    assert source["rows"] == listing.height + rejected.height
    assert rejected["id"].to_list()[:2] == ["2.jpg", "3.jpg"]
    assert set(rejected["path"]) == {str(tmp_path / "pairs.tsv")}


def test_a_byte_order_mark_and_windows_line_ends_are_no_content(tmp_path):
    listing, rejected, _ = list_table(tmp_path, b"\xef\xbb\xbffilepath\ttitle\r\n1.jpg\ta cat\r\n")
    assert listing.select("id", "caption").rows() == [("1.jpg", "a cat")]
    assert not rejected.height


def test_a_path_has_one_id_however_it_is_written(tmp_path):
    paths = [f"{tmp_path}/a/1.jpg", "./a//1.jpg", "a/././1.jpg", "a/1.jpg"]
    rows = "".join(f"{path}\tcat\n" for path in paths)
    listing, rejected, _ = list_table(tmp_path, "filepath\ttitle\n" + rows)
    assert listing.select("id", "path").rows() == [("a/1.jpg", f"{tmp_path}/a/1.jpg")]
    assert reasons(rejected) == dict.fromkeys("345", "duplicated key")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("image\tcaption\n", r"no column `filepath`(?s:.*)`image`, `caption`"),
        ("filepath,title\n", r"`filepath,title`(?s:.*)tabs"),
        ("filepath\tfilepath\ttitle\n", "or several"),
        ("", "no column"),
        (b"\xff\xfef\x00\n", "header is not UTF-8"),
    ],
)
def test_a_header_without_the_columns_is_named(tmp_path, content, message):
    with pytest.raises(UserError, match=message):
        list_table(tmp_path, content)


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(UserError, match=r"no table .*pairs\.tsv(?s:.*)table=FILE"):
        list_captioned(config("tsv", table="pairs.tsv"), tmp_path)


# ---------------------------------------------------------------------------- shards


def write_tar(path, members: dict[str, bytes] | list[tuple[str, bytes]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members.items() if isinstance(members, dict) else members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def pair(number: int, caption: str = "a caption") -> dict[str, bytes]:
    key = f"{number:09d}"
    facts = {"caption": "of the json", "key": key, "status": "success"}
    return {
        f"{key}.jpg": f"image {number}".encode(),
        f"{key}.txt": caption.encode(),
        f"{key}.json": json.dumps(facts).encode(),
    }


def list_shards(folder, **keys):
    return list_captioned(config("webdataset"), folder, **keys)


def refused(rejected: pl.DataFrame) -> list[tuple[str, str]]:
    return sorted(rejected.select("id", "reason").iter_rows())


def test_shards_are_listed_by_the_places_of_their_images(tmp_path):
    write_tar(tmp_path / "00000.tar", pair(0, " größer\n") | pair(1))
    write_tar(tmp_path / "00001.tar", pair(10))
    (tmp_path / "00000_stats.json").write_text("{}")
    (tmp_path / "00000.parquet").write_bytes(b"")
    listing, rejected, source = list_shards(tmp_path)
    assert listing.schema == pl.Schema(LISTING)
    assert (rejected.height, rejected.schema) == (0, pl.Schema(REJECTED))
    assert listing["id"].to_list() == [f"00000/{0:09d}", f"00000/{1:09d}", f"00001/{10:09d}"]
    assert listing["caption"].to_list() == ["größer", "a caption", "a caption"]
    assert listing["position"].to_list() == [0, 1, 2]
    for number, (path, offset, size) in zip((0, 1, 10), places(listing), strict=True):
        with open(path, "rb") as file:
            file.seek(offset)
            assert file.read(size) == f"image {number}".encode()
    assert [shard["samples"] for shard in source["shards"]] == [2, 1]


def places(listing: pl.DataFrame):
    return listing.select("path", "offset", "size").iter_rows()


def test_processes_give_the_listing_of_one(tmp_path):
    for shard in range(3):
        write_tar(tmp_path / f"{shard:05d}.tar", pair(2 * shard) | pair(2 * shard + 1) | pair(0))
    one, two = list_shards(tmp_path), list_shards(tmp_path, workers=2)
    assert one[0].equals(two[0])
    assert one[1].equals(two[1])
    assert one[2] == two[2]


def test_what_lacks_its_image_or_its_caption_is_refused(tmp_path):
    members = {
        "a.jpg": b"image",
        "b.txt": b"caption",
        "c.png": b"image",
        "c.json": b'{"caption": "from the json"}',
        "d.jpg": b"image",
        "d.json": b'{"caption": null}',
        "e.jpg": b"image",
        "e.json": b"{",
        "f.WEBP": b"image",
        "f.txt": b"\xff",
        "g.jpg": b"image",
        "g.txt": b" \n",
        "h.jpg": b"image",
        "h.png": b"image",
        "h.txt": b"two images",
        "i.jpg": b"image",
        "i.json": b"[]",
        "j.1.jpg": b"image",
        "j.1.txt": b"caption",
        "k.seg.png": b"image",
        "k.jpg": b"image",
        "k.txt": b"an image, and its segments",
        "__meta__/a.json": b"{}",
        ".hidden.jpg": b"",
        "README": b"",
    }
    write_tar(tmp_path / "x.tar", members)
    listing, rejected, _ = list_shards(tmp_path)
    captions = [("x/c", "from the json"), ("x/k", "an image, and its segments")]
    assert listing.select("id", "caption").rows() == captions
    assert refused(rejected) == [
        ("x/a", "no caption"),
        ("x/b", "no image"),
        ("x/d", "no caption"),
        ("x/e", "json is not readable"),
        ("x/f", "caption is not UTF-8"),
        ("x/g", "empty caption"),
        ("x/h", "several images"),
        ("x/i", "no caption"),
        ("x/j", "the name has more than one dot"),
    ]


def test_a_key_that_stands_twice_in_a_shard_is_refused_once(tmp_path):
    write_tar(tmp_path / "x.tar", [*pair(0).items(), *pair(1).items(), *pair(0).items()])
    listing, rejected, _ = list_shards(tmp_path)
    assert listing.height == 2
    assert refused(rejected) == [(f"x/{0:09d}", "duplicated key")]


def test_a_copy_of_a_shard_is_refused(tmp_path):
    write_tar(tmp_path / "x.tar", pair(0) | pair(1))
    shutil.copy(tmp_path / "x.tar", tmp_path / "x (1).tar")
    listing, rejected, _ = list_shards(tmp_path)
    assert listing.height == 2
    assert rejected["reason"].to_list() == ["duplicated key"] * 2


def test_shards_that_number_their_samples_alike_are_not_copies(tmp_path):
    write_tar(tmp_path / "a" / "0.tar", pair(0, "a cat"))
    write_tar(tmp_path / "b" / "0.tar", pair(0, "a dog"))
    listing, rejected, _ = list_captioned(config("webdataset", shards="*/*.tar"), tmp_path)
    assert listing["id"].to_list() == [f"a/0/{0:09d}", f"b/0/{0:09d}"]
    assert not rejected.height


@pytest.mark.parametrize("cut", range(1, 12 * 512, 256))
def test_a_truncated_shard_is_never_taken_for_a_whole_one(tmp_path, cut):
    write_tar(tmp_path / "x.tar", pair(0) | pair(1))
    whole, _, _ = list_shards(tmp_path)
    path = tmp_path / "x.tar"
    path.write_bytes(path.read_bytes()[:cut])
    listing, rejected, _ = list_shards(tmp_path)
    assert "x" in rejected["id"].to_list()
    assert listing.equals(whole.head(listing.height))
    ends_of_captions = (3 * 512 + len("a caption"), 9 * 512 + len("a caption"))
    assert listing.height == sum(cut >= end for end in ends_of_captions)


def test_a_damaged_header_is_named_with_its_byte(tmp_path):
    write_tar(tmp_path / "x.tar", pair(0) | pair(1))
    data = bytearray((tmp_path / "x.tar").read_bytes())
    data[6 * 512 : 7 * 512] = b"\x01" * 512
    (tmp_path / "x.tar").write_bytes(data)
    listing, rejected, _ = list_shards(tmp_path)
    assert listing.height == 1
    assert "from byte 3072 on" in rejected["reason"][0]


def test_what_is_no_tar_is_refused(tmp_path):
    (tmp_path / "empty.tar").touch()
    (tmp_path / "text.tar").write_bytes(b"not a tar" * 100)
    with tarfile.open(tmp_path / "packed.tar", "w:gz"):
        pass
    write_tar(tmp_path / "good.tar", pair(0))
    listing, rejected, _ = list_shards(tmp_path)
    assert listing["id"].to_list() == [f"good/{0:09d}"]
    assert refused(rejected) == [
        ("empty", "empty file"),
        ("packed", "not a tar, or a compressed one"),
        ("text", "not a tar, or a compressed one"),
    ]


@pytest.mark.parametrize("pattern", ["*.tar", "/absolute/*.tar"])
def test_a_folder_without_shards_is_an_error(tmp_path, pattern):
    with pytest.raises(UserError, match="no shard"):
        list_captioned(config("webdataset", shards=pattern), tmp_path)


# ---------------------------------------------------------------------------- progress


def test_the_bar_of_a_table_ends_where_the_table_ends(tmp_path, capsys):
    list_table(tmp_path, "filepath\ttitle\n1.jpg\ta cat\n")
    assert capsys.readouterr().err.splitlines()[-1].startswith("pairs.tsv: 100%")


# ---------------------------------------------------------------------------- import


def image(grey: int) -> bytes:
    return encode_png(np.full((20, 24, 3), grey, np.uint8))


@pytest.mark.parametrize("kind", ["tsv", "webdataset"])
def test_image_caption_data_are_imported_as_a_base(tmp_path, capsys, kind):
    root, data = tmp_path / "root", tmp_path / "data"
    members = {f"{n}.png": image(n) for n in range(5)} | {f"{n}.txt": b'"quoted' for n in range(5)}
    write_tar(root / "0.tar", members | {"5.png": b"no image", "5.txt": b"caption"})
    for number in range(5):
        (root / f"{number}.png").write_bytes(image(number))
    rows = "".join(f'{number}.png\t"quoted\n' for number in range(6))
    (root / "pairs.tsv").write_text("filepath\ttitle\n" + rows)
    keys = [f"kind={kind}", "pixels=16", *["table=pairs.tsv"] * (kind == "tsv")]
    command = ["dataset", "import", "pairs", *keys, "--from", str(root), "--data", str(data)]
    assert main([*command, "--workers", "1"]) == 2
    assert "1 bad image:" in capsys.readouterr().err
    assert main([*command, "--workers", "1", "max_rejected=1"]) == 0
    dataset = load_dataset("pairs", data)
    assert dataset.is_base
    assert dataset.domains == ("pairs",)
    assert dataset.samples["caption"].to_list() == ['"quoted'] * 5
    images = read_images(dataset.folder, dataset.samples, 16)
    assert (images == np.arange(5)[:, None, None, None]).all()
    assert dataset.samples["phash"].null_count() == 5  # flat images


def test_a_new_base_lacks_nothing_but_what_its_kind_needs(capsys):
    command = ["dataset", "import", "my pairs", "--from", "nowhere", "kind=tsv"]
    assert main(command) == 2
    fix = "import 'my pairs' --from DIR kind=tsv table=FILE.tsv pixels=224"
    assert fix in capsys.readouterr().err
    assert main([*command, "table=caps.tsv", "pixels=32"]) == 2
    assert "there is no table" in capsys.readouterr().err
