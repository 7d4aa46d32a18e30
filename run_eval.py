"""Evaluate a trained model: `python run_eval.py` in a checkout is what `bart-evaluate` is once installed."""

import sys

from utils.commands.evaluate import main

if __name__ == "__main__":
    sys.exit(main())
