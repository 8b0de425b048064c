"""The command line: one module per command, which parses, makes one call and prints the result.

Comes in: words. Goes out: an exit code, messages on stderr, the result on stdout. What commands
do is shared with Python in `serplatform.api`. Start with `main.py`.
"""
