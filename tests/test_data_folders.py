"""Folders of images as people have them: splits and classes by folders, names, tables and links."""

import os
from pathlib import Path

import numpy as np
import pytest

from distcnn.data.importers.importer import Options
from distcnn.data.importers.sources import read_source
from distcnn.errors import DataError
from tests.helpers.pictures import write

NAMES = {"a": 10, "b": 20, "c": 30}  # classes, and the values of their pixels


def values(found, split):
    """Return (value, label) for each image of a split; every image has one value."""
    images, labels = found.splits[split]
    assert (images == images[:, :1, :1, :1]).all()
    return list(
        zip(images[:, 0, 0, 0].tolist(), [None] * len(images) if labels is None else labels, strict=True)
    )


def imported(folder, **options):
    """Return the samples of a folder, and what was told."""
    notes = []
    return read_source(folder, Options(note=notes.append, **options)), notes


def labeled(names, pattern, start=0):
    """Return contents of two images a class; pattern: of their names."""
    return {
        pattern.format(name, start + k): value + start + k for name, value in names.items() for k in (1, 2)
    }


FORMS = {
    "capital": ("Training/{}/{}.png", "Testing/{}/{}.png"),
    "longer": ("seg_train/{}/{}.png", "seg_test/{}/{}.png"),
    "twice": ("seg_train/seg_train/{}/{}.png", "seg_test/seg_test/{}/{}.png"),
    "images": ("v2/train/images/{}/{}.png", "v2/test/images/{}/{}.png"),
    "val": ("train/{}/{}.png", "val/{}/{}.png"),
    "prefixes": ("train/{}.{}.png", "test/{}.{}.png"),
    "underscores": ("train/{}_{}.png", "test/{}_{}.png"),
    "deeper": ("train/{}/1/{}.png", "test/{}/2/{}.png"),
}


@pytest.mark.parametrize("form", FORMS)
def test_splits_and_classes_follow_from_names(tmp_path, form):
    train, test = FORMS[form]
    found, _ = imported(write(tmp_path, labeled(NAMES, train) | labeled(NAMES, test, 2)))
    assert found.classes == ("a", "b", "c")
    assert values(found, "train") == [(11, 0), (12, 0), (21, 1), (22, 1), (31, 2), (32, 2)]
    assert values(found, "test") == [(13, 0), (14, 0), (23, 1), (24, 1), (33, 2), (34, 2)]


@pytest.mark.parametrize("name", ["val", "valid", "Validation"])
def test_train_validation_and_test(tmp_path, name):
    contents = labeled(NAMES, "train/{}/{}.png") | {f"{name}/b/1.png": 25, "test/c/1.png": 35}
    found, notes = imported(write(tmp_path, contents))
    assert list(found.splits) == ["train", "validation", "test"]
    assert (values(found, "validation"), values(found, "test"), notes) == ([(25, 1)], [(35, 2)], [])


def test_a_class_may_be_called_train(tmp_path):
    found, _ = imported(write(tmp_path, labeled({"car": 10, "train": 20}, "{}/{}.png")), test_split=0)
    assert found.classes == ("car", "train")
    contents = labeled({"bullet train": 10, "tram": 20}, "{}/day/{}.png")
    assert imported(write(tmp_path / "x", contents), test_split=0)[0].classes == ("bullet train", "tram")


@pytest.mark.parametrize("inside", ["test/{}.png", "test/unknown/{}.png", "test1/{}.png", "seg_pred/{}.png"])
def test_a_test_split_without_classes_is_for_prediction(tmp_path, inside):
    contents = labeled(NAMES, "train/{}/{}.png") | {inside.format(k): 90 + k for k in (1, 2, 3)}
    found, notes = imported(write(tmp_path, contents))
    assert values(found, "test") == [(91, None), (92, None), (93, None)]
    assert notes == ["the 3 test images have no classes: they are for prediction"]


