"""Two machines through the shell script, here both are this one; and processes that are started again."""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.end_to_end.test_deaths import children_by_rank
from tests.end_to_end.test_processes import assert_same_training
from tests.same_end import assert_same_end
from tests.tiny_setup import TinySetup
from utils.checkpoint.checkpoint_io import checkpoint_step, checkpoints, load_checkpoint
from utils.io.json_files import read_json

ROOT = Path(__file__).parents[2]


def start(
    setup: TinySetup,
    results: Path,
    batch_size: int,
    steps: int = 12,
    more: tuple[str, ...] = (),
    start_new_session: bool = False,
    **environment: str,
) -> subprocess.Popen[str]:
    positionals = [setup.data, setup.config, 0, 1e-3, batch_size, 2, "fp32", steps, 5, 64, 16, 2, 8, 3, 0.5, 50]
    flags = ["--model_name_or_path", "scratch", "--tokenizer_name_or_path", str(setup.tokenizer), "--no-freeze_embeds"]
    flags += ["--dropout", "0", "--attention_dropout", "0", *more]
    return subprocess.Popen(
        ["bash", str(ROOT / "scripts" / "run_summarization.sh"), *map(str, positionals), *flags],
        env={
            **os.environ,
            **{"PYTHON": sys.executable, "RESULTS_DIR": str(results), "OMP_NUM_THREADS": "1"},
            **environment,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=start_new_session,
    )


def two_machines() -> dict[str, str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    return {"NNODES": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}


def end_well(machines: list[subprocess.Popen[str]]) -> None:
    outputs = [machine.communicate(timeout=300)[0] for machine in machines]
    assert [machine.returncode for machine in machines] == [0] * len(machines), "\n".join(outputs)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_machines_learn_what_one_learns(setup: TinySetup, tmp_path: Path) -> None:
    """Two with batches of 2 the same weights as one with batches of 4; they share the evaluation, one writes."""
    common = two_machines()
    end_well([start(setup, tmp_path / "two", 2, **common, NODE_RANK=str(rank)) for rank in (1, 0)])
    end_well([start(setup, tmp_path / "one", 4)])

    ours, theirs = (load_checkpoint(checkpoints(tmp_path / name)[-1])["state_dict"] for name in ("two", "one"))
    for name, weight in theirs.items():
        if "k_proj.bias" not in name:  # its true gradient is zero: Adam amplifies rounding
            assert (ours[name] - weight).norm() <= 1e-4 * weight.norm(), name
    assert read_json(tmp_path / "two" / "run.json")["processes"] == 2
    evaluated = read_json(tmp_path / "two" / "test_rouge.json")
    assert (evaluated["processes"], evaluated["n_obs"]) == (2, 7)
    logs = {path.name: path.read_text() for path in (tmp_path / "two").glob("joblog*.log")}
    assert "step 12/12" in logs["joblog.log"] and "rouge1" in logs["joblog.log"]
    assert "step " not in logs["joblog_node1.log"]


KILLED = ("--log_every_n_steps", "1", "--save_checkpoint_steps", "3")


def kill_one_at(
    machines: list[subprocess.Popen[str]], results: Path, text: str, machine: int, rank: int | None
) -> None:
    """SIGKILL a machine's torchrun or its ``rank``-th process, once the log of the first machine says ``text``."""
    wait_for(machines, results, text)
    agent = agent_of(machines[machine])
    os.kill(agent if rank is None else children_by_rank(agent, "LOCAL_RANK")[rank], signal.SIGKILL)


def wait_for(machines: list[subprocess.Popen[str]], results: Path, text: str) -> None:
    """Until the log of the first machine says ``text``."""
    log = results / "joblog.log"
    deadline = time.monotonic() + 120
    while not log.exists() or text not in log.read_text():
        assert all(each.poll() is None for each in machines) and time.monotonic() < deadline
        time.sleep(0.02)


def agent_of(script: subprocess.Popen[str]) -> int:
    """The torchrun that a script has started."""
    children = Path(f"/proc/{script.pid}/task/{script.pid}/children").read_text().split()
    (agent,) = [pid for pid in children if b"torch.distributed.run" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    return int(agent)


def test_a_process_that_dies_is_started_again(setup: TinySetup, tmp_path: Path) -> None:
    """On one machine; the run goes on from its newest checkpoint, as if nothing had happened, and is evaluated once."""
    results = tmp_path / "results"
    machine = start(setup, results, 4, 10, KILLED, MAX_RESTARTS="1", PROCESSES_PER_NODE="2")
    kill_one_at([machine], results, "step 5/", 0, 1)
    end_well([machine])
    log = (results / "joblog.log").read_text()
    assert log.count("resuming from") == 1 and log.count("step 10/10  validation") == 1
    assert log.count("test (7 examples") == 1 and read_json(results / "test_rouge.json")["processes"] == 2


@pytest.mark.parametrize(
    "number, code, everyone",
    [
        (signal.SIGTERM, 143, False),
        pytest.param(signal.SIGUSR1, 143, False, marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, 130, True, marks=pytest.mark.slow),
    ],
)
def test_told_to_end_nothing_is_started_again(
    setup: TinySetup, tmp_path: Path, number: signal.Signals, code: int, everyone: bool
) -> None:
    """A signal to the script, or, as a terminal's Ctrl-C, to all: a checkpoint, the code, and later it goes on."""
    results, often = tmp_path / "results", {"MAX_RESTARTS": "2", "PROCESSES_PER_NODE": "2"}
    flags = (*KILLED[:2], "--save_checkpoint_steps", "1000000")
    machine = start(setup, results, 4, 1000000, flags, start_new_session=True, **often)
    try:
        wait_for([machine], results, "step 5/")
        (os.killpg if everyone else os.kill)(machine.pid, number)
        output = machine.communicate(timeout=60)[0]
    finally:
        with suppress(ProcessLookupError):  # nothing of it is left
            os.killpg(machine.pid, signal.SIGKILL)
    assert machine.returncode == code, output
    reached = checkpoint_step(checkpoints(results)[-1])
    log = (results / "joblog.log").read_text()
    assert f"interrupted: saved at step {reached}" in log and "resuming from" not in log and reached >= 5
    end_well([start(setup, results, 4, reached + 2, (*flags, "--n_test", "0", "--resume"), **often)])
    assert f"step {reached + 2}/{reached + 2}" in (results / "joblog.log").read_text()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("processes, machine, rank", [(1, 0, 0), (1, 1, 0), (2, 0, 1), (2, 1, 0), (2, 1, None)])
def test_a_process_of_two_machines_dies(
    setup: TinySetup, tmp_path: Path, processes: int, machine: int, rank: int | None
) -> None:
    """All start again (a machine that is lost, by hand), and end as a run that nothing happened to.

    Two processes in all do so bit for bit. With more, the order of a sum in DDP's first step after a start is another.
    """
    ended = []
    for name in ("whole", "killed"):
        results = tmp_path / name
        common = two_machines() | {"PROCESSES_PER_NODE": str(processes), "MAX_RESTARTS": "2"}
        batch_size = 2 // processes
        machines = [start(setup, results, batch_size, 20, KILLED, **common, NODE_RANK=number) for number in "01"]
        if name == "killed":
            kill_one_at(machines, results, "step 8/", machine, rank)
            if rank is None:
                machines[machine].communicate()
                again = (*KILLED, "--resume")
                machines[machine] = start(setup, results, batch_size, 20, again, **common, NODE_RANK=str(machine))
        end_well(machines)
        ended.append((results / "joblog.log").read_text())
    assert "resuming from" in ended[1] and "resuming from" not in ended[0]
    if processes == 1:
        assert_same_end(tmp_path / "killed", tmp_path / "whole", 20)
    else:
        assert_same_training(tmp_path / "killed", tmp_path / "whole")
    evaluated = [read_json(tmp_path / name / "test_rouge.json") for name in ("whole", "killed")]
    assert [each["processes"] for each in evaluated] == [2 * processes] * 2 and ended[1].count("test (7 examples") == 1


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("machine, rank", [(0, 1), (1, 0), (0, None), (1, None)])
def test_without_restarts_all_machines_end(setup: TinySetup, tmp_path: Path, machine: int, rank: int | None) -> None:
    """Within 30 seconds after a process, or a machine, is gone."""
    common = two_machines() | {"PROCESSES_PER_NODE": "2"}
    machines = [start(setup, tmp_path / "results", 1, 100_000, **common, NODE_RANK=number) for number in "01"]
    kill_one_at(machines, tmp_path / "results", "step 10/", machine, rank)
    killed = time.monotonic()
    for each in machines:
        each.communicate(timeout=60)
    assert time.monotonic() - killed < 30
    assert all(each.returncode != 0 for each in machines)
    assert not (tmp_path / "results" / "test_rouge.json").exists()
