"""Results of others, as declarative data, to stand beside ours."""
