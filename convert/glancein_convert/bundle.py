"""One command: checkpoint -> bundle folder (model, card, cohort, golden vectors) and its report.

The same checkpoint, code and data give the same bytes on machines of one kind: one thread everywhere (sums in
another order differ in the last bit), seeds fixed, no time of day, no path.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from glancein.adapters.tflite_runtime import EDGE_TPU_SUFFIX, Network, open_model
from glancein.domain.align import LOOK_PX
from glancein.errors import InputError, ModelError
from glancein.model_card import (
    CARD_FILE,
    GOLDEN_FILE,
    SIGNATURE_FILE,
    InputSpec,
    Kind,
    Matching,
    ModelCard,
    OutputSpec,
    read_card,
    to_json,
    validate,
    write_card,
)
from glancein.types import Floats
from glancein_convert import (
    candidates,
    checkpoints,
    crops,
    edge_tpu,
    layers,
    parity,
    preflight,
    report,
    strangers,
    vectors,
)
from glancein_convert.errors import ConversionError
from glancein_convert.export import export_float
from glancein_convert.fold import fold_batch_norm, head_as_convolution
from glancein_convert.golden import make_golden
from glancein_convert.ranges import METHODS, Method
from glancein_training.outputs import check_folder

MODEL_FILE = "model.tflite"
COHORT_FILE = "cohort.npz"
PLACES = frozenset({"data", "landmarks", "start", "old"})  # settings that name what lies on one machine
# Over the threshold and still this near the second best: nobody is named. See docs/models/embedder.md.
MARGIN_COS = 0.05
LICENCE = "Code and form: Apache-2.0. Weights: research use only, because of their training images."
OWN_LICENCE = "Code and form: Apache-2.0. Weights: their maker's, as far as the training photos allow."
DATA_NOTE = (
    "Distilled from open-model-zoo face-reidentification-retail-0095 (Apache-2.0) and an InsightFace "
    "MobileFaceNet (non-commercial) on CelebA and UTKFace crops (non-commercial research). "
    "Retrain on licensed data for other uses."
)
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Request:
    """What to convert, with what data, and how strict to be."""

    checkpoint: Path
    out: Path
    data: Path
    cache: Path
    report: Path
    landmarks: Path | None = None
    people: int | None = None
    threads: tuple[int, ...] = (1, 2, 4)
    force: bool = False
    methods: tuple[Method, ...] = METHODS
    improvements: tuple[candidates.Improvement, ...] = ()
    training_command: str = ""
    gate: parity.Gate = field(default_factory=parity.Gate)


def export_embedder(request: Request, *, say: Say = print) -> ModelCard:
    """Convert, measure, judge, and only then write the bundle.

    Raises ConversionError if the gate fails, InputError for places that cannot be written.
    """
    torch.set_num_threads(1)
    check_places("embedder", request.out, request.report)
    trained = checkpoints.load_embedder(request.checkpoint)
    sets = crops.load_sets(
        request.data,
        request.cache,
        landmarks=request.landmarks,
        people=request.people,
        cohort=4 * (request.people or 1000),
        tuning=crops.TUNING_CROPS if "tuned" in request.improvements else 0,
    )
    request.report.mkdir(parents=True, exist_ok=True)
    say(f"{trained.name} after {trained.images} images; {len(sets.calibration)} crops set the ranges")
    best, tried = _best_export(request, trained, sets, say)
    model_path = best.int8_path
    network = open_model(model_path)
    say(
        f"embedding {len(sets.development)} crops as looks and templates, and {len(sets.cohort)} of strangers"
    )
    made = _embed_all(request.report, trained, network, model_path, sets)
    found = parity.compare(made.exact, made.rough, sets.identity, gate=request.gate)
    checked = preflight.check(model_path)
    judged = strangers.calibrate(made.rough, made.templates, sets.identity, sets.teachers, made.unknown)
    figures = {
        **found.figures,
        "int8_enrolled": parity.of_templates(made.rough.summed, made.templates, sets.identity),
        "ranges": tried,
        "ranges_chosen": best.name,
        "macs": checked.macs,
        "edge_tpu_preflight_maps_everything": checked.maps_everything,
        "xnnpack_partitions": layers.delegate_partitions(model_path),
        "calibration": judged.figures,
    }
    noise = layers.signal_to_noise(best.float_path, model_path, sets.calibration[:32])
    timing = layers.milliseconds(model_path, threads=request.threads)
    report.write(
        request.report,
        report.Findings(figures, found, checked, judged.points, noise, timing, sets.development, sets.note),
    )
    judge([*found.failures, *complaints(checked)], force=request.force, say=say)
    files = {GOLDEN_FILE: make_golden(network), COHORT_FILE: judged.cohort}
    files |= compiled_for_edge_tpu(model_path, request.report, say=say)
    card = make_card(
        "embedder",
        trained.name,
        model_path.read_bytes(),
        network,
        figures=figures,
        licence=licence(trained.config),
        data_note=data_note(trained.config),
        training_command=request.training_command or training_command(trained),
        files=files,
        matching=Matching(judged.points, COHORT_FILE, MARGIN_COS),
    )
    write_bundle(request.out, model_path.read_bytes(), card, files)
    say(
        f"wrote {request.out}: {card.sha256[:16]}, {card.size_bytes / 1e6:.2f} MB; report in {request.report}"
    )
    return card


def check_places(kind: Kind, out: Path, report: Path) -> None:
    """Before minutes of work, not after. Raises InputError where bundle or report cannot be written."""
    check_folder(out, "--out")
    check_folder(report, "--report")
    refuse_folders(out)
    with suppress(ModelError):  # no bundle is there, or a damaged one
        if (there := read_card(out).kind) != kind:
            raise InputError(
                f"{out} holds a bundle of kind {there}, this is of kind {kind}: name another folder"
            )


def refuse_folders(out: Path) -> None:
    """Raise InputError if a folder has the name of one of a bundle's files."""
    for name in (CARD_FILE, SIGNATURE_FILE, MODEL_FILE, GOLDEN_FILE):
        if (out / name).is_dir():
            raise InputError(f"{out / name} is a folder, where a file of the bundle goes: move it away")


