"""What `pip install .` gives: installed from a wheel into an environment that knows nothing of the checkout."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
import venv
from importlib import metadata
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement

from bart.modeling.modeling_bart import BartForConditionalGeneration
from tests.commands import run_as_torchrun
from tests.tiny_setup import TinySetup, tiny_config, write_tiny_setup

ROOT = Path(__file__).parents[2]
# Also what must not be in the wheel.
SOURCES = ["LICENSE", "bart", "configs", "finetune.py", "pyproject.toml", "requirements", "run_eval.py", "scripts"]
SOURCES += ["tests", "utils"]
PROGRAMS = {"bart-summarize": "utils.commands.summarize", "bart-finetune": "finetune", "bart-evaluate": "run_eval"}
PLACES_OF_PACKAGES = ("site-packages", "dist-packages")


class Installed:
    """An environment with the package, in a folder in which programs are run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.programs = folder / "venv" / "bin"
        (self.packages,) = (folder / "venv" / "lib").glob("python3*/site-packages")
        hidden = ("PYTHONPATH", "VIRTUAL_ENV")
        self.environment = {name: value for name, value in os.environ.items() if name not in hidden}
        self.environment |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}

    def run(self, program: str, *arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
        command = [str(self.programs / program), *map(str, arguments)]
        environment = {**self.environment, **variables}
        return subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=250)

    def output(self, program: str, *arguments: object, **variables: str) -> str:
        """Run a program that must succeed and warn of nothing; returns what it prints."""
        ended = self.run(program, *arguments, **variables)
        assert (ended.returncode, ended.stderr) == (0, "")
        return ended.stdout


def pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Made without the network: setuptools, torch and the rest are those of the environment that runs the tests."""
    folder = tmp_path_factory.mktemp("package")
    checkout = folder / "checkout"
    checkout.mkdir()
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, checkout / name)
    pip("wheel", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", str(folder), str(checkout))
    shutil.rmtree(checkout)
    (wheel,) = folder.glob("*.whl")

    venv.create(folder / "venv", symlinks=True)
    environment = Installed(folder)
    linked = [path for path in sys.path if path.endswith(PLACES_OF_PACKAGES)]
    (environment.packages / "linked.pth").write_text("\n".join(linked))
    pip("--python", str(environment.programs / "python"), "install", "--no-deps", "--no-index", str(wheel))
    return environment


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> TinySetup:
    return write_tiny_setup(tmp_path_factory.mktemp("setup"))


@pytest.fixture(scope="module")
def distribution(installed: Installed) -> metadata.Distribution:
    (folder,) = installed.packages.glob("bart_summarization-*.dist-info")
    return metadata.Distribution.at(folder)


def read_pyproject() -> dict[str, dict[str, object]]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_it_has_every_file_of_bart_and_utils_and_no_other(distribution: metadata.Distribution) -> None:
    """If this fails for a new folder: pyproject.toml lists the packages."""
    paths = [path.relative_to(ROOT) for name in ("bart", "utils") for path in (ROOT / name).rglob("*.*")]
    expected = {path.as_posix() for path in paths if "__pycache__" not in path.parts}
    assert {"bart/py.typed", "utils/py.typed"} < expected
    own = {path.as_posix() for path in distribution.files or () if path.suffix != ".pyc"}
    own = {path for path in own if not path.startswith(("bart_summarization-", "../"))}
    assert own == {path.replace("utils/", "bart_summarization/", 1) for path in expected}


def test_it_needs_what_the_list_of_requirements_says(distribution: metadata.Distribution) -> None:
    lines = (ROOT / "requirements" / "runtime.in").read_text(encoding="utf-8").splitlines()
    chosen = {Requirement(line) for line in lines if not line.startswith("#")}
    assert set(map(Requirement, distribution.requires or ())) == chosen
    assert distribution.version == read_pyproject()["project"]["version"]


def test_the_locked_setuptools_builds_it() -> None:
    (line,) = read_pyproject()["build-system"]["requires"]
    lock = (ROOT / "requirements" / "runtime.txt").read_text(encoding="utf-8").splitlines()
    (locked,) = [locked for locked in lock if locked.startswith("setuptools==")]
    assert Requirement(line).specifier.contains(locked.removeprefix("setuptools==").split()[0])


def test_summarizer_has_a_short_name_that_costs_nothing_until_it_is_used(installed: Installed) -> None:
    program = """
