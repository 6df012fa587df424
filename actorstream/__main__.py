"""The demo on real text: ``python -m actorstream``."""

from actorstream._demo.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