def make_card(
    kind: Kind,
    name: str,
    model: bytes,
    network: Network,
    *,
    files: dict[str, bytes],
    **rest: Any,  # fields of ModelCard
) -> ModelCard:
    """A card for model bytes and the network opened from them; ``rest`` are further fields of ModelCard."""
    _, height, width, _ = network.input.shape
    return ModelCard(
        kind=kind,
        name=name,
        file=MODEL_FILE,
        sha256=hashlib.sha256(model).hexdigest(),
        size_bytes=len(model),
        input=InputSpec(height, width, network.input.scale, network.input.zero_point),
        outputs=tuple(OutputSpec(o.name, o.shape, o.scale, o.zero_point) for o in network.outputs),
        files={name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
        licence=rest.pop("licence", LICENCE),
        data_note=rest.pop("data_note", DATA_NOTE),
        git_commit=rest.pop("git_commit", None) or git_commit(),
        embedding_dimension=network.outputs[0].shape[-1] if kind == "embedder" else None,
        **rest,
    )


def git_commit() -> str:
    """Last commit that changed the code that converts; empty outside a checkout."""
    command = ["git", "log", "-1", "--format=%H", "--", "."]
    here = Path(__file__).parent
    done = subprocess.run(command, cwd=here, capture_output=True, text=True, check=False)  # noqa: S603  # whichever git is there
    return done.stdout.strip()


def compiled_for_edge_tpu(model: Path, folder: Path, *, say: Say) -> dict[str, bytes]:
    """The file for the Edge TPU under its name, if the compiler is here and maps every operator."""
    program = edge_tpu.find_compiler()
    if program is None:
        return {}
    try:
        compiled = edge_tpu.compile_model(program, model, folder)
    except ConversionError as err:
        say(f"no file for the Edge TPU: {err}")
        return {}
    if not compiled.maps_everything:
        left = ", ".join(f"{p.count} {p.name} ({p.status})" for p in compiled.on_cpu)
        say(
            f"no file for the Edge TPU: its compiler leaves on the CPU {left or 'what its log does not tell'}"
        )
        return {}
    say(f"edgetpu_compiler {compiled.version} maps all {compiled.operations} operators; untested on hardware")
    return {f"{MODEL_FILE.removesuffix('.tflite')}{EDGE_TPU_SUFFIX}.tflite": compiled.path.read_bytes()}


def complaints(checked: preflight.Preflight) -> list[str]:
    """What keeps a file off the Edge TPU, one sentence each."""
    return [
        *checked.problems,
        *(f"operator {o.index} {o.name}: {', '.join(o.reasons)}" for o in checked.operators if o.reasons),
    ]


def judge(failures: Sequence[str], *, force: bool, say: Say) -> None:
    """Refuse a network with failures, or name them when forced. Raises ConversionError."""
    if failures and not force:
        raise ConversionError(
            f"no bundle was written: {'; '.join(failures)} (--force writes it all the same)"
        )
    for sentence in failures:
        say(f"forced in spite of: {sentence}")


def write_bundle(out: Path, model: bytes, card: ModelCard, files: dict[str, bytes]) -> None:
    """Write a bundle, the card last: a folder without a card is no bundle; an old signature goes.

    Raises ModelError if the card breaks the schema, ConversionError if a figure of it is no number; then the
    folder is left as it was.
    """
    document = to_json(card)
    validate(document, where=str(out / CARD_FILE))
    try:
        json.dumps(document, allow_nan=False)
    except ValueError as err:
        raise ConversionError("no bundle was written: a figure of its card is no number") from err
    out.mkdir(parents=True, exist_ok=True)
    for name in (CARD_FILE, SIGNATURE_FILE):
        (out / name).unlink(missing_ok=True)
    (out / MODEL_FILE).write_bytes(model)
    for name, content in files.items():
        (out / name).write_bytes(content)
    write_card(out, card)


def _best_export(
    request: Request, trained: checkpoints.Checkpoint, sets: crops.CropSets, say: Say
) -> tuple[candidates.Candidate, dict[str, float]]:
    """Half of the calibration crops sets ranges, the other half chooses among what they give."""
    px = trained.network.shape.input_px
    float_path = request.report / "model.float.tflite"
    export_float(head_as_convolution(trained.network), (1, 3, px, px), float_path)
    half = len(sets.calibration) // 2
    judging = sets.calibration[half:]
    material = candidates.Material(
        request.report,
        setting=sets.calibration[:half],
        judging=judging,
        exact=vectors.by_float(fold_batch_norm(trained.network), judging).single,
        tuning=sets.tuning,
    )
    return candidates.choose(
        float_path, material, methods=request.methods, improvements=request.improvements, say=say
    )


@dataclass(frozen=True, slots=True)
class _Embedded:
    """What was made of the development crops by both networks, and of strangers by the int8 one."""

    exact: vectors.Vectors
    rough: vectors.Vectors
    unknown: vectors.Vectors
    templates: Floats  # (n, d)


def _embed_all(
    folder: Path, trained: checkpoints.Checkpoint, network: Network, model_path: Path, sets: crops.CropSets
) -> _Embedded:
    """Everything that figures and thresholds are of; kept for the next time."""
    key = hashlib.sha256(
        model_path.read_bytes() + repr((sets.note, LOOK_PX)).encode() + sets.identity.tobytes()
    ).hexdigest()
    kept = folder / f"vectors-{key[:16]}.npz"
    if not kept.exists():
        made = (
            vectors.by_float(fold_batch_norm(trained.network), sets.development),
            vectors.by_int8(network, sets.development),
            vectors.by_int8(network, sets.cohort),
        )
        arrays = {f"{i}_{name}": getattr(v, name) for i, v in enumerate(made) for name in vectors.FIELDS}
        arrays["templates"] = vectors.templates_by_int8(network, sets.development)
        part = kept.with_suffix(".part.npz")
        try:
            np.savez(part, allow_pickle=False, **arrays)
            part.replace(kept)  # half of a file would be taken for the whole the next time
        finally:
            part.unlink(missing_ok=True)
    with np.load(kept) as stored:
        first, second, third = (
            vectors.Vectors(*(stored[f"{i}_{name}"] for name in vectors.FIELDS)) for i in range(3)
        )
        return _Embedded(first, second, third, stored["templates"])


def training_command(trained: checkpoints.Checkpoint) -> str:
    """The last part of the training as a shell command, without the folders and files of its machine.

    A decay that was begun by hand is told as ``stable_images``, which is the same run. Where a distillation
    began that does not say so is in training/runs/embedder.sh.
    """
    config, images, origin = trained.config, trained.images, trained.origin
    if "blend" in origin:
        return _blend_command(origin["blend"], images)
    if "decay_from" in origin:
        config = {**config, "stable_images": origin["decay_from"]}
    settings = [(name, value) for name, value in _flat(config) if name not in PLACES]
    told = " ".join(f"--set {shlex.quote(f'{name}={json.dumps(value)}')}" for name, value in settings)
    match config:
        case {"loss": _}:
            return f"glancein-train train RUN {told} # {images} images"
        case {"begin": _, "old_weight": _}:
            return f"glancein-train harmonic RUN {told} # of a network of {images} images"
    command = f"python -m glancein_training.distill RUN {told}"
    if "start_from" not in origin:
        return f"{command} # {images} images, from training/runs/embedder.sh"
    start = origin["start_from"]
    return f"{command} --start-from {shlex.quote(start['name'])} # {start['sha256']}; {images} images"


def _blend_command(blend: Mapping[str, Any], images: int) -> str:
    """What made weights between two runs; the ends are known again by their hashes."""
    first, second = blend["first"], blend["second"]
    names = f"{shlex.quote(first['name'])} {shlex.quote(second['name'])}"
    shares = " ".join(f"--share {share}" for share in blend["shares"])
    hashes = f"{first['sha256']} and {second['sha256']}"
    return f"glancein-train blend {names} {shares} --out FILE # {hashes}; {images} images"


def data_note(config: Mapping[str, object]) -> str:
    """What the weights learned from, as far as the settings of their run tell."""
    begun = "random weights"
    if config.get("start"):
        begun = "the weights of another network, whose training images and terms count as well"
    match config:
        case {"loss": loss}:
            whose = "its maker's own photos" if config.get("landmarks") else "a pack of labelled crops"
            return f"Trained from identities alone (loss {loss}) on {whose}, beginning with {begun}."
        case {"begin": _, "old_weight": _}:
            return f"Fitted to an older network's vectors of a pack of crops, beginning with {begun}."
    return DATA_NOTE


def licence(config: Mapping[str, object]) -> str:
    """The card's licence: research only, but for what was trained on own photos and nothing else."""
    match config:
        case {"loss": _, "landmarks": landmarks} if landmarks and not config.get("start"):
            return OWN_LICENCE
    return LICENCE


def _flat(config: Mapping[str, object], inside: str = "") -> Iterator[tuple[str, object]]:
    for name, value in sorted(config.items()):
        if isinstance(value, Mapping):
            yield from _flat(value, f"{inside}{name}.")
        else:
            yield inside + name, value
