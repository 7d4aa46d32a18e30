"""Rows for the test of scripts/benchmark/gpu: they tell figures, and then pass, fail, die or hang."""

import os
import time

from scripts.benchmark.gpu.session import Session, Settings, Unfit


def row(session: Session, settings: Settings) -> None:
    """Tell the process and a figure that JSON cannot have, then do what the settings say."""
    session.tell({"process": os.getpid(), "infinite": float("inf")})
    if settings["then"] == "fail":
        raise RuntimeError("one and one")
    if settings["then"] == "die":
        os.kill(os.getpid(), 9)
    if settings["then"] == "hang":
        time.sleep(60)
    if settings["then"] == "be skipped":
        raise Unfit("the card is too small")
    if settings["then"] == "lack a package":
        import no_such_package  # type: ignore[import-not-found]  # noqa: F401
    session.tell({"environment": os.environ.get("ROW")})
