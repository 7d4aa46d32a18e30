"""A SLURM of one machine, this one: Debian's daemons with their files in a folder of their own."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

PROGRAMS = ("munged", "mungekey", "slurmctld", "slurmd", "sbatch", "scancel", "scontrol", "squeue", "srun")
_CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={daemon_port}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SchedulerType=sched/builtin
ReturnToService=2
KillWait=30
MpiDefault=none
NodeName={host} NodeAddr=127.0.0.1 CPUs={processors} State=UNKNOWN
PartitionName=main Nodes={host} Default=YES State=UP
"""


def what_is_missing() -> str | None:
    """Why no SLURM can be started here; None where one can."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        return f"no {', '.join(missing)}: apt-get install slurmctld slurmd slurm-client munge"
    return None if os.geteuid() == 0 else "SLURM's daemons need root"


class SlurmCluster:
    """Its daemons, from construction to ``stop``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
        self.daemons: list[subprocess.Popen[bytes]] = []
        controller_port, daemon_port = _free_ports(2)
        for name in ("state", "spool"):
            (folder / name).mkdir()
        (folder / "slurm.conf").write_text(
            _CONFIGURATION.format(
                folder=folder,
                host=socket.gethostname().split(".")[0],
                controller_port=controller_port,
                daemon_port=daemon_port,
                processors=os.cpu_count(),
            )
        )
        subprocess.run(["mungekey", "--create", f"--keyfile={folder}/munge.key"], check=True)
        files = [f"--{option}={folder}/munge.{option.split('-')[0]}" for option in ("socket", "key-file", "log-file")]
        self._start(["munged", "--foreground", "--force", *files, f"--pid-file={folder}/munge.pid",
                     f"--seed-file={folder}/munge.seed"])  # fmt: skip
        _await(lambda: (folder / "munge.socket").exists(), "munged")
        self._start(["slurmctld", "-D"])
        self._start(["slurmd", "-D"])
        _await(lambda: "idle" in self.ask("sinfo", "--noheader", "--format=%t"), f"an idle node; see {folder}")

    def ask(self, *command: str) -> str:
        """What one of SLURM's commands prints; nothing where it fails."""
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60).stdout.strip()

    def stop(self) -> None:
        """End the jobs and the daemons, the last one first."""
        self.ask("scancel", "--full", "--signal=KILL", "--user=root")
        time.sleep(1)
        for daemon in reversed(self.daemons):
            daemon.terminate()
            daemon.wait(timeout=60)

    def _start(self, command: list[str]) -> None:
        with (self.folder / "daemons.log").open("ab") as log:
            self.daemons.append(subprocess.Popen(command, env=self.environment, stdout=log, stderr=log))


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for probe in sockets:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in sockets]
    for probe in sockets:
        probe.close()
    return ports


def _await(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:.0f} seconds for {what}"
        time.sleep(0.2)
