"""What the container's scripts ask docker for, and what the image keeps of its base.

There is no docker where this is tested: on PATH is a program of that name that writes down how it was called.
"""

import os
import pty
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[2]
RECORDER = '#!/usr/bin/env bash\nprintf \'%s\\n\' "$@" >"$CALL"\n'


class Docker:
    """Runs scripts/docker/*.sh in an empty folder with the stand-in first on PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.program("docker", RECORDER)
        self.environment = {
            **{name: value for name, value in os.environ.items() if name not in ("HF_HOME", "BART_IMAGE")},
            **{"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "CALL": str(folder / "call"), "HOME": str(folder)},
        }

    def program(self, name: str, text: str) -> None:
        path = self.folder / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def run(self, script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = ["bash", str(ROOT / "scripts" / "docker" / script), *arguments]
        return subprocess.run(
            command, cwd=self.folder, env=self.environment | environment, capture_output=True, text=True, timeout=60,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def call(self) -> list[str]:
        return (self.folder / "call").read_text().splitlines()

    def value(self, flag: str) -> list[str]:
        """What follows each mention of a flag."""
        call = self.call()
        return [call[index + 1] for index, argument in enumerate(call) if argument == flag]


@pytest.fixture
def docker(tmp_path: Path) -> Docker:
    return Docker(tmp_path)


def test_a_folder_that_docker_would_split_is_refused(docker: Docker, tmp_path: Path) -> None:
    run = docker.run("launch.sh", HF_HOME=str(tmp_path / "a:b"))
    assert run.returncode == 2 and f"error: {tmp_path}/a:b has a colon in its name" in run.stderr
    assert not (tmp_path / "call").exists()


@pytest.mark.parametrize(
    ("arguments", "base"),
    [
        ([], "nvcr.io/nvidia/pytorch:25.05-py3"),
        (["current"], "nvcr.io/nvidia/pytorch:25.12-py3"),
        (["volta"], "pytorch/pytorch:2.8.0-cuda12.6-cudnn9-runtime"),
        (["my/image:1"], "my/image:1"),
    ],
)
def test_build(docker: Docker, arguments: list[str], base: str) -> None:
    assert docker.run("build.sh", *arguments, "--no-cache", BART_IMAGE="mine").returncode == 0
    call = docker.call()
    assert call == ["build", "--build-arg", f"BASE_IMAGE={base}", "--tag", "mine", "--no-cache", str(ROOT)]


def test_the_default_base_is_the_dockerfiles_own(docker: Docker) -> None:
    docker.run("build.sh")
    assert f"ARG {docker.value('--build-arg')[0]}\nFROM ${{BASE_IMAGE}}\n" in (ROOT / "Dockerfile").read_text()


def test_what_cannot_be_built_or_launched(docker: Docker) -> None:
    for command in (
        ["build.sh", "newest"], ["launch.sh", "bash", "some"], ["launch.sh", "ls", "all", "more"],
        ["emulate.sh", "newest"], ["emulate.sh", "apex", "python", "--version"],
    ):  # fmt: skip
        run = docker.run(*command)
        assert run.returncode == 2 and run.stderr.startswith("error: ") and run.stderr.count("\n") == 1
    assert docker.run("launch.sh", "python", "--version").returncode == 2  # would lose the flag
    assert not (docker.folder / "call").exists()


def test_launch_without_a_gpu(docker: Docker) -> None:
    """The user's ids and cache, the current folder, memory that processes share; nothing of GPUs."""
    docker.program("nvidia-smi", "#!/bin/sh\nexit 9\n")
    run = docker.run("launch.sh")
    assert run.returncode == 0 and "No GPU" in run.stderr
    call = docker.call()
    assert call[:2] == ["run", "--rm"] and call[-4:] == ["bart_pyt", "bash", "-c", "bash"]
    assert "--gpus" not in call and "--tty" not in call
    assert docker.value("--user") == [f"{os.getuid()}:{os.getgid()}"]
    assert docker.value("--ipc") == ["host"] and docker.value("--ulimit") == ["memlock=-1", "stack=67108864"]
    assert docker.value("--workdir") == ["/workspace/bart"]
    cache = docker.folder / ".cache" / "huggingface"
    assert docker.value("--volume") == [f"{cache}:/cache/huggingface", f"{docker.folder}:/workspace/bart"]
    assert cache.is_dir()


