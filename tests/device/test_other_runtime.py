"""The shipped bundles in tflite-runtime 2.14, numpy 1 and OpenCV 4.11, in an environment of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from glancein import wiring

ROOT = Path(__file__).parents[2]
# OpenCV 4.12 and later demand numpy 2, which this runtime does not know.
PACKAGES = ("tflite-runtime==2.14.0", "numpy<2", "opencv-python-headless<4.12", "jsonschema>=4.20")
WHAT_IT_ANSWERS = """
import io, json, sys
from pathlib import Path
import numpy as np
from glancein import model_card
from glancein.adapters.bundle_folder import golden_of, open_bundle

out = []
for kind in ("embedder", "finder"):
    folder = Path(sys.argv[1]) / kind
    bundle = open_bundle(folder, kind)
    for name, network in {bundle.card.file: bundle.network, **bundle.companions}.items():
        golden = np.load(io.BytesIO(model_card.read_file(folder, bundle.card, golden_of(bundle.card, name))))
        runs = [network.run(picture[None]) for picture in golden["inputs"]]
        for index, spec in enumerate(network.outputs):
            mine = np.concatenate([run[index] for run in runs]).astype(int)
            for family in ("output", "plain"):
                steps = np.abs(mine - golden[f"{family}_{index}"].reshape(mine.shape))
                out.append({
                    "model": f"{kind}/{name}", "output": spec.name, "family": family,
                    "runtime": network.runtime_name, "values": steps.size,
                    "differing": float((steps > 0).mean()), "largest": int(steps.max()),
                })
print(json.dumps({"numpy": np.__version__, "rows": out}))
"""


@pytest.fixture(scope="module")
def old_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with that runtime, made from the package index."""
    if ready := os.environ.get("GLANCEIN_OLD_RUNTIME"):
        return Path(ready)
    if sys.version_info[:2] != (3, 11):
        pytest.skip("tflite-runtime 2.14 has wheels for Python 3.11 only")
    folder = tmp_path_factory.mktemp("old")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin/python"
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True, stderr=subprocess.DEVNULL
    )
    return python


def answers_of(python: Path) -> Any:  # any JSON
    """What this interpreter's runtime makes of the golden pictures of the shipped bundles."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "device")}
    command = [str(python), "-c", WHAT_IT_ANSWERS, str(wiring.MODEL_FOLDERS)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return json.loads(done.stdout)


@pytest.mark.heavy
def test_shipped_bundles_pass_in_both_runtimes(old_python: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each runtime meets one family of golden vectors: at most one step in one value of a hundred."""
    for python, runtime, family in (
        (Path(sys.executable), "ai_edge_litert", "output"),
        (old_python, "tflite_runtime", "plain"),
    ):
        answers = answers_of(python)

        with capsys.disabled():
            print(f"\n{runtime}, numpy {answers['numpy']}")
            for row in answers["rows"]:
                print("  {model} {output} {family}: {differing:.2%} differ, by {largest}".format(**row))
        met = [row for row in answers["rows"] if row["family"] == family]
        assert {row["runtime"] for row in met} == {runtime}
        assert {row["model"] for row in met} == {
            "embedder/model.tflite",
            "finder/model.tflite",
            "finder/landmarks.tflite",
        }
        assert all(row["largest"] <= 1 and row["differing"] <= 0.01 for row in met)
