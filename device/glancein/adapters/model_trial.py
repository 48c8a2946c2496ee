"""``python -m glancein.adapters.model_trial FOLDER KIND``: open a bundle here, where a crash harms nobody."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import cast

from glancein.adapters.bundle_folder import open_bundle
from glancein.errors import ModelError
from glancein.model_card import Kind


def main(arguments: list[str]) -> int:
    """Exit code 0 if the bundle opens and its golden vectors come out."""
    folder, kind = arguments
    try:
        open_bundle(Path(folder), cast("Kind", kind))
    except ModelError as err:
        print(err, file=sys.stderr)
        return err.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
