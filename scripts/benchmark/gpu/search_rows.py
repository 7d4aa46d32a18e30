"""Rows of searches: sequences per second, and a profile."""

from pathlib import Path
from typing import Any

from scripts.benchmark.generation_systems import SYSTEMS, Search, System
from scripts.benchmark.generation_work import PUBLISHED, CompareArguments, make_sources, write_model
from scripts.benchmark.gpu.profiling import profiled
from scripts.benchmark.gpu.session import Session, Settings, command_of, kernels_switched, spread
from scripts.benchmark.system_apart import timed
from scripts.benchmark.training_systems import forget_memory, peak_bytes

_MODULE = "scripts.benchmark.compare_generation"
_OF_WORK = {"shape", "vocab_size", "mode", "batch_size", "source_length", "shortest_source", "target_length", "beams"}
_OF_WORK |= {"documents", "eos_bias"}


def arguments_of(session: Session, settings: Settings) -> CompareArguments:
    """Return the work of a row as compare_generation.py's command line."""
    given = {name: value for name, value in settings.items() if name in _OF_WORK}
    given |= {"precisions": settings["precision"], "systems": settings.get("system", "ours"), "device": session.device}
    return CompareArguments(**given)


def make_system(session: Session, arguments: CompareArguments, triton: bool) -> System:
    """Make the system that a row measures, or return the one of an earlier row; only the last one is kept.

    Its model ends outputs sooner (--eos_bias), which changes nothing if their length is given.
    """
    key = (arguments.systems, arguments.shape, arguments.precisions, triton)
    if key not in session.kept:
        session.kept.clear()
        forget_memory(session.device)
        name = f"search_{arguments.shape}_{arguments.vocab_size}"
        biased = CompareArguments(**{**vars(arguments), "mode": "natural"})
        folder = session.model_folder(name, lambda path: write_model(path, biased))
        session.kept[key] = SYSTEMS[arguments.systems](Path(folder), arguments.precisions, session.device)
    system: System = session.kept[key]
    return system


def search(session: Session, settings: Settings) -> None:
    """Tell sequences per second of each round and their median, those of the first, cold run, and the peak memory."""
    arguments, triton = arguments_of(session, settings), settings.get("triton", True)
    session.tell({"command": command_of(_MODULE, arguments)})
    natural = settings.get("mode") == "natural"
    wanted = Search(arguments.beams, 4 if natural else arguments.target_length, arguments.target_length)
    sources, all_seconds = make_sources(arguments), []
    with kernels_switched(triton):
        system = make_system(session, arguments, triton)
        forget_memory(session.device)
        for number in range(1 + settings["rounds"]):
            outputs, seconds = timed(system, sources, wanted, arguments.batch_size)
            if number == 0:
                session.tell({"first_run_sequences_per_second": len(sources) / seconds})
                continue
            all_seconds.append(seconds)
            figures: dict[str, Any] = {"seconds": spread(all_seconds)}
            figures["sequences_per_second"] = spread([len(sources) / seconds for seconds in all_seconds])
            figures["mean_output_tokens"] = sum(map(len, outputs)) / len(outputs)
            session.tell({**figures, "sequences": len(sources), "peak_gb": peak_bytes(session.device) / 1e9})
    if "published" in settings:
        published = PUBLISHED[settings["published"]].get(arguments.batch_size)
        if published is not None:
            ratio = figures["sequences_per_second"]["median"] / published
            session.tell({"published_on_an_h100": published, "times_as_many_as_published": ratio})


def profile_search(session: Session, settings: Settings) -> None:
    """Tell the longest kernels and the host's share of a search whose graphs are recorded."""
    arguments = arguments_of(session, settings)
    session.tell({"command": command_of(_MODULE, arguments)})
    wanted = Search(arguments.beams, arguments.target_length, arguments.target_length)
    sources, system = make_sources(arguments), make_system(session, arguments, triton=True)
    for _ in range(2):
        system.generate(sources, wanted)
    with profiled(session.device, 1, session.tell):
        system.generate(sources, wanted)
