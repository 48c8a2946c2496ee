#!/bin/sh
# What the shipped embedder does in the whole device pipeline, int8, on people it was not chosen on (odd half of `val`).
# Run at the top of the checkout: RUN is a folder outside it, DATA the folder of the packs. The figures go by hand into
# docs/models/embedder.md. PYTHON has torch and ai-edge-litert, DEVICE_PYTHON what a kiosk has; PROCESSES work side by side.
# Ten minutes on two cores.
set -eu
RUN=${1:?folder of the reports}
DATA=${2:-../shared/data}
PYTHON=${PYTHON:-python}
DEVICE_PYTHON=${DEVICE_PYTHON:-$PYTHON}
PROCESSES=${PROCESSES:-2}
CACHE=${CACHE:-$HOME/.cache/glancein}
MODEL=${MODEL:-device/glancein/models/embedder}
WEIGHTS=${WEIGHTS:-training/weights/embedder.pt}
export PYTHONPATH=device:training:convert OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE
mkdir -p "$RUN"
train() { "$PYTHON" -m glancein_training.cli "$@"; }

# One-shot FNIR, ROC, thresholds, clusters: crops on grey sheets through finder, landmarks, aligner and int8 embedder.
train unpack "$DATA/faces" --split val --half odd --out "$RUN/pictures" --cache "$CACHE"
"$DEVICE_PYTHON" -m glancein embed "$RUN/pictures" --templates --out "$RUN/device.npz" --processes "$PROCESSES" --data "$RUN/home"
"$PYTHON" -m glancein_convert embed "$MODEL/model.tflite" "$DATA/unlabelled" --most 9800 --out "$RUN/strangers.npz" \
    --cache "$CACHE"
train evaluate "$RUN/device.npz" --labels "$DATA/faces/labels.csv" --split val --half odd --out "$RUN/report" \
    --padding "$RUN/strangers.npz" --padding-labels "$DATA/unlabelled/labels.csv"

# The same crops without the finder, and the device pipeline against it on the same pictures.
"$PYTHON" -m glancein_convert embed "$MODEL/model.tflite" "$DATA/faces" --split val --templates --out "$RUN/aligned.npz" --cache "$CACHE"
train compare "$RUN/aligned.npz" "$RUN/device.npz" --labels "$DATA/faces/labels.csv" --split val --half odd --gallery 200

# Badge and kiosk: fifty people who told their gender and origin, enrolled from the neutral photo.
"$DEVICE_PYTHON" -m glancein embed "$DATA/badges" --templates --out "$RUN/badges.npz" --processes "$PROCESSES" --data "$RUN/home"
train evaluate "$RUN/badges.npz" --labels "$DATA/badges/people.csv" --enrol-from neutral --out "$RUN/badges" --quick

# Worse and worse looks against clean ones, forty people: JPEG, pixels between the eyes, blur, rotation, light.
train unpack "$DATA/faces" --split val --half odd --people 40 --worse --out "$RUN/worse" --cache "$CACHE"
"$DEVICE_PYTHON" -m glancein embed "$RUN/worse" --templates --out "$RUN/worse.npz" --processes "$PROCESSES" --data "$RUN/home"
train robustness "$RUN/worse.npz" "$DATA/faces" --out "$RUN/robustness"

# What a layer sees, on one portrait in the public domain: copy it to docs/models/embedder-layers.png.
"$DEVICE_PYTHON" -m glancein embed device/glancein/demo_pictures/collins.jpg --out "$RUN/portrait.npz" --data "$RUN/home"
train patches "$WEIGHTS" device/glancein/demo_pictures --landmarks "$RUN/portrait.npz" --out "$RUN/embedder-layers.png"
