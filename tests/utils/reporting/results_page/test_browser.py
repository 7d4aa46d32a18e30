"""Uses the page in a real browser, by real clicks and keys."""

import random
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.chromium import PROGRAM, Chromium
from utils.evaluation.examples import ScoredExamples
from utils.evaluation.rouge import ROUGE_TYPES, example_scores, mean_scores, scorer_description
from utils.evaluation.score_files import write_example_scores
from utils.evaluation.summary_stats import summary_traits
from utils.io.json_files import write_json
from utils.reporting.results_page.page import write_page

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no Chromium here (apt-get install chromium)")

HOSTILE = "</script><script>window.broken = 1</script><img src=x onerror='window.broken = 1'>\\ \u2028 \"q\" 日本 &amp;"


def write_results(folder: Path, count: int, words_of_a_source: int) -> ScoredExamples:
    """Write a results folder with examples of numbered words; line 3 is hostile."""
    draw = random.Random(0)
    sources = [" ".join(f"w{draw.randrange(3000)}" for _ in range(words_of_a_source)) for _ in range(count)]
    references = [" ".join(source.split()[: draw.randrange(4, 30)]) for source in sources]
    generations = [" ".join(source.split()[2 : draw.randrange(5, 30)]) for source in sources]
    sources[2] = references[2] = generations[2] = HOSTILE
    generations[4] = ""
    sources[6], generations[6] = f"{sources[6]} 1000", "\U0001f600 it was Paris with 1,000 or 2,000 of w1"
    scores = np.random.default_rng(0).random((count, 4)) if count > 1000 else example_scores(generations, references)
    report = {
        **mean_scores(scores),
        **{"intervals_95": {name: [10.0, 20.0] for name in ROUGE_TYPES}, "scorer": scorer_description()},
        **{"split": "test", "n_obs": count, "model": "<b>model</b>", "data_dir": "data/xsum", "device": "cpu"},
        **{"latency_seconds": dict.fromkeys(("mean", "p50", "p90", "p95", "p99"), 0.5), "sequences_per_second": 9.0},
        **{"processes": 1, "batch_size": 8, "search": {"num_beams": 2}, "precision": "fp32", "beams": 2},
        "traits": summary_traits(sources[:100], [generations[:100]], references[:100])[0].entry,
    }
    folder.mkdir()
    write_json(folder / "test_rouge.json", report)
    train = [{"step": step, "loss": 9 / step, "learning_rate": 1e-4 * step} for step in range(1, 30)]
    speed = [{"step": step, "tokens_per_second": 1000.0 + step} for step in range(1, 30)]
    validation = [{"step": step, "loss": 8 / step, **dict.fromkeys(ROUGE_TYPES, 20.0 + step)} for step in (10, 20, 29)]
    write_json(folder / "metrics.json", {"train": train, "validation": validation, "speed": speed})
    examples = ScoredExamples(sources, references, generations, scores)
    write_page(folder, report, examples)
    return examples


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ScoredExamples]:
    folder = tmp_path_factory.mktemp("page") / "run"
    examples = write_results(folder, count=60, words_of_a_source=200)
    return folder / "results.html", examples


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with Chromium(tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.fixture
def page(browser: Chromium, small: tuple[Path, ScoredExamples]) -> Iterator[Chromium]:
    """Load the small page afresh; at the end, see that the browser reported no error."""
    browser.emulate(1300, 800)
    open_whole(browser, small[0])
    yield browser
    assert browser.errors == []


def open_whole(browser: Chromium, page: Path) -> None:
    browser.open(page)
    browser.wait_for("document.getElementById('loading').hidden")


def shown_lines(browser: Chromium) -> list[int]:
    titles = browser.value("[...document.querySelectorAll('.example h3')].map(title => title.textContent)")
    return [int(title.removeprefix("Line ").replace(",", "")) - 1 for title in titles]


def choose(browser: Chromium, selector: str, keys: int) -> None:
    """Choose the entry so many places down in a list by pressing keys."""
    browser.value(f"document.querySelector({selector!r}).focus()")
    for _ in range(keys):
        browser.press("ArrowDown")


def count_text(browser: Chromium) -> str:
    return browser.value("document.getElementById('count').textContent")


def test_a_search_finds_the_lines_that_hold_it(page: Chromium, small: tuple[Path, ScoredExamples]) -> None:
    examples = small[1]
    word = examples.references[7].split()[0]
    expected = [row for row, source in enumerate(examples.sources) if word in source]
    assert 0 < len(expected) < 10
    page.click("#search")
    page.type(word.upper())
    page.wait_for("document.getElementById('count').textContent.includes('found')")
    assert shown_lines(page) == expected
    hits = page.value("[...document.querySelectorAll('mark.hit')].map(hit => hit.textContent)")
    assert set(hits) == {word}
    page.click("button[type=reset]")
    page.wait_for("!document.getElementById('count').textContent.includes('found')")
    assert count_text(page) == "1 to 10 of 60 examples"
    page.click("#search")
    page.type("not to be found")
    page.wait_for("document.getElementById('count').textContent.startsWith('None')")


def test_sorting_by_each_number(page: Chromium, small: tuple[Path, ScoredExamples]) -> None:
    scores, generations = small[1].scores, small[1].generations
    by_rouge2 = sorted(range(60), key=lambda row: (round(100 * scores[row, 1], 2), row))
    choose(page, "#sort", 2)
    page.wait_for(f"document.querySelector('.example h3').textContent === 'Line {by_rouge2[0] + 1}'")
    assert shown_lines(page) == by_rouge2[:10]
    page.click(".pager button[data-turn='1']")
    assert shown_lines(page) == by_rouge2[10:20]
    assert count_text(page) == "11 to 20 of 60 examples"
    choose(page, "#order", 1)
    highest = sorted(range(60), key=lambda row: (-round(100 * scores[row, 1], 2), row))
    page.wait_for(f"document.querySelector('.example h3').textContent === 'Line {highest[0] + 1}'")
    choose(page, "#sort", 5)  # past the other two scores and the source: the generated summaries' lengths
    longest = sorted(range(60), key=lambda row: (-len(generations[row].split()), row))
    page.wait_for(f"document.querySelector('.example h3').textContent === 'Line {longest[0] + 1}'")
    assert shown_lines(page) == longest[:10]


def test_filters_of_score_and_length(page: Chromium, small: tuple[Path, ScoredExamples]) -> None:
    examples = small[1]
    lengths = [len(text.split()) for text in examples.generations]
    fits = [row for row in range(60) if 100 * examples.scores[row, 0] >= 50 and lengths[row] <= 12]
    assert 0 < len(fits) < 60
    for selector, text in (("#score-from", "50"), ("#length-to", "12")):
        page.click(selector)
        page.type(text)
    page.wait_for(f"document.getElementById('count').textContent.includes('of {len(fits)} found')")
    assert shown_lines(page) == fits[:10]


def test_words_shared_with_the_reference_are_marked(page: Chromium, small: tuple[Path, ScoredExamples]) -> None:
    examples = small[1]
    shared = [word for word in examples.generations[0].split() if word in examples.references[0].split()]
    assert shared
    marked = page.value("[...document.querySelectorAll('.example')[0].querySelectorAll('.columns > div')].map("
                        "column => [...column.querySelectorAll('mark')].map(mark => mark.textContent))")  # fmt: skip
    assert marked[2] == shared
    assert marked[0][:3] == examples.references[0].split()[:3]
    page.click("#marks")
    page.wait_for("document.querySelectorAll('mark').length === 0")


def test_names_and_numbers_that_the_source_does_not_have_are_underlined(page: Chromium) -> None:
    choose(page, "#sort", 8)
    choose(page, "#order", 1)
    page.wait_for("document.querySelector('.example h3').textContent === 'Line 7'")
    underlined = "[...document.querySelectorAll('u.absent')].map(each => each.textContent)"
    assert page.value(underlined) == ["Paris", "2,000"]
    assert page.value("document.querySelector('.chips').textContent").endswith("not in the source: 2")
    text = page.value("document.querySelectorAll('.example .text')[2].textContent")
    assert text == "\U0001f600 it was Paris with 1,000 or 2,000 of w1"
    page.click("#absent")
    page.wait_for("document.querySelectorAll('u.absent').length === 0")
    page.click("#absent")
    page.click("#search")
    page.type("or 2,")  # a hit that holds a part of a number
    page.wait_for("document.querySelectorAll('mark.hit').length === 1")
    assert page.value(underlined) == ["Paris", "000"]


def test_a_text_is_text_whatever_it_holds(page: Chromium) -> None:
    texts = page.value(
        "[...document.querySelectorAll('.example')[2].querySelectorAll('.text')].map(t => t.textContent)"
    )
    assert texts == [HOSTILE] * 3
    assert page.value("window.broken") is None
    assert page.value("document.querySelector('.facts b').textContent") == "<b>model</b>"
    nothing = "document.querySelectorAll('.example')[4].querySelectorAll('.text')[2].textContent"
    assert page.value(nothing) == "(nothing)"


def test_the_policy_runs_no_script_of_a_text(
    browser: Chromium, small: tuple[Path, ScoredExamples], tmp_path: Path
) -> None:
    """The policy holds even if a script gets into the markup."""
    broken = tmp_path / "broken.html"
    broken.write_text(small[0].read_text().replace("<main", "<script>window.broken = 1</script><main"))
    browser.open(broken)
    assert browser.value("window.broken") is None
    assert any("Content Security Policy" in error for error in browser.errors)
    browser.errors.clear()


def test_curves_are_read_by_the_keyboard(page: Chromium) -> None:
    page.value("document.querySelector('.chart').focus()")
    page.press("ArrowLeft")
    reading = "document.querySelector('.reading').textContent"
    assert page.value(reading) == "training 0.3214 (step 28), validation 0.2759 (step 29)"
    page.press("Tab")
    assert page.value(reading) == ""


def test_a_long_source_unfolds(page: Chromium) -> None:
    height = "document.querySelector('.example .text').getBoundingClientRect().height"
    before = page.value(height)
    page.click(".unfold")
    assert page.value(height) > 1.2 * before
    assert page.value("document.querySelector('.unfold').ariaExpanded") == "true"


@pytest.mark.parametrize("dark", [False, True])
def test_contrast_and_narrow_screens(page: Chromium, dark: bool) -> None:
    """Text has a contrast of 4.5 to 1 (WCAG 2.2, 1.4.3), and nothing exceeds a telephone's screen."""
    page.emulate(360, 800, dark)
    assert page.value("document.documentElement.scrollWidth") <= 360
    pairs = page.value(
        "[['body', 'html'], ['.note', 'html'], ['.own td', '.own td'], ['a', 'header'],"
        " ['.example mark', '.example mark'], ['.chips', '.example'], ['label', 'form']].map(([text, ground]) => [text,"
        " getComputedStyle(document.querySelector(text)).color,"
        " getComputedStyle(document.querySelector(ground)).backgroundColor])"
    )
    for name, ink, ground in pairs:
        light, shade = sorted((luminance(ink), luminance(ground)), reverse=True)
        assert (light + 0.05) / (shade + 0.05) >= 4.5, (name, ink, ground)


def luminance(color: str) -> float:
    """Compute the relative luminance of rgb(...) by WCAG 2.2."""
    channels = [int(number) / 255 for number in re.findall(r"\d+", color)[:3]]
    linear = [channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4 for channel in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_without_scores_there_are_the_texts(browser: Chromium, tmp_path: Path) -> None:
    """An evaluation without targets has none. Texts of a file that --split divided have the numbers of its rows."""
    report = {"split": "test", "n_obs": 2, "traits": summary_traits(["a b", "c"], [["a", "c"]], None)[0].entry}
    write_page(tmp_path, report, ScoredExamples(["a b", "c"], None, ["a", "c"], None, np.array([6, 1233])))
    open_whole(browser, tmp_path / "results.html")
    texts = browser.value("[...document.querySelectorAll('.text')].map(text => text.textContent)")
    assert texts == ["a b", "a", "c", "c"]
    titles = browser.value("[...document.querySelectorAll('.example h3')].map(title => title.textContent)")
    assert titles == ["Row 7", "Row 1,234"]
    assert browser.errors == []


def test_before_and_after_fine_tuning_are_side_by_side(browser: Chromium, tmp_path: Path) -> None:
    """They can be searched, and sorted by what has changed."""
    sources = [f"Number {row} is read from a file." for row in range(30)]
    references = [f"Return number {row}." for row in range(30)]
    before = [" ".join(["number", *["word"] * (row % 7)]) for row in range(30)]
    after = [f"Return {'number ' * (row % 3)}{row}" for row in range(30)]
    scores = [example_scores(texts, references) for texts in (before, after)]
    for folder, texts, own in zip((tmp_path / "pretrained", tmp_path), (before, after), scores, strict=True):
        folder.mkdir(exist_ok=True)
        write_example_scores(folder, "test", references, own)
        (folder / "test_generations.txt").write_text("".join(f"{text}\n" for text in texts))
        report = {**mean_scores(own), "scorer": scorer_description(), "split": "test", "n_obs": 30}
        write_json(folder / "test_rouge.json", report)
    write_page(tmp_path, report, ScoredExamples(sources, references, after, scores[1]))
    browser.emulate(1300, 800)
    open_whole(browser, tmp_path / "results.html")
    titles = browser.value("[...document.querySelector('.example').querySelectorAll('h4')].map(h => h.textContent)")
    kinds = ["source", "reference", "summary before fine-tuning", "summary after fine-tuning"]
    assert [title.split(",")[0] for title in titles] == kinds
    tops = browser.value(
        "[...document.querySelector('.example').querySelectorAll('.columns > div')].map("
        "column => column.getBoundingClientRect().top)"
    )
    assert tops[0] < tops[1] == tops[2] == tops[3]
    chip = browser.value("document.querySelector('.chips span').textContent")
    assert chip == f"ROUGE-1 {100 * scores[1][0, 0]:.1f} (before: {100 * scores[0][0, 0]:.1f})"

    old, new = ((100 * each[:, 0]).round(2) for each in scores)
    choose(browser, "#sort", 5)  # past the four scores
    browser.wait_for(f"document.querySelector('.example h3').textContent === 'Line {np.argmin(new - old) + 1}'")
    choose(browser, "#where", 3)
    browser.click("#search")
    browser.type("word word word word word word")
    browser.wait_for("document.getElementById('count').textContent.includes('of 4 found')")
    browser.emulate(360, 800)
    assert browser.value("document.documentElement.scrollWidth") <= 360
    assert browser.errors == []


def test_of_a_training_alone(browser: Chromium, small: tuple[Path, ScoredExamples], tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_bytes(small[0].with_name("metrics.json").read_bytes())
    write_page(tmp_path)
    browser.open(tmp_path / "results.html")
    assert browser.value("document.querySelectorAll('.chart').length") == 4
    assert browser.errors == []


@pytest.mark.slow
def test_as_many_examples_as_cnn_dm_has(browser: Chromium, tmp_path: Path) -> None:
    """Search and sort among 45 MB of sources. The time of the first paint is printed, not tested."""
    examples = write_results(tmp_path / "run", count=11_490, words_of_a_source=800)
    open_whole(browser, tmp_path / "run" / "results.html")
    print(browser.value("performance.getEntriesByType('paint').map(paint => `${paint.name} ${paint.startTime} ms`)"))
    phrase = " ".join(examples.sources[11_000].split()[700:702])
    expected = [row for row, source in enumerate(examples.sources) if phrase in source]
    browser.click("#search")
    browser.type(phrase)
    browser.wait_for("document.getElementById('count').textContent.includes('found')")
    assert 11_000 in expected and shown_lines(browser) == expected[:10]
    browser.click("button[type=reset]")
    choose(browser, "#sort", 1)
    first = min(range(11_490), key=lambda row: (round(100 * examples.scores[row, 0], 2), row))
    browser.wait_for(f"document.querySelector('.example h3').textContent === 'Line {first + 1:,}'")
    assert browser.errors == []
