"""What ``python -m actorstream`` runs: five scenes of streaming, on real text.

Read `scenes` first: each scene is a complete sample, written with the public names only.
"""
