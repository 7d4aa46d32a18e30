import pytest

from utils.evaluation import names_and_numbers
from utils.evaluation.names_and_numbers import find_mentions, mention_counts

SOURCE = (
    "President Obama met Mr. Gray in Berlin in 2015: 1,000 guests of NATO paid 3.5 million. "
    "The 1980s, २०, 10\u00a0000 and 1,00,000 came with v2.0."
)


@pytest.mark.parametrize(
    ("summary", "found"),
    [
        # Of names the case does not matter, nor what follows an apostrophe; the first word of a sentence is none.
        ("Merkel met Obama's BERLIN in Nato. Gray left Paris! London", "Obama+ BERLIN+ Nato+ Paris-"),
        ("Then Mr. Gray and Dr. White came", "Mr+ Gray+ Dr- White-"),
        ("He said: The end. She said, “No way” at “Gate Two”", "Gate- Two-"),
        ("Bullets\nOf lines • In lists", ""),
        ("Then I saw I'm in C, but a New-York", "New- York-"),
        ("Dann kam Frau Müller, на Волге Волга", "Frau- Müller- Волге- Волга-"),
        # Numbers in either notation.
        ("it is 1000, 1,000 or 1,001", "1000+ 1,000+ 1,001-"),
        ("100,000 is 100000, 1,00,000, 10,000 and 10000", "100,000+ 100000+ 1,00,000+ 10,000+ 10000+"),
        ("20 or २० in 1980 or ２０１５.", "20+ २०+ 1980+ ２０１５+"),
        ("3.5m, 3.50, 3.5.1 and 35", "3.5+ 3.50- 3.5.1- 35-"),
        ("1,2,3 then 12,34", "1- 2- 3- 12- 34-"),
        ("B52 of v2.0 with 5G, 10Km and _7", "5- 10-"),
        ("中文 में 7 คน", "7-"),
        ("", ""),
    ],
)
def test_by_hand(summary: str, found: str) -> None:
    ((mentions,),) = find_mentions([SOURCE], [[summary]])
    texts = [f"{summary[each.start : each.end]}{'+' if each.is_in_source else '-'}" for each in mentions]
    assert " ".join(texts) == found
    assert all(each.is_number == summary[each.start].isdecimal() for each in mentions)


def test_counts_are_of_all_occurrences() -> None:
    summaries = ["in Rome, in Rome, in Berlin", "in Rome in 7, 8"]
    (mentions,) = find_mentions([SOURCE, "7 of Rome"], [summaries])
    assert mention_counts(mentions) == {
        "names": {"count": 4, "not_in_source": 2, "share": 0.5},
        "numbers": {"count": 2, "not_in_source": 1, "share": 0.5},
    }
    assert mention_counts([[]])["names"] == {"count": 0, "not_in_source": 0, "share": None}


def test_each_system_has_its_own_mentions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that it has alone, from one reading of each source that has a summary with any."""
    sources, read, read_source = [SOURCE, "7 of Rome", "in Paris"], [], names_and_numbers._words_and_numbers
    monkeypatch.setattr(
        names_and_numbers, "_words_and_numbers", lambda source: [read.append(source), read_source(source)][1]
    )
    systems = [["in Rome", "in Rome", "none"], ["in Berlin in 7", "none", "none"], ["", "8 of Oslo", ""]]
    together = find_mentions(sources, systems)
    assert read == sources[:2]
    assert together == [find_mentions(sources, [system])[0] for system in systems]
    assert [[len(mentions) for mentions in system] for system in together] == [[1, 1, 0], [2, 0, 0], [0, 2, 0]]
    assert find_mentions(sources, []) == []