def test_launch_passes_on_what_the_scripts_read(docker: Docker) -> None:
    """Each variable of theirs, but those of the container itself."""
    sources = [*(ROOT / "scripts").glob("*.sh"), *(ROOT / "scripts" / "lib").glob("*.sh")]
    text = "".join(path.read_text() for path in sources)
    read = set(re.findall(r"\$\{([A-Z_]+):-", text)) - {"PYTHON", "PYTHONPATH", "GOMP_SPINCOUNT", "SLURM_NODEID"}
    assert docker.run("launch.sh", "bash", "none").returncode == 0
    assert {"MAX_RESTARTS", "BART_DATA", "MODEL"} <= read
    assert read - {"NUM_GPU"} | {"HF_TOKEN", "HF_HUB_OFFLINE"} <= set(docker.value("--env"))


@pytest.mark.parametrize(
    ("chosen", "flag"), [([], "all"), (["all"], "all"), (["4"], "4"), (["device=0,3"], '"device=0,3"')]
)
def test_launch_with_gpus(docker: Docker, chosen: list[str], flag: str) -> None:
    docker.program("nvidia-smi", "#!/bin/sh\n")
    assert docker.run("launch.sh", "echo one; echo two", *chosen).returncode == 0
    assert docker.value("--gpus") == [flag] and docker.call()[-1] == "echo one; echo two"
    assert docker.run("launch.sh", "bash", "none").returncode == 0 and docker.value("--gpus") == []


def test_launch_at_a_terminal_is_interactive(docker: Docker) -> None:
    ours, theirs = pty.openpty()
    command = ["bash", str(ROOT / "scripts" / "docker" / "launch.sh"), "bash", "none"]
    subprocess.run(command, cwd=docker.folder, env=docker.environment, stdin=theirs, stdout=theirs, timeout=60)
    os.close(ours)
    os.close(theirs)
    assert "--interactive" in docker.call() and "--tty" in docker.call()


def test_no_docker(docker: Docker) -> None:
    """Nothing of that name on PATH."""
    (docker.folder / "bin" / "docker").unlink()
    for tool in ("bash", "dirname", "mkdir"):
        (docker.folder / "bin" / tool).symlink_to(str(shutil.which(tool)))
    for script in ("build.sh", "launch.sh"):
        run = docker.run(script, PATH=str(docker.folder / "bin"))
        assert (run.returncode, run.stderr) == (2, "error: docker is not installed\n")


def test_the_dockerfile_copies_what_is_there() -> None:
    """Each COPY's sources are files that .dockerignore lets through; apex is never installed from a registry."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    ignored = {line.strip("*/") for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] != "#"}
    copied = [source for line in re.findall(r"^COPY (.*)$", text, re.M) for source in line.split()[:-1]]
    assert {"requirements/runtime.txt", "requirements/numpy1.txt", "."} <= set(copied)
    assert all((ROOT / source).exists() and source.split("/")[0] not in ignored for source in copied)
    assert "apex" not in re.sub(r"^#.*$", "", text, flags=re.M)


def test_the_document_names_what_is_emulated() -> None:
    """Each base of emulate.sh with its versions is a row of the table of docs/installation.md."""
    script = (ROOT / "scripts" / "docker" / "emulate.sh").read_text()
    bases = re.findall(r"(\w+)\) interpreter=python(\S+) release=(\S+) torch=\S+ numpy=(\S+) ;;", script)
    assert [name for name, *_ in bases] == ["apex", "current", "volta"]
    document = (ROOT / "docs" / "installation.md").read_text()
    for name, *versions in bases:
        assert f"| `{name}` | {' | '.join(versions)} |" in document


def keep_torch(*arguments: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the script; packages in the folder `path` hide those that are installed."""
    command = [sys.executable, str(ROOT / "scripts" / "docker" / "keep_torch.py"), *arguments]
    environment = os.environ | ({"PYTHONPATH": str(path)} if path else {})
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)


