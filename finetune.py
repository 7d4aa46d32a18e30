"""Fine-tune BART for summarization: `python finetune.py` in a checkout is what `bart-finetune` is once installed."""

import sys

from utils.commands.fine_tune import main

if __name__ == "__main__":
    sys.exit(main())
