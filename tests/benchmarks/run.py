"""Run the benchmarks: ``python tests/benchmarks/run.py --help``."""

import sys
from pathlib import Path

# PYTHONSAFEPATH leaves a script's own folder out of the path: add it.
sys.path.insert(0, str(Path(__file__).resolve().parent))

from command_line import main

if __name__ == "__main__":
    sys.exit(main())
