"""python -m glancein_convert."""

from glancein_convert.cli import main

main()
