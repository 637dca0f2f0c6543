"""`python -m ganseg.cli` is the command `ganseg`."""

from ganseg.cli import main

main()
