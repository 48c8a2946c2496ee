"""``python -m glancein``."""

from glancein.cli import main

raise SystemExit(main())
