import json

import numpy as np
import pytest

from analysis.binding.swap_files import read_swaps, swap_file_rows
from splits.errors import UserError


@pytest.fixture
def folder(tmp_path):
    for name in ("a.png", "b.png", "c.png"):
        (tmp_path / name).touch()
    return tmp_path


def written(folder, entries, name="list.json"):
    path = folder / name
    path.write_text(entries if isinstance(entries, str) else json.dumps(entries))
    return path


def entry(image="a.png", caption="a red cat", negatives=("a blue cat",), **more):
    return {"image": image, "caption": caption, "negatives": list(negatives), **more}


def paired(**changes):
    names = {"image_0": "a.png", "image_1": "b.png", "caption_0": "one", "caption_1": "two"}
    return names | changes


def test_json_csv_and_json_lines_say_the_same(folder):
    entries = [entry(category="colour"), entry("b.png", "a, b", ["b, a", "c"], category="order")]
    lines = "\n".join(json.dumps(row) for row in entries)
    csv = "image,caption,negative_1,negative_2,category\na.png,a red cat,a blue cat,,colour\n"
    csv += 'b.png,"a, b","b, a",c,order\n'
    found = read_swaps(written(folder, entries))
    assert found[1].images == (folder / "b.png",)
    assert found[1].captions == ("a, b", "b, a", "c")
    assert found[1].category == "order"
    assert read_swaps(written(folder, lines, "list.jsonl")) == found
    assert read_swaps(written(folder, csv, "list.csv")) == found


def test_a_list_in_a_cell_of_a_table_is_read(folder):
    csv = 'image,caption,negatives\na.png,x,"[""y"", ""z""]"\n'
    assert read_swaps(written(folder, csv, "list.csv"))[0].captions == ("x", "y", "z")


def test_titles_with_spaces_and_separators_in_captions_lose_nothing(folder):
    csv = "image, caption, negative_1, negative_2\na.png,x,y,z\n"
    assert read_swaps(written(folder, csv, "list.csv"))[0].captions == ("x", "y", "z")
    line = json.dumps(entry(caption="a\u2028b"), ensure_ascii=False)
    (found,) = read_swaps(written(folder, line, "list.jsonl"))
    assert found.captions[0] == "a\u2028b"


def test_no_category_has_the_name_of_all_entries(folder):
    with pytest.raises(UserError, match="a category is called `all`"):
        read_swaps(written(folder, [entry(category="all")]))


def test_names_of_public_tests_are_understood(folder):
    aro = [{"image_path": "a.png", "true_caption": "x", "false_caption": "y", "bbox_x": 3}]
    crepe = {"0": {"filename": "a.png", "caption": "x", "negative_caption": "y"}}
    expected = ("x", "y")
    assert read_swaps(written(folder, aro))[0].captions == expected
    assert read_swaps(written(folder, crepe))[0].captions == expected
    assert read_swaps(written(folder, [paired(tag="Object")]))[0].category == "Object"


def test_winoground_is_read_as_it_was_released(folder):
    line = {
        "id": 0,
        "image_0": "ex_0_img_0",
        "image_1": "ex_0_img_1",
        "caption_0": "an old person kisses a young person",
        "caption_1": "a young person kisses an old person",
        "tag": "Adjective-Age",
        "secondary_tag": "",
        "num_main_preds": 1,
        "collapsed_tag": "Object",
    }
    images = folder / "images"
    images.mkdir()
    for name in ("ex_0_img_0.png", "ex_0_img_1.PNG", "ex_0_img_1.txt"):
        (images / name).touch()
    (item,) = read_swaps(written(folder, json.dumps(line) + "\n", "examples.jsonl"), images)
    assert item.images == (images / "ex_0_img_0.png", images / "ex_0_img_1.PNG")
    assert item.captions == (line["caption_0"], line["caption_1"])
    assert item.category == "Adjective-Age"


def test_an_image_without_ending_is_one_file_or_an_error(folder):
    for name in ("a.jpg", "b.v2.png"):
        (folder / name).touch()
    with pytest.raises(UserError, match=r"may be a\.jpg or a\.png"):
        read_swaps(written(folder, [entry("a")]))
    assert read_swaps(written(folder, [entry("b.v2")]))[0].images == (folder / "b.v2.png",)
    (folder / "a").touch()
    assert read_swaps(written(folder, [entry("a")]))[0].images == (folder / "a",)


@pytest.mark.parametrize(
    ("value", "category"), [(3, "3"), (0, "0"), (1.5, "1.5"), (" order ", "order"), ("", None)]
)
def test_a_category_is_text_or_a_number(folder, value, category):
    assert read_swaps(written(folder, [entry(category=value)]))[0].category == category


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        ([entry(negatives=[])], "no negative captions"),
        ([entry(image="z.png")], "no image .*z.png"),
        ([entry(image="none/z")], "no image .*z"),
        ([entry(), entry()], "entry 2 is entry 1 once more"),
        ([entry(caption=" ")], "caption is"),
        ([entry(negatives=["x", 3])], "no text"),
        ([entry(negatives=["x", "x"])], "twice"),
        ([{"caption": "x", "negatives": ["y"]}], "there is no image"),
        ([entry(), paired()], "different forms"),
        ([paired(caption_1="one")], "the same"),
        ([paired(caption_1="")], "caption is"),
        ([entry(image="x" * 5000)], "image x{80}… cannot be looked up"),
        ([entry(category=True)], "a category is a bool"),
        ([entry(category=["x"])], "a category is a list"),
        ([entry(category={})], "a category is a dict"),
        ('[{"negatives": ["x"], "negatives": ["y"]}]', "`negatives` is there twice"),
        ([], "is empty"),
        ("[" * 10**6, "nested too deeply"),
        ("1" * 10**4, "cannot be read"),
        ("[{", "cannot be read"),
        ("[1]", "no list of entries"),
        ('{"image": "a.png"}', "no list of entries"),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 40 else "",
)
def test_mistakes_are_told(folder, entries, told):
    with pytest.raises(UserError, match=told):
        read_swaps(written(folder, entries))


