#!/bin/sh
# The shipped finder, from nothing to its bundle. Run at the top of the checkout; RUN is a folder outside it.
# 192 x 144 first (cheap), then 256 x 192 with a falling rate. One thread each for the network and the scenes.
set -eu
RUN=${1:?folder of the run}
DATA=${2:-../shared/data}
export PYTHONPATH=device:training:convert OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE
SETTING="data=\"$DATA/finder\""

python -m glancein_training.finder.train "$RUN" --set "$SETTING" --set width_px=192 --set height_px=144 \
    --set choice.largest_px=140 --minutes "${STABLE_MINUTES:-20}"
python -m glancein_training.finder.train "$RUN" --set "$SETTING" --decay
python -m glancein_training.finder.weights "$RUN/checkpoint.pt" training/weights/finder.pt
python -m glancein_training.finder.landmarks "$RUN/second" --set "data=$DATA" --minutes "${SECOND_MINUTES:-20}"
python -m glancein_training.finder.landmarks "$RUN/second" --set "data=$DATA" --decay
python -m glancein_training.finder.weights "$RUN/second/checkpoint.pt" training/weights/landmarks.pt

# First with a low threshold, to find the one that gives one false face in a hundred pictures.
WEIGHTS="training/weights/finder.pt training/weights/landmarks.pt"
python -m glancein_convert export-finder $WEIGHTS --out "$RUN/bundle" --data "$DATA/finder"
python tests/bench/finder_device.py detections --model "$RUN/bundle" --shared "$DATA" --out "$RUN/found.jsonl"
python -m glancein_training.finder.evaluate --data "$DATA/finder" --detections "$RUN/found.jsonl"
echo "then: python -m glancein_convert export-finder $WEIGHTS --out device/glancein/models/finder" \
    "--threshold T --false-faces 0.01"
