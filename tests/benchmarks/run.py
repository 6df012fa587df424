"""Run the benchmarks: ``python tests/benchmarks/run.py --help``."""

import sys
from pathlib import Path

# Found next to this file also under PYTHONSAFEPATH, which leaves a script's own folder out.
sys.path.insert(0, str(Path(__file__).resolve().parent))

from command_line import main

if __name__ == "__main__":
    sys.exit(main())
