import pytest

from bart.errors import InputError
from utils.data.formats.table_names import check_complete, choose_config, find_tables


def test_tables_are_found_by_their_names() -> None:
    names = [
        "README.md", "train.csv", "validation.jsonl", "test.json.gz", "training.csv", "train.txt", "tests.csv",
        "data/train-00001-of-00002.parquet", "data/train-00000-of-00002.parquet", "data/dev.tsv",
        "data/test-00000-of-00001-a09b74b3ef9c3b56.parquet",
        "en/train/0000.parquet", "en/train/0001.parquet", "en/partial-train/0000.parquet",
    ]  # fmt: skip
    assert find_tables(names) == {
        "": {"train": ["train.csv"], "val": ["validation.jsonl"], "test": ["test.json.gz"]},
        "data": {
            "train": ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"],
            "val": ["data/dev.tsv"],
            "test": ["data/test-00000-of-00001-a09b74b3ef9c3b56.parquet"],
        },
        "en": {"train": ["en/train/0000.parquet", "en/train/0001.parquet"]},
    }


def test_a_configuration_is_a_folder() -> None:
    tables = find_tables(["data/train.csv", "data/3.0.0/test.csv", "1.0.0/test.csv"])
    assert choose_config(tables, None, "x") == {"train": ["data/train.csv"]}
    assert choose_config(tables, "3.0.0", "x") == {"test": ["data/3.0.0/test.csv"]}
    assert choose_config({}, "any", "x") == {}
    with pytest.raises(InputError, match=r"^x has no configuration 2\.0\.0: .* 1\.0\.0, data, data/3\.0\.0; give"):
        choose_config(tables, "2.0.0", "x")
    with pytest.raises(InputError, match=r"^x has several configurations: it has tables in the folders a, b; give one"):
        choose_config(find_tables(["a/test.csv", "b/test.csv"]), None, "x")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["train.csv", "train.jsonl"], "train is there more than once: train.csv, train.jsonl; keep one"),
        (["dev.csv", "val.csv"], "val is there more than once"),
        (["test.parquet", "test-00000-of-00001.parquet"], "test is there more than once"),
        (["train-00000-of-00003.parquet", "train-00002-of-00003.parquet"], "of 3 files .* number 1 is missing"),
        (["train-00000-of-00001-abc.parquet", "train-00000-of-00001-def.parquet"], "files of the same number"),
    ],
)
def test_a_split_must_be_complete_and_there_once(names: list[str], message: str) -> None:
    with pytest.raises(InputError, match=f"^folder: .*{message}"):
        check_complete(find_tables(names)[""], "folder")