def test_mistakes_of_tables_are_told(folder):
    with pytest.raises(UserError, match="more cells than columns"):
        read_swaps(written(folder, "image,caption,negatives\na.png,x,y, and z\n", "list.csv"))
    with pytest.raises(UserError, match="is no list"):
        read_swaps(written(folder, 'image,caption,negatives\na.png,x,"[y"\n', "list.csv"))
    deep = f"image,caption,negatives\na.png,x,{'[' * 10**5}\n"
    with pytest.raises(UserError, match="nested too deeply"):
        read_swaps(written(folder, deep, "list.csv"))
    with pytest.raises(UserError, match="cannot be read"):
        read_swaps(folder / "none.json")


@pytest.mark.parametrize("title", ["negatives", "negative_1"])
def test_two_columns_of_one_title_are_refused(folder, title):
    csv = f"image,caption,{title},{title}\na.png,x,y,z\n"
    with pytest.raises(UserError, match=f"`{title}` is there twice"):
        read_swaps(written(folder, csv, "list.csv"))


def test_columns_without_a_title_are_not_read(folder):
    csv = "image,caption,negatives,,\na.png,x,y,,\n"
    assert read_swaps(written(folder, csv, "list.csv"))[0].captions == ("x", "y")


def test_an_error_names_its_entry(folder):
    with pytest.raises(UserError, match="entry 2"):
        read_swaps(written(folder, [entry(), entry("b.png", negatives=[])]))


def scored(items, similarities, category="all"):
    rows = swap_file_rows(items, [np.array(values) for values in similarities])
    return {row["score"]: row for row in rows if row["category"] == category}


def test_captions_are_scored_against_all_negatives_and_ties_are_shared(folder):
    entries = [
        entry("a.png", "1", ["2"], category="x"),
        entry("b.png", "1", ["2", "3"], category="y"),
        entry("c.png", "1", ["2", "3"], category="y"),
    ]
    items = read_swaps(written(folder, entries))
    similarities = [[[0.5, 0.5 + 1e-8]], [[0.9, 0.1, 0.2]], [[0.1, 0.0, 0.2]]]
    found = scored(items, similarities)["caption"]
    assert found["value"] == 0.5
    assert found["chance"] == pytest.approx((1 / 2 + 1 / 3 + 1 / 3) / 3)
    assert scored(items, similarities, "y")["caption"]["value"] == 0.5
    assert scored(items, similarities, "x")["caption"]["n"] == 1


def test_pairs_have_a_text_an_image_and_a_group_score(folder):
    items = read_swaps(written(folder, [paired()]))
    # rows are images, columns captions
    cases = {
        ((0.9, 0.1), (0.2, 0.8)): (1, 1, 1),
        ((0.5, 0.4), (0.7, 0.8)): (1, 0, 0),
        ((0.5, 0.7), (0.4, 0.8)): (0, 1, 0),
        ((0.1, 0.9), (0.8, 0.2)): (0, 0, 0),
        ((0.5, 0.5), (0.5, 0.5)): (0.25, 0.25, 1 / 6),
    }
    for values, expected in cases.items():
        found = scored(items, [values])
        assert tuple(found[name]["value"] for name in ("text", "image", "group")) == pytest.approx(
            expected
        )


def test_chances_are_those_of_random_similarities(folder):
    items = read_swaps(written(folder, [paired()])) * 6000
    values = np.random.default_rng(0).random((6000, 2, 2))
    for row in swap_file_rows(items, list(values)):
        assert row["value"] == pytest.approx(row["chance"], abs=0.02)


def test_what_a_bag_reaches_is_not_chance_in_general(folder):
    replaced = read_swaps(written(folder, [entry(negatives=["a red dog"])]))
    assert scored(replaced, [[[0.9, 0.1]]])["caption"]["floor"] is None
    # captions that are one to it, of images that are not
    found = scored(read_swaps(written(folder, [paired()])), [[[0.9, 0.9], [0.1, 0.1]]])
    assert {name: row["value"] for name, row in found.items()} == {
        "text": 0.25,
        "image": 0,
        "group": 0,
    }
    assert all(row["floor"] is None for row in found.values())


def test_entries_of_one_image_make_no_score_more_certain(folder):
    entries = [entry("a.png", "1", [f"n{i}"]) for i in range(50)]
    items = read_swaps(written(folder, entries))
    found = scored(items, [[[1.0, 0.0]]] * 50)["caption"]
    assert (found["n"], found["clusters"]) == (50, 1)
    assert found["lo"] < 0.3


def test_wrong_shapes_are_an_error(folder):
    items = read_swaps(written(folder, [entry()]))
    with pytest.raises(ValueError, match="similarities"):
        swap_file_rows(items, [np.zeros((1, 5))])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_similarity_that_is_not_finite_has_no_score(folder, value):
    one, two = entry("a.png", "1", ["2"]), paired()
    cases = [(one, [[0.5, value]], "a.png and caption '2'")]
    cases += [(two, [[0.5, 0.1], [value, 0.8]], "b.png and caption 'one'")]
    for number, (row, similarities, told) in enumerate(cases):
        items = read_swaps(written(folder, [row], f"{number}.json"))
        with pytest.raises(UserError, match=told):
            scored(items, [similarities])
