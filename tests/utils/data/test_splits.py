from pathlib import Path

import pytest

from bart.errors import InputError
from utils.data.splits import Pairs, complete_pairs, deranged, read_pairs, scan_documents, scan_split


def write_split(folder: Path, split: str, sources: str, targets: str) -> None:
    (folder / f"{split}.source").write_text(sources)
    (folder / f"{split}.target").write_text(targets)


@pytest.mark.parametrize("read", [read_pairs, scan_split])
def test_bad_files_are_named(tmp_path: Path, read) -> None:
    with pytest.raises(InputError, match=r"train\.source: No such file"):
        read(tmp_path, "train")
    write_split(tmp_path, "train", "one\ntwo\nthree\n", "1\n2\n")
    with pytest.raises(InputError, match=r"train.source has 3 lines, .*train.target has 2"):
        read(tmp_path, "train")
    write_split(tmp_path, "val", "", "")
    with pytest.raises(InputError, match=r"val\.source: is empty"):
        read(tmp_path, "val")


def test_line_files_may_end_in_txt(tmp_path: Path) -> None:
    """Files without that ending go first; so does .source.txt before a .txt."""
    for split, names in {"train": ("source.txt", "target.txt"), "val": ("txt", "target"), "test": ("txt",)}.items():
        for name in names:
            (tmp_path / f"{split}.{name}").write_text(f"{name}\n")
    assert read_pairs(tmp_path, "train") == Pairs(["source.txt"], ["target.txt"])
    assert scan_split(tmp_path, "val").name == str(tmp_path / "val")
    assert read_pairs(tmp_path, "val") == Pairs(["txt"], ["target"])
    assert read_pairs(tmp_path, "test", needs_targets=False) == Pairs(["txt"], None)
    assert scan_documents(tmp_path, "test").lines == 1
    (tmp_path / "test.source.txt").write_text("source.txt\n")
    (tmp_path / "train.source").write_text("source\n")
    assert read_pairs(tmp_path, "test", needs_targets=False).sources == ["source.txt"]
    assert read_pairs(tmp_path, "train").sources == ["source"]
    with pytest.raises(InputError, match=r"test\.target: No such file"):
        read_pairs(tmp_path, "test")


def test_json_lines_in_a_txt_are_no_texts(tmp_path: Path) -> None:
    """As arXiv and PubMed come: train.txt has an object on each line."""
    write_split(tmp_path, "val", '{"article_text": ["a"]}\n', "b\n")
    (tmp_path / "train.txt").write_text('{"article_text": ["a"]}\n')
    with pytest.raises(InputError, match=r"train\.txt: line 1 is a JSON object; rename the file to train\.jsonl if it"):
        read_pairs(tmp_path, "train", needs_targets=False)
    (tmp_path / "train.txt").write_text("{not JSON\n")
    assert read_pairs(tmp_path, "train", needs_targets=False).sources == ["{not JSON"]
    assert read_pairs(tmp_path, "val").sources == ['{"article_text": ["a"]}']


def test_a_pair_without_a_text_is_not_learnt_from_but_is_answered(tmp_path: Path) -> None:
    write_split(tmp_path, "val", "a\n\nc\n\u2028 \ne\nf\n", "1\n2\n\n4\n5\n6\n")
    files = scan_split(tmp_path, "val")
    assert list(complete_pairs(files)) == [(0, "a", "1"), (4, "e", "5"), (5, "f", "6")]
    assert list(complete_pairs(files, 2)) == [(0, "a", "1"), (4, "e", "5")]
    assert read_pairs(tmp_path, "val").sources == ["a", "", "c", "\u2028 ", "e", "f"]
    assert read_pairs(tmp_path, "val", 3).targets == ["1", "2", ""]


@pytest.mark.parametrize("count", [2, 3, 50])
def test_deranged_moves_every_text(count: int) -> None:
    texts = [str(number) for number in range(count)]
    moved = deranged(texts, seed=1)
    assert sorted(moved) == sorted(texts)
    assert all(one != other for one, other in zip(moved, texts, strict=True))
    assert moved == deranged(texts, seed=1)
    with pytest.raises(InputError):
        deranged(["alone"], seed=1)
