"""What ``python -m actorstream`` runs: streams, and a pool of workers, on real text.

Read `streaming` first, then `counting`: each part is a complete sample, written with the public
names only.
"""
