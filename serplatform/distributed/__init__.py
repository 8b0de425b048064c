"""Everything that runs on a Ray cluster, this machine's own or one that runs already.

In: a corpus, from which ``prepare.prepare`` makes a dataset; or an opened run, whose trials
``search.search`` trains through the package ``tune``. Out: files of datasets and runs. Start with
these two; ``cluster.connect`` joins or starts Ray, and ``ray_internals`` holds all uses of
Ray's private parts.
"""