import sys, bart_summarization
assert not {"torch", "transformers"} & sys.modules.keys()
from bart_summarization import Summarizer
print(Summarizer.__module__)"""
    assert installed.output("python", "-c", program) == "bart_summarization.recipes.summarize\n"


def test_it_is_imported_from_anywhere(installed: Installed) -> None:
    program = "import bart.modeling.modeling_bart, bart_summarization as b; print(bart.__file__, b.__file__)"
    expected = [installed.packages / name / "__init__.py" for name in ("bart", "bart_summarization")]
    assert installed.output("python", "-c", program).split() == list(map(str, expected))


def test_nothing_is_called_utils(installed: Installed) -> None:
    """An import of that name would be answered by any package of that name."""
    assert "No module named 'utils'" in installed.run("python", "-c", "import utils").stderr


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize(("flag", "exit_code"), [("--help", 0), ("--no_such_flag", 2), ("--num_beams=0", 2)])
def test_its_programs_answer_as_the_checkout_does(
    installed: Installed, program: str, flag: str, exit_code: int
) -> None:
    command = [sys.executable, "-m", PROGRAMS[program], flag]
    expected = subprocess.run(command, cwd=ROOT, env=installed.environment, capture_output=True, text=True)
    ended = installed.run(program, flag)
    assert (ended.returncode, ended.stderr) == (expected.returncode, expected.stderr)
    assert ended.returncode == exit_code
    usage, _, explanations = ended.stdout.partition("\n\n")
    assert explanations == expected.stdout.partition("\n\n")[2]
    assert usage.startswith(f"usage: {program} " if explanations else "")


def test_texts_in_summaries_out(installed: Installed, setup: TinySetup, tmp_path: Path) -> None:
    model = shutil.copytree(setup.tokenizer, tmp_path / "model")
    torch.manual_seed(0)
    BartForConditionalGeneration(tiny_config()).save_pretrained(model)
    (tmp_path / "texts").write_text("A text.\n\nAnother one.\n")
    lines = installed.output("bart-summarize", model, tmp_path / "texts", "--json", "--device", "cpu").splitlines()
    texts = [json.loads(line)["text"] for line in lines]
    assert texts == ["A text.", "", "Another one."]


@pytest.mark.parametrize("command", [["bart-finetune"], ["python", "-m", "bart_summarization.commands.fine_tune"]])
def test_for_two_gpus_the_same_command_is_run_twice(installed: Installed, tmp_path: Path, command: list[str]) -> None:
    """On a machine that is said to have them. Each process says what it is, and ends."""
    said = """if True:
        import os, sys
        from bart_summarization.runtime import world
        world.check_gpus = lambda gpus: None
        if "RANK" in os.environ:
            os.write(1, f"{os.environ['RANK']} {sys.orig_argv[1:]}\\n".encode())
            os._exit(0)
    """
    (tmp_path / "sitecustomize.py").write_text(said)
    command = [*command, "--gpus", "2", "--data_dir", "a b"]
    output = installed.output(*command, PYTHONPATH=str(tmp_path))
    run_by_python = command[1:] if command[0] == "python" else [str(installed.programs / command[0]), *command[1:]]
    assert sorted(output.splitlines()) == [f"0 {run_by_python}", f"1 {run_by_python}"]


def test_a_report_has_no_commit_of_another_project(installed: Installed) -> None:
    program = "from bart_summarization.runtime.software import git_commit; print(git_commit())"
    git = ["git", "-C", str(installed.folder), "-c", "user.name=a", "-c", "user.email=a@b.invalid"]
    for arguments in (["init", "--quiet"], ["commit", "--quiet", "--allow-empty", "--message", "theirs"]):
        subprocess.run([*git, *arguments], check=True, env={**installed.environment, "GIT_CONFIG_GLOBAL": os.devnull})
    assert installed.output("python", "-c", program) == "None\n"


def test_the_corpus_of_the_checkout_is_refused(installed: Installed, setup: TinySetup) -> None:
    module = "bart_summarization.corpora.docstrings"
    ended = installed.run("python", "-m", module, "corpus", "--config", setup.config)
    assert ended.returncode == 2
    assert "requirements/docstrings.txt: no such file; this corpus is made by a checkout" in ended.stderr
    assert ended.stderr.count("\n") == 1


@pytest.mark.slow
def test_a_type_checker_sees_its_types(installed: Installed, tmp_path: Path) -> None:
    """Not those of the model, for which it would read all of torch: half a minute."""
    lines = [
        "from bart.configuration.configuration_bart import BartConfig",
        "from bart_summarization.cli.training_args import TrainingArguments",
        "reveal_type(BartConfig().d_model)",
        "reveal_type(TrainingArguments().data.data_dir)",
        "BartConfig().no_such_setting",
    ]
    (tmp_path / "program.py").write_text("\n".join(lines))
    command = [sys.executable, "-m", "mypy", "--strict", "--python-executable", str(installed.programs / "python")]
    ended = subprocess.run(
        [*command, "program.py"], cwd=tmp_path, env=installed.environment, capture_output=True, text=True
    )
    found = [line.partition(" ")[2] for line in ended.stdout.splitlines()]
    assert found[:3] == [
        'note: Revealed type is "int"',
        'note: Revealed type is "str"',
        'error: "BartConfig" has no attribute "no_such_setting"  [attr-defined]',
    ]


@pytest.mark.slow
def test_all_of_it_is_imported(installed: Installed) -> None:
    program = """if True:
        import importlib, pkgutil, bart, bart_summarization
        for package in (bart, bart_summarization):
            for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
                try:
                    importlib.import_module(module.name)
                except ModuleNotFoundError as error:
                    assert error.name == "apex", module.name
    """
    installed.output("python", "-c", program)


@pytest.mark.slow
def test_what_a_checkout_began_is_trained_on_and_evaluated(
    installed: Installed, setup: TinySetup, tmp_path: Path
) -> None:
    """By two processes. A checkpoint does not know what the package is called, which its optimizer is of."""
    results, scores = tmp_path / "results", tmp_path / "scores"
    flags = [*setup.training_flags, "--optimizer", "lamb", "--output_dir", str(results)]
    run_as_torchrun("finetune.py", [*flags, "--max_steps", "10"], tmp_path / "log", processes=2)
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--local_addr", "127.0.0.1", "--nproc_per_node", "2"]
    ended = installed.run("python", *torchrun, installed.programs / "bart-finetune", *flags, "--resume")
    assert ended.returncode == 0, ended.stderr
    assert "resuming from" in ended.stdout and "step 20/20" in ended.stdout
    ended = installed.run("bart-evaluate", results / "best_tfmr", setup.config, setup.data, scores)
    assert ended.returncode == 0, ended.stderr
    assert "</html>" in (scores / "results.html").read_text(encoding="utf-8")
