"""Groups of beams give the tokens of transformers 4.53.3, the last version that searched them itself.

It is installed into a folder of its own, which needs a package index: hence slow.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OLD_PACKAGES = ["transformers==4.53.3", "tokenizers==0.21.4", "huggingface_hub==0.36.0"]
SEARCHES = 300

# Run with the old packages first on the path. Prints how many searches differ, and how many differ without groups.
COMPARISON = """
import random, sys, warnings
warnings.simplefilter("ignore")
import transformers
assert transformers.__version__ == "4.53.3", transformers.__version__
from tests.generation.random_searches import pair_of

def settings_of(number):
    rng = random.Random(number)
    groups, in_group = rng.choice([2, 3]), rng.choice([1, 2])
    beams = groups * in_group
    settings = {"num_beams": beams, "num_beam_groups": groups, "max_length": rng.randint(8, 14)}
    settings["num_return_sequences"] = rng.randint(1, beams)
    settings["diversity_penalty"] = rng.choice([0.3, 1.0, 2.0])
    for name, values in {"early_stopping": [True, "never", False], "length_penalty": [0.0, 0.5, 2.0],
                         "min_length": [3, 5], "no_repeat_ngram_size": [2], "forced_eos_token_id": [2]}.items():
        if rng.random() < 0.4:
            settings[name] = rng.choice(values)
    return settings

differing = differing_without = 0
for number in range(int(sys.argv[1])):
    pair, settings = pair_of(number), settings_of(number)
    sources = {"attention_mask": pair.attention_mask, **settings}
    theirs = pair.theirs.generate(pair.input_ids, **sources).tolist()
    differing += pair.ours.generate(pair.input_ids, **sources).tolist() != theirs
    one_group = {**sources, "num_beam_groups": 1, "diversity_penalty": 0.0}
    differing_without += pair.ours.generate(pair.input_ids, **one_group).tolist() != theirs
print(differing, differing_without)
"""


@pytest.mark.slow
def test_same_tokens(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(tmp_path), *OLD_PACKAGES]
    subprocess.run(pip, check=True, timeout=600)
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    compared = subprocess.run(
        [sys.executable, "-c", COMPARISON, str(SEARCHES)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert compared.returncode == 0, compared.stderr
    differing, differing_without = map(int, compared.stdout.split())
    assert differing == 0
    assert differing_without > SEARCHES / 2  # else the comparison would be blind to the groups