def test_folders_of_classes_need_a_fraction(tmp_path):
    write(tmp_path, labeled(NAMES, "{}/{}.png"))
    with pytest.raises(DataError, match=r"no folder train.*--test-split 0\.2 takes"):
        read_source(tmp_path)
    assert list(imported(tmp_path, test_split=0.0)[0].splits) == ["train"]
    found, _ = imported(tmp_path, test_split=0.3, validation_split=0.2)
    assert {split: len(images) for split, (images, _) in found.splits.items()} == {
        "train": 3,
        "validation": 1,
        "test": 2,
    }
    every = sorted(value for split in found.splits for value in values(found, split))
    assert every == [(11, 0), (12, 0), (21, 1), (22, 1), (31, 2), (32, 2)]
    again, other = imported(tmp_path, test_split=0.3)[0], imported(tmp_path, test_split=0.3, seed=1)[0]
    assert values(again, "test") == values(found, "test") != values(other, "test")


@pytest.mark.parametrize(
    ("fraction", "words"), [(0.01, "takes 0 of 6 images"), (0.99, "takes 6 of 6 images")]
)
def test_fractions_that_leave_nothing_are_refused(tmp_path, fraction, words):
    with pytest.raises(DataError, match=words):
        imported(write(tmp_path, labeled(NAMES, "{}/{}.png")), test_split=fraction)


def test_a_split_that_is_there_is_not_cut_again(tmp_path):
    contents = labeled(NAMES, "train/{}/{}.png") | labeled(NAMES, "test/{}/{}.png")
    with pytest.raises(DataError, match="has a test split of its own: leave --test-split out"):
        imported(write(tmp_path, contents), test_split=0.2)


# ---- links ----


def test_classes_that_are_links_are_followed(tmp_path):
    write(tmp_path / "store", labeled(NAMES, "{}/{}.png"))
    (tmp_path / "x/train").mkdir(parents=True)
    for name in NAMES:
        (tmp_path / "x/train" / name).symlink_to(tmp_path / "store" / name)
    found, _ = imported(tmp_path / "x")
    assert values(found, "train") == [(11, 0), (12, 0), (21, 1), (22, 1), (31, 2), (32, 2)]


def test_links_in_circles_end(tmp_path):
    write(tmp_path, labeled(NAMES, "train/{}/{}.png"))
    (tmp_path / "train/a/up").symlink_to(tmp_path)
    (tmp_path / "train/a/self").symlink_to(tmp_path / "train/a/self")
    (tmp_path / "train/a/self.png").symlink_to(tmp_path / "train/a/self.png")
    with pytest.raises(DataError, match=r"self\.png cannot be read .*: take it out"):
        read_source(tmp_path)
    (tmp_path / "train/a/self.png").unlink()
    assert len(values(imported(tmp_path)[0], "train")) == 6


def test_links_that_multiply_are_refused(tmp_path):
    for k in range(20):
        (tmp_path / f"{k}").mkdir()
        for link in "ab":
            os.symlink(tmp_path / f"{k + 1}", tmp_path / f"{k}" / link)
    write(tmp_path, {"20/x.png": 1})
    with pytest.raises(DataError, match="is reached by too many links"):
        read_source(tmp_path / "0")


# ---- tables ----

