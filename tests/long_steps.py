"""finetune.py, which takes every step for one of ten seconds: ``python -m tests.long_steps FLAGS``."""

import sys

from utils.commands.fine_tune import main
from utils.training import agreement

if __name__ == "__main__":
    agreement.SECONDS_BETWEEN = 0.0
    sys.exit(main())
