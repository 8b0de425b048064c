"""``python -m serplatform``."""

from serplatform.cli.main import main

main()