def make_package(folder: Path, name: str, version: str, source: str) -> None:
    """Install a package of one module."""
    (folder / f"{name}-{version}.dist-info").mkdir(parents=True)
    (folder / f"{name}-{version}.dist-info" / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n")
    (folder / f"{name}-{version}.dist-info" / "top_level.txt").write_text(f"{name}\n")
    (folder / f"{name}.py").write_text(source)


def test_torch_and_numpy_stay_as_they_are(tmp_path: Path) -> None:
    wanted = [
        "pyarrow==26.0.1 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n",
        "rouge_score[a,b]==0.1.2 --hash=sha256:cc\n",
        'absent==1 ; sys_platform == "win32" \\\n    --hash=sha256:dd\n',
    ]
    kept = ["numpy==9.9.9 \\\n    --hash=sha256:ee\n", "setuptools==99\n", "Torch==9.9.9\n"]
    (tmp_path / "runtime.txt").write_text("".join(["# Locked.\n", kept[0], *wanted[:2], *kept[1:], wanted[2]]))
    assert keep_torch("split", str(tmp_path)).returncode == 0
    assert (tmp_path / "requirements.txt").read_text() == "".join(wanted)
    constraints = tmp_path / "constraints.txt"
    assert constraints.read_text().splitlines()[:2] == [f"torch=={version('torch')}", f"numpy=={version('numpy')}"]
    assert keep_torch("check", str(tmp_path)).returncode == 0
    constraints.write_text("torch==2.8.0a0+nv25.5\n")
    changed = keep_torch("check", str(tmp_path))
    assert changed.returncode == 1 and "torch was 2.8.0a0+nv25.5" in changed.stderr


def test_a_numpy_before_2_gets_an_older_pyarrow(tmp_path: Path) -> None:
    """One that the recipe works with; numpy itself stays."""
    make_package(tmp_path / "path", "numpy", "1.26.4", "")
    (tmp_path / "runtime.txt").write_text("numpy==2.4.6\npyarrow==26.0.1\nrouge_score==0.1.2\n")
    older = (ROOT / "requirements" / "numpy1.txt").read_text()
    (tmp_path / "numpy1.txt").write_text(older)
    assert keep_torch("split", str(tmp_path), path=tmp_path / "path").returncode == 0
    _, lines = older.split("\n", 1)
    assert (tmp_path / "requirements.txt").read_text() == f"{lines}rouge_score==0.1.2\n"
    ((name, pinned),) = re.findall(r"^(\w+)==(\S+)", lines, re.M)
    (choice,) = re.findall("^pyarrow.*", (ROOT / "requirements" / "runtime.in").read_text(), re.M)
    assert name == "pyarrow" and Version(pinned) < Version("26") and Requirement(choice).specifier.contains(pinned)
    assert "numpy==1.26.4" in (tmp_path / "constraints.txt").read_text().splitlines()


def test_a_package_that_does_not_work_fails_the_build(tmp_path: Path) -> None:
    make_package(tmp_path / "path", "refuses", "3.1", "raise ImportError('refuses needs NumPy 2')\n")
    (tmp_path / "constraints.txt").touch()
    for requirement, message in [
        ("refuses==3.1", "error: refuses 3.1 does not work in this image: refuses needs NumPy 2\n"),
        ("absent==1.0", "error: absent is not installed\n"),
    ]:
        (tmp_path / "requirements.txt").write_text(f"{requirement}\n")
        run = keep_torch("check", str(tmp_path), path=tmp_path / "path")
        assert (run.returncode, run.stderr) == (1, message)
