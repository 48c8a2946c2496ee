#!/bin/sh
# The shipped finder, from nothing to its bundle. Run at the top of the checkout; RUN is a folder outside it.
# A small finder at 192 x 144 first (cheap), then at 256 x 192 with a falling rate, then with two more blocks; the second
# look likewise in two runs. One thread each for the network and the scenes.
set -eu
RUN=${1:?folder of the run}
DATA=${2:-../shared/data}
export PYTHONPATH=device:training:convert OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE
SETTING="data=\"$DATA/finder\""

train() { python -m glancein_training.finder.train "$@"; }
look() { python -m glancein_training.finder.landmarks "$@" --set "data=$DATA"; }
SMALL='network="finder-38"'

train "$RUN/small" --set "$SETTING" --set "$SMALL" --set width_px=192 --set height_px=144 \
    --set choice.largest_px=140 --minutes "${STABLE_MINUTES:-20}"
train "$RUN/small" --set "$SETTING" --set "$SMALL" --decay
train "$RUN/deeper" --set "$SETTING" --start-from "$RUN/small/checkpoint.pt" --minutes "${STABLE_MINUTES:-20}"
train "$RUN/deeper" --set "$SETTING" --decay
python -m glancein_training.finder.weights "$RUN/deeper/checkpoint.pt" training/weights/finder.pt
look "$RUN/second" --minutes "${SECOND_MINUTES:-20}"
look "$RUN/second" --decay
# The shipped one came by a longer way: l6 began with weights of 80 px and two blocks fewer (64,000 looks at 80 px, 250,000 at 88 px
# and the full rate, 96,000 with a falling one), and l7 is l6 without one of the added blocks, 128,000 looks with a falling rate.
again() { look "$RUN/third" --start-from "$RUN/second/checkpoint.pt" --set batch=128 --set seed=7 "$@"; }
again --minutes "${SECOND_MINUTES:-20}"
again --decay --set decay_looks=128000
python -m glancein_training.finder.weights "$RUN/third/checkpoint.pt" training/weights/landmarks.pt

# First with a low threshold, to find the one that gives one false face in a hundred pictures.
WEIGHTS="training/weights/finder.pt training/weights/landmarks.pt"
python -m glancein_convert export-finder $WEIGHTS --out "$RUN/bundle" --data "$DATA/finder"
python tests/bench/finder_device.py detections --model "$RUN/bundle" --shared "$DATA" --out "$RUN/found.jsonl"
python -m glancein_training.finder.evaluate --data "$DATA/finder" --detections "$RUN/found.jsonl"
echo "then: python -m glancein_convert export-finder $WEIGHTS --out device/glancein/models/finder" \
    "--threshold T --false-faces 0.01"
