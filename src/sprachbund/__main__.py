"""`python -m sprachbund`: the command line, where its script is not on the path."""

from sprachbund.cli import main

main()
