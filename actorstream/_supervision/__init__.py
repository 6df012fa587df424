"""The path of a failure: from a child's end to what its supervisor does."""
