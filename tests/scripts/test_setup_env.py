"""setup_env.sh, in copies of the checkout whose locks are empty: real environments, without the downloads."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


class Checkout:
    """The set-up part of a checkout."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.venv = folder / ".venv"
        shutil.copytree(ROOT / "scripts" / "lib", folder / "scripts" / "lib")
        shutil.copy(ROOT / "scripts" / "setup_env.sh", folder / "scripts")
        for name in ("runtime", "torch", "dev"):
            self.lock(name, "")
        # The first Python on PATH is the one that runs the tests.
        (folder / "bin").mkdir()
        (folder / "bin" / "python3").symlink_to(Path(sys.executable).resolve())
        self.environment = {name: value for name, value in os.environ.items() if name not in ("PYTHON", "VIRTUAL_ENV")}
        self.environment["PATH"] = f"{folder / 'bin'}:{self.environment['PATH']}"

    def lock(self, name: str, requirements: str) -> None:
        path = self.folder / "requirements" / f"{name}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"# a lock\n{requirements}")

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["bash", "scripts/setup_env.sh", *arguments],
            cwd=self.folder,
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def set_up(self, *arguments: str, **environment: str) -> tuple[int, str]:
        """Exit code and output."""
        process = self.start(*arguments, **environment)
        output, _ = process.communicate(timeout=120)
        return process.returncode, output

    def made_at(self) -> int:
        """When .venv was made, in nanoseconds."""
        return (self.venv / "pyvenv.cfg").stat().st_mtime_ns

    def fake_python(self, script: str) -> None:
        """Put programs of this text first on PATH under every name that the script looks for."""
        for name in ("python3", *(f"python3.{minor}" for minor in range(11, 15))):
            program = self.folder / "bin" / name
            program.unlink(missing_ok=True)
            program.write_text(f"#!/usr/bin/env bash\n{script}\n")
            program.chmod(0o755)


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_two_at_once_make_one_environment_and_later_calls_do_nothing(checkout: Checkout) -> None:
    processes = [checkout.start() for _ in range(2)]
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert sorted("Installing" in output for output in outputs) == [False, True]
    assert sum("Another set-up is running" in output for output in outputs) == 1
    assert checkout.set_up() == (0, "")

    made = checkout.made_at()
    code, output = checkout.set_up("--dev")
    assert (code, checkout.made_at()) == (0, made) and "Installing" in output  # added to what is there
    assert checkout.set_up("--dev") == checkout.set_up() == (0, "")


def make_wheel(folder: Path, name: str) -> str:
    """A wheel with nothing in it; return its hash."""
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{name}-1.0.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        wheel.writestr(f"{name}-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{name}-1.0.dist-info/RECORD", "")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_file_with_another_hash_is_refused(checkout: Checkout) -> None:
    right, wrong = make_wheel(checkout.folder, "setuptools"), "0" * 64
    make_wheel(checkout.folder, "altered")
    checkout.lock(
        "runtime",
        f"altered==1.0 --hash=sha256:{wrong}\n"
        f"setuptools==1.0 \\\n    --hash=sha256:{wrong} \\\n    --hash=sha256:{right}\n",
    )
    code, output = checkout.set_up(PIP_NO_INDEX="1", PIP_FIND_LINKS=str(checkout.folder))
    assert code == 2 and "DO NOT MATCH THE HASHES" in output
    error = output.splitlines()[-1]
    assert error.startswith("error: pip could not install the requirements") and "if hashes do not match" in error
    installed = {path.name for path in checkout.venv.glob("lib/*/site-packages/*-1.0.dist-info")}
    assert installed == {"setuptools-1.0.dist-info"} and not (checkout.venv / "setup.stamp").exists()


@pytest.mark.slow
def test_a_changed_lock_a_failed_download_and_a_kill_lead_to_a_new_environment(checkout: Checkout) -> None:
    assert checkout.set_up()[0] == 0
    made = checkout.made_at()
    checkout.lock("runtime", f"no-such-package-of-this-project==1 --hash=sha256:{'0' * 64}\n")
    no_network = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(checkout.folder)}
    for _ in range(2):  # what a failed set-up left is not taken for an environment
        code, output = checkout.set_up(**no_network)
        assert code == 2 and output.splitlines()[-1].startswith("error: pip could not install the requirements")
        assert checkout.made_at() != made

    checkout.lock("runtime", "")
    process = checkout.start()
    while not (checkout.venv / "bin" / "pip").exists() and process.poll() is None:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    assert not (checkout.venv / "setup.stamp").exists()
    assert checkout.set_up()[0] == 0
    assert checkout.set_up() == (0, "")


def test_an_environment_of_the_user_is_left_alone(checkout: Checkout) -> None:
    checkout.venv.mkdir()
    (checkout.venv / "pyvenv.cfg").write_text("the user's own")
    code, output = checkout.set_up()
    assert code == 2 and output.startswith("error: ") and "was not made by this script" in output
    assert (checkout.venv / "pyvenv.cfg").read_text() == "the user's own"


def test_python_that_is_set_is_used_as_it_is(checkout: Checkout) -> None:
    code, output = checkout.set_up("--dev", PYTHON=sys.executable)
    assert (code, output) == (0, f"PYTHON is set: using {sys.executable} as it is.\n")
    assert not checkout.venv.exists()


def test_a_python_that_cannot_be_used(checkout: Checkout) -> None:
    checkout.fake_python('[[ $1 != --version ]] || echo "Python 3.9.2"; [[ $1 == --version ]]')
    code, output = checkout.set_up()
    assert (code, output.splitlines()[-1]) == (
        2,
        "error: Python 3.11 to 3.14 is needed (python3 is Python 3.9.2): install one of them",
    )
    for name, condition in (("python3", ""), ("python3.13", "$0 == *3.13 &&")):  # the first that is right
        checkout.fake_python(f"[[ {condition} $2 != *ensurepip* ]]")
        code, output = checkout.set_up()
        assert code == 2 and output.splitlines()[-1].startswith(f"error: {name} cannot make virtual environments")


def test_an_unknown_argument(checkout: Checkout) -> None:
    assert checkout.set_up("--fast") == (2, "error: unknown argument --fast: setup_env.sh takes --dev or nothing\n")