SIX = {f"images/{k}.png": 10 + k for k in range(6)}
TABLES = {
    "names and classes": "id,label\n" + "".join(f"{k}.png,{'abc'[k % 3]}\n" for k in range(6)),
    "without endings": "id,breed\n" + "".join(f"{k},{'abc'[k % 3]}\n" for k in range(6)),
    "without a heading": "".join(f"{k}.png,{'abc'[k % 3]}\n" for k in range(6)),
    "folders and backslashes": "file;class\n"
    + "".join(f"images\\{k}.png;{'abc'[k % 3]}\n" for k in range(6)),
    "more columns": "n,file,age,class\n"
    + "".join(f"{k + 50},{k}.png,{k},{'abc'[k % 3]}\n" for k in range(6)),
    "one-hot": "image,a,b,c\n"
    + "".join(f"{k},{','.join(str(float(k % 3 == c)) for c in range(3))}\n" for k in range(6)),
    "with a mark": "\ufeffid,label\r\n" + "".join(f"{k}.png,{'abc'[k % 3]}\r\n" for k in range(6)),
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_name_classes(tmp_path, name):
    found, _ = imported(write(tmp_path, SIX | {"labels.csv": TABLES[name].encode()}))
    assert found.classes == ("a", "b", "c")
    assert values(found, "train") == [(10, 0), (13, 0), (11, 1), (14, 1), (12, 2), (15, 2)]


ROWS = {  # a table, and the task, names of columns and rows of the images with pixels 10 to 15 that it gives
    "several labels": (
        "id,a,b,c\n" + "".join(f"{k},{k % 2},{int(k > 2)},1\n" for k in range(6)),
        ("multilabel", ("a", "b", "c"), [[k % 2, int(k > 2), 1] for k in range(6)]),
    ),
    "measures": (
        "id,age\n" + "".join(f"{k},{1 + k / 2}\n" for k in range(6)),
        ("regress", ("age",), [[1 + k / 2] for k in range(6)]),
    ),
}


@pytest.mark.parametrize("name", ROWS)
def test_tables_hold_numbers(tmp_path, name):
    table, (task, columns, rows) = ROWS[name]
    found, _ = imported(write(tmp_path, SIX | {"labels.csv": table.encode()}))
    assert (found.task, found.classes) == (task, columns)
    images, labels = found.splits["train"]
    order = np.argsort(images[:, 0, 0, 0])
    assert labels[order].tolist() == rows
    assert images[order, 0, 0, 0].tolist() == [10, 11, 12, 13, 14, 15]


def test_the_task_of_a_table_may_be_said(tmp_path):
    write(tmp_path, SIX | {"labels.csv": ("id,age\n" + "".join(f"{k},{k}\n" for k in range(6))).encode()})
    assert imported(tmp_path)[0].task == "classify"
    found = imported(tmp_path, task="regress")[0]
    assert sorted(found.splits["train"][1].tolist()) == [[k] for k in range(6)]
    (tmp_path / "labels.csv").write_text(TABLES["names and classes"])
    with pytest.raises(DataError, match="no table of numbers for --task regress: leave it out"):
        imported(tmp_path, task="regress")


def test_tables_name_splits(tmp_path):
    rows = "".join(f"{k}.png\t{'ab'[k % 2]}\t{('train', 'val', 'test')[k // 2]}\n" for k in range(6))
    found, _ = imported(write(tmp_path, SIX | {"labels.tsv": f"file\ttype\tsplit\n{rows}".encode()}))
    assert [values(found, split) for split in ("train", "validation", "test")] == [
        [(10, 0), (11, 1)],
        [(12, 0), (13, 1)],
        [(14, 0), (15, 1)],
    ]


def test_a_table_for_each_split_and_one_to_fill_in(tmp_path):
    contents = {
        f"{split}/{k}.png": 10 * s + k for s, split in enumerate(("train", "test"), 1) for k in range(2)
    }
    tables = {
        "train.csv": b"id,label\n0,a\n1,b\n",
        "test.csv": b"id,label\n",
        "sample_submission.csv": b"id,label\n0,a\n",
    }
    write(tmp_path, contents | tables)
    for split in ("train", "test"):  # names that both have need their folders
        (tmp_path / f"{split}.csv").write_text(f"id,label\n{split}/0.png,a\n{split}/1.png,b\n")
    found, _ = imported(tmp_path)
    assert (values(found, "train"), values(found, "test")) == ([(10, 0), (11, 1)], [(20, 0), (21, 1)])


OPEN = {
    "two columns": (
        "id,age,weight\n0,1,2\n1,2,3\n",
        {},
        "has columns age, weight; say which .*--label-column NAME",
    ),
    "two columns of numbers, one with a usual name": (
        "id,target,weight\n0,1.5,2\n1,2,3\n",
        {},
        "several columns of numbers, target, weight; say .*: --label-column target or --label-column target,weight",
    ),
    "the same for --task regress": (
        "id,target,sex,weight\n0,1,a,2\n1,2,b,3\n",
        {"task": "regress"},
        "several columns of numbers, target, weight; say which are the targets",
    ),
    "two columns for --task regress": (
        "id,age,weight\n0,1,2\n1,2,3\n",
        {"task": "regress"},
        "has columns age, weight; say .*, or which are targets: --label-column NAME,NAME",
    ),
    "several labels for --task classify": (
        "id,a,b\n0,1,1\n1,0,1\n",
        {"task": "classify"},
        "a, b are several labels an image: leave --task classify out, or name one, --label-column a",
    ),
    "measures for --task multilabel": (
        "id,age,weight\n0,1,2\n1,2,3\n",
        {"task": "multilabel", "label_column": "age,weight"},
        "has columns age, weight; say which",
    ),
    "text among targets": (
        "id,age,name\n0,1,a\n1,2,b\n",
        {"task": "regress", "label_column": "age,name"},
        "has columns age, name; say which",
    ),
    "one of several columns that is not there": (
        "id,age\n0,1\n",
        {"label_column": "age,sex"},
        "no column sex: it has id, age",
    ),
    "no such column": ("id,age\n0,1\n", {"label_column": "sex"}, "no column sex: it has id, age"),
    "missing files": ("id,label\n0,a\n1,b\n77,b\n", {}, r"names 1 file not there \(77\).*--skip-damaged"),
    "two labels": ("id,label\n0,a\n0,b\n", {}, "says of images/0.png that it is a and b: remove one row"),
}


@pytest.mark.parametrize("name", OPEN)
def test_what_a_table_leaves_open_is_asked(tmp_path, name):
    text, options, words = OPEN[name]
    with pytest.raises(DataError, match=words):
        imported(write(tmp_path, SIX | {"labels.csv": text.encode()}), **options)


def test_the_remedies_of_open_tables_work(tmp_path):
    write(tmp_path, SIX | {"labels.csv": OPEN["two columns"][0].encode()})
    found, notes = imported(tmp_path, label_column="weight")
    assert found.classes == ("2", "3")
    assert notes == ["4 images left out, in no folder of a split, or without a row (first: images/2.png)"]
    (tmp_path / "labels.csv").write_text(OPEN["missing files"][0])
    assert values(imported(tmp_path, skip_damaged=True)[0], "train") == [(10, 0), (11, 1)]


COLUMNS = {  # options: the task, the names of the outputs, and the labels of all images that have some
    "one of them": ({"label_column": "target"}, "regress", ("target",), [[1.5], [2]]),
    "several": ({"label_column": "target,weight"}, "regress", ("target", "weight"), [[1.5, 2], [2, 3]]),
    "several in another order": (
        {"label_column": "weight, target", "task": "regress"},
        "regress",
        ("weight", "target"),
        [[2, 1.5], [3, 2]],
    ),
    "answers as numbers": (
        {"label_column": "p,q", "task": "regress"},
        "regress",
        ("p", "q"),
        [[0, 1], [0, 1], [1, 1]],
    ),
    "answers": ({"label_column": "p,q"}, "multilabel", ("p", "q"), [[0, 1], [0, 1], [1, 1]]),
    "one answer": ({"label_column": "p", "task": "multilabel"}, "multilabel", ("p",), [[0], [0], [1]]),
    "a heading with a comma": ({"label_column": "a,b"}, "regress", ("a,b",), [[0.5], [1]]),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_columns_of_a_table_that_the_user_names(tmp_path, name):
    table = b'id,target,weight,p,q,"a,b"\n0,1.5,2,1,1,0.5\n1,2,3,0,1,1\n2,nan,4,0,1,\n'
    options, task, names, rows = COLUMNS[name]
    found, _ = imported(write(tmp_path, SIX | {"labels.csv": table}), **options)
    assert (found.task, found.classes) == (task, names)
    assert sorted(found.splits["train"][1].tolist()) == rows


def test_tables_with_other_columns_of_numbers_are_asked_about(tmp_path):
    contents = {f"{split}/{split}{k}.png": 10 + k for split in ("train", "test") for k in range(2)}
    tables = {split: f"id,age\n{split}0,1.5\n{split}1,2\n" for split in ("train", "test")}
    write(tmp_path, contents | {f"{split}.csv": text.encode() for split, text in tables.items()})
    found, _ = imported(tmp_path)
    assert (found.task, found.classes) == ("regress", ("age",))
    (tmp_path / "test.csv").write_text(tables["test"].replace("age", "size"))
    with pytest.raises(DataError, match="size in one and age in another: give them the same headings"):
        imported(tmp_path)


def test_folders_and_a_table_are_asked_about(tmp_path):
    write(tmp_path, labeled(NAMES, "{}/{}.png") | {"t.csv": b"id,label\na/1.png,x\nb/1.png,y\n"})
    with pytest.raises(DataError, match=r"--labels folders or --labels t\.csv"):
        imported(tmp_path, test_split=0)
    assert imported(tmp_path, labels="folders", test_split=0)[0].classes == ("a", "b", "c")
    assert imported(tmp_path, labels="t.csv")[0].classes == ("x", "y")
    with pytest.raises(DataError, match=r"no table u\.csv .* it has t\.csv"):
        imported(tmp_path, labels="u.csv")


def test_a_table_beside_splits_is_not_used_and_that_is_said(tmp_path):
    contents = labeled(NAMES, "train/{}/{}.png") | {"about.csv": b"id,label\n1.png,x\n"}
    contents = {
        name.replace("/1.png", f"/{k}.png"): x for k, (name, x) in enumerate(contents.items(), 70)
    } | {"about.csv": b"id,label\n70.png,x\n"}
    _, notes = imported(write(tmp_path, contents))
    assert notes == ["about.csv is not used: the classes are those of folders"]


def test_the_command_tells_and_asks(tmp_path, run):
    write(tmp_path / "x", labeled(NAMES, "{}/{}.png") | {"a/z.png": b"no image"})
    command = "python", "-m", "distcnn.data", "import", tmp_path / "x", tmp_path / "x.h5"
    refused = run(*command, "--test-split", 0.5)
    assert refused.returncode == 2
    assert "a/z.png cannot be read as an image" in refused.stderr
    assert not (tmp_path / "x.h5").exists()
    done = run(*command, "--test-split", 0.5, "--skip-damaged")
    assert done.returncode == 0, done.stderr
    assert "left out: a/z.png cannot be read" in done.stderr
    assert "3 train, 3 test images 3 x 6 x 5, 3 classes" in done.stdout
    for words in (["--fit", "crop"], ["--test-split", 1], ["--seed", -1], ["--fit", "zoom", "--size", "3x3"]):
        wrong = run(*command, "--force", *words)
        assert wrong.returncode == 2
        assert wrong.stderr.count("\n") == 1


def test_images_of_kinds_that_are_not_read_are_told(tmp_path):
    more = {"train/a/x.HEIC": b"1", "train/b/.y.heic": b"2", "train/notes.txt": b"3"}
    _, notes = imported(write(tmp_path, labeled(NAMES, "train/{}/{}.png") | more))
    assert notes == ["1 image left out, of a kind that is not read: save them as PNG (first: train/a/x.HEIC)"]


def test_a_table_may_be_named_by_its_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = TABLES["names and classes"].encode()
    write(tmp_path / "x", SIX | {"t.csv": text, "u.csv": text.replace(b",a", b",z")})
    assert imported("x", labels="x/t.csv")[0].classes == ("a", "b", "c")
    Path("beside.csv").write_bytes(text)
    with pytest.raises(DataError, match=r"^beside.csv is not in x, where .*: copy it there$"):
        imported("x", labels="beside.csv")
    Path("x/beside.csv").write_bytes(text)
    imported("x", labels="beside.csv")
