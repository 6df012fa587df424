"""A failure's way: from a child's end to what its supervisor does."""
