"""python -m tests.gpu.apex_amp CHECK LEVEL PATH: one check of the plugin for apex.amp, with the real apex, on a GPU."""

import sys
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.precision import Precision
from torch import Tensor

from tests.tiny_training import SaveAt, batch_order, fit, start_model, start_module
from utils.training.apex_amp import ApexAmp

STEPS = 12
ORDER = batch_order(batch_size=4, accumulation=2)
ARGUMENTS = {"learning_rate": 1e-3, "warmup_steps": 2, "gradient_clip_val": 0.1}


def flat(weights: Any) -> Tensor:
    return torch.cat([weight.detach().float().cpu().flatten() for weight in weights])


def learns(level: str, path: Path) -> None:
    """What float32 learns, nearly."""
    ends = []
    for plugin in (Precision(), ApexAmp(level)):  # in this order: apex changes torch for good
        module = start_module(STEPS, **ARGUMENTS)
        fit(module, ORDER, plugin, STEPS, accelerator="gpu")
        ends.append(flat(module.parameters()))
    assert (ends[0] - ends[1]).norm() < 0.2 * (ends[0] - flat(start_model().parameters())).norm()


def overflows(level: str, path: Path) -> None:
    """The step is skipped and the scale halved."""
    from apex import amp

    plugin, module = ApexAmp(level), start_module(STEPS, **ARGUMENTS)
    connect = plugin.connect

    def connect_at_a_large_scale(*given: Any) -> Any:
        connected = connect(*given)
        amp.load_state_dict({"loss_scaler0": {"loss_scale": 2.0**60, "unskipped": 0}})
        return connected

    plugin.connect = connect_at_a_large_scale
    fit(module, ORDER, plugin, 3, accelerator="gpu")
    assert plugin.state_dict()["loss_scalers"]["loss_scaler0"] == {"loss_scale": 2.0**57, "unskipped": 0}
    assert torch.equal(flat(module.parameters()).half(), flat(start_model().parameters()).half())


def resumes(level: str, path: Path) -> None:
    """In a process of its own, as amp is initialized once: first the run, then the resumed one."""
    if not path.exists():
        module, plugin = start_module(STEPS, **ARGUMENTS), ApexAmp(level)
        fit(module, ORDER, plugin, STEPS, callbacks=[SaveAt(8, path)], accelerator="gpu")
        torch.save({"weights": flat(module.parameters()), "scaler": plugin.state_dict()["loss_scalers"]}, f"{path}.end")
        import subprocess

        subprocess.run([sys.executable, "-m", "tests.gpu.apex_amp", "resumes", level, str(path)], check=True)
        return
    module, plugin = start_module(STEPS, **ARGUMENTS), ApexAmp(level)
    fit(module, ORDER, plugin, STEPS, resume=path, accelerator="gpu")
    end = torch.load(f"{path}.end")
    assert plugin.state_dict()["loss_scalers"] == end["scaler"]
    assert (flat(module.parameters()) - end["weights"]).norm() < 1e-3 * end["weights"].norm()


if __name__ == "__main__":
    {"learns": learns, "overflows": overflows, "resumes": resumes}[sys.argv[1]](sys.argv[2], Path(sys.argv[3]))
