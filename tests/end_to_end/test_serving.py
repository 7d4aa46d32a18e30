"""The server of docs/serving.md answers, and collects requests into batches.

LitServe is installed into a folder of its own, which needs a package index: hence slow.
"""

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from utils import Summarizer

ROOT = Path(__file__).parents[2]
PROGRAM = re.search(r"```python\n(.*?)```", (ROOT / "docs" / "serving.md").read_text(encoding="utf-8"), re.DOTALL)[1]
TEXTS = [f"The function number {number} returns a list of names, and raises an error." for number in range(9)]


def ask(url: str, request: object) -> tuple[int, object]:
    """Return the status and the content of the answer."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    asked = urllib.request.Request(url, json.dumps(request).encode(), {"Content-Type": "application/json"})
    try:
        with opener.open(asked, timeout=60) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, None
    except urllib.error.URLError:
        return 0, None


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_example_serves(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(tmp_path / "packages"), "litserve"]
    subprocess.run(pip, check=True, timeout=600)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    # It says how many texts each list has.
    call = "        return self.summarizer("
    assert call in PROGRAM and "port=8000" in PROGRAM
    program = PROGRAM.replace("8000", port).replace(call, f"        print('texts:', len(texts), flush=True)\n{call}")
    (tmp_path / "serve.py").write_text(program)
    path = os.pathsep.join([str(ROOT), str(tmp_path / "packages")])  # the tests' packages are found first
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, str(tmp_path / "serve.py")],
            cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, stdout=log, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
    try:
        url, end = f"http://127.0.0.1:{port}/predict", time.monotonic() + 120
        while (answer := ask(url, {"text": TEXTS[0]}))[0] != 200 and time.monotonic() < end:
            assert server.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.5)
        with ThreadPoolExecutor(len(TEXTS)) as threads:
            answers = list(threads.map(lambda text: ask(url, {"text": text}), TEXTS))
        refused = ask(url, {"texts": "one"})
    finally:
        os.killpg(server.pid, 15)
        server.wait(30)

    expected = Summarizer.from_pretrained(str(ROOT / "models" / "bart_mini"), device="cpu")(TEXTS, num_beams=4)
    assert answer == (200, {"summary": expected[0]})
    assert answers == [(200, {"summary": summary}) for summary in expected]
    assert refused == (422, None)
    lists = list(map(int, re.findall(r"texts: (\d+)", (tmp_path / "log").read_text())))
    assert sum(lists) >= len(TEXTS) + 1 and max(lists) > 1
